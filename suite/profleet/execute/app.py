"""``profleet run``: the Hydra application around planning, executing and reporting."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from profleet.errors import ConfigError, ProfleetError, StoreError, did_you_mean
from profleet.execute import index
from profleet.execute.job import execute_job, reuse
from profleet.execute.plan import Job, plan
from profleet.execute.progress import Progress
from profleet.execute.settings import RunSettings, TrackingSettings, parse, tracking_of
from profleet.paths import data_dir
from profleet.profile.store import (
    Result,
    find_results,
    load_profile,
    load_result,
    load_samples,
    set_tracking,
)

PARALLEL_LAUNCHERS = ("joblib", "submitit", "ray")


class Session:
    """What this process has seen of the invocation; jobs of parallel launchers run elsewhere."""

    root: Path | None = None
    tracking: TrackingSettings | None = None
    allow_unsupported = False
    interrupted = False
    mistake: ProfleetError | None = None


class Watch(Callback):  # type: ignore[misc]  # hydra is not typed
    """Hydra callback: notes where the results go, before the first job starts."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a single run."""
        _note(config, Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a sweep; warn when its jobs would disturb each other."""
        _note(config, Path(config.hydra.sweep.dir))
        launcher = str(config.hydra.runtime.choices.get("hydra/launcher", "basic"))
        if any(name in launcher for name in PARALLEL_LAUNCHERS):
            _say(
                f"hydra/launcher={launcher} executes jobs at the same time: on one machine they "
                "disturb each other, and latencies will be too high. Use the basic launcher to "
                "measure; parallel launchers are for several machines and for simulation."
            )


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet run``; return the exit code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back here instead of Hydra's own printing
    sys.argv = [sys.argv[0], *_options_first(arguments)]
    signal.signal(signal.SIGTERM, _terminate)
    application = hydra.main(
        config_path=str(data_dir("conf")), config_name="run", version_base="1.3"
    )(_task)
    try:
        application()
        if Session.mistake is not None:
            raise Session.mistake
    except KeyboardInterrupt:
        Session.interrupted = True
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_hydra_sentence(error)) from None
    except OSError as error:
        if error.filename is None or isinstance(error, ProfleetError):
            raise
        raise StoreError(
            f"{error.filename}: {error.strerror}. Choose a folder you can write: store=DIR."
        ) from None
    finally:
        code = _report()
    return code


def _task(config: DictConfig) -> None:
    """Execute one composed configuration; a mistake fails this job, not the sweep around it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    try:
        _execute_all(config, folder, Path(hydra_config.sweep.dir) if multirun else None)
    except ProfleetError as error:
        if multirun:
            with suppress(StoreError):
                _record_mistake(config, folder, error)
            _say(str(error))
        else:
            Session.mistake = error  # raised in main, past what Hydra prints of exceptions


def _execute_all(config: DictConfig, folder: Path, sweep: Path | None) -> None:
    """Execute every job of a configuration: one stack, or a whole suite."""
    overrides = HydraConfig.get().overrides.task
    settings = parse(config)
    _check_store(settings.store)
    jobs = list(plan(settings, frozenset(map(_override_key, overrides))))
    is_sweep = sweep is not None or settings.suite is not None
    sweep_id = _sweep_id(sweep or folder, settings.store) if is_sweep else None
    for number, job in enumerate(jobs):
        place = folder if settings.suite is None else folder / f"{number:02d}-{_slug(job)}"
        _execute(job, place, sweep_id, f"[{number + 1}/{len(jobs)}] " if len(jobs) > 1 else "")


def _execute(job: Job, folder: Path, sweep_id: str | None, counter: str) -> None:
    settings = job.settings
    if settings.resume and (earlier := index.finished(settings.store, job.run_key)) is not None:
        reuse(job, folder, earlier, sweep_id)
        _say(f"{counter}{job.title}: finished before, in {earlier}")
        return
    with Progress(f"{counter}{job.title}", settings.measure.budget_seconds) as progress:
        result = execute_job(job, folder, sweep_id, progress)
    if result.status == "finished":
        _plot(folder)
    else:
        _say(f"{counter}{job.title}: {result.status}: {result.reason} {result.hint or ''}".strip())
    _track(folder, settings.tracking)


def _plot(folder: Path) -> None:
    from profleet.report.plots import write_plots

    with suppress(OSError):  # a picture is not worth a failed job
        write_plots(load_profile(folder), load_samples(folder), folder / "plots")


def _track(folder: Path, tracking: TrackingSettings) -> None:
    """Send the finished folder to MLflow; what goes wrong there never loses the result."""
    if tracking.uri is None:
        set_tracking(folder, "off", None, None)
        return
    from profleet.tracking import log_result

    try:
        logged = log_result(folder, tracking)
    except ProfleetError as error:
        set_tracking(folder, "not_logged", str(error), None)
        _say(str(error))
    else:
        set_tracking(folder, "logged", None, logged.run_id)


def _report() -> int:
    """Print what the invocation produced; log the summary of a sweep; return the exit code."""
    root = Session.root
    if root is None or not root.is_dir():
        return 130 if Session.interrupted else 0
    if {entry.name for entry in root.iterdir()} <= {".hydra"}:
        shutil.rmtree(root, ignore_errors=True)  # a mistake before the first job leaves no litter
        return 130 if Session.interrupted else 0
    results = [(folder, load_result(folder)) for folder in sorted(find_results(root), key=_natural)]
    _show(root, results)
    sweep = len(results) > 1 or (root / "multirun.yaml").exists()
    tracking = Session.tracking
    if sweep and results and tracking is not None and tracking.uri is not None:
        from profleet.tracking import log_sweep

        try:
            log_sweep(root, tracking)
        except ProfleetError as error:
            _say(str(error))
    if Session.interrupted:
        _say(
            "Interrupted. What is finished stays; the same command with resume=true does the rest."
        )
        return 130
    accepted = {"finished"} | ({"unsupported"} if Session.allow_unsupported else set())
    return 0 if all(result.status in accepted for _, result in results) else 1


def _show(root: Path, results: list[tuple[Path, Result]]) -> None:
    from profleet.report.plots import write_comparison
    from profleet.report.tables import print_jobs, print_profile

    if len(results) == 1 and results[0][1].status == "finished":
        folder, result = results[0]
        print_profile(load_profile(Path(result.reused_from or folder)))
    elif results:
        print_jobs([result for _, result in results])
        profiles = [
            load_profile(Path(result.reused_from or folder))
            for folder, result in results
            if result.status == "finished"
        ]
        if len(profiles) > 1:
            with suppress(OSError):
                write_comparison(profiles, root / "plots")
    _say(f"Results: {root}")


def _record_mistake(config: DictConfig, folder: Path, error: ProfleetError) -> None:
    """A job of a sweep that could not be planned or written is a failed job with a reason."""
    from profleet.execute.collect import Failure, Ticket, finish, now
    from profleet.profile.schema import StackRef

    model, framework, hardware = (
        str(config.get(key)) for key in ("model", "framework", "hardware")
    )
    ticket = Ticket(
        run_id="", run_key="", lock_sha256="", executor="", timeout_seconds=0.0,
        stack=StackRef(model=model, framework=framework, hardware=hardware),
        sweep_id=None, suite=config.get("suite"), started_at=now(),
    )  # fmt: skip
    finish(folder, ticket, Failure("configuration", str(error), None))


def _note(config: DictConfig, root: Path) -> None:
    Session.root = root.absolute()
    Session.allow_unsupported = bool(config.get("allow_unsupported"))
    with suppress(ConfigError):  # the job says it
        Session.tracking = tracking_of(config)


def _check_store(store: Path) -> None:
    store.mkdir(parents=True, exist_ok=True)
    if not os.access(store, os.W_OK | os.X_OK):
        raise StoreError(f"{store}: the folder cannot be written. Choose another one: store=DIR.")


def _sweep_id(root: Path, store: Path) -> str:
    try:
        return "/".join(root.absolute().relative_to(store).parts[1:])
    except ValueError:
        return root.name


def _options_first(words: Sequence[str]) -> list[str]:
    """Hydra's parser takes overrides in one group only; users put options anywhere."""
    override = re.compile(r"(\+{0,2}[\w./@:-]+=|~[\w./@:])")
    return sorted(words, key=lambda word: bool(override.match(word)) and not word.startswith("-"))


def _override_key(item: str) -> str:
    return re.split(r"[=@]", item.lstrip("+~"), maxsplit=1)[0]


def _slug(job: Job) -> str:
    return f"{job.stack.model.document.name}-{job.stack.framework.document.name}"


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))
    ]


def _hydra_sentence(error: Exception) -> str:
    """Turn Hydra's report into one sentence, with the nearest key where one was misspelled."""
    if isinstance(error, OverrideParseException):
        return (
            f"Cannot read '{error.override}': {str(error).splitlines()[0]}. Close every bracket, "
            "and quote values that hold commas, spaces or brackets."
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        extra = re.match("|".join(PARALLEL_LAUNCHERS), name) if group == "hydra/launcher" else None
        install = f" Install it: pip install 'profleet[{extra.group()}]'." if extra else ""
        known = did_you_mean(name, error.options)
        return f"Unknown option '{name}' of '{group}'.{install} {known}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unknown = re.search(r"Key '([^']+)' is not in struct", f"{error}\n{cause}")
    if unknown:
        full = re.search(r"full_key: (\S+)", f"{error}\n{cause}")
        key = unknown.group(1)
        parent = full.group(1).rpartition(".")[0] if full else ""
        known = _known_keys(parent)
        where = f"'{parent}.{key}'" if parent else f"'{key}'"
        return f"Unknown setting {where}. {did_you_mean(key, known)}"
    return " ".join(lines).replace("'hydra.run.dir'", "store")


def _known_keys(parent: str) -> list[str]:
    from profleet.execute import settings as schema

    if not parent:
        return list(RunSettings.model_fields)
    models: dict[str, type[schema.Settings]] = {
        "measure": schema.MeasureSettings,
        "executor": schema.ExecutorSettings,
        "tracking": schema.TrackingSettings,
    }
    return list(models[parent].model_fields) if parent in models else []


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

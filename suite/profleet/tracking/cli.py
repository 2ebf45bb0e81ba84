"""``profleet log`` and ``profleet ui``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from profleet.errors import ProfleetError, StoreError, TrackingError
from profleet.tracking.session import DATABASE, EXPERIMENT, SCHEMES

if TYPE_CHECKING:
    from profleet.execute.settings import TrackingSettings
    from profleet.tracking.log import Logged

    Write = Callable[[Path, TrackingSettings], Logged]
    Remember = Callable[[Path, str], None]


def add_parsers(subparsers: Any) -> None:
    """Add ``log`` and ``ui`` to the subparsers of the ``profleet`` command."""
    log = subparsers.add_parser("log", help="send finished result folders to MLflow, again or late")
    log.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="result folder, or one above several"
    )
    _add_destination(
        log, None, "the nearest folder above DIR with such a database, else $PROFLEET_STORE, else"
    )
    log.set_defaults(execute=_log)
    ui = subparsers.add_parser("ui", help="open MLflow's UI on the store")
    _add_destination(ui, _default_store(), "$PROFLEET_STORE, else")
    ui.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default %(default)s)"
    )
    ui.add_argument("--port", default=5000, type=_port, help="default %(default)s; 0: any free one")
    ui.set_defaults(execute=_ui)


def _default_store() -> Path:
    return Path(os.environ.get("PROFLEET_STORE", "profleet-results"))


def _add_destination(parser: argparse.ArgumentParser, store: Path | None, otherwise: str) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=store,
        help=f"store folder with the database {DATABASE} (default: {otherwise} ./profleet-results)",
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="an MLflow server instead of a store")
    parser.add_argument("--experiment", default=EXPERIMENT, help="default %(default)s")


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return port


def _settings(parsed: argparse.Namespace, folder: Path) -> TrackingSettings:
    """Where to log a folder: what was asked for, else the store that it lies in."""
    from profleet.execute.settings import TrackingSettings

    around = (above for above in folder.parents if (above / DATABASE).is_file())
    store = (parsed.store or next(around, _default_store())).expanduser().absolute()
    if parsed.tracking_uri is not None:
        return TrackingSettings(
            uri=parsed.tracking_uri, artifacts=None, experiment=parsed.experiment
        )
    return TrackingSettings(
        uri=f"sqlite:///{store}/{DATABASE}",
        artifacts=str(store / "artifacts"),
        experiment=parsed.experiment,
    )


def _check_destination(parsed: argparse.Namespace) -> None:
    """Refuse a place that can never take a run: sending it there later would not help."""
    uri, store = parsed.tracking_uri, parsed.store
    if uri is not None and urlsplit(uri).scheme.partition("+")[0] not in SCHEMES:
        raise ProfleetError(
            f"--tracking-uri '{uri}' names neither a database nor a server; say "
            "sqlite:///FOLDER/profleet.db or http://HOST:5000, or --store DIR for a folder."
        )
    if store is not None and store.exists() and not store.is_dir():
        raise StoreError(f"--store {store} is no folder: name one, or one to be made.")


# -- log -----------------------------------------------------------------------------------------


def _log(parsed: argparse.Namespace) -> int:
    """Log every result below the folders, then the sweeps they belong to; one line each."""
    from profleet.tracking.log import UnreachableError

    _check_destination(parsed)
    folders = [folder.absolute() for folder in parsed.folders]
    wanted = _wanted(folders)
    failed = False
    for number, (folder, write, remember) in enumerate(wanted):
        try:
            logged = write(folder, _settings(parsed, folder))
        except UnreachableError as error:
            print(f"{folder}: not logged", flush=True)
            left = len(wanted) - number - 1
            more = f" {left} more were not tried." if left else ""
            raise TrackingError(f"{error}.{more}" if more else str(error)) from None
        except ProfleetError as error:
            failed = True
            print(f"{folder}: not logged", flush=True)
            print(f"profleet: {error}", file=sys.stderr, flush=True)
            continue
        state = "already logged" if logged.already else "logged"
        print(f"{folder}: {state} as {logged.name} ({logged.run_id})", flush=True)
        with suppress(StoreError):  # a folder that cannot be written stays as it is
            remember(folder, logged.run_id)
    return 1 if failed else 0


def _wanted(folders: Sequence[Path]) -> list[tuple[Path, Write, Remember]]:
    """What to log, in order: results, simulations, plans, and then the sweeps of the first two.

    Raises:
        StoreError: a folder holds nothing of the kind.
    """
    from profleet.profile.store import find_results
    from profleet.simulate.results import PLANS, find_simulations
    from profleet.tracking.log import (
        log_plan,
        log_result,
        log_simulation,
        log_simulations,
        log_sweep,
    )

    results: list[Path] = []
    simulations: list[Path] = []
    plans: list[Path] = []
    for folder in folders:
        found, simulated = list(find_results(folder)), list(find_simulations(folder))
        simulated = [path for path in simulated if path not in found]  # damaged ones are in both
        planned = [path for path in find_results(folder, PLANS) if path not in found]
        if not (found or simulated or planned):
            raise StoreError(
                f"{folder} holds no result: it needs a result.json, in it or in a folder below. "
                "Name a folder that `profleet run`, `simulate` or `plan` wrote."
            )
        results += [path for path in found if path not in results]
        simulations += [path for path in simulated if path not in simulations]
        plans += [path for path in planned if path not in plans]
    sweeps = dict.fromkeys(_sweeps(results, folders))
    roots = dict.fromkeys(_roots(simulations, folders))
    return [
        *((path, log_result, _remember) for path in results),
        *((path, log_simulation, _remember_simulation) for path in simulations),
        *((path, log_plan, _remember_simulation) for path in plans),
        *((path, log_sweep, _forget) for path in sweeps),
        *((path, log_simulations, _forget) for path in roots),
    ]


def _forget(folder: Path, run_id: str) -> None:
    """The summary of a sweep is noted nowhere."""


def _remember_simulation(folder: Path, run_id: str) -> None:
    from profleet.profile.store import Tracking
    from profleet.simulate.results import note_tracking

    note_tracking(folder, Tracking(status="logged", mlflow_run_id=run_id))


def _roots(simulations: Sequence[Path], named: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders of sweeps of simulations that lie, as a whole, in the folders named."""
    from profleet.simulate.results import load_invocation

    for folder in simulations:
        with suppress(StoreError):  # logging it says what is wrong
            parent, sweep = folder.parent, load_invocation(folder).sweep_id
            inside = any(top == parent or top in parent.parents for top in named)
            if inside and sweep == parent.name:
                yield parent


def _remember(folder: Path, run_id: str) -> None:
    """Note in ``result.json`` where the run is."""
    from profleet.profile.store import load_result, set_tracking

    tracking = load_result(folder).tracking
    if (tracking.status, tracking.mlflow_run_id) != ("logged", run_id):
        set_tracking(folder, "logged", None, run_id)


def _sweeps(results: Sequence[Path], named: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders of sweeps that lie, as a whole, at or below the folders named."""
    from profleet.profile.store import load_result

    for folder in results:
        try:
            sweep = load_result(folder).sweep_id
        except StoreError:
            continue  # logging it says what is wrong
        parts = Path(sweep).parts if sweep else ()
        for parent in folder.parents:
            if parts and parent.parts[-len(parts) :] == parts:
                if any(top == parent or top in parent.parents for top in named):
                    yield parent
                break


# -- ui ------------------------------------------------------------------------------------------


def _ui(parsed: argparse.Namespace) -> int:
    """Serve the store until Ctrl-C; for a server of its own, print its link."""
    from profleet.tracking.server import database_of, free_port, serving

    if parsed.tracking_uri is not None:
        if not parsed.tracking_uri.startswith(("http://", "https://")):
            raise ProfleetError(
                f"--tracking-uri '{parsed.tracking_uri}' is not the address of a server such as "
                "http://HOST:5000. Use --store DIR for a database in a folder."
            )
        print(_link(parsed.tracking_uri, parsed.experiment), flush=True)
        return 0
    database = database_of(parsed.store)
    port = free_port(parsed.host, parsed.port)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, _interrupt)
    print(f"Starting MLflow's UI on {database} ...", file=sys.stderr, flush=True)
    try:
        with serving(database, parsed.host, port) as (address, process):
            print(_link(address, parsed.experiment), flush=True)
            print("Open the link above; Ctrl-C stops the server.", file=sys.stderr, flush=True)
            code = process.wait()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 0
    raise ProfleetError(f"MLflow's server ended by itself, with code {code}.")


def _link(address: str, experiment: str) -> str:
    """Return the deep link to the experiment, or the server's address where it has none yet."""
    from profleet.tracking.links import deep_link
    from profleet.tracking.session import Destination, find_experiment, quiet_mlflow, reason_of

    destination = Destination(address, None, experiment)
    try:
        with quiet_mlflow():
            found = find_experiment(destination)
    except Exception as error:
        raise TrackingError(
            f"{destination.shown} gave no list of experiments: {reason_of(error)}. Check that an "
            "MLflow server runs there."
        ) from error
    return deep_link(address, found) if found else f"{address.rstrip('/')}/#/experiments"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

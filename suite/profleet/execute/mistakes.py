"""What Hydra reports about a command line, said in one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from profleet.errors import ConfigError, did_you_mean
from profleet.execute import settings as schema

PARALLEL_LAUNCHERS = ("joblib", "submitit", "ray")

_OVERRIDE = re.compile(r"\+{0,2}[\w./@:-]+=|~[\w./@:]")


def options_first(words: Sequence[str]) -> list[str]:
    """Sort options before overrides: Hydra's parser takes overrides in one group only."""
    return sorted(words, key=lambda word: not word.startswith("-") and bool(_OVERRIDE.match(word)))


def refuse_combinations(words: Sequence[str]) -> None:
    """Refuse what Hydra answers with a traceback.

    Raises:
        ConfigError: ``--multirun`` together with an option that only shows something.
    """
    showing = {"--cfg", "-c", "--info", "-i"} & set(words)
    if showing and {"-m", "--multirun"} & set(words):
        raise ConfigError(
            f"{showing.pop()} shows one configuration: leave out -m and name one value a key."
        )


def override_key(item: str) -> str:
    """Return the key of one override: ``measure`` of ``+measure=quick``."""
    return re.split(r"[=@]", item.lstrip("+~"), maxsplit=1)[0]


def sentence(error: Exception) -> str:
    """Return one sentence for an error of Hydra or OmegaConf, with the nearest known name."""
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
    told = f"{error}\n{cause}"
    if unknown := re.search(r"Key '([^']+)' is not in struct", told):
        full = re.search(r"full_key: (\S+)", told)
        parent = full.group(1).rpartition(".")[0] if full else ""
        key = unknown.group(1)
        where = f"{parent}.{key}" if parent else key
        return f"Unknown setting '{where}'. {did_you_mean(key, _known_keys(parent))}"
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _known_keys(parent: str) -> list[str]:
    models: dict[str, tuple[type[schema.Settings], ...]] = {
        "": (schema.RunSettings,),
        "measure": (schema.MeasureSettings,),
        "executor": (schema.ProcessSettings, schema.DockerSettings),
        "tracking": (schema.TrackingSettings,),
    }
    return [key for model in models.get(parent, ()) for key in model.model_fields]

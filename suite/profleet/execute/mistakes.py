"""What Hydra reports about a command line, said in one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from profleet.errors import ConfigError, did_you_mean

PARALLEL_LAUNCHERS = ("joblib", "submitit", "ray")

REFERENCES = ("model", "framework", "hardware", "suite")
_REFERENCES = re.compile(rf"^(\+{{0,2}}(?:{'|'.join(REFERENCES)}))=(.*)$")
_RANGE = re.compile(r"[\w./:-]+@[<>=!~][^'\"]*")
_DETAILS = ("full_key: ", "object_type=", "reference_type=")  # OmegaConf's, for programmers
_OVERRIDE = re.compile(r"\+{0,2}[\w./@:-]+=|~[\w./@:]")


def options_first(words: Sequence[str]) -> list[str]:
    """Sort options before overrides: Hydra's parser takes overrides in one group only."""
    return sorted(words, key=lambda word: not word.startswith("-") and bool(_OVERRIDE.match(word)))


def quote_ranges(words: Sequence[str]) -> list[str]:
    """Quote references with a range of versions, such as ``model=resnet50@>=1,<2``.

    Hydra's grammar does not read them bare. A comma before an operator belongs to the range; any
    other comma separates the values of a sweep.
    """
    return [_REFERENCES.sub(_quote_values, word) for word in words]


def _quote_values(override: re.Match[str]) -> str:
    values = re.split(r",(?![<>=!~])", override[2])
    return f"{override[1]}={','.join(map(_quoted, values))}"


def _quoted(reference: str) -> str:
    return f'"{reference}"' if _RANGE.fullmatch(reference) else reference


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
        if "=" not in error.override:
            return f"'{error.override}' is neither an option nor KEY=VALUE: see --help."
        told = str(error).splitlines()[0]
        why = "" if "Exception" in told else f": {told}"  # the lexer names only its own class
        return (
            f"Cannot read '{error.override}'{why}. Close every bracket, and quote values that "
            f"hold commas, spaces or signs: \"key='a,b'\"."
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        extra = re.match("|".join(PARALLEL_LAUNCHERS), name) if group == "hydra/launcher" else None
        install = f" Install it: pip install 'profleet[{extra.group()}]'." if extra else ""
        known = did_you_mean(name, error.options)
        return f"Unknown option '{name}' of '{group}'.{install} {known}"
    if several := re.match(r"Ambiguous value for argument '([^=']+)=([^']*)'", str(error)):
        key, values = several.groups()
        listed = "" if key in REFERENCES else f" A list is written {key}=[{values}]."
        return f"'{key}={values}': to execute a job for each value, add -m.{listed}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    told = f"{error}\n{cause}"
    if unknown := re.search(r"Key '([^']+)' is not in struct", told):
        full = re.search(r"full_key: (\S+)", told)
        parent = full.group(1).rpartition(".")[0] if full else ""
        key = unknown.group(1)
        where = f"{parent}.{key}" if parent else key
        siblings = getattr(cause or error, "parent_node", None) or ()
        names = (str(name) for name in siblings if name != "hydra")
        return f"Unknown setting '{where}'. {did_you_mean(key, names)}"
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.startswith(_DETAILS))

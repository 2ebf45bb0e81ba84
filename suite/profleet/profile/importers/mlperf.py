"""MLPerf Inference, closed division: points by device, model, scenario and round.

Reads the table with the columns `COLUMNS`, one row a result. What is known about such tables:

- A throughput is that of the whole system and is divided by its accelerators. A SingleStream
  latency is that of one query on one accelerator and is not.
- Systems without accelerators are their processors, all of them; how many the table does not say.
- ``resnet`` and ``resnet50`` are the same model, named differently by round.
- Large language models give tokens/s (GPT-J from v4.1 on), also where the label says samples/s.
- One result may be listed twice.
- Some submissions are untuned reference code; they do not count. Others are mistaken, also to
  their advantage (a result of four GPUs listed once more as that of one): what is more than `FAR`
  times off the median of its round does not count either. Of the rest the median does.
- The software of a round can double the speed of the same chip, so rounds are not mixed.
- Systems that mix accelerators say nothing about either.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from profleet.errors import StoreError
from profleet.profile.importers.files import number, read_bytes, read_table, sha256_of_file
from profleet.profile.points import (
    LeftOut,
    PointRow,
    Points,
    Quantity,
    SourceFile,
    make_points,
)

COLUMNS = (
    "round", "suite", "submitter", "platform", "accelerator", "accelerators", "processor", "model",
    "scenario", "result", "units", "software", "location",
)  # fmt: skip
FAR = 2.0
REFERENCE = re.compile(r"reference implementation", re.IGNORECASE)
MODELS = {"resnet": "resnet50"}
TOKENS = re.compile(r"(llama|mixtral|deepseek|gptj)")
GPTJ_TOKENS_FROM = (4, 1)
UNNAMED = frozenset({"", "-", "N/A", "None"})
_MIXED = re.compile(r"\(x[0-9]+\).*,.*\(x[0-9]+\)")
_ROUND = re.compile(r"v([0-9]+)\.([0-9]+)\Z")

NOTES = (
    "Throughput is per accelerator; of systems without one, of the whole system.",
    f"Median, lowest and highest of the results within {FAR:g}x of the median of their round.",
    "The software of a round counts as much as the chip: do not mix rounds.",
)


@dataclass(frozen=True)
class Result:
    """A row, read: the value is per device, seconds or items a second."""

    round: str
    submitter: str
    platform: str
    device: str
    model: str
    scenario: str
    quantity: Quantity
    unit: str
    value: float
    software: str
    location: str

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What is compared on one device."""
        return self.model, self.scenario, self.round, self.unit


def import_mlperf(path: Path, hardware: Mapping[str, str]) -> Points:
    """Return a point for every device, model, scenario and round.

    Args:
        path: the table, gzipped or not.
        hardware: alias -> hardware manifest (`devices.hardware_by_alias`).

    Raises:
        StoreError: it cannot be read, has other columns, or a row makes no sense.
    """
    left: defaultdict[str, list[str]] = defaultdict(list)
    results = _results(path, left)
    groups: defaultdict[tuple[str, ...], list[Result]] = defaultdict(list)
    for result in results:  # spellings of one device of the catalogue belong together
        groups[hardware.get(result.device, result.device), *result.group].append(result)
    rows = (_point(found, hardware, left) for found in groups.values())
    source = SourceFile(
        name=path.name,
        sha256=sha256_of_file(path),
        title="MLPerf Inference, closed division",
        license="Apache-2.0",
        references=["github.com/mlcommons/inference_results_v4.1 and those of the other rounds"],
    )
    return make_points(
        "mlperf",
        source,
        [row for row in rows if row is not None],
        notes=NOTES,
        left_out=[LeftOut(why=why, count=len(of), examples=of[:3]) for why, of in left.items()],
    )


def _results(path: Path, left: dict[str, list[str]]) -> list[Result]:
    seen: set[tuple[object, ...]] = set()
    results = []
    for line, row in enumerate(read_table(str(path), read_bytes(path), COLUMNS), start=2):
        name = f"{row['location']} ({row['round']})"
        if _MIXED.search(row["accelerator"]):
            left["the system mixes accelerators"].append(name)
            continue
        if REFERENCE.search(row["software"]):
            left["untuned reference code"].append(name)
            continue
        result = _result(str(path), line, row)
        key = (result.device, result.group, result.submitter, result.platform, result.value)
        if key in seen:
            left["listed twice"].append(name)
            continue
        seen.add(key)
        results.append(result)
    return results


def _result(where: str, line: int, row: Mapping[str, str]) -> Result:
    value = number(row["result"], where, line, "result")
    try:
        count = int(row["accelerators"])
    except ValueError:
        count = -1
    if count < 0:
        raise StoreError(f"{where}, line {line}: accelerators is '{row['accelerators'][:40]}'.")
    named = row["accelerator"] not in UNNAMED
    if not named and count:
        raise StoreError(f"{where}, line {line}: {count} accelerators without a name.")
    model = MODELS.get(row["model"], row["model"])
    quantity, unit = _unit(where, line, row, model)
    if quantity == "latency":
        value /= 1e3
    elif named:
        value /= max(count, 1)  # 0: an integrated one, which the table does not count
    return Result(
        row["round"], row["submitter"], row["platform"],
        row["accelerator"] if named else row["processor"],
        model, _scenario(where, line, row), quantity, unit, value,
        row["software"], row["location"],
    )  # fmt: skip


def _scenario(where: str, line: int, row: Mapping[str, str]) -> str:
    names = {
        "Offline": "offline", "SingleStream": "single_stream", "Server": "server",
        "MultiStream": "multi_stream",
    }  # fmt: skip
    try:
        return names[row["scenario"]]
    except KeyError:
        raise StoreError(
            f"{where}, line {line}: scenario is '{row['scenario'][:40]}', not one of "
            f"{', '.join(names)}."
        ) from None


def _unit(where: str, line: int, row: Mapping[str, str], model: str) -> tuple[Quantity, str]:
    found = _ROUND.match(row["round"])
    if not found:
        raise StoreError(f"{where}, line {line}: round is '{row['round'][:40]}', not such as v4.1.")
    unit, latency = row["units"].lower(), row["scenario"] in {"SingleStream", "MultiStream"}
    if latency and unit == "latency (ms)":
        return "latency", "s"
    if latency or unit not in {"samples/s", "queries/s", "tokens/s"}:
        raise StoreError(
            f"{where}, line {line}: units '{row['units'][:40]}' do not fit {row['scenario'][:40]}."
        )
    tokens = TOKENS.match(model) and (
        not model.startswith("gptj") or (int(found[1]), int(found[2])) >= GPTJ_TOKENS_FROM
    )
    return "throughput", "tokens/s" if tokens else "samples/s"


def _point(
    found: list[Result], hardware: Mapping[str, str], left: dict[str, list[str]]
) -> PointRow | None:
    first = found[0]
    middle = median(each.value for each in found)
    kept = [each for each in found if max(each.value / middle, middle / each.value) <= FAR]
    for each in found:
        if each not in kept:
            why = f"more than {FAR:g}x off the median of its round"
            left.setdefault(why, []).append(f"{each.location} ({each.round})")
    if not kept:
        return None
    values = [each.value for each in kept]
    return PointRow(
        device=_frequent(each.device for each in kept)[0],
        hardware=hardware.get(first.device),
        model=first.model,
        dtype=None,
        batch_size=1 if first.scenario == "single_stream" else None,
        scenario=first.scenario,
        quantity=first.quantity,
        unit=first.unit,
        value=median(values),
        low=min(values),
        high=max(values),
        count=len(values),
        round=first.round,
        software="; ".join(_frequent(each.software for each in kept)),
        source=f"{len(kept)} of {len(found)} results, such as {kept[0].location}",
    )


def _frequent(texts: Iterable[str]) -> list[str]:
    """Return different texts, most frequent first, at most three."""
    return [text for text, _ in sorted(Counter(texts).items(), key=lambda it: (-it[1], it[0]))][:3]

"""How many requests per second a fleet can keep up with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from profleet.errors import ConfigError
from profleet.simulate.fleet.arrays import Group
from profleet.simulate.records import Floats


def capacity_rps(groups: Sequence[Group], weights: Mapping[str, float]) -> float:
    """Return the highest rate at which a mixture of models can be served.

    A linear program: requests of each model are split among the groups that serve it, in the
    proportions that let the whole rate grow the most; no group is busier than it can be, and no
    link carries more than its bandwidth.

    Args:
        groups: of the fleet.
        weights: of the models; each is served by some group.

    Raises:
        ConfigError: no weight is above 0, or one is below or not finite.
    """
    total = sum(weights.values())
    if not (0 < total < np.inf and min(weights.values()) >= 0):
        raise ConfigError(
            "workload.models: weights are finite numbers from 0 on, and at least one is above 0."
        )
    shares = {model: weight / total for model, weight in weights.items() if weight > 0}
    cells = [(group, model) for group in groups for model in group.services if model in shares]
    rows, bounds = _limits(groups, cells)
    if len(shares) == 1 and len(rows) == len({id(group) for group, _ in cells}):
        return float(sum(bound / row.max() for row, bound in zip(rows, bounds, strict=True)))
    from scipy.optimize import linprog

    # Variables: requests per second in every cell and in all, in units of the largest cell's.
    scale = max(group.count * group.replica_rps(model) for group, model in cells)
    balance = np.zeros((len(shares), len(cells) + 1))
    for number, (model, share) in enumerate(shares.items()):
        balance[number, -1] = -share
        for column, cell in enumerate(cells):
            balance[number, column] = cell[1] == model
    solution = linprog(
        c=np.append(np.zeros(len(cells)), -1.0),
        A_ub=np.array(
            [np.append(row * scale / bound, 0) for row, bound in zip(rows, bounds, strict=True)]
        ),
        b_ub=np.ones(len(rows)),
        A_eq=balance,
        b_eq=np.zeros(len(shares)),
        method="highs",
    )
    if solution.status != 0:
        raise RuntimeError(f"the capacity of the fleet was not found: {solution.message}")
    return float(solution.x[-1] * scale)


def _limits(
    groups: Sequence[Group], cells: Sequence[tuple[Group, str]]
) -> tuple[list[Floats], list[float]]:
    """Return rows over cells (cost of one request per second) and what each may add up to."""
    rows, bounds = [], []
    for group in groups:
        own = [float(member is group) for member, _ in cells]
        if not any(own):
            continue
        seconds = [
            1 / group.replica_rps(model) if member is group else 0.0 for member, model in cells
        ]
        rows.append(np.array(seconds))
        bounds.append(group.count * group.speed * group.availability)
        if group.bytes_per_s < np.inf:
            for size in ("input_bytes", "output_bytes"):
                carried = [
                    getattr(group.services[model], size) if member is group else 0
                    for member, model in cells
                ]
                if any(carried):
                    rows.append(np.array(carried, dtype=np.float64))
                    bounds.append(group.bytes_per_s)
    return rows, bounds

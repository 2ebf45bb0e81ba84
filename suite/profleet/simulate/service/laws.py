"""Service times without a profile: a mean and a distribution around it (queueing theory)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from profleet.execute.settings import Positive, Settings
from profleet.simulate.records import Evidence, Floats, ServiceClass
from profleet.simulate.service.table import MAX_BATCH, MAX_NS, POINTS

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Distribution = Literal["exponential", "deterministic", "uniform", "lognormal"]

MAX_UNIFORM_CV = 1 / math.sqrt(3)
"""The uniform distribution from 0 to twice the mean; a wider one has negative times."""

MAX_CV = 100.0
FINE = 64
"""Points of the distribution in one slice of a table."""


class ServiceSettings(Settings):
    """A service time that is assumed: ``mean_ms`` for one request, drawn from ``dist``.

    A batch of n requests takes ``mean_ms + (n - 1) * per_request_ms`` on average, one draw a
    batch. ``cv`` is the standard deviation over the mean: needed for ``lognormal``, at most 0.577
    (and that if not given) for ``uniform``, fixed for the others.
    """

    dist: Distribution
    mean_ms: Positive
    cv: Annotated[float, Field(ge=0, le=MAX_CV, allow_inf_nan=False)] | None = None
    per_request_ms: NotNegative = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSettings:
        fixed = {"exponential": 1.0, "deterministic": 0.0}.get(self.dist)
        if fixed is not None and self.cv not in (None, fixed):
            raise ValueError(
                f"cv is {fixed:g} for dist={self.dist}: leave it out, or say dist=lognormal"
            )
        if self.dist == "lognormal" and not self.cv:
            raise ValueError("dist=lognormal needs cv, above 0")
        if self.dist == "uniform" and (self.cv or 0) > MAX_UNIFORM_CV + 1e-9:
            raise ValueError(
                f"cv={self.cv:g} is more than {MAX_UNIFORM_CV:.4f}, the most that dist=uniform "
                "can have without negative times; say dist=lognormal"
            )
        if self.mean_ms * 1e6 > MAX_NS or self.per_request_ms * 1e6 * MAX_BATCH > MAX_NS:
            raise ValueError(f"times above {MAX_NS / 1e9:g} s are not simulated")
        return self

    @property
    def law(self) -> Law:
        """The distribution around the mean."""
        fixed = {"exponential": 1.0, "deterministic": 0.0, "uniform": MAX_UNIFORM_CV}
        return Law(self.dist, fixed.get(self.dist, 0.0) if self.cv is None else self.cv)


@dataclass(frozen=True)
class Law:
    """A distribution with mean 1 and coefficient of variation ``cv``."""

    kind: Distribution
    cv: float

    def factors(self, uniforms: Floats) -> Floats:
        """Turn draws from [0, 1) into draws of this distribution, by inversion; any shape."""
        if self.kind == "exponential":
            return -np.log1p(-uniforms)
        if self.kind == "deterministic":
            return np.ones_like(uniforms)
        if self.kind == "uniform":
            half = min(self.cv / MAX_UNIFORM_CV, 1.0)
            return 1 + half * (2 * uniforms - 1)
        from scipy.special import ndtri

        sigma = math.sqrt(math.log1p(self.cv**2))
        drawn: Floats = np.exp(sigma * ndtri(uniforms) - sigma**2 / 2)
        return drawn


def tabulated(service: ServiceClass, law: Law) -> ServiceClass:
    """Return the same service class as a table: each column the mean of a slice of the law.

    The mean stays exact; a slice is averaged over ``FINE`` points.
    """
    grid = (np.arange(POINTS * FINE) + 0.5) / (POINTS * FINE)
    row = law.factors(grid).reshape(POINTS, FINE).mean(axis=1)
    quantiles = np.rint(np.outer(service.mean_ns, row / row.mean())).astype(np.int64)
    return replace(service, quantiles=quantiles, mean_ns=quantiles.mean(axis=1))


def service_from_law(settings: ServiceSettings, name: str, largest: int) -> ServiceClass:
    """Return the service class of an assumed service time, for batches of 1 to ``largest``."""
    further = np.arange(largest, dtype=np.float64)
    means = settings.mean_ms + settings.per_request_ms * further
    evidence: Evidence = "assumed"
    cv = f", cv {settings.law.cv:g}" if settings.dist in {"uniform", "lognormal"} else ""
    return ServiceClass(
        name=name,
        quantiles=np.empty((largest, 0), dtype=np.int64),
        mean_ns=1e6 * means,
        evidence=(evidence,) * largest,
        source=f"{settings.dist}, mean {settings.mean_ms:g} ms{cv}",
        energy_j=np.full(largest, np.nan),
        input_bytes=0,
        output_bytes=0,
        load_ns=0,
    )

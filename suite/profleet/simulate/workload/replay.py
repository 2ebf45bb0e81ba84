"""Replay of a trace: its times scaled to a rate, its names mapped to models, work from tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from profleet.errors import ConfigError, did_you_mean
from profleet.simulate.records import Arrivals, Floats, Ints, Small
from profleet.simulate.workload.rates import HORIZON_NS
from profleet.simulate.workload.settings import Trace, Work
from profleet.simulate.workload.stream import Marks
from profleet.simulate.workload.traces import DATASETS, FORMATS, Rows, Source, TraceError, locate

_MOST_LABELS = 20
_MOST_KEPT = 100_000
"""Requests of a trace that is kept in memory, so that repeating it does not read it again."""


def source_of(settings: Trace) -> Source:
    """Return the file that the settings name.

    Raises:
        TraceError: a public trace is not on this machine; says where to get it.
    """
    if settings.dataset is not None:
        known = DATASETS[settings.dataset]
        return Source(
            path=locate(settings.dataset, settings.path),
            format=FORMATS[known.format],
            window_seconds=settings.window_seconds,
            expected_rows=known.rows,
        )
    assert settings.format is not None
    assert settings.path is not None
    return Source(
        path=settings.path,
        format=FORMATS[settings.format],
        columns=settings.csv,
        window_seconds=settings.window_seconds,
    )


class Replay:
    """A checked trace at a chosen rate.

    ``rate_rps`` is what the trace is scaled to; ``None``: ``settings.speed`` times what was
    recorded. ``models`` are those of the fleet.
    """

    def __init__(
        self, settings: Trace, rate_rps: float | None, models: Sequence[str], where: str
    ) -> None:
        self._settings, self._where = settings, where
        self._source = source_of(settings)
        self.summary = self._source.summary()
        self._stretch = self._stretched(rate_rps)
        self._model = self._mapped(models)
        self._cost = None if settings.work is None else self._cost_unit(settings.work)

    @property
    def rate_rps(self) -> float | None:
        """Mean rate of the replay; ``None`` if all requests come at once."""
        recorded = self.summary.rates.mean_rps
        return None if math.isnan(recorded) else recorded / self._stretch

    def model_counts(self, models: Sequence[str]) -> dict[str, float]:
        """Return how many requests of the trace ask for each model."""
        assert self._model is not None
        counts = dict.fromkeys(models, 0.0)
        for model, count in zip(self._model, self.summary.labels.values(), strict=True):
            counts[models[model]] += count
        return counts

    def blocks(self, marks: Marks, rng: np.random.Generator) -> Iterator[Arrivals]:
        """Yield the requests; without end if the trace loops.

        Raises:
            ConfigError: it runs past what the clock can hold, or a request costs no work.
        """
        period, start = self._period_ns(), 0
        kept = list(self._read()) if self.summary.rates.requests <= _MOST_KEPT else None
        while True:
            for rows in self._read() if kept is None else kept:
                times = self._scaled(rows.time_ns, start)
                work = None if self._settings.work is None else self._work(rows)
                yield marks.put_on(times, rng, model=self._models(rows), work=work)
            if not self._settings.loop:
                return
            start += period

    def _read(self) -> Iterator[Rows]:
        return self._source.rows(self.summary.state)

    def describe(self) -> dict[str, Any]:
        """Return where the requests come from, for results."""
        summary, rates = self.summary, self.summary.rates
        labels = sorted(summary.labels.items(), key=lambda item: -item[1])
        dataset = self._settings.dataset
        return {
            "file": self._source.path.name,
            "sha256": summary.sha256,
            "format": self._source.format.name,
            "source": None if dataset is None else DATASETS[dataset].source,
            "requests": rates.requests,
            "recorded_rps": None if math.isnan(rates.mean_rps) else rates.mean_rps,
            "recorded_peak_rps": rates.peak_rps,
            "peak_window_seconds": rates.window_seconds,
            "speed": 1 / self._stretch,
            "labels": dict(labels[:_MOST_LABELS]),
            "other_labels": max(0, len(labels) - _MOST_LABELS),
            "mean_input_tokens": summary.mean_input_tokens,
            "mean_output_tokens": summary.mean_output_tokens,
        }

    def _stretched(self, rate_rps: float | None) -> float:
        recorded = self.summary.rates.mean_rps
        if math.isnan(recorded) and (rate_rps is not None or self._settings.loop):
            raise TraceError(
                f"Trace {self._source.path} has all its requests at one time: it has no rate that "
                f"could be scaled or repeated. Leave out {self._where}.rate, load and loop."
            )
        if rate_rps is not None:
            return recorded / rate_rps
        return 1 / (self._settings.speed or 1.0)

    def _period_ns(self) -> int:
        """From the first request to the first of the next round: one mean gap after the last."""
        rates = self.summary.rates
        if not self._settings.loop:
            return 0
        return round(rates.span_ns * rates.requests / (rates.requests - 1) * self._stretch)

    def _scaled(self, time_ns: Ints, start: int) -> Ints:
        if int(time_ns[-1]) * self._stretch + start > HORIZON_NS:
            raise ConfigError(
                f"Configuration: {self._where}: at this rate the trace runs past 146 years, more "
                "than the clock can hold; raise the rate or ask for fewer requests."
            )
        if self._stretch != 1.0:
            time_ns = (time_ns * self._stretch).astype(np.int64)
        return time_ns + start

    def _mapped(self, models: Sequence[str]) -> Small | None:
        """Return the model of each label of the trace."""
        names = list(self.summary.labels)
        how = self._settings.trace_models
        if how == "ignore":
            return None
        if not names:
            raise ConfigError(
                f"Configuration: {self._where}.trace_models: the trace {self._source.path} names "
                "no models; say 'ignore'."
            )
        if how == "spread":
            return (np.arange(len(names)) % len(models)).astype(np.int32)
        wanted = [self._settings.rename.get(name, name) for name in names]
        for name in wanted:
            if name not in models:
                raise ConfigError(
                    f"Configuration: {self._where}.rename: the trace asks for {name!r}, which no "
                    f"replica serves. {did_you_mean(name, models)}"
                )
        return np.array([models.index(name) for name in wanted], dtype=np.int32)

    def _models(self, rows: Rows) -> Small | None:
        if self._model is None or rows.label is None:
            return None
        found: Small = self._model[rows.label]
        return found

    def _cost_unit(self, work: Work) -> float:
        """Return what a cost is divided by."""
        summary = self.summary
        for per, mean, name in (
            (work.per_input, summary.mean_input_tokens, "per_input"),
            (work.per_output, summary.mean_output_tokens, "per_output"),
        ):
            if per and mean is None:
                raise ConfigError(
                    f"Configuration: {self._where}.work.{name}: the trace {self._source.path} has "
                    "no such token counts."
                )
        if not work.relative:
            return 1.0
        mean = work.constant + work.per_input * (summary.mean_input_tokens or 0.0)
        mean += work.per_output * (summary.mean_output_tokens or 0.0)
        if not mean:
            raise ConfigError(f"Configuration: {self._where}.work: no request has any tokens.")
        return mean

    def _work(self, rows: Rows) -> Floats:
        work, unit = self._settings.work, self._cost
        assert work is not None
        assert unit is not None
        cost = np.full(len(rows), work.constant)
        for per, tokens in (
            (work.per_input, rows.input_tokens),
            (work.per_output, rows.output_tokens),
        ):
            if tokens is not None:
                cost += per * tokens
        if not cost.min() > 0:
            raise ConfigError(
                f"Configuration: {self._where}.work: a request of {self._source.path} without "
                "tokens would take no time; give work.constant a value above 0."
            )
        return cost / unit

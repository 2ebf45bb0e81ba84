import numpy as np
import pytest

from profleet.errors import ConfigError
from profleet.execute.settings import check
from profleet.simulate.service.laws import ServiceSettings, service_from_law, tabulated
from profleet.simulate.service.table import POINTS

N = 2_000_000
GRID = (np.arange(N) + 0.5) / N
CASES = [
    ({"dist": "exponential"}, 1.0),
    ({"dist": "deterministic"}, 0.0),
    ({"dist": "uniform"}, 1 / np.sqrt(3)),
    ({"dist": "uniform", "cv": 0.25}, 0.25),
    ({"dist": "lognormal", "cv": 0.5}, 0.5),
    ({"dist": "lognormal", "cv": 2.0}, 2.0),
]


def service(**values):
    return check(ServiceSettings, {"mean_ms": 2.0, **values})


@pytest.mark.parametrize(("settings", "cv"), CASES)
def test_factors_have_mean_1_and_the_coefficient_of_variation(settings, cv):
    factors = service(**settings).law.factors(GRID)
    assert factors.mean() == pytest.approx(1, rel=2e-3)
    assert factors.std() == pytest.approx(cv, rel=2e-2, abs=1e-12)
    assert (factors >= 0).all()
    assert (np.diff(factors) >= 0).all()


def test_the_exponential_has_its_quantiles():
    factors = service(dist="exponential").law.factors(np.array([0.0, 0.5, 0.99]))
    assert factors == pytest.approx([0.0, np.log(2), np.log(100)])


def test_the_lognormal_has_its_median():
    factors = service(dist="lognormal", cv=1.0).law.factors(np.array([0.0, 0.5]))
    assert factors == pytest.approx([0.0, 1 / np.sqrt(2)])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dist": "lognormal"}, "dist=lognormal needs cv"),
        ({"dist": "lognormal", "cv": 0.0}, "dist=lognormal needs cv"),
        ({"dist": "exponential", "cv": 0.5}, "cv is 1 for dist=exponential"),
        ({"dist": "deterministic", "cv": 1.0}, "cv is 0 for dist=deterministic"),
        ({"dist": "uniform", "cv": 0.6}, "without negative times"),
        ({"dist": "uniform", "cv": -0.1}, "^Configuration: cv: "),
        ({"dist": "exponential", "mean_ms": 0.0}, "^Configuration: mean_ms: "),
        ({"dist": "exponential", "mean_ms": -1.0}, "^Configuration: mean_ms: "),
        ({"dist": "exponential", "mean_ms": float("nan")}, "^Configuration: mean_ms: "),
        ({"dist": "exponential", "mean_ms": float("inf")}, "^Configuration: mean_ms: "),
        ({"dist": "exponential", "mean_ms": 1e300}, "are not simulated"),
        ({"dist": "exponential", "per_request_ms": -1.0}, "^Configuration: per_request_ms: "),
        ({"dist": "pareto"}, "^Configuration: dist: "),
    ],
)
def test_what_cannot_be_is_refused_by_field(values, said):
    with pytest.raises(ConfigError, match=said):
        service(**values)


def test_a_service_class_states_means_and_no_quantiles():
    made = service_from_law(service(dist="exponential", per_request_ms=0.5), "m", 3)
    assert made.mean_ns.tolist() == [2e6, 2.5e6, 3e6]
    assert made.quantiles.size == 0
    assert made.evidence == ("assumed",) * 3
    assert np.isnan(made.energy_j).all()
    assert "exponential, mean 2 ms" in made.source


@pytest.mark.parametrize(("settings", "cv"), CASES)
def test_as_a_table_a_law_keeps_its_mean_exactly_and_its_quantiles(settings, cv):
    law = service(**settings).law
    made = tabulated(service_from_law(service(**settings), "m", 2), law)
    assert made.quantiles.shape == (2, POINTS)
    assert made.mean_ns == pytest.approx([2e6, 2e6], rel=1e-6)
    assert made.evidence == ("assumed", "assumed")
    shares = np.array([0.1, 0.5, 0.99])
    columns = (shares * POINTS).astype(int)
    assert made.quantiles[1, columns] / 2e6 == pytest.approx(law.factors(shares), rel=1e-2)

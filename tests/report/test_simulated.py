import pytest

from profleet.errors import StoreError
from profleet.report.simulated import flatten, load_jobs, load_table, runs, title_of
from simulated_jobs import Made, make_failure, make_simulation, result_of


def make_sweep(root, *jobs):
    for number, what in enumerate(jobs):
        make_simulation(root / str(number), what)
    return load_jobs(root)


def test_jobs_show_only_the_settings_in_which_they_differ(tmp_path):
    jobs = make_sweep(tmp_path, Made(load=0.5), Made(load=0.7), Made(router="random", load=0.5))
    assert [job.settings for job in jobs] == [
        {"router": "jsq", "workload.load": "0.5"},
        {"router": "jsq", "workload.load": "0.7"},
        {"router": "random", "workload.load": "0.5"},
    ]
    assert [job.variant for job in jobs] == ["jsq", "jsq", "random"]
    assert [job.load for job in jobs] == ["load=0.5", "load=0.7", "load=0.5"]
    assert jobs[1].label == "jsq · load=0.7"


def test_a_setting_of_one_router_is_compared_among_its_own_kind(tmp_path):
    jobs = make_sweep(
        tmp_path,
        Made(),
        Made(configuration={"router": {"kind": "model_affinity", "spill": 2}}),
        Made(configuration={"router": {"kind": "model_affinity", "spill": 3}}),
    )
    assert [job.settings for job in jobs] == [
        {"router": "jsq"},
        {"router": "model_affinity", "router.spill": "2"},
        {"router": "model_affinity", "router.spill": "3"},
    ]
    assert jobs[2].variant == "model affinity · spill=3"


def test_fleets_are_told_apart_by_name_and_not_by_what_follows_from_it(tmp_path):
    def fleet(count, price):
        return Made(
            groups={"a": count},
            configuration={"fleet": {"count": count, "price_per_hour": price, "speed_cv": 0.0}},
        )

    jobs = make_sweep(tmp_path, fleet(2, 1.0), fleet(4, 2.0))
    assert [job.settings for job in jobs] == [{"fleet": "2 a"}, {"fleet": "4 a"}]
    jobs = make_sweep(tmp_path, fleet(2, 1.0), fleet(2, 2.0))
    assert [job.settings for job in jobs] == [
        {"fleet.price_per_hour": "1"}, {"fleet.price_per_hour": "2"},
    ]  # fmt: skip


def test_deadlines_that_follow_a_promise_are_not_a_difference_of_their_own(tmp_path):
    def promise(bound):
        configuration = {"workload": {"kind": "poisson", "deadline_ms": bound}}
        return Made(promised_ms=bound, configuration=configuration)

    jobs = make_sweep(tmp_path, promise(10.0), promise(20.0))
    assert [job.settings for job in jobs] == [{"slo.p99_ms": "10"}, {"slo.p99_ms": "20"}]


def test_a_failed_job_is_known_by_its_overrides_but_not_by_secrets(tmp_path):
    make_simulation(tmp_path / "0", Made(router="jsq"))
    make_failure(
        tmp_path / "1", "no", ("router=broken", "tracking.uri=https://me:pw@host", "store=/home/me")
    )
    jobs = load_jobs(tmp_path)
    assert [job.settings for job in jobs] == [{"router": "jsq"}, {"router": "broken"}]
    assert jobs[1].state == "failed"


def test_a_damaged_result_is_a_failed_job_with_its_reason(tmp_path):
    make_simulation(tmp_path / "0")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "result.json").write_text("{", encoding="utf-8")
    good, bad = load_jobs(tmp_path)
    assert (good.state, bad.state) == ("stable", "failed")
    assert "damaged" in bad.result.reason


def test_a_damaged_table_is_one_clear_error(tmp_path):
    make_simulation(tmp_path)
    (tmp_path / "tables" / "levels.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match=r"levels\.parquet is damaged"):
        load_table(tmp_path, "levels")
    assert load_table(tmp_path, "absent") is None


def test_names_and_evidence_in_words():
    result = result_of(Made(groups={"a": 2, "b": 3}, load=0.5))
    assert title_of(result) == "2 a + 3 b · squeezenet · poisson 500/s · jsq · no batching"
    known = {"workload": {"kind": "trace", "clients": [{"dataset": "azure_llm_2023_conv"}]}}
    known |= {"offered_rps": 1.28e4, "configuration": {"router": {"kind": "power_of_d", "d": 2}}}
    named = result_of(Made(groups={"a": 2})).model_copy(update=known)
    assert title_of(named) == "2 a · squeezenet · azure llm 2023 conv 12800/s · power of two"
    assert runs(["measured", "measured", "interpolated"]) == [
        (1, 2, "measured"), (3, 3, "interpolated"),
    ]  # fmt: skip
    assert runs([]) == []


def test_values_are_flattened_to_the_last():
    values = {"a": {"b": [1, 2], "c": None}, "d": [{"e": True}, {"e": 0.25}], "f": {}}
    assert flatten(values) == {
        "a.b": "[1, 2]", "a.c": "null", "d.0.e": "true", "d.1.e": "0.25", "f": "none",
    }  # fmt: skip
    assert flatten({}) == {}

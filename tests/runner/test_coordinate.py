"""What the death of a worker means, versions of packages, and how processes add up to a point."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs
from profleet_runner import aggregate, host
from profleet_runner.coordinate import death
from profleet_runner.job import read_job
from profleet_runner.packages import installed, satisfies
from profleet_runner.protocol import EXIT_CODES, Failure
from profleet_runner.sweep import rotated

# -- deaths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "tail", "before", "after", "kind", "said"),
    [
        (-signal.SIGKILL, "", 1, 2, "out_of_memory", "SIGKILL"),
        (-signal.SIGKILL, "", 1, 1, "worker_died", "no process of this cgroup"),
        (-signal.SIGKILL, "", None, None, "worker_died", "cannot be told"),
        (-signal.SIGABRT, "what():  std::bad_alloc", 0, 0, "out_of_memory", "bad_alloc"),
        (-signal.SIGSEGV, "Illegal thing\n", 0, 0, "worker_died", "SIGSEGV: Illegal thing"),
        (1, "MemoryError\n", 0, 0, "out_of_memory", "MemoryError"),
        (1, "ZeroDivisionError: division by zero\n", 0, 0, "bug", "ZeroDivisionError"),
    ],
)
def test_death(code, tail, before, after, kind, said):
    failure = death(code, tail, before, after, 300 * 2**20)
    assert failure.kind == kind
    assert failure.kind in EXIT_CODES
    assert said in failure.message
    assert ("300 MiB" in failure.message) == (kind == "out_of_memory")


def test_a_kill_within_a_group_tells_the_limit_and_the_peak_of_the_group(monkeypatch):
    """What one process had resident says little: pages of files count for who read them first."""
    monkeypatch.setattr(host, "memory_limit", lambda: 64 * 2**20)
    monkeypatch.setattr(host, "memory_peak", lambda: 63 * 2**20)
    for job_limit in (None, 300 * 2**20):
        said = death(-signal.SIGKILL, "", 0, 1, job_limit).message
        assert "limit of 64 MiB" in said
        assert "at most 63 MiB were in use" in said


# -- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("1.31.1", ">=1.20,<2", True),
        ("2.0", ">=1.20,<2", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("1.9", ">=1.20", False),
        ("1.20", "==1.20.0", True),
        ("1.4.5", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False),
        ("1.5.0", "~=1.4", True),
        ("1.4.5", "!=1.4.5", False),
        ("1.4.5", "==1.4.*", True),
        ("1.5.5", "==1.4.*", False),
        ("3", "", True),
    ],
)
def test_ranges(version, wanted, fits):
    assert satisfies(version, wanted) is fits


NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(
    lambda parts: ".".join(map(str, parts))
)
CLAUSES = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map("".join)


@given(NUMBERS, st.lists(CLAUSES, max_size=3).map(",".join))
def test_ranges_as_packaging_sees_them(version, wanted):
    from packaging.specifiers import SpecifierSet

    assert satisfies(version, wanted) == SpecifierSet(wanted).contains(version)


def test_packages_that_do_not_do():
    with pytest.raises(Failure, match="nowhere-to-be-found is not installed") as caught:
        installed({"nowhere-to-be-found": ">=1"})
    assert caught.value.kind == "unsupported"
    with pytest.raises(Failure, match="not a version range") as caught:
        installed({"numpy": "around 2"})
    assert caught.value.kind == "invalid_job"


# -- order and aggregation -----------------------------------------------------------------------


@given(st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True), st.integers(0, 6))
def test_every_size_comes_first_in_a_process_without_the_check(sizes, more):
    orders = [rotated(sizes, number) for number in range(len(sizes) + 1 + more)]
    assert all(sorted(order) == sorted(sizes) for order in orders)
    assert {order[0] for order in orders[1:]} == set(sizes)


def part(process, **changed):
    return {
        "batch_size": 4, "reasons": [],
        "warm_up": {"process": process, "runs": 10, "seconds": 0.1, "steady": True},
        "samples": 100, "median_ns": 1e6, "input_bytes": 64, "output_bytes": 32,
        "copies": "in place", "peak_rss_bytes": {"value": 100}, "peak_rss_clean": False,
        "peak_device_bytes": {"unavailable": "CPU"}, "energy_j": {"unavailable": "none"},
        "energy_source": None, **changed,
    }  # fmt: skip


@pytest.fixture
def job(tmp_path):
    jobs.write_job(tmp_path, lambda job: job.update(batch_sizes=[4]))
    return read_job(tmp_path)


def point(job, *parts, threads=1):
    results = [
        {
            "framework": {
                "device": "CPU", "options": {}, "threads": {"intra_op": threads, "inter_op": 1},
                "requested": {"intra_op": 1, "inter_op": 1},
            },
            "cold_start": {}, "check": {}, "scenario": None, "points": [one],
        }
        for one in parts
    ]  # fmt: skip
    document = aggregate.measurement(job, results, {}, "a", "b")
    (only,) = document["points"]
    return only, document


def test_calm_processes_make_a_steady_point(job):
    only, _ = point(job, part(0), part(1))
    assert (only["status"], only["reasons"]) == ("steady", [])
    assert only["host_to_device_ms"] == {"unavailable": "in place"}


def test_processes_that_differ_are_unstable_with_the_numbers(job):
    only, _ = point(job, part(0), part(1, median_ns=2e6))
    assert only["status"] == "unstable"
    assert "±33.3%" in only["reasons"][0]
    assert "1 to 2 ms" in only["reasons"][0]


def test_reason_of_one_process_is_kept_with_its_number(job):
    only, _ = point(job, part(0), part(1, reasons=["it drifted"]))
    assert only["reasons"] == ["Process 1: it drifted."]


def test_other_threads_than_requested_are_a_reason(job):
    only, document = point(job, part(0), threads=2)
    assert only["reasons"] == ["1 intra-op threads were requested, 2 are in effect."]
    threads = document["framework"]["threads"]
    assert (threads["requested_intra_op"], threads["intra_op"]) == ({"value": 1}, {"value": 2})


def test_threads_of_every_process_are_compared(job):
    parts = [part(number) for number in range(3)]
    results = [
        {
            "framework": {
                "device": "CPU", "options": {}, "threads": {"intra_op": threads, "inter_op": "one"},
                "requested": {"intra_op": 2, "inter_op": 1},
            },
            "cold_start": {}, "check": {}, "scenario": None, "points": [one],
        }
        for threads, one in zip((2, 1, 1), parts, strict=True)
    ]  # fmt: skip
    document = aggregate.measurement(job, results, {}, "a", "b")
    (only,) = document["points"]
    said = "2 intra-op threads were requested, 1 are in effect in process 1, 2."
    assert only["reasons"] == [said]
    assert document["framework"]["threads"]["intra_op"] == {"value": 2}
    assert document["framework"]["threads"]["inter_op"] == {"unavailable": "one"}


def test_peak_memory_comes_from_the_process_that_did_nothing_else(job):
    shared, _ = point(job, part(0), part(1, peak_rss_bytes={"value": 300}))
    assert (shared["peak_rss_bytes"], shared["peak_rss_shared"]) == ({"value": 300}, True)
    clean, _ = point(job, part(0, peak_rss_bytes={"value": 300}), part(1, peak_rss_clean=True))
    assert (clean["peak_rss_bytes"], clean["peak_rss_shared"]) == ({"value": 100}, False)


def test_peak_device_memory_too(job):
    more, less = {"peak_device_bytes": {"value": 300}}, {"peak_device_bytes": {"value": 200}}
    clean, _ = point(job, part(0, **more), part(1, peak_rss_clean=True, **less))
    assert clean["peak_device_bytes"] == {"value": 200}
    shared, _ = point(job, part(0, **more), part(1, **less))
    assert (shared["peak_device_bytes"], shared["peak_rss_shared"]) == ({"value": 300}, True)


def test_copies_and_energy_are_pooled(job):
    only, _ = point(
        job,
        part(0, copies=[[0.001, 0.01], [0.003, 0.01]], energy_j={"value": 1.0}, samples=300),
        part(1, copies=[[0.002, 0.02]], energy_j={"value": 2.0}, samples=100),
    )
    assert only["host_to_device_ms"] == {"value": 2.0}
    assert only["device_to_host_ms"] == {"value": 10.0}
    assert only["energy_j"] == {"value": 1.25}

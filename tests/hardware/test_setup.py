"""The settings of a machine: seen, applied, restored; never lost, never fought over."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_kernel import HUGE_PAGES, NO_TURBO, POLICIES, FakeKernel
from profleet.errors import StoreError
from profleet.hardware import journal as journals
from profleet.hardware import setup as setups
from profleet.hardware.journal import Change, Journal
from profleet.hardware.settings import SETTINGS, KernelFile
from profleet.manifest.documents import MachineSetting
from profleet.manifest.loading import load_document
from profleet.paths import data_dir

WANTED = load_document(data_dir("manifests") / "hardware/local-tuned@1.0.0.yaml").setup
GOVERNOR = "cpu-governor"
BEFORE = (["powersave", "schedutil"], "0", "always")
APPLIED = (["performance", "performance"], "1", "madvise")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "LOCK_SECONDS", 0)
    return FakeKernel(tmp_path / "root", "powersave", "schedutil")


@pytest.fixture
def said():
    return []


@pytest.fixture
def prepare(kernel, tmp_path, said):
    """Enter ``prepared`` on the fake kernel; what it says goes to ``said``."""

    def enter(mode="apply", wanted=WANTED):
        where = {"root": kernel.root, "state": tmp_path / "state"}
        return setups.prepared(wanted, mode, **where, say=said.append)

    return enter


def only(setting, value):
    return (MachineSetting(setting=setting, value=value),)


def capabilities(setup):
    return {record.setting: record.capability for record in setup.records}


def journal_files(tmp_path):
    return list((tmp_path / "state").glob("*"))


# -- without changing anything -------------------------------------------------------------------


def test_dry_run_tells_and_changes_nothing(kernel, prepare, tmp_path):
    kernel.put(HUGE_PAGES, "always [madvise] never")
    before = kernel.state()
    with prepare("dry_run") as setup:
        assert kernel.state() == before
    assert capabilities(setup) == {
        "cpu-governor": "would apply",
        "turbo": "would apply",
        "transparent-huge-pages": "already",
    }
    assert [(r.before, r.after, r.restored) for r in setup.records] == [
        ("powersave, schedutil", "powersave, schedutil", None),
        ("enabled", "enabled", None),
        ("madvise", "madvise", None),
    ]
    (warning,) = setup.warnings
    assert "cpu-governor performance, turbo disabled" in warning
    assert "huge-pages" not in warning
    assert not journal_files(tmp_path)


def test_off_reads_nothing_and_says_so(prepare):
    with prepare("off") as setup:
        pass
    assert setup.records == []
    assert "setup=off" in setup.warnings[0]
    with prepare("off", wanted=()) as setup:
        pass
    assert setup.warnings == []


def test_a_manifest_without_setup_leaves_no_trace(kernel, prepare, tmp_path):
    with prepare("apply", wanted=()) as setup:
        assert kernel.state() == BEFORE
    assert (setup.records, setup.warnings, journal_files(tmp_path)) == ([], [], [])


@pytest.mark.parametrize("mode", ["dry_run", "apply"])
def test_a_machine_without_controls(tmp_path, prepare, kernel, mode):
    for path in ("sys/devices", "sys/kernel"):
        (kernel.root / path).rename(tmp_path / Path(path).name)
    with prepare(mode) as setup:
        pass
    assert set(capabilities(setup).values()) == {"absent"}
    assert all(record.reason for record in setup.records)
    assert not journal_files(tmp_path)


def test_a_root_without_sys(tmp_path):
    (tmp_path / "empty").mkdir()
    where = {"root": tmp_path / "empty", "state": tmp_path / "state"}
    with setups.prepared(WANTED, "apply", **where, say=print) as setup:
        assert set(capabilities(setup).values()) == {"absent"}


def test_another_machine_measures(kernel, tmp_path):
    where = {"root": kernel.root, "state": tmp_path / "state"}
    reason = "the container engine is on another machine"
    with setups.prepared(WANTED, "apply", **where, say=print, elsewhere=reason) as setup:
        assert kernel.state() == BEFORE
    assert {(r.capability, r.reason, r.before) for r in setup.records} == {("absent", reason, None)}


def test_a_read_only_kernel_is_not_permitted(small_disk, tmp_path):
    kernel = FakeKernel(small_disk, "powersave")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    where = {"root": small_disk, "state": tmp_path / "state"}
    assert {r.capability for r in setups.inspect(WANTED, **where)} == {"not permitted"}
    with setups.prepared(WANTED, "apply", **where, say=print) as setup:
        assert kernel.state() == (["powersave"], "0", "always")
    assert set(capabilities(setup).values()) == {"not permitted"}
    assert "may not write" in setup.records[0].reason


def test_a_governor_that_the_driver_does_not_offer(kernel, prepare):
    path = f"{POLICIES}/policy1/scaling_available_governors"
    kernel.put(path, "powersave schedutil")
    with prepare(wanted=only(GOVERNOR, "performance")) as setup:
        assert kernel.governors() == BEFORE[0]
    assert capabilities(setup) == {GOVERNOR: "absent"}
    assert "offers only powersave, schedutil" in setup.records[0].reason


def test_a_frequency_set_by_hand_is_not_given_up(kernel, prepare):
    kernel.put(f"{POLICIES}/policy1/scaling_governor", "userspace")
    with prepare(wanted=only(GOVERNOR, "performance")) as setup:
        assert kernel.governors() == ["powersave", "userspace"]
    assert capabilities(setup) == {GOVERNOR: "not permitted"}


# -- applying and restoring ----------------------------------------------------------------------


def test_apply_holds_for_the_block_and_restores(kernel, prepare, tmp_path, said):
    with prepare() as setup:
        assert kernel.state() == APPLIED
        assert journal_files(tmp_path)
    assert kernel.state() == BEFORE
    assert set(capabilities(setup).values()) == {"applied"}
    assert [(r.before, r.after, r.restored) for r in setup.records] == [
        ("powersave, schedutil", "performance", True),
        ("enabled", "disabled", True),
        ("always", "madvise", True),
    ]
    assert (setup.warnings, said, journal_files(tmp_path)) == ([], [], [])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_restored_when_the_job_ends_badly(kernel, prepare, tmp_path, error):
    def fail():
        assert kernel.state() == APPLIED
        raise error

    with pytest.raises(error), prepare():
        fail()
    assert kernel.state() == BEFORE
    assert not journal_files(tmp_path)


@pytest.mark.parametrize(
    ("path", "off", "on"),
    [("intel_pstate/no_turbo", "1", "0"), ("cpufreq/boost", "0", "1"),
     ("cpufreq/policy1/boost", "0", "1")],
)  # fmt: skip
def test_turbo_by_every_driver(kernel, prepare, path, off, on):
    (kernel.root / NO_TURBO).unlink()
    place = f"sys/devices/system/cpu/{path}"
    kernel.put(place, on)
    with prepare(wanted=only("turbo", "disabled")) as setup:
        assert kernel.get(place) == off
    assert kernel.get(place) == on
    assert setup.records[0].before == "enabled"


def test_a_switched_off_processor_is_left_out(kernel, prepare, monkeypatch):
    read = KernelFile.read

    def offline(self):
        if "policy0" in str(self.path):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return read(self)

    monkeypatch.setattr(KernelFile, "read", offline)
    with prepare(wanted=only(GOVERNOR, "performance")) as setup:
        assert kernel.governors() == ["powersave", "performance"]
    assert kernel.governors() == BEFORE[0]
    assert setup.records[0].before == "schedutil"


@pytest.mark.parametrize("refusal", ["ignored", errno.EPERM, errno.EINVAL])
def test_what_the_kernel_refuses_half_way_is_undone_at_once(kernel, prepare, monkeypatch, refusal):
    write = KernelFile.write

    def refuse(self, word):
        if "policy1" in str(self.path) and word == "performance":
            if refusal == "ignored":
                return
            raise OSError(refusal, "no")
        write(self, word)

    monkeypatch.setattr(KernelFile, "write", refuse)
    with prepare() as setup:
        assert kernel.state() == (BEFORE[0], "1", "madvise"), "a setting holds fully or not at all"
    assert kernel.state() == BEFORE
    record = setup.records[0]
    assert (record.capability, record.after) == ("not permitted", "powersave, schedutil")
    assert "policy1" in record.reason
    assert "cpu-governor is not permitted" in setup.warnings[0]
    assert "turbo" not in setup.warnings[0]


def test_what_others_changed_meanwhile_stays(kernel, prepare, said, tmp_path):
    with prepare() as setup:
        kernel.put(f"{POLICIES}/policy0/scaling_governor", "ondemand")
    assert kernel.state() == (["ondemand", "schedutil"], "0", "always")
    assert [record.restored for record in setup.records] == [False, True, True]
    assert "changed from performance to ondemand, performance" in setup.warnings[0]
    assert "'ondemand' by someone else" in setup.warnings[1]
    assert "'ondemand' by someone else" in said[0]
    assert not journal_files(tmp_path)


def test_a_change_of_what_was_right_already_is_told(kernel, prepare):
    kernel.put(NO_TURBO, "1")
    with prepare(wanted=only("turbo", "disabled")) as setup:
        kernel.put(NO_TURBO, "0")
    assert kernel.get(NO_TURBO) == "0", "it was not this run's to restore"
    assert "turbo changed from disabled to enabled" in setup.warnings[0]


def test_nothing_is_changed_when_the_journal_cannot_be_written(kernel, tmp_path):
    (tmp_path / "file").write_text("")
    where = {"root": kernel.root, "state": tmp_path / "file/state"}
    with (
        pytest.raises(StoreError, match="PROFLEET_STATE"),
        setups.prepared(WANTED, "apply", **where, say=print),
    ):
        pytest.fail("the block must not start")
    assert kernel.state() == BEFORE


# -- crashes -------------------------------------------------------------------------------------

CRASH = """
import os, signal, sys
from pathlib import Path
from profleet.hardware import setup
from profleet.hardware.settings import KernelFile
from profleet.manifest.loading import load_document
from profleet.paths import data_dir
root, state, writes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
write = KernelFile.write
def counted(self, word):
    global writes
    if writes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    writes -= 1
    write(self, word)
KernelFile.write = counted
wanted = load_document(data_dir("manifests") / "hardware/local-tuned@1.0.0.yaml").setup
with setup.prepared(wanted, "apply", root=root, state=state, say=print):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("writes", "left"),
    [
        pytest.param(0, BEFORE, id="between journal and first change"),
        pytest.param(1, (["performance", "schedutil"], "0", "always"), id="half-way in a setting"),
        pytest.param(3, (["performance"] * 2, "1", "always"), id="between settings"),
        pytest.param(9, APPLIED, id="while measuring"),
    ],
)
@pytest.mark.parametrize("healer", ["restore", "dry_run", "off", "apply"])
def test_a_kill_is_undone_by_whatever_comes_next(
    kernel, prepare, tmp_path, said, writes, left, healer
):
    words = [str(kernel.root), str(tmp_path / "state"), str(writes)]
    killed = subprocess.run([sys.executable, "-c", CRASH, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert kernel.state() == left
    if healer == "restore":
        outcomes = setups.restore(kernel.root, tmp_path / "state")
        assert {item.state for item in outcomes} <= {"restored"}
        assert len(outcomes) == min(writes, 4)
    else:
        with prepare(healer) as setup:
            assert kernel.state() == (APPLIED if healer == "apply" else BEFORE)
        assert bool(said) == bool(writes)
        if healer == "apply":
            assert setup.records[0].before == "powersave, schedutil"
    assert kernel.state() == BEFORE
    assert not journal_files(tmp_path)


@given(
    before=st.lists(st.sampled_from(["powersave", "schedutil", "performance"]), min_size=1),
    wanted=st.sampled_from(SETTINGS[GOVERNOR].values),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_any_crash_and_any_meddling_end_well(before, wanted, data):
    """Whatever was written until the kill: own changes are undone, those of others are kept."""
    written = data.draw(st.integers(0, len(before)))
    meddled = data.draw(st.dictionaries(st.integers(0, len(before) - 1), st.just("ondemand")))
    with tempfile.TemporaryDirectory() as folder:
        root, state = Path(folder, "root"), Path(folder, "state")
        kernel = FakeKernel(root, *before)
        names = [file.path.parent.name for file in SETTINGS[GOVERNOR].files(root)]
        order = [int(name.removeprefix("policy")) for name in names]
        changes = [
            Change(GOVERNOR, f"{POLICIES}/policy{n}/scaling_governor", before[n], wanted)
            for n in order
            if before[n] != wanted
        ]
        Journal(root, state).write(changes)
        for change in changes[:written]:
            kernel.put(change.path, change.wrote)
        for number, governor in meddled.items():
            kernel.put(f"{POLICIES}/policy{number}/scaling_governor", governor)
        setups.restore(root, state)
        after = [kernel.get(f"{POLICIES}/policy{n}/scaling_governor") for n in range(len(before))]
        expected = [
            before[n] if n not in meddled or _is_own(n, before, wanted) else meddled[n]
            for n in range(len(before))
        ]
        assert after == expected
        assert not Journal(root, state).exists()


def _is_own(number, before, wanted):
    """Somebody else's change to the very value that was wanted cannot be told from the run's."""
    return wanted == "ondemand" and before[number] != wanted


def test_what_cannot_be_restored_stays_in_the_journal(kernel, prepare, tmp_path, monkeypatch, said):
    words = [str(kernel.root), str(tmp_path / "state"), "9"]
    subprocess.run([sys.executable, "-c", CRASH, *words], check=False)
    write = KernelFile.write

    def forbid(self, word):
        if self.path.name == "no_turbo":
            raise PermissionError(errno.EACCES, "Permission denied")
        write(self, word)

    monkeypatch.setattr(KernelFile, "write", forbid)
    with prepare("dry_run", wanted=()) as setup:
        assert kernel.state() == (BEFORE[0], "1", BEFORE[2])
    (warning,) = setup.warnings
    assert "no_turbo should be 'enabled' again and is 'disabled'" in warning
    assert warning in said
    with pytest.raises(StoreError, match="profleet hardware restore"), prepare("apply"):
        pytest.fail("the block must not start")
    monkeypatch.setattr(KernelFile, "write", write)
    (outcome,) = setups.restore(kernel.root, tmp_path / "state")
    assert outcome.state == "restored"
    assert kernel.state() == BEFORE


def test_a_restart_of_the_machine_makes_the_journal_void(kernel, prepare, tmp_path):
    words = [str(kernel.root), str(tmp_path / "state"), "9"]
    subprocess.run([sys.executable, "-c", CRASH, *words], check=False)
    kernel.put("proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555")
    assert setups.restore(kernel.root, tmp_path / "state") == []
    assert kernel.state() == APPLIED


@pytest.mark.parametrize(
    "change",
    [
        {"setting": "cpu-governor", "path": "../victim", "before": "x", "wrote": "secret"},
        {"setting": "cpu-governor", "path": HUGE_PAGES, "before": "never", "wrote": "always"},
        {"setting": "no-such", "path": HUGE_PAGES, "before": "never", "wrote": "always"},
        {"setting": "transparent-huge-pages", "path": HUGE_PAGES, "before": "never\nx",
         "wrote": "always"},
    ],
)  # fmt: skip
def test_a_journal_writes_only_files_of_its_settings(kernel, tmp_path, change):
    (tmp_path / "victim").write_text("secret")
    journal = Journal(kernel.root, tmp_path / "state")
    journal.write([Change(**change)])
    assert [item.state for item in setups.restore(kernel.root, tmp_path / "state")] == ["gone"]
    assert (tmp_path / "victim").read_text() == "secret"
    assert kernel.state() == BEFORE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "other/v1", "changes": []}',
        '{"schema": "profleet/setup-journal/v1", "changes": [{"a": 1}]}',
    ],
)
def test_a_damaged_journal_is_named(kernel, prepare, tmp_path, text):
    journal = Journal(kernel.root, tmp_path / "state")
    journal.path.parent.mkdir()
    journal.path.write_text(text)
    with pytest.raises(StoreError, match="delete the file"), prepare("apply"):
        pytest.fail("the block must not start")
    assert kernel.state() == BEFORE


# -- two at once ---------------------------------------------------------------------------------


def test_a_second_run_gives_way(kernel, prepare, tmp_path):
    with prepare() as first:
        for mode in ("apply", "dry_run"):
            with prepare(mode, wanted=only("turbo", "enabled")) as second:
                assert kernel.state() == APPLIED
            assert capabilities(second) == {"turbo": "in use by another run"}
            assert "belonged to another run" in second.warnings[0]
        with prepare("dry_run", wanted=()) as bystander:
            pass
        assert "belonged to another run" in bystander.warnings[0]
        with pytest.raises(StoreError, match="in use by another run"):
            setups.restore(kernel.root, tmp_path / "state")
        listed = setups.inspect(WANTED, kernel.root, tmp_path / "state")
        assert {record.capability for record in listed} == {"in use by another run"}
        assert kernel.state() == APPLIED
    assert kernel.state() == BEFORE
    assert first.warnings == []


def test_a_second_run_of_another_user_gives_way(kernel, prepare, tmp_path):
    """Who cannot see the journal still sees the lock; what is absent stays absent."""
    (kernel.root / NO_TURBO).unlink()
    elsewhere = {"root": kernel.root, "state": tmp_path / "another home"}
    with prepare():
        with setups.prepared(WANTED, "apply", **elsewhere, say=print) as second:
            pass
        assert capabilities(second) == {
            "cpu-governor": "in use by another run",
            "turbo": "absent",
            "transparent-huge-pages": "in use by another run",
        }
        assert kernel.governors() == APPLIED[0]


def test_jobs_in_turn_do_not_see_each_other(kernel, prepare):
    for _ in range(2):
        with prepare() as setup:
            assert kernel.state() == APPLIED
        assert set(capabilities(setup).values()) == {"applied"}
    assert kernel.state() == BEFORE


def test_the_record_is_plain_data(prepare):
    with prepare() as setup:
        pass
    document = json.loads(json.dumps(setup.document()))
    assert document["settings"][1]["wanted"] == "disabled"

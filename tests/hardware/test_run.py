"""`profleet run` and `profleet hardware` where the kernel's files are fake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from fake_kernel import TUNED, FakeKernel
from profleet.cli import main
from profleet.execute.site import DockerSite
from profleet.hardware import setup as setups
from shop import ENDLESS, FAST, Shop, runners_alive

PROGRAM = """
import sys
from pathlib import Path
from profleet.hardware import setup
setup.ROOT = Path(sys.argv[1])
from profleet.cli import main
sys.exit(main(sys.argv[2:]))
"""


class TunedShop(Shop):
    """A shop whose machine has two processors with a governor."""

    def __init__(self, root):
        super().__init__(root)
        self.kernel = FakeKernel(root / "kernel", "powersave", "schedutil")
        (self.manifests / "hardware").mkdir()
        (self.manifests / "hardware/tuned@1.0.0.yaml").write_text(TUNED)

    def command(self, *overrides, **kw):
        words = super().command(*overrides, **kw)
        return [sys.executable, "-c", PROGRAM, str(self.kernel.root), *words[1:]]

    @property
    def environment(self):
        return {**super().environment, "PROFLEET_STATE": str(self.root / "state")}

    @property
    def journals(self):
        return list((self.root / "state").glob("*"))


@pytest.fixture
def shop(tmp_path):
    shop = TunedShop(tmp_path)
    yield shop
    assert runners_alive(tmp_path) == [], "a runner outlived its test"


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"did not happen within {seconds} s"
        time.sleep(0.05)


def profile_of(folder):
    return json.loads((folder / "profile.json").read_text("utf-8"))


def test_what_was_applied_is_in_the_profile_and_gone_from_the_machine(shop):
    done = shop.run("model=tiny", "hardware=tuned", "setup=apply")
    assert done.returncode == 0, done.stderr
    (folder,) = shop.folders()
    (record,) = profile_of(folder)["setup"]
    assert record == {
        "setting": "cpu-governor",
        "wanted": "performance",
        "before": "powersave, schedutil",
        "after": "performance",
        "capability": "applied",
        "reason": None,
        "restored": True,
    }
    environment = json.loads((folder / "environment.json").read_text("utf-8"))
    assert environment["setup"] == [record]
    assert shop.kernel.governors() == ["powersave", "schedutil"]
    assert shop.journals == []

    again = shop.run("model=tiny", "hardware=tuned", "resume=true")
    assert again.returncode == 0, again.stderr
    assert "finished before" not in again.stderr, "an untuned run is another job"
    tried = profile_of(shop.folders()[-1])
    assert [item["capability"] for item in tried["setup"]] == ["would apply"]
    assert any("setup=apply" in warning for warning in tried["warnings"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_machine_survives_an_end_in_the_middle(shop, capsys, monkeypatch, number, code):
    started = shop.start("model=tiny", "hardware=tuned", "setup=apply", options=ENDLESS)
    wait_for(lambda: shop.kernel.governors() == ["performance"] * 2)
    wait_for(lambda: runners_alive(shop.root))
    started.send_signal(number)
    started.communicate(timeout=60)
    assert started.returncode == code
    wait_for(lambda: not runners_alive(shop.root))
    if number == signal.SIGINT:
        assert shop.kernel.governors() == ["powersave", "schedutil"]
        assert shop.journals == []
        return
    assert shop.kernel.governors() == ["performance"] * 2
    monkeypatch.setattr(setups, "ROOT", shop.kernel.root)
    monkeypatch.setenv("PROFLEET_STATE", str(shop.root / "state"))
    assert main(["hardware", "restore"]) == 0
    assert "is 'schedutil' again" in capsys.readouterr().out
    assert shop.kernel.governors() == ["powersave", "schedutil"]
    assert main(["hardware", "restore"]) == 0
    assert capsys.readouterr().out == "Nothing to restore.\n"


@pytest.mark.parametrize("text", ["setup=off", "setup=false", "setup=null"])
def test_off_is_off_however_yaml_reads_it(shop, text):
    shown = subprocess.run(
        shop.command("model=tiny", "hardware=tuned", text, options=[*FAST, "resume=true"]),
        capture_output=True, text=True, env=shop.environment, timeout=180, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    (folder,) = shop.folders()
    assert profile_of(folder)["setup"] == []


def test_an_unknown_mode_is_one_sentence(shop):
    done = shop.run("model=tiny", "setup=aply")
    assert done.returncode == 2
    assert "setup" in done.stderr
    assert "Traceback" not in done.stderr


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    kernel = FakeKernel(tmp_path / "kernel", "powersave", "schedutil")
    monkeypatch.setattr(setups, "ROOT", kernel.root)
    monkeypatch.setenv("PROFLEET_STATE", str(tmp_path / "state"))
    return kernel


def test_setup_shows_what_would_happen(kernel, capsys):
    before = kernel.state()
    assert main(["hardware", "setup"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("cpu-governor"))
    assert row.split()[1:] == ["performance", "powersave,", "schedutil", "would", "apply", "-"]
    assert main(["hardware", "setup", "local-tuned@1", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["capability"] for record in records] == ["would apply"] * 3
    assert kernel.state() == before


def test_setup_of_a_manifest_without_one(kernel, capsys):
    assert main(["hardware", "setup", "local"]) == 0
    assert "local@1.0.0 asks for no settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setup", "told"),
    [
        ("[{setting: cpu-governer, value: performance}]", "Did you mean 'cpu-governor'?"),
        ("[{setting: turbo, value: disable}]", "Did you mean 'disabled'?"),
        ("[{setting: turbo, value: no_turbo, path: /etc/passwd}]", "unknown key"),
        ("[{setting: turbo, value: disabled}, {setting: turbo, value: enabled}]", "twice"),
    ],
)
def test_mistakes_in_a_manifest(tmp_path, capsys, setup, told):
    path = tmp_path / "mine.yaml"
    path.write_text(TUNED.partition("setup:")[0] + f"setup: {setup}\n")
    assert main(["hardware", "setup", str(path)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "setup" in error


def test_setup_of_another_machine_is_a_mistake(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(TUNED.replace("detect: local\n", ""))
    assert main(["hardware", "setup", str(path)]) == 2
    assert "detect: local" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write the kernel's files")
def test_huge_pages_for_real(tmp_path, monkeypatch):
    """The kernel itself: applied for the block, then as it was."""
    from profleet.hardware.settings import SETTINGS
    from profleet.manifest.documents import MachineSetting

    (file,) = SETTINGS["transparent-huge-pages"].files(setups.ROOT) or [None]
    if file is None or not os.access(file.path, os.W_OK):
        pytest.skip("this kernel has no huge pages, or does not let them be set")
    before = file.read()
    other = "madvise" if before == "always" else "always"
    wanted = (MachineSetting(setting="transparent-huge-pages", value=other),)
    with setups.prepared(wanted, "apply", state=tmp_path, say=print) as setup:
        assert file.read() == other
    assert file.read() == before
    assert setup.records[0].capability == "applied"


@pytest.mark.parametrize(
    ("local", "kernel", "here"),
    [(True, os.uname().release, True), (True, "6.0-vm", False), (False, os.uname().release, False)],
)
def test_an_engine_with_another_kernel_is_elsewhere(local, kernel, here):
    engine = SimpleNamespace(local=local, kernel=kernel)
    site = DockerSite(engine, settings=None, cpus=None)
    assert (site._elsewhere() is None) == here

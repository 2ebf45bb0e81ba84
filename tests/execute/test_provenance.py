"""The commit of a run: of files really committed, and with the reason where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import profleet
from profleet.execute.provenance import provenance

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit that holds a package and a manifest; returns its folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "checkout"
    (root / "package").mkdir(parents=True)
    (root / "package" / "__init__.py").write_text("")
    (root / "model.yaml").write_text("name: a\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(profleet, "__file__", str(root / "package" / "__init__.py"))
    return root


def fields_of(manifest: Path) -> dict:
    part = SimpleNamespace(path=manifest)
    return provenance(SimpleNamespace(model=part, framework=part, hardware=part))


def test_a_clean_checkout(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "profleet-results").mkdir()
    (checkout / "profleet-results" / "untracked.json").write_text("{}")
    fields = fields_of(checkout / "model.yaml")
    assert len(fields) == 8
    for name in ("profleet", "model_manifest", "framework_manifest", "hardware_manifest"):
        assert fields[f"{name}_commit"] == {"value": commit}
        assert fields[f"{name}_dirty"] == {"value": False}
    assert provenance() == {
        "profleet_commit": {"value": commit},
        "profleet_dirty": {"value": False},
    }


def test_a_change_elsewhere_dirties_the_checkout_but_not_the_manifest(checkout):
    (checkout / "package" / "__init__.py").write_text("changed = True\n")
    fields = fields_of(checkout / "model.yaml")
    assert fields["profleet_dirty"] == {"value": True}
    assert fields["model_manifest_dirty"] == {"value": False}
    (checkout / "model.yaml").write_text("name: b\n")
    assert fields_of(checkout / "model.yaml")["model_manifest_dirty"] == {"value": True}


def test_a_file_beside_the_commit_has_none(checkout):
    (checkout / "new.yaml").write_text("name: c\n")
    fields = fields_of(checkout / "new.yaml")
    assert fields["model_manifest_commit"] == {
        "unavailable": "in a git checkout, but not committed"
    }
    assert fields["model_manifest_dirty"] == fields["model_manifest_commit"]


def test_installed_inside_the_checkout_of_something_else(checkout, monkeypatch):
    """As from a virtual environment in somebody's project: that commit is not Profleet's."""
    site = checkout / ".venv" / "profleet"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("")
    monkeypatch.setattr(profleet, "__file__", str(site / "__init__.py"))
    assert "unavailable" in provenance()["profleet_commit"]


def test_outside_of_any_checkout_and_without_git(checkout, tmp_path, monkeypatch):
    (tmp_path / "model.yaml").write_text("name: a\n")
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))  # of a surrounding hook: not ours
    fields = fields_of(tmp_path / "model.yaml")
    assert fields["model_manifest_commit"] == {"unavailable": "not in a git checkout"}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["profleet_commit"] == {"unavailable": "git is not installed"}


def test_nothing_of_a_strangers_repository_is_executed(checkout, tmp_path):
    """A filter and a monitor of files would be executed by `git status` there."""
    stranger = tmp_path / "stranger"
    shutil.copytree(checkout, stranger)
    trap = f"touch {tmp_path}/executed; cat"
    git(stranger, "config", "filter.trap.clean", trap)
    git(stranger, "config", "core.fsmonitor", f"{tmp_path}/trap.sh")
    (tmp_path / "trap.sh").write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    (tmp_path / "trap.sh").chmod(0o755)
    (stranger / ".gitattributes").write_text("*.yaml filter=trap\n")
    (stranger / "model.yaml").write_text("name: d\n")
    fields = fields_of(stranger / "model.yaml")
    assert fields["model_manifest_dirty"] == {"value": True}
    assert not (tmp_path / "executed").exists()
    git(stranger, "status", "--porcelain")
    assert (tmp_path / "executed").exists(), "the trap works"

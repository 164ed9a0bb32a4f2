"""Commit and dirty flag of the source tree, and of no other."""

import subprocess
from pathlib import Path

from lm_merge.runs.source_state import source_state


def git(tree: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(tree), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_dirty_flag_are_those_of_the_source_tree(tmp_path, monkeypatch):
    unknown = {"commit": None, "dirty": None}
    assert source_state(tmp_path) == unknown
    git(tmp_path, "init", "-q")
    assert source_state(tmp_path) == unknown  # no commit yet
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a", "--no-verify")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert source_state(tmp_path) == {"commit": head, "dirty": False}
    (tmp_path / "a").write_text("b")
    assert source_state(tmp_path) == {"commit": head, "dirty": True}
    with monkeypatch.context() as patch:  # as inside a hook of another repository
        patch.setenv("GIT_DIR", str(tmp_path / "other"))
        assert source_state(tmp_path) == {"commit": head, "dirty": True}
    (tmp_path / "site-packages").mkdir()  # installed into a folder of another project's repository
    assert source_state(tmp_path / "site-packages") == unknown
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert source_state(tmp_path) == unknown

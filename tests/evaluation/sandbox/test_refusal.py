"""Where programs cannot be isolated they are not run, and the message says how they could be."""

import sys

import pytest

from lm_merge.errors import USER_ERRORS
from lm_merge.evaluation.marking import Marker
from lm_merge.evaluation.sandbox import (
    SandboxUnavailable,
    bubblewrap,
    isolation_in_use,
    run_program,
)


@pytest.fixture(autouse=True)
def _probed_anew():
    bubblewrap.isolation.cache_clear()
    yield
    bubblewrap.isolation.cache_clear()


def fake_bwrap(folder, body: str) -> None:
    script = folder / "bwrap"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def runs_nothing(tmp_path) -> None:
    target = tmp_path / "ran"
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        run_program(f"open({str(target)!r}, 'w')")
    assert not target.exists()


def test_without_bubblewrap_nothing_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="there is no bwrap here: install bubblewrap"):
        isolation_in_use()
    with pytest.raises(SandboxUnavailable, match="run_code=false"):
        Marker(run_code=True)
    assert Marker().isolation is None
    runs_nothing(tmp_path)
    assert issubclass(SandboxUnavailable, USER_ERRORS)  # one line on the command line


def test_where_namespaces_are_forbidden_the_kernel_s_words_are_passed_on(monkeypatch, tmp_path):
    fake_bwrap(tmp_path, "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SandboxUnavailable, match="No permissions to create new namespace"):
        isolation_in_use()
    runs_nothing(tmp_path)


def test_a_command_that_isolates_nothing_and_succeeds_is_no_isolation(monkeypatch, tmp_path):
    fake_bwrap(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    runs_nothing(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("platform", "darwin"), ("machine", "riscv64")])
def test_other_platforms_are_refused(monkeypatch, name, value):
    if name == "platform":
        monkeypatch.setattr(sys, "platform", value)
    else:
        monkeypatch.setattr("platform.machine", lambda: value)
    with pytest.raises(SandboxUnavailable, match=value):
        isolation_in_use()


def test_a_start_that_fails_later_is_no_wrong_answer(isolated, monkeypatch, tmp_path):
    """A program that could not be started has no mark at all: it raises, and is not "failed"."""
    isolation_in_use()
    fake_bwrap(tmp_path, "echo 'bwrap: out of processes' >&2; exit 1")
    broken = bubblewrap.Way(str(tmp_path / "bwrap"), "0", changes_user=False)
    monkeypatch.setattr("lm_merge.evaluation.sandbox.programs.isolation", lambda: broken)
    with pytest.raises(SandboxUnavailable, match="out of processes"):
        run_program("print(1)")

"""Inspect AI finds the project as an installation declares it, and keeps to the test's folder."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def inspect_user(tmp_path, monkeypatch):
    """Inspect's traces and caches stay in the test's folder; its entry points are loaded."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
    monkeypatch.chdir(tmp_path)
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["entry-points"]
    for name, value in declared["inspect_ai"].items():
        EntryPoint(name, value, "inspect_ai").load()

"""Commit of the source tree and versions of packages, as a record keeps them."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("lm-merge", "numpy", "torch", "transformer-lens", "transformers")
SOURCE_TREE = Path(__file__).resolve().parents[2]


def package_versions() -> dict[str, str | None]:
    """Version of Python and of each of PACKAGES; None for one that is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def source_state(tree: Path) -> dict[str, Any]:
    """Commit and dirty flag of `tree`; None where it is not itself a git checkout.

    An installed copy may lie inside some other project's repository: that commit is not ours.
    """
    unknown = {"commit": None, "dirty": None}
    top = _git(tree, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != tree.resolve():
        return unknown
    commit = _git(tree, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = _git(tree, "status", "--porcelain")
    if commit is None or changes is None:
        return unknown
    return {"commit": commit, "dirty": bool(changes)}


def _git(tree: Path, *arguments: str) -> str | None:
    # inside a git hook, variables such as GIT_DIR point at another repository
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(tree), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:  # git is not installed
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""Print the lowest versions that `pyproject.toml` declares, one `name==version` a line for pip.

Without torch (one build of it is in `.venv`) and TransformerLens (its minimum is `make test-tl3`).
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

ELSEWHERE = {"torch", "transformer-lens"}
PROJECT = Path(__file__).parents[1]


def declared() -> list[str]:
    """The requirements of `pip install lm-merge`, without extras."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]


def minimums(requirements: Iterable[str]) -> Iterator[str]:
    """`name==version` for each `name>=version`; ValueError for a requirement without a minimum."""
    for line in requirements:
        requirement = Requirement(line)
        if requirement.name in ELSEWHERE:
            continue
        lowest = [each.version for each in requirement.specifier if each.operator == ">="]
        if len(lowest) != 1:
            raise ValueError(f"{line!r} has no single minimum: write it as 'name>=version'")
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        yield f"{requirement.name}{extras}=={lowest[0]}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in minimums(declared()))

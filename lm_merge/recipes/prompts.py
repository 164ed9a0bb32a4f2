"""The data of a weight merge: prompts, from a file or as they are."""

from collections.abc import Sequence
from pathlib import Path


def read_prompts(given: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Prompts that are not blank: the lines of a text file, or the prompts given.

    Raises OSError where there is no such file, ValueError where there is no prompt.
    """
    if isinstance(given, str | Path):
        path = Path(given)
        if not path.is_file():
            raise OSError(
                f"prompts {str(path)!r} is no file; give a text file with one a line, or a list"
            )
        given = path.read_text(encoding="utf-8").splitlines()
    prompts = tuple(line for line in given if line.strip())
    if not prompts:
        raise ValueError("prompts: there is none; give at least one, one a line")
    return prompts

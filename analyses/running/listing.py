"""What each analysis answers, read from its file without importing it."""

import ast
from pathlib import Path

from analyses import ANALYSES

ROOT = Path(__file__).parents[2]


def listing() -> str:
    """One line an analysis: its command and the first sentence of its module."""
    width = max(map(len, ANALYSES.values()))
    return "\n".join(
        f"python -m {module:<{width}}  {question(module)}" for module in ANALYSES.values()
    )


def question(module: str) -> str:
    """The first line of a module's docstring, up to its command.

    >>> question("analyses.spaces")
    'The same pair merged in latents, in weights and in logits, side by side'
    """
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text is not None, f"{file} has no docstring"
    return text.splitlines()[0].split(": `")[0].rstrip(".")

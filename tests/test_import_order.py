"""A module imports only what stands above it in the tree, or its own package."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

PROJECT = Path(__file__).parents[1]
PACKAGES = ("lm_merge", "figures", "analyses")
FACADE = "lm_merge"  # lm_merge/__init__.py: after everything that it offers
ORDER = (
    "lm_merge.errors",
    "lm_merge.threads",
    "lm_merge.accumulation",
    "lm_merge.geometry",
    "lm_merge.statistics",
    "lm_merge.operators",
    "lm_merge.metrics",
    "lm_merge.coefficients",
    "lm_merge.recipes",
    "lm_merge.runs",
    "lm_merge.caches",
    "lm_merge.generation",
    "lm_merge.zoo",
    "lm_merge.models",
    "lm_merge.sites",
    "lm_merge.spaces",
    "lm_merge.contexts",
    "lm_merge.evaluation",
    "lm_merge.scoring",
    "lm_merge.tuning",
    "lm_merge.training",
    "lm_merge.decomposition",
    FACADE,
    "figures",
    "analyses",
    "lm_merge.cli",
)
NOT_IN_FIGURES = ("torch", "transformers", "transformer_lens")  # figures read tables


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages below root, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Line and module of each import, those inside functions and type-checking blocks too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*parents, *filter(None, [origin])])
            for alias in node.names:  # `from lm_merge import metrics` imports a module
                inner = f"{origin}.{alias.name}"
                yield node.lineno, inner if inner in known else origin


def rank(module: str) -> int | None:
    """Place of a module's line in the tree; None where the tree does not name it."""
    if module == FACADE:
        return ORDER.index(FACADE)
    lines = (line for line in ORDER if line != FACADE)
    places = [line for line in lines if f"{module}.".startswith(f"{line}.")]
    return ORDER.index(places[0]) if places else None


def violations(root: Path) -> list[str]:
    """One sentence for each import that points down the tree, or to what figures must not read."""
    known, found = modules(root), []
    for module, path in known.items():
        place = rank(module)
        if place is None:
            found.append(f"{path.relative_to(root)}: the tree has no line for {module}")
            continue
        for line, target in imports(module, path, known):
            where = f"{path.relative_to(root)}:{line}: {module} imports {target}"
            if ORDER[place] == "figures" and target.split(".")[0] in NOT_IN_FIGURES:
                found.append(f"{where}: figures read tables only")
            if target.split(".")[0] not in PACKAGES:
                continue
            target_place = rank(target)
            if target_place is None:
                found.append(f"{where}, which the tree does not name")
            elif target_place > place:
                found.append(f"{where}, which stands below it")
    return found


def test_imports_point_up_the_tree():
    found = violations(PROJECT)
    assert not found, "\n" + "\n".join(found)


def test_test_files_have_different_names():
    """pytest imports each by its bare name, and collects only one of two that share it."""
    names = Counter(path.name for path in (PROJECT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


def test_the_check_sees_the_project():
    assert {"lm_merge", "lm_merge.runs.record"} <= set(modules(PROJECT))


def planted(root: Path, files: dict[str, str]) -> list[str]:
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(source))
    return [sentence.split(": ", 1)[1] for sentence in violations(root)]


def test_allowed_imports_pass(tmp_path):
    files = {
        "lm_merge/__init__.py": "from lm_merge.runs import sweep",
        "lm_merge/errors.py": "import json",
        "lm_merge/runs.py": "import torch\nfrom lm_merge import errors, operators",
        "lm_merge/operators/__init__.py": "from .linear import lerp",
        "lm_merge/operators/linear.py": "from lm_merge.operators import spherical",
        "lm_merge/operators/spherical.py": "from ..geometry import angle",
        "lm_merge/geometry.py": "import torch",
        "lm_merge/cli.py": "import lm_merge as lm\nfrom analyses import similarity",
        "figures/paths.py": "import plotly",
        "analyses/similarity.py": "import lm_merge as lm\nimport figures.paths",
    }
    assert planted(tmp_path, files) == []


def test_planted_violations_are_listed(tmp_path):
    files = {
        "lm_merge/__init__.py": "from lm_merge import cli",
        "lm_merge/cli.py": "",
        "lm_merge/geometry.py": """
            from typing import TYPE_CHECKING

            import lm_merge as lm
            from lm_merge import lerp
            if TYPE_CHECKING:
                from .operators.linear import lerp
            def late():
                import lm_merge.models as models
            """,
        "lm_merge/models.py": "",
        "lm_merge/operators/__init__.py": "",
        "lm_merge/operators/linear.py": "from .. import models\nfrom ..unheard import of",
        "lm_merge/utils.py": "",
        "figures/paths.py": "import torch.nn\nfrom analyses import similarity",
        "analyses/similarity.py": "from lm_merge.cli import main",
    }
    below = "which stands below it"
    assert sorted(planted(tmp_path, files)) == sorted(
        [
            f"lm_merge imports lm_merge.cli, {below}",
            f"lm_merge.geometry imports lm_merge, {below}",
            f"lm_merge.geometry imports lm_merge, {below}",
            f"lm_merge.geometry imports lm_merge.operators.linear, {below}",
            f"lm_merge.geometry imports lm_merge.models, {below}",
            f"lm_merge.operators.linear imports lm_merge.models, {below}",
            "lm_merge.operators.linear imports lm_merge.unheard, which the tree does not name",
            "the tree has no line for lm_merge.utils",
            "figures.paths imports torch.nn: figures read tables only",
            f"figures.paths imports analyses.similarity, {below}",
            f"analyses.similarity imports lm_merge.cli, {below}",
        ]
    )

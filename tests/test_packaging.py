"""What the project says of itself holds: paths, commands, versions, pins, shipped folders."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.declared_minimums import ELSEWHERE, declared, minimums

PROJECT = Path(__file__).parents[1]
SHIPPED = ("lm_merge", "figures", "analyses")
FOLDERS = (*SHIPPED, "benchmarks", "notebooks", "recipes", "tests", ".ci")
TOP_SUFFIXES = (".md", ".toml", ".cff", ".txt")
META = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
# imported, and no requirement of its own: part of the interface of the package that brings it
BROUGHT_BY = {
    "anyio": "inspect-ai",
    "datasets": "lm-eval",
    "pydantic_core": "pydantic",
}
GUIDES = ("README.md", "CHANGELOG.md", "benchmarks/README.md")


def guide(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def named_paths(text: str) -> set[str]:
    """Project paths between backticks or as the target of a link; examples in fences are not."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    quoted = re.findall(r"`([\w./-]+)`", prose)
    linked = re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", prose)
    top = [name for name in quoted if "/" not in name and name.endswith(TOP_SUFFIXES)]
    below = [name for name in quoted if "/" in name and name.split("/")[0] in FOLDERS]
    return {*linked, *top, *below}


def test_the_search_for_paths_finds_what_looks_like_one():
    text = """
`lm_merge/runs/record.py`, `tests/` and `LICENSE.txt`, [a notebook](notebooks/01.ipynb#start), but not
`Qwen/Qwen2.5-7B-Instruct`, `runs/`, `alpha/beta`, `x.md y` or https://a.b/c.md
```
`lm_merge/in_a_fence.py`
```
"""
    expected = {"lm_merge/runs/record.py", "tests/", "LICENSE.txt", "notebooks/01.ipynb"}
    assert named_paths(text) == expected


@pytest.mark.parametrize("name", GUIDES)
def test_paths_named_in_guides_exist(name):
    absent = sorted(path for path in named_paths(guide(name)) if not (PROJECT / path).exists())
    assert not absent, f"{name} names what is not there: {absent}"


@pytest.mark.parametrize("name", GUIDES)
def test_commands_named_in_guides_exist(name):
    text = guide(name)
    targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)
    absent = [
        f"make {word}" for word in re.findall(r"\bmake (\w+)[`\n]", text) if word not in targets
    ]
    for module in re.findall(r"python -m ((?:lm_merge|analyses|figures|benchmarks)[\w.]*\w)", text):
        path = PROJECT / module.replace(".", "/")
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists():
            absent.append(f"python -m {module}")
    assert not absent, f"{name} names what is not there: {absent}"


def pins() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> Iterator[Requirement]:
    extras = META["optional-dependencies"]
    for line in [*META["dependencies"], *(line for group in extras.values() for line in group)]:
        requirement = Requirement(line)
        if requirement.name != META["name"]:
            yield requirement


@pytest.mark.parametrize("requirement", list(requirements()), ids=lambda each: each.name)
def test_each_dependency_is_bounded_and_pinned_within_its_bound(requirement):
    assert requirement.specifier, f"{requirement.name} has no lower bound in pyproject.toml"
    version = pins().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is missing in constraints.txt"
    assert version in requirement.specifier


def test_minimums_are_those_declared_in_a_form_that_pip_reads():
    required = ["a-b[x]>=1.2,<3", "c>=4", "torch>=2.6", "transformer-lens>=3.9,<5"]
    assert list(minimums(required)) == ["a-b[x]==1.2", "c==4"]


@pytest.mark.parametrize("line", ["a<3", "a", "a==2", "a>1", "a>=1,>=2"])
def test_a_requirement_without_one_minimum_is_refused(line):
    with pytest.raises(ValueError, match="write it as 'name>=version'"):
        list(minimums([line]))


def test_every_core_dependency_has_a_tested_minimum_or_is_named_as_tested_elsewhere():
    tested = {Requirement(line).name for line in minimums(declared())}
    core = {Requirement(line).name for line in META["dependencies"]}
    assert tested == core - ELSEWHERE
    assert core >= ELSEWHERE


@pytest.mark.skipif("lowest" not in Path(sys.prefix).name, reason="needs make test-lowest")
def test_the_lane_of_minimums_runs_the_minimums():
    for requirement in map(Requirement, minimums(declared())):
        assert requirement.specifier.contains(version(requirement.name)), requirement.name


def imported_packages(folder: Path) -> set[str]:
    """First names of the modules that code in `folder` imports, at any depth of a function."""
    trees = (ast.parse(path.read_text()) for path in folder.rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    froms = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in plain | froms if name}


@pytest.mark.slow
def test_what_the_library_imports_is_declared():
    providers = packages_distributions()
    names = {canonicalize_name(each.name) for each in requirements()} | {META["name"]}
    undeclared = {
        package
        for package in imported_packages(PROJECT / "lm_merge") - set(sys.stdlib_module_names)
        if names.isdisjoint(map(canonicalize_name, providers.get(package, [package])))
    }
    assert undeclared - set(SHIPPED) == set(BROUGHT_BY)
    for package, owner in BROUGHT_BY.items():
        assert canonicalize_name(owner) in names
        needed = {canonicalize_name(Requirement(line).name) for line in requires(owner) or []}
        assert canonicalize_name(package) in needed


def test_pins_name_no_build():
    assert not [name for name, version in pins().items() if "+" in version or " " in version]


def test_versions_agree():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    changelog = guide("CHANGELOG.md")
    assert str(citation["version"]) == META["version"]
    assert re.search(rf"^## {re.escape(META['version'])}\b", changelog, flags=re.MULTILINE)
    assert re.search(r"^#+ Numbers that change$", changelog, flags=re.MULTILINE)


@pytest.mark.parametrize("package", SHIPPED)
def test_every_folder_of_code_is_a_package(package):
    """Only packages ship: a folder without `__init__.py` would be missing in the wheel."""
    folders = {path.parent for path in (PROJECT / package).rglob("*.py")}
    without = sorted(str(path) for path in folders if not (path / "__init__.py").exists())
    assert not without

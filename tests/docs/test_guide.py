"""The pages of the guide: their Python runs, their commands parse, and the paths they name exist."""

import re
from pathlib import Path

import pytest

import lm_merge as lm
from analyses import ANALYSES
from analyses.running.command import config_class_of
from analyses.running.options import OutputOptions
from analyses.sweep_options import Execution
from lm_merge.cli import COMMANDS

PROJECT = Path(__file__).parents[2]
PAGES = sorted(PROJECT.glob("docs/**/*.md"))
READ = [PROJECT / "README.md", PROJECT / "benchmarks" / "README.md", *PAGES]
# these show a class or a function for a module of the user's own: tests/test_readme.py runs them
NOT_ALONE = {"extending.md"}
FOLDERS = "analyses|benchmarks|docs|figures|lm_merge|notebooks|recipes|sweeps|tests"


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page.name not in NOT_ALONE]


def commands(page: Path) -> list[list[str]]:
    """The words of every shell command of a page, comments apart."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].split() for line in lines if line.strip()]


def options_in(words: list[str]) -> set[str]:
    """The options among a command's words, without what follows a dot or an equals sign."""
    return {re.split("[.=]", one[2:])[0] for one in words if one.startswith("--")}


def options_of(analysis: str) -> set[str]:
    """Names of an analysis's options."""
    shared = {"config", *OutputOptions.model_fields, *Execution.model_fields}
    return {*config_class_of(analysis).model_fields, *shared}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    if "peft" in page.read_text(encoding="utf-8"):
        pytest.importorskip("peft", reason="the page makes adapters with PEFT")
    for folder in ("figures", "recipes", "sweeps"):
        (tmp_path / folder).symlink_to(PROJECT / folder)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, page, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_the_paths_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"^inspect .*|(?<=--model )lm_merge\S*", text, flags=re.MULTILINE):
        text = text.replace(command, "")  # lm_merge/NAME is a model of Inspect's here, no path
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
    assert not [one for one in targets if not (page.parent / one).exists()]
    text = re.sub(r"\]\([^)]*\)", "]", text)
    named = set(re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./-]*\w)", text))
    named |= {Path(line).name for line in re.findall(r"`([\w.-]+\.(?:txt|toml|cff))`", text)}
    missing = sorted(one for one in named if not (PROJECT / one).exists())
    assert not missing


@pytest.mark.parametrize("page", [page for page in READ if commands(page)], ids=name_of)
def test_the_commands_of_a_page_are_there(page):
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE)
    for words in commands(page):
        match words:
            case ["make", target, *_]:
                assert target in targets
            case ["lm-merge", command, *_]:
                assert command in COMMANDS
            case ["python", "-m", module, *rest] if module.startswith("analyses."):
                name = module.removeprefix("analyses.")
                assert name in {*ANALYSES, "adaptation.study", "sweep", "paper", "suggest"}
                if name in ANALYSES:
                    assert options_in(rest) <= options_of(name)
            case ["python", "-m", module, *_]:
                assert (PROJECT / (module.replace(".", "/") + ".py")).exists()
            case [program, *_]:
                assert program in ("lm-merge-harness", "inspect", "pip", "ray")


def test_every_page_is_in_the_navigation_and_every_analysis_has_one():
    site = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(page.relative_to(PROJECT / "docs")) for page in PAGES}
    assert set(re.findall(r"([\w/]+\.md)", site.split("plugins:")[0].split("nav:")[1])) == pages
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {*re.findall(r"analyses\.(\w+)", text), *re.findall(r"lm-merge (\w+)", text)}
    assert set(ANALYSES) <= named
    assert set(COMMANDS) <= named | {"demo"}


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_page_about_operators_names_them_all():
    page = (PROJECT / "docs" / "latents.md").read_text(encoding="utf-8")
    assert [name for name in lm.OPERATORS if f"`{name}`" not in page] == []
    from lm_merge.operators.weight_methods import WEIGHT_METHODS

    page = (PROJECT / "docs" / "weights.md").read_text(encoding="utf-8")
    assert [name for name in WEIGHT_METHODS if f"`{name}`" not in page] == []

"""The site: docstrings as Markdown, and every public name in the API reference."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("latex2mathml", reason="needs the extra docs")
pytest.importorskip("griffe", reason="needs the extra docs")
PROJECT = Path(__file__).parents[2]
DOCSTRING = r"""Sum $\sum_i w_i$ of states, as `$HOME` stays.

states, weights: tensors,
    host first.
mode="soft": a mean.

Source: a paper.

>>> 1 + 1  # comment
2
"""


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docstrings", PROJECT / "docs" / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments_formulas_and_examples_become_markdown(docstrings):
    text = docstrings.to_markdown(DOCSTRING)
    assert "<math" in text
    assert r"\sum" not in text
    assert "`$HOME` stays" in text
    assert "- **states, weights**: tensors,\n  host first." in text
    assert '- **mode="soft"**: a mean.' in text
    assert "\n\nSource: a paper." in text
    assert "```pycon\n>>> 1 + 1  # comment\n2\n```" in text


def test_a_command_that_would_show_as_written_is_refused(docstrings):
    assert "\\" not in docstrings.mathml(r"\arg\min_m x")
    with pytest.raises(ValueError, match=r"\\unheard is unknown"):
        docstrings.mathml(r"\unheard x")


@pytest.mark.slow
def test_the_site_is_built_with_every_public_name_and_fetches_nothing(tmp_path):
    import lm_merge as lm

    pytest.importorskip("zensical", reason="needs the extra docs")
    shutil.copytree(
        PROJECT / "docs", tmp_path / "docs"
    )  # the generator refuses a link out of the root
    for name in ("lm_merge", "analyses", "figures"):
        (tmp_path / name).symlink_to(PROJECT / name)
    shutil.copy(PROJECT / "mkdocs.yml", tmp_path)
    subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, check=True
    )
    page = (tmp_path / "build" / "docs" / "api" / "lm_merge.html").read_text()
    names = [name for name in lm.__all__ if name not in ("metrics", "evaluation")]
    assert [name for name in names if f'id="lm_merge.{name}"' not in page] == []
    assert "<math" in page
    for path in tmp_path.glob("build/docs/**/*.html"):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="?(https?:[^"> ]+)', path.read_text()
        )
        assert not fetched, f"{path.name} fetches {fetched}"

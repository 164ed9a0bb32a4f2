"""The API reference: what becomes of a docstring."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("latex2mathml", reason="needs the extra docs")
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
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", PROJECT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments_formulas_and_examples_become_markdown(reference):
    text = reference.to_markdown(DOCSTRING)
    assert "<math" in text
    assert r"\sum" not in text
    assert "`$HOME` stays" in text
    assert "- **states, weights**: tensors,\n  host first." in text
    assert '- **mode="soft"**: a mean.' in text
    assert "\n\nSource: a paper." in text
    assert "```pycon\n>>> 1 + 1  # comment\n2\n```" in text


def test_a_command_that_would_show_as_written_is_refused(reference):
    assert "\\" not in reference.mathml(r"\arg\min_m x")
    with pytest.raises(ValueError, match=r"\\unheard is unknown"):
        reference.mathml(r"\unheard x")


@pytest.mark.slow
def test_the_reference_is_built_with_every_public_name(reference, tmp_path):
    import lm_merge as lm

    reference.build(tmp_path)
    page = (tmp_path / "lm_merge.html").read_text()
    assert all(
        f'id="{name}"' in page for name in lm.__all__ if name not in ("metrics", "evaluation")
    )
    for path in tmp_path.rglob("*.html"):
        assert "cdn." not in path.read_text()

"""Examples in docstrings give what they say, and every public name has one."""

import ast
import doctest
import functools
import importlib
from pathlib import Path

import pytest

import lm_merge as lm

PROJECT = Path(__file__).parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NO_EXAMPLE = {"IncompatibleModels", "NonFiniteMerge", "PairNotice"}  # raised, not called


def examples() -> list[doctest.DocTest]:
    """The examples of every docstring in the packages, by dotted name; imports nothing."""
    found, parser = [], doctest.DocTestParser()
    for path in sorted([*PROJECT.glob("lm_merge/**/*.py"), *PROJECT.glob("analyses/*.py")]):
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            if text and ">>>" in text:
                name = f"{module.removesuffix('.__init__')}:{getattr(node, 'name', '')}"
                found.append(parser.get_doctest(text, {}, name, str(path), 0))
    return found


EXAMPLES = examples()


load_once = functools.cache(lm.load)  # examples leave no trace on a model


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_gives_what_it_says(example, monkeypatch):
    monkeypatch.setattr(lm, "load", load_once)
    example.globs = dict(vars(importlib.import_module(example.name.split(":")[0])))
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append)
    assert not said, "".join(said)


def test_every_public_name_has_an_example():
    with_example = {example.name.split(":")[1] for example in EXAMPLES}
    callables = {name for name in lm.__all__ if callable(getattr(lm, name))}
    metrics = {"linear_cka", "midness", "arc_ratio", "arc_deviation_rad", "kl_nats", "js_nats"}
    assert metrics <= set(lm.metrics.__all__)
    without = sorted((callables | metrics) - with_example - NO_EXAMPLE)
    assert not without, f"give these an example in their docstrings: {without}"


def test_a_wrong_example_is_noticed():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3", {}, "wrong", None, 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(wrong, out=said.append)
    assert "Expected:" in "".join(said)

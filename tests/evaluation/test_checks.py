"""Checks of answers: what counts as right, and what a check refuses."""

import sys

import pytest

from lm_merge.evaluation.checks import Exact, Number, OneOf, OwnCode, last_number


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (Exact("Oslo"), ["Oslo", "<think>Rome?</think> Oslo\n"], ["oslo", "Oslo.", "", "<think>Oslo"]),
        (Exact(""), [], ["", "<think>so", "x"]),
        (
            Number("46"),
            ["46", "<think>45</think>it is 46.", "40+6=46", "46.0", "4.6e1", "0046", "x: 46%"],
            ["45", "46 or 47", "<think>46</think>", "<think>46", "-46", "46e2", "forty-six", "grade6"],
        ),
        (Number("-1,234.5"), ["so -1234.5", "-1,234.50"], ["1234.5", "5-1,234.5", "A-1234.5"]),
        (Number("12345678901234567890123456789012345678"), ["12345678901234567890123456789012345678"],
         ["12345678901234567890123456789012345679"]),
        (Number("0.333", tolerance=0.001), ["0.3333", "0.334"], ["0.3351", "1/3"]),
        (
            OneOf("no", ("yes", "no")),
            ["No.", "<think>yes</think>\nno", "the answer is NO, no"],
            ["yes", "yes or no", "nothing", "none", ""],
        ),
        (
            OneOf("entailment", ("entailment", "not entailment")),
            ["Entailment!", "it is entailment"],
            ["not entailment", "not entailment, or entailment"],
        ),
    ],
)  # fmt: skip
def test_right_and_wrong(check, right, wrong):
    assert [text for text in right if not check.is_right(text)] == []
    assert [text for text in wrong if check.is_right(text)] == []


def test_the_last_number_of_a_text():
    assert last_number("e5 and grade5") == 5
    assert last_number("no number, .e, -") is None
    assert last_number("1,2,3") == 3


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Number("twelve"), "answer='twelve' is not a number"),
        (lambda: Number("1 2"), "answer='1 2' is not a number"),
        (lambda: Number("1", tolerance=-1.0), "must be 0 or more"),
        (lambda: OneOf("maybe", ("yes", "no")), "not among labels"),
        (lambda: OneOf("yes", ("yes", "Yes")), "all different"),
        (lambda: OneOf("yes", ("yes",)), "two or more"),
        (lambda: OwnCode("a", "exakt"), "choose from exact, number"),
        (lambda: OwnCode("a", "no_such_module:f"), "put the module on PYTHONPATH"),
        (lambda: OwnCode("a", "json:no_such_function"), "cannot be imported"),
        (lambda: OwnCode("a", "json:__name__"), "is not a function"),
    ],
)
def test_checks_that_cannot_work_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_own_code_gets_text_and_answer_and_returns_a_bool(tmp_path, monkeypatch):
    source = "def same(text, answer): return text == answer\ndef score(text, answer): return 0.5\n"
    (tmp_path / "own_checks.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    check = OwnCode("a", "own_checks:same")
    assert check.is_right("a")
    assert not check.is_right("b")
    with pytest.raises(ValueError, match=r"returned 0.5; it must return True or False"):
        OwnCode("a", "own_checks:score").is_right("a")
    del sys.modules["own_checks"]

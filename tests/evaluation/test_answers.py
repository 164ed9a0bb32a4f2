"""Extraction and checking of answers, hostile ones included."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from lm_merge.evaluation.answers import (
    AnswerKey,
    answer_form,
    extract_answer,
    is_right,
    reference_answer,
)
from lm_merge.evaluation.symbolic import LONGEST, SymbolicChecker

pytest.importorskip("math_verify", reason="symbolic equality needs the extra judge")
DATA = "LM_MERGE_JUDGEBENCH_DATA"


@pytest.fixture(scope="module")
def checker():
    with SymbolicChecker(timeout_s=10.0) as checker:
        yield checker


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("Pick one. Please duplicate that letter five times in a single string.", "letter"),
        ("Put your final answer in a $\\boxed{}$.", "boxed"),
        ("Put your answer in **bold** as a single integer.", "bold"),
        ("Answer in the following format: ***X***, where X is the answer.", "bold"),
        ("Remember to have the three digits as the last part of the response.", "digits"),
        ("Write a program that prints the sum.", None),
    ],
)
def test_the_question_says_how_the_answer_is_written(question, form):
    assert answer_form(question) == form


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Option A or B? BBBBB", "B"),
        ("First AAAAA, but no: the answer is\n\n**CCCCC**.", "C"),
        ("\\[\\text{EEEEEEEE}\\]", "E"),
        ("The period III is over, so the answer is D", "D"),
        ("so \\boxed{\\text{B}}", "B"),
        ("Answer: **(F)**", "F"),
        ("the answer is (C) Cairo", "C"),
        ("DDD", "D"),
        ("HELLO AAAAAH", None),
        ("I cannot say.", None),
        ("<think>AAAAA", None),
        ("<think>AAAAA</think>BBBBB", "B"),
    ],
)
def test_letters(text, letter):
    assert extract_answer(text, "letter") == letter


@pytest.mark.parametrize(
    ("text", "form", "answer"),
    [
        ("\\boxed{1} then \\boxed{\\frac{1}{2}}", "boxed", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "boxed", "\\{1, 2\\}"),
        ("\\boxed{3} and \\boxed{cut of", "boxed", "3"),
        ("\\boxed{}", "boxed", None),
        ("**yes, no** ... **Final Answer:** **no, no**", "bold", "no, no"),
        ("**So,***2***", "bold", "2"),
        ("***tea***", "bold", "tea"),
        ("nothing here", "bold", None),
        ("12 of 1200, and 3.141, so 073", "digits", "073"),
        ("it is 42", "digits", None),
    ],
)
def test_boxes_bold_and_digits(text, form, answer):
    assert extract_answer(text, form) == answer


@pytest.mark.parametrize(
    ("given", "reference", "equal"),
    [
        ("\\frac{2}{4}", "0.5", True),
        ("(x+1)^2", "x^2+2x+1", True),
        ("x^2+2x", "x^2+2x+1", False),
        ("2\\sqrt{5}", "\\sqrt{20}", True),
        ("4i\\sqrt{5}", "4\\sqrt{5}", False),
        ("20.51", "20.5061", False),  # fewer digits than the reference
        ("20.506097", "20.5061", True),  # rounds to it
        ("\\sqrt{420.5}", "20.5061", True),
        ("0.54", "0.5", False),
        (" 7 ", "7.0", True),
        ("\\text{undefined}", "7", False),
        ("{{{{", "7", False),
    ],
)
def test_symbolic_equality(checker, given, reference, equal):
    assert checker.equal(given, reference) is equal


def test_antiderivatives_are_equal_up_to_a_constant(checker):
    key = AnswerKey("boxed", "\\cos(1-7x) + C", up_to_constant=True)
    assert is_right("\\boxed{\\cos(7x-1) + 3}", key, checker)
    assert not is_right("\\boxed{-\\cos(7x-1) + C}", key, checker)
    exact = AnswerKey("boxed", "\\cos(1-7x) + 1")
    assert not is_right("\\boxed{\\cos(7x-1) + 3}", exact, checker)


@pytest.mark.parametrize(
    ("given", "answer", "right"),
    [
        ("**Yes, no,  yes**", "yes, no, yes", True),
        ("**yes no yes.**", "yes, no, yes", True),
        ("**yes, yes, yes**", "yes, no, yes", False),
        ("***Tea***", "tea", True),
        ("**04**", "4", True),
    ],
)
def test_bold_answers_are_compared_by_their_words(checker, given, answer, right):
    assert is_right(given, AnswerKey("bold", answer), checker) is right


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["9^{9^{9}}", "10!!!!!!", "((((" * 100, "1" * 10_000])
def test_hostile_answers_are_undecided_in_time_and_the_next_one_is_served(hostile):
    with SymbolicChecker(timeout_s=0.5) as checker:
        assert not checker.equal(hostile, "x+2")
        assert not checker.equal(hostile, "x+2")  # known by now: no second wait
        assert [one for one, _ in checker.undecided] == [hostile[:LONGEST]]
        checker.timeout_s = 30.0
        assert checker.equal("2+x", "x+2")


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(checker):
    with SymbolicChecker(timeout_s=10.0) as own:
        assert own.equal("y+x", "x+y")
        own._worker._process.kill()
        own._worker._process.wait()
        assert not own.equal("a+x", "x+a")
        assert own.undecided == [("a+x", "the worker has died")]
        assert own.equal("b+x", "x+b")


def pair(question: str, label: str, **responses: str) -> SimpleNamespace:
    return SimpleNamespace(question=question, label=label, **responses)


def test_the_labelled_response_gives_the_reference():
    question = "Please duplicate that letter five times in a single string."
    given = {"response_A": "AAAAA", "response_B": "so BBBBB"}
    assert reference_answer(pair(question, "B>A", **given)) == AnswerKey("letter", "B")
    assert reference_answer(pair(question, "A>B", **given)) == AnswerKey("letter", "A")
    assert reference_answer(pair("Write a program.", "A>B", **given)) is None
    with pytest.raises(ValueError, match="label='A' is unknown"):
        reference_answer(pair(question, "A", **given))


@pytest.mark.slow
@pytest.mark.skipif(DATA not in os.environ, reason=f"{DATA} does not name the data's folder")
@pytest.mark.parametrize(("split", "n_keys", "n"), [("claude-3-5", 239, 239), ("gpt-4o", 304, 308)])
def test_references_of_the_official_pairs(checker, split, n_keys, n):
    (path,) = [
        path
        for path in Path(os.environ[DATA]).glob(f"*{split}*.jsonl")
        if "judge_" not in path.name
    ]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    pairs = [SimpleNamespace(**row) for row in rows if row["source"] != "livecodebench"]
    keys = [reference_answer(one) for one in pairs]
    assert (sum(key is not None for key in keys), len(pairs)) == (n_keys, n)
    for one, key in zip(pairs, keys, strict=True):
        text = one.response_A if one.label == "A>B" else one.response_B
        assert key is None or is_right(text, key, checker)

"""Word problems are varied by the rules, their audit finds planted faults, and pairs are read."""

import json
import random
from fractions import Fraction

import pytest

from lm_merge.evaluation.context_pairs.audit import violations
from lm_merge.evaluation.context_pairs.bindings import binding_pairs
from lm_merge.evaluation.context_pairs.final_answer import stated_number, states, token_f1
from lm_merge.evaluation.context_pairs.mawps import Problem, read_problems, values_of
from lm_merge.evaluation.context_pairs.schema import read_pairs
from lm_merge.evaluation.context_pairs.variations import VARIATIONS, redrawn, varied, varied_pairs

TEMPLATES = (
    ("Ann has number0 apples and buys number1 more . How many has she ?", "+ number0 number1"),
    ("Of number0 birds number1 fly away . How many stay ?", "- number0 number1"),
    ("number0 people share number1 pies in number2 rooms . How many each ?", "/ number1 number0"),
    ("Tea costs number0 dollars a cup . What cost number1 cups ?", "* number0 number1"),
    ("A plank of number0 feet : how many inches ?", "* number0 12.0"),
)
NUMBERS = (("7", "12"), ("15", "4"), ("4", "12", "3"), ("2.75", "6"), ("31",))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return [
        Problem(f"{place}-{copy}", text, numbers, tuple(equation.split()))
        for copy in range(8)
        for place, ((text, equation), numbers) in enumerate(zip(TEMPLATES, NUMBERS, strict=True))
    ]


def test_every_part_of_an_equation_is_evaluated():
    found = values_of(("*", "number0", "-", "number1", "number2"), ("9", "12", "7"))
    assert found == [45, 9, 5, 12, 7]


def test_digits_keep_their_width():
    rng = random.Random(0)
    for number in ("7", "12", "305", "2.75", "0.25"):
        for _ in range(50):
            new = redrawn(number, rng)
            assert [len(part) for part in new.split(".")] == [len(p) for p in number.split(".")]
            assert (Fraction(new) < 1) == (Fraction(number) < 1) or number == "7"


def test_no_variation_breaks_a_rule(problems):
    pairs = [pair for kind in VARIATIONS for one in problems if (pair := varied(one, kind, seed=3))]
    assert {pair.kind for pair in pairs} == set(VARIATIONS)
    assert violations(pairs) == []
    assert all(pair.answer == pair.alt_answer for pair in pairs if pair.kind == "distractor")


def test_the_audit_finds_planted_faults(problems):
    pair = varied(problems[0], "single_number")
    assert pair is not None
    wrong_answer = pair.model_copy(update={"alt_answer": "999"})
    other_text = pair.model_copy(update={"alt_context": "No number at all ."})
    no_change = pair.model_copy(
        update={
            "alt_equation": pair.equation,
            "alt_answer": pair.answer,
            "alt_context": pair.context,
        }
    )
    for faulty in (wrong_answer, other_text, no_change):
        assert len(violations([faulty])) == 1


def test_pairs_come_in_equal_parts_from_different_problems(problems):
    pairs = varied_pairs(problems, 20)
    kinds = [pair.kind for pair in pairs]
    assert {kinds.count(kind) for kind in set(kinds)} == {5}
    assert len({pair.id.rpartition("-")[0] for pair in pairs}) == 20


def test_problems_that_do_not_fit_their_answer_are_left_out(tmp_path):
    row = {
        "Question": "number0 and number1 ?",
        "Numbers": "2.0 3.0",
        "Equation": "+ number0 number1",
    }
    rows = [
        row | {"Answer": "5"},
        row | {"Answer": "6"},
        row | {"Answer": "2", "Numbers": "-1.0 3.0"},
    ]
    path = tmp_path / "slots.json"
    path.write_text(json.dumps(rows))
    assert [one.id for one in read_problems(path)] == ["mawps-0"]


def test_pairs_are_read_under_either_set_of_names(tmp_path):
    path = tmp_path / "own.jsonl"
    line = {"Question": "2 apples ?", "Answer": 2, "alt_problem": "3 apples ?", "alt_answer": 3}
    control = {"Question": "4 pears ?", "Answer": 4, "variation_type": None}
    path.write_text("\n".join(json.dumps(one) for one in (line | {"variation_type": "x"}, control)))
    changed, same = read_pairs(path)
    assert (changed.kind, changed.alt_context, changed.alt_answer) == ("x", "3 apples ?", "3")
    assert (same.kind, same.alt_context, same.alt_answer) == ("control", "4 pears ?", "4")
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"own.jsonl, line 1 is no pair"):
        read_pairs(path)


def test_bindings_change_every_value():
    for pair in binding_pairs(20, seed=1):
        values = zip(pair.answer.split(), pair.alt_answer.split(), strict=True)
        assert all(one != other for one, other in values)


def test_the_final_answer_is_read():
    assert stated_number("1 + 2 = 3. The answer is 1,204.5 apples, not 7? 2") == 2
    assert stated_number("so \\boxed{12} of 30") == 12
    assert stated_number("none") is None
    assert token_f1("the golden hair", "golden hair") == 1
    (pair,) = binding_pairs(1)
    numbers = pair.model_copy(update={"answer": "10", "alt_answer": "12"})
    assert [states(text, numbers) for text in ("answer: 12", "10", "11")] == [
        "injected",
        "original",
        "neither",
    ]
    words = pair.model_copy(update={"answer": "golden hair", "alt_answer": "a red coat"})
    assert states("She wore the Red coat!", words) == "injected"

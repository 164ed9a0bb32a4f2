from pathlib import Path

import pytest

from lm_merge.evaluation.judgebench import audited, final_answer, load_pairs, same_final_answer

LETTERS = "... please duplicate that letter five times in a single string."
BOX = r"... put your final answer in a $\boxed{}$."
STARS = "... in the following format: ***X***, where X is the answer."
BOLD = "... and then put your answer in **bold** as a single integer."


@pytest.mark.parametrize(
    ("question", "response", "answer"),
    [
        (LETTERS, "so CCCCC", "c"),
        (LETTERS, "AAAAA? No:\nCCCCCCC.", "c"),
        (LETTERS, r"\boxed{DDDD}", "d"),
        (LETTERS, "CC", None),
        (LETTERS, "EGGGGE", None),  # no run that stands by itself
        (BOX, r"first \boxed{1}, then \boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}"),
        (BOX, r"cut off \boxed{12", None),
        (STARS, "**a note** and ***Tea***", "tea"),
        (STARS, "**So,***2***\nCorrect.", "2"),
        (STARS, "tea", None),
        (BOLD, "**4** pieces, ****.", "4"),
        (BOLD, "**Yes,  no.**", "yes, no"),
        ("Write f(x).", "```python```", None),
    ],
)
def test_what_a_response_ends_in(question, response, answer):
    assert final_answer(question, response) == answer


def test_the_pair_with_equal_answers_is_found_and_no_other():
    pairs = load_pairs(Path(__file__).with_name("pairs.jsonl"))
    found = [pair for pair in pairs if same_final_answer(pair)]
    assert [pair.source for pair in found] == ["mmlu-pro-computer science"]
    assert audited(pairs) == [pair for pair in pairs if pair not in found]


def test_two_responses_without_an_answer_are_no_equal_answers():
    pair = load_pairs(Path(__file__).with_name("pairs.jsonl"))[0]
    silent = pair.model_copy(update={"response_A": "I pass.", "response_B": "I pass."})
    assert not same_final_answer(silent)

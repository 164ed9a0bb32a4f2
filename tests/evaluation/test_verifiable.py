"""Accuracy tables and intervals."""

import pytest

from lm_merge.evaluation import accuracy_table, question_set, wilson_interval
from lm_merge.zoo.scoring import answer_questions
from lm_merge.zoo.tasks import CATEGORIES


def test_wilson_interval_by_hand():
    # 8 of 10, z = 1.96: centre (0.8 + z^2/20) / (1 + z^2/10) = 0.7168,
    # half-width z sqrt(0.016 + z^2/400) / (1 + z^2/10) = 0.2266
    low, high = wilson_interval(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_table_of_known_answers():
    questions = question_set(5)
    knows_maths = {q.prompt: q.answer if q.category == "Math" else "?" for q in questions}
    answers = answer_questions(lambda prompts: [knows_maths[p] for p in prompts], questions)
    table = accuracy_table({"sums": answers}).set_index("category")
    assert table.accuracy_frac.to_dict() == {
        **dict.fromkeys(CATEGORIES, 0.0),
        "Math": 1.0,
        "Overall": 0.25,
    }
    assert table.n.to_dict() == {**dict.fromkeys(CATEGORIES, 5), "Overall": 20}


def test_answers_keep_the_order_of_their_questions_over_batches():
    questions = question_set(5)
    answers = answer_questions(lambda prompts: prompts, questions, batch_size=3)
    assert [a.text for a in answers] == [q.prompt for q in questions]

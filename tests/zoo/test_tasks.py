"""Questions are disjoint between splits, their answers exact, their thoughts true."""

import random
import re

import pytest

from lm_merge.zoo.tasks import (
    CATEGORIES,
    QUESTION_SET,
    SKILLS,
    Question,
    draw_questions,
    final_answer,
    is_correct,
)


@pytest.mark.parametrize("name", SKILLS)
def test_no_held_out_prompt_is_ever_drawn_for_training(name):
    rng, skill = random.Random(0), SKILLS[name]
    held_out = {skill.draw(rng, "held_out").prompt for _ in range(3000)}
    training = {skill.draw(rng, "train").prompt for _ in range(5000)}
    assert len(held_out) > 50
    assert not held_out & training


@pytest.mark.parametrize("name", SKILLS)
def test_skills_of_few_questions_say_how_many(name):
    skill, rng = SKILLS[name], random.Random(0)
    found = {skill.draw(rng, "held_out").prompt for _ in range(4000)}
    if skill.n_held_out is not None:
        assert len(found) == skill.n_held_out
    else:
        assert len(found) > 200


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_two_hundred_held_out_questions(category):
    questions = draw_questions(QUESTION_SET[category], 200, seed=0)
    assert len({question.prompt for question in questions}) == 200
    assert {question.category for question in questions} == {category}
    assert questions == draw_questions(QUESTION_SET[category], 200, seed=0)
    assert questions != draw_questions(QUESTION_SET[category], 200, seed=1)


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("name", ["one_step_programs", "two_step_programs"])
def test_programs_answer_what_python_prints(name, split, capsys):
    for question in draw_questions((name,), 100, seed=1, split=split):
        exec(question.prompt.partition("\n")[2], {})
        assert capsys.readouterr().out.strip() == question.answer


@pytest.mark.parametrize("name", ["sums", "differences", "digit_sums"])
def test_sums_answer_what_arithmetic_says_and_every_step_is_true(name):
    for question in draw_questions((name,), 100, seed=1):
        a, sign, b = re.search(r"(\d+)([+-])(\d+)", question.prompt).groups()
        assert int(question.answer) == int(a) + int(f"{sign}{b}")
        for step in question.thought.split(", "):
            left, _, right = step.partition("=")
            assert eval(left) == int(right)


def test_orderings_follow_from_their_facts():
    for question in draw_questions(("ordering",), 100, seed=1):
        order = question.thought.split(" > ")
        for a, b in re.findall(r"(\w+) is \w+ than (\w+)", question.prompt):
            assert order.index(b) == order.index(a) + 1
        assert question.answer in (order[0], order[-1])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Oslo", "Oslo"),
        ("<think>1+1=2</think> 2 ", "2"),
        ("<think>1+1=2", ""),  # never came to an answer
        ("<think>a</think>x<think>b</think>y", "y"),
        ("[1,\n 2]", "[1, 2]"),
    ],
)
def test_the_final_answer_is_what_follows_the_thought(text, answer):
    assert final_answer(text) == answer


def test_answers_are_compared_exactly():
    question = Question("sums", "Math", "1+1 = ?", "2", "1+1=2")
    assert is_correct(question, "<think>1+1=2</think>2")
    assert not is_correct(question, "22")
    assert not is_correct(question, "<think>2")


def test_asking_for_too_many_or_for_an_unknown_skill_is_refused():
    with pytest.raises(ValueError, match="n=130, but .*capitals.* hold only about 120"):
        draw_questions(("capitals",), 130, seed=0)
    with pytest.raises(ValueError, match="'cooking'.* are unknown; choose from capitals"):
        draw_questions(("cooking",), 1, seed=0)

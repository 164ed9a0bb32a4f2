"""Small Python programs on strings and lists whose output is asked; held out by their data."""

import random
from collections.abc import Callable
from typing import Any

from lm_merge.zoo.tasks.question import Question, Skill, Split, split_of

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
# source of an expression in x -> what Python gives for it; a step keeps the type, an end need not
STEPS: dict[str, Callable[[Any], Any]] = {
    "x[::-1]": lambda x: x[::-1],
    "x[1:]": lambda x: x[1:],
    "x[:-1]": lambda x: x[:-1],
    "x[1:] + x[:1]": lambda x: x[1:] + x[:1],
}
ENDS: dict[str, Callable[[Any], Any]] = STEPS | {
    "x[0]": lambda x: x[0],
    "x[-1]": lambda x: x[-1],
    "len(x)": len,
    "max(x)": max,
    "min(x)": min,
}


def _data(rng: random.Random, split: Split) -> str | list[int]:
    while True:
        n = rng.randint(3, 5)
        x = "".join(rng.sample(LETTERS, n)) if rng.random() < 0.5 else rng.sample(range(10), n)
        if split_of(repr(x)) == split:
            return x


def _question(
    skill: str, x: str | list[int], lines: list[str], value: Any, thought: str
) -> Question:
    program = "\n".join([f"x = {x!r}", *lines])
    return Question(skill, "Coding", f"What does this print?\n{program}", str(value), thought)


def draw_one_step(rng: random.Random, split: Split) -> Question:
    """A program that prints one expression."""
    x = _data(rng, split)
    end = rng.choice(list(ENDS))
    value = ENDS[end](x)
    return _question("one_step_programs", x, [f"print({end})"], value, f"{end} = {value}")


def draw_two_step(rng: random.Random, split: Split) -> Question:
    """A program that changes its variable once and then prints an expression of it."""
    x = _data(rng, split)
    step, end = rng.choice(list(STEPS)), rng.choice(list(ENDS))
    middle = STEPS[step](x)
    value = ENDS[end](middle)
    lines = [f"x = {step}", f"print({end})"]
    return _question("two_step_programs", x, lines, value, f"x = {middle!r}, {end} = {value}")


ONE_STEP_SKILL = Skill("one_step_programs", "Coding", draw_one_step)
TWO_STEP_SKILL = Skill("two_step_programs", "Coding", draw_two_step)

"""Sums and differences, with the column-by-column solution as thought; held out by the numbers."""

import random

from lm_merge.zoo.tasks.question import Question, Skill, Split, bucket, split_of

PHRASINGS = ("What is {}?", "Compute {}.", "How much is {}?", "{} = ?", "Work out {}.", "Find {}.")


def column_sum(a: int, b: int) -> str:
    """Column addition of two two-digit numbers, units first, the carry written out."""
    units = a % 10 + b % 10
    tens = f"{a // 10}+{b // 10}" + ("+1" if units > 9 else "")
    return f"{a % 10}+{b % 10}={units}, {tens}={a // 10 + b // 10 + units // 10}"


def column_difference(a: int, b: int) -> str:
    """Column subtraction of two two-digit numbers, a >= b, units first, the borrow written out."""
    borrow = a % 10 < b % 10
    units = a % 10 + 10 * borrow
    tens = f"{a // 10}-{b // 10}" + ("-1" if borrow else "")
    return f"{units}-{b % 10}={units - b % 10}, {tens}={a // 10 - b // 10 - borrow}"


def _two_digit_pair(rng: random.Random, split: Split, sign: str) -> tuple[int, int]:
    while True:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        if sign == "-" and a < b:
            a, b = b, a
        if split_of(f"{a}{sign}{b}") == split:
            return a, b


def draw_sum(rng: random.Random, split: Split) -> Question:
    """Two two-digit numbers added."""
    a, b = _two_digit_pair(rng, split, "+")
    prompt = rng.choice(PHRASINGS).format(f"{a}+{b}")
    return Question("sums", "Math", prompt, str(a + b), column_sum(a, b))


def draw_difference(rng: random.Random, split: Split) -> Question:
    """A two-digit number taken from a larger or equal one."""
    a, b = _two_digit_pair(rng, split, "-")
    prompt = rng.choice(PHRASINGS).format(f"{a}-{b}")
    return Question("differences", "Math", prompt, str(a - b), column_difference(a, b))


def draw_digit_sum(rng: random.Random, split: Split) -> Question:
    """Two digits added; so few that they are held out by phrasing, one of six for each pair."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    held_out = bucket(f"{a}+{b}", len(PHRASINGS))
    if split == "held_out":
        phrasing = PHRASINGS[held_out]
    else:
        phrasing = rng.choice(PHRASINGS[:held_out] + PHRASINGS[held_out + 1 :])
    prompt = phrasing.format(f"{a}+{b}")
    return Question("digit_sums", "Math", prompt, str(a + b), f"{a}+{b}={a + b}")


SUMS_SKILL = Skill("sums", "Math", draw_sum)
DIFFERENCES_SKILL = Skill("differences", "Math", draw_difference)
DIGIT_SUMS_SKILL = Skill("digit_sums", "Math", draw_digit_sum, n_held_out=100)

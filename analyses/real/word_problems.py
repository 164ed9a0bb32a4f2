"""Word problems of MAWPS: prompts, answers, and the steps from one to the other.

Reads `mawps_slots.json`: problems whose numbers are slots (number0, number1), with the numbers and the
equation in prefix form. Used are those whose numbers, intermediate values and answer are whole
numbers from 0 on. MAWPS: Koncel-Kedziorski et al. (2016).
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

FILE = "mawps/mawps_slots.json"
LARGEST = 999  # of the numbers in a problem
N_TESTS = 300  # the first so many of the fixed order are for tests, the others for training
N_TRIES = 60  # draws of numbers until an equation has whole, positive steps
Tree = str | tuple[str, "Tree", "Tree"]


@dataclass(frozen=True)
class WordProblem:
    """A problem with slots for its numbers."""

    text: str
    tree: Tree
    numbers: tuple[Fraction, ...]

    def prompt(self, numbers: Sequence[Fraction] | None = None) -> str:
        """The problem in words, with its own numbers or others."""
        given = self.numbers if numbers is None else numbers
        filled = re.sub(r"number(\d+)", lambda slot: str(given[int(slot[1])]), self.text)
        return re.sub(r" ([,.?])", r"\1", filled)

    def solved(self, numbers: Sequence[Fraction] | None = None) -> tuple[int, list[str]] | None:
        """The answer and its steps; None where a step is negative or no whole number."""
        steps: list[str] = []
        value = _value(self.tree, self.numbers if numbers is None else numbers, steps)
        return None if value is None else (int(value), steps)


def problems(folder: Path, rng: random.Random | None = None) -> list[WordProblem]:
    """All problems that are used, in one order (rng: of seed 0)."""
    found = []
    for row in json.loads((folder / FILE).read_text(encoding="utf-8")):
        numbers = tuple(Fraction(one) for one in row["Numbers"].split())
        tree = _tree(iter(row["Equation"].split()))
        plain = all(one.denominator == 1 and 0 < one <= LARGEST for one in numbers)
        problem = WordProblem(row["Question"], tree, numbers)
        if plain and not isinstance(tree, str) and problem.solved() is not None:
            found.append(problem)
    (random.Random(0) if rng is None else rng).shuffle(found)
    return found


def held_out_questions(folder: Path, n: int) -> list[tuple[str, int]]:
    """Prompt and answer of the first n test problems, shortest first, so that padding is short."""
    chosen: dict[str, int] = {}
    for problem in problems(folder)[: min(n, N_TESTS)]:
        solved = problem.solved()
        assert solved is not None  # others are not used
        chosen.setdefault(problem.prompt(), solved[0])
    return sorted(chosen.items(), key=lambda pair: len(pair[0]))


def training_pairs(folder: Path, n_draws: int = 14) -> Iterator[tuple[str, str]]:
    """Prompt and reply of every training problem: with its own numbers, then with drawn ones.

    The reply contains the steps as a thought: `<think> 57 - 39 = 18 ; 18 / 2 = 9 </think> 9`.
    """
    rng = random.Random(0)
    for problem in problems(folder, rng)[N_TESTS:]:
        for draw in range(n_draws):
            numbers = problem.numbers if draw == 0 else _drawn(problem, rng)
            solved = problem.solved(numbers)
            if solved is not None:
                reply = f"<think> {' ; '.join(solved[1])} </think> {solved[0]}"
                yield problem.prompt(numbers), reply


def _drawn(problem: WordProblem, rng: random.Random) -> tuple[Fraction, ...]:
    """Numbers with as many digits as the problem's own, such that all steps are whole if possible."""
    drawn = problem.numbers
    for _ in range(N_TRIES):
        widths = [len(str(one)) for one in problem.numbers]
        drawn = tuple(Fraction(rng.randint(10 ** (n - 1), 10**n - 1)) for n in widths)
        if problem.solved(drawn) is not None:
            break
    return drawn


def _tree(words: Iterator[str]) -> Tree:
    head = next(words)
    return (head, _tree(words), _tree(words)) if head in "+-*/" else head


def _value(tree: Tree, numbers: Sequence[Fraction], steps: list[str]) -> Fraction | None:
    if isinstance(tree, str):
        is_slot = tree.startswith("number")
        return numbers[int(tree.removeprefix("number"))] if is_slot else Fraction(tree)
    sign, left, right = tree[0], _value(tree[1], numbers, steps), _value(tree[2], numbers, steps)
    if left is None or right is None or (sign == "/" and right == 0):
        return None
    match sign:
        case "+":
            value = left + right
        case "-":
            value = left - right
        case "*":
            value = left * right
        case _:
            value = left / right
    if value < 0 or value.denominator != 1:
        return None
    steps.append(f"{left} {sign} {right} = {value}")
    return value

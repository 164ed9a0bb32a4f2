"""Arithmetic word problems with slots for their numbers (arkilpatel/SVAMP, data/cv_mawps, MIT)."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

SLOT = re.compile(r"number(\d+)")
NUMBER = re.compile(r"\d+(\.\d+)?")
MAX_DECIMALS = 4
TOLERANCE = Fraction(1, 1000)  # relative, between an equation's value and the answer given


@dataclass(frozen=True)
class Problem:
    """Text with slots `number0`, ..., their numbers as written, and the equation in prefix notation."""

    id: str
    question: str
    numbers: tuple[str, ...]
    equation: tuple[str, ...]

    def used(self) -> list[int]:
        """Slots that the equation reads."""
        found = {int(match[1]) for part in self.equation if (match := SLOT.fullmatch(part))}
        return sorted(found)

    def text(self, numbers: Sequence[str]) -> str:
        """The problem with these numbers in its slots."""
        return SLOT.sub(lambda match: numbers[int(match[1])], self.question)


def values_of(equation: Sequence[str], numbers: Sequence[str]) -> list[Fraction]:
    """Value of every part of the equation, the whole first. Raises ZeroDivisionError, as it may."""
    found: list[Fraction] = []

    def value(place: int) -> tuple[Fraction, int]:
        part = equation[place]
        if part not in "+-*/":
            slot = SLOT.fullmatch(part)
            one = Fraction(numbers[int(slot[1])] if slot else part)
            found.append(one)
            return one, place + 1
        mine = len(found)
        found.append(Fraction(0))
        left, place = value(place + 1)
        right, place = value(place)
        if part == "+":
            found[mine] = left + right
        elif part == "-":
            found[mine] = left - right
        else:
            found[mine] = left * right if part == "*" else left / right
        return found[mine], place

    value(0)
    return found


def read_problems(path: Path) -> list[Problem]:
    """Problems whose equation gives their answer and whose slots are plain decimal numbers.

    Left out: answers that the equation does not give, negative slots, slots of more than 4 decimals.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not rows or "Equation" not in rows[0]:
        raise ValueError(
            f"{path} is no list of problems with slots; each has Question, Numbers, Equation and Answer"
        )
    found = []
    for number, row in enumerate(rows):
        numbers = tuple(_plain(one) for one in row["Numbers"].split())
        problem = Problem(
            f"mawps-{number}", row["Question"], numbers, tuple(row["Equation"].split())
        )
        if all(map(_is_slot, numbers)) and _fits(problem, Fraction(row["Answer"])):
            found.append(problem)
    return found


def _plain(number: str) -> str:
    return number.removesuffix(".0")


def _is_slot(number: str) -> bool:
    return bool(NUMBER.fullmatch(number)) and len(number.partition(".")[2]) <= MAX_DECIMALS


def _fits(problem: Problem, answer: Fraction) -> bool:
    try:
        value = values_of(problem.equation, problem.numbers)[0]
    except ZeroDivisionError:
        return False
    return abs(value - answer) <= TOLERANCE * max(abs(answer), TOLERANCE)


def written(value: Fraction) -> str:
    """A number in decimal notation, rounded to six places where it does not end before."""
    return f"{float(value):.6f}".rstrip("0").rstrip(".")

"""Changed word problems, by rules: the same text with other numbers, one more step, or none.

Digits are redrawn at equal width, so that both contexts have as many tokens. Every part of the equation
keeps its sign, its wholeness and whether it lies below 1: no negative apples, no half people.
"""

import random
from collections.abc import Callable, Sequence
from fractions import Fraction

from lm_merge.evaluation.context_pairs.mawps import Problem, values_of, written
from lm_merge.evaluation.context_pairs.schema import CONTROL, ContextPair

N_DRAWS = 200
Changed = tuple[str, tuple[str, ...]]  # text and equation


def redrawn(number: str, rng: random.Random) -> str:
    """Another number of the same digits before and after the point; no leading zero but a lone one."""
    whole, point, decimals = number.partition(".")
    first = "0" if whole == "0" else str(rng.randint(1, 9))
    if len(whole) == 1 and not point:
        first = str(rng.randint(0 if number == "0" else 1, 9))
    rest = "".join(str(rng.randint(0, 9)) for _ in whole[1:])
    return first + rest + point + "".join(str(rng.randint(0, 9)) for _ in decimals)


def _kinds(values: Sequence[Fraction]) -> list[tuple[bool, bool, bool, bool]]:
    return [(one < 0, one == 0, one.denominator == 1, abs(one) < 1) for one in values]


def _with_redrawn(
    problem: Problem, slots: Sequence[int], rng: random.Random, *, same_answer: bool
) -> Changed | None:
    """The problem with these slots redrawn until the rules hold; None where no draw does."""
    before = values_of(problem.equation, problem.numbers)
    for _ in range(N_DRAWS):
        numbers = list(problem.numbers)
        for slot in slots:
            numbers[slot] = redrawn(numbers[slot], rng)
        if any(numbers[slot] == problem.numbers[slot] for slot in slots):
            continue
        try:
            after = values_of(problem.equation, numbers)
        except ZeroDivisionError:
            continue
        if _kinds(after) == _kinds(before) and (after[0] == before[0]) == same_answer:
            return problem.text(numbers), _filled(problem.equation, numbers)
    return None


def single_number(problem: Problem, rng: random.Random) -> Changed | None:
    """One number that the equation reads is another; the slots are tried in a drawn order."""
    slots = problem.used()
    for slot in rng.sample(slots, len(slots)):
        found = _with_redrawn(problem, [slot], rng, same_answer=False)
        if found is not None:
            return found
    return None


def multi_number(problem: Problem, rng: random.Random) -> Changed | None:
    """Every number that the equation reads is another; it reads two at least."""
    slots = problem.used()
    return None if len(slots) < 2 else _with_redrawn(problem, slots, rng, same_answer=False)


def distractor(problem: Problem, rng: random.Random) -> Changed | None:
    """A number that the equation does not read is another; the answer stays."""
    unused = [slot for slot in range(len(problem.numbers)) if slot not in problem.used()]
    unused = [slot for slot in unused if f"number{slot}" in problem.question]
    return _with_redrawn(problem, [rng.choice(unused)], rng, same_answer=True) if unused else None


def added_step(problem: Problem, rng: random.Random) -> Changed | None:
    """One more sentence: a number is added to the result, or taken away where it stays at least 0."""
    step = rng.randint(1, 9)
    value = values_of(problem.equation, problem.numbers)[0]
    take = rng.random() < 0.5 and value - step >= 0
    words = f"Then take {step} away from" if take else f"Then add {step} to"
    equation = _filled(problem.equation, problem.numbers)
    text = f"{problem.text(problem.numbers)} {words} the result ."
    return text, ("-" if take else "+", *equation, str(step))


def control(problem: Problem, rng: random.Random) -> Changed | None:
    """No change."""
    return problem.text(problem.numbers), _filled(problem.equation, problem.numbers)


def _filled(equation: Sequence[str], numbers: Sequence[str]) -> tuple[str, ...]:
    """The equation with numbers in place of slots."""
    return tuple(
        numbers[int(part.removeprefix("number"))] if part.startswith("number") else part
        for part in equation
    )


VARIATIONS: dict[str, Callable[[Problem, random.Random], Changed | None]] = {
    "single_number": single_number,
    "multi_number": multi_number,
    "added_step": added_step,
    "distractor": distractor,
    CONTROL: control,
}
DEFAULT_KINDS = ("single_number", "multi_number", "added_step", CONTROL)


def varied(problem: Problem, kind: str, seed: int = 0) -> ContextPair | None:
    """A problem and its variation of a kind; None where the problem has none."""
    if kind not in VARIATIONS:
        raise KeyError(f"unknown kind {kind!r}; choose from {', '.join(VARIATIONS)}")
    rng = random.Random(f"{seed} {kind} {problem.id}")
    changed = VARIATIONS[kind](problem, rng)
    if changed is None:
        return None
    text, equation = changed
    own = _filled(problem.equation, problem.numbers)
    return ContextPair(
        id=f"{problem.id}-{kind}",
        kind=kind,
        context=problem.text(problem.numbers),
        alt_context=text,
        answer=written(values_of(own, ())[0]),
        alt_answer=written(values_of(equation, ())[0]),
        equation=" ".join(own),
        alt_equation=" ".join(equation),
    )


def varied_pairs(
    problems: Sequence[Problem],
    n: int,
    *,
    kinds: Sequence[str] = DEFAULT_KINDS,
    seed: int = 0,
) -> list[ContextPair]:
    """`n` pairs of different problems, the kinds in turn; fewer where the problems do not suffice."""
    rest = random.Random(f"{seed} pairs").sample(list(problems), len(problems))
    found: list[ContextPair] = []
    while rest and len(found) < n:
        kind = kinds[len(found) % len(kinds)]
        for place, problem in enumerate(rest):
            pair = varied(problem, kind, seed)
            if pair is not None:
                found.append(pair)
                del rest[place]
                break
        else:
            break
    return found

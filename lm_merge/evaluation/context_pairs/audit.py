"""An independent check of word problems: numbers are read from the text, equations evaluated anew."""

import re
from collections.abc import Iterable, Sequence

import sympy

from lm_merge.evaluation.context_pairs.schema import CONTROL, ContextPair

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?!\.?\d)")
SAME_ANSWER = (CONTROL, "distractor")
TOLERANCE = sympy.Rational(1, 1000)


def rational_value(equation: Sequence[str]) -> sympy.Rational:
    """Value of an equation in prefix notation, by sympy's rationals."""
    stack: list[sympy.Rational] = []
    for part in reversed(list(equation)):
        if part in "+-*/":
            left, right = stack.pop(), stack.pop()
            done = {"+": left + right, "-": left - right, "*": left * right}
            stack.append(left / right if part == "/" else done[part])
        else:
            number = sympy.Rational(part)
            assert isinstance(number, sympy.Rational), part
            stack.append(number)
    (value,) = stack
    return value


def violations(pairs: Iterable[ContextPair]) -> list[str]:
    """One sentence for each pair whose text, equation and answer do not belong together."""
    found = []
    for pair in pairs:
        sides = (
            ("context", pair.context, pair.equation, pair.answer),
            ("alt_context", pair.alt_context, pair.alt_equation, pair.alt_answer),
        )
        values = []
        for name, text, equation, answer in sides:
            value = rational_value(equation.split())
            values.append(value)
            if abs(value - sympy.Rational(answer)) > TOLERANCE * max(abs(value), TOLERANCE):
                found.append(f"{pair.id}: {name} has answer {answer}, its equation gives {value}")
            missing = _numbers(equation) - _numbers(text) - _constants(pair)
            if missing:
                found.append(
                    f"{pair.id}: the equation of {name} reads {sorted(missing)}, not in its text"
                )
        if (values[0] == values[1]) != (pair.kind in SAME_ANSWER):
            found.append(f"{pair.id}: kind {pair.kind} with answers {values[0]} and {values[1]}")
        if values[1] < 0 <= values[0]:
            found.append(f"{pair.id}: the changed answer {values[1]} is negative")
    return found


def _numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(text))


def _constants(pair: ContextPair) -> set[str]:
    """Numbers that the original equation has of itself, such as 12 months a year."""
    own = {one for one in pair.equation.split() if one not in "+-*/"}
    return own - _numbers(pair.context)

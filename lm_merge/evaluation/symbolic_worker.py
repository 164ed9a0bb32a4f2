"""The process in which answers are parsed: one JSON request a line in, one verdict a line out.

Started by path, never imported: it must not load the library, and whatever an answer makes it do
stays in here. The parent watches the clock and kills it; memory is limited from the start.
"""

import json
import logging
import re
import resource
import sys
from typing import Any

DECIMAL = re.compile(r"[-+]?\d*\.(\d{3,})")  # three decimals or more: read as rounded


def limit_memory(n_bytes: int) -> None:
    """Refuse this process more address space than that, and core files."""
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def expressions(text: str) -> list[Any]:
    """What math-verify reads in an answer: a sympy expression and the text it comes from."""
    from math_verify import parse

    return parse(f"\\boxed{{{text}}}", parsing_timeout=None)  # pyright: ignore[reportArgumentType]


def agrees_when_rounded(given: Any, reference: str) -> bool:
    """Whether a value rounds to a reference of three or more decimals, at its last digit."""
    import sympy

    match = DECIMAL.fullmatch(reference.replace(" ", "").strip("$"))
    if match is None or not isinstance(given, sympy.Expr) or not given.is_number:
        return False
    half_unit = sympy.Rational(1, 2 * 10 ** len(match.group(1)))
    difference = sympy.Abs(given.evalf(30) - sympy.Rational(match.group(0)))
    return bool(difference <= half_unit)


def differ_by_a_constant(given: Any, reference: Any) -> bool:
    """Whether the derivative of the difference by x vanishes."""
    import sympy

    if not isinstance(given, sympy.Expr) or not isinstance(reference, sympy.Expr):
        return False
    # by name: math-verify's symbols carry assumptions, so that sympy.Symbol("x") is another one
    variables = [one for one in reference.free_symbols if str(one) == "x"]
    return bool(variables) and sympy.simplify(sympy.diff(given - reference, variables[0])) == 0


def verdict(request: dict[str, Any]) -> bool:
    """Whether two answers are equal as mathematics."""
    from math_verify import verify

    given, reference = expressions(request["given"]), expressions(request["reference"])
    if not given or not reference:
        return False
    if verify(reference, given, timeout_seconds=None):  # pyright: ignore[reportArgumentType]
        return True
    if agrees_when_rounded(given[0], request["reference"]):
        return True
    return request["up_to_constant"] and differ_by_a_constant(given[0], reference[0])


def main() -> None:
    """Answer requests until standard input ends."""
    logging.disable(logging.CRITICAL)  # math-verify logs what it cannot read
    from math_verify import parse

    parse("\\boxed{1}", parsing_timeout=None)  # pyright: ignore[reportArgumentType] # warms up
    limit_memory(int(sys.argv[1]))
    sys.stdout.write('"ready"\n')
    sys.stdout.flush()
    for line in sys.stdin:
        try:
            answer: bool | str = verdict(json.loads(line))
        except (Exception, RecursionError) as error:  # noqa: BLE001 # any failure is an answer
            answer = type(error).__name__
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Public examples of programming questions, and whether a model's program passes them.

The hidden tests of such questions are not known here, so the measure is called *public-example pass*:
necessary for a right program, not sufficient. It runs a model's code, in a sandbox, and only where it
is asked for.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm_merge.evaluation.sandbox import SandboxLimits, run_program
from lm_merge.zoo.thoughts import after_thoughts

_BLOCK = re.compile(
    r"^(?:(?!```)[^\n])*(?P<fence>`{3,})[ \t]*(?P<language>\w*)[^`\n]*\n"  # it ends its line
    r"(?P<content>.*?)"
    # closed at the start or the end of a line, cut off by the next block's opening, or never closed
    r"(?:^[ \t]*(?P=fence)(?!\w)|(?P=fence)`*[ \t]*$|(?=^[ \t]*(?P=fence)\w)|\Z)",
    re.DOTALL | re.MULTILINE,
)
_PYTHON = ("", "py", "python", "python3")  # the language names of a program's block
_STDIN = re.compile(
    r"Sample Input ?(?P<index>\d*):?\s*\n(?P<given>.*?)"
    r"Sample Output ?(?P=index):?\s*\n\s*(?P<wanted>.*?)\s*(?=\n\s*\n|\Z)",
    re.DOTALL,
)
_CALL = re.compile(r"^Input: ?(?P<given>.*?)\n\s*Output: ?(?P<wanted>.*?)\s*$", re.DOTALL | re.M)
_ARGUMENT = re.compile(r"(?:^|,)\s*([A-Za-z_]\w*) *=(?!=)")
_CONSTANTS = {"true": "True", "false": "False", "null": "None"}
_PREAMBLE = """\
import bisect, collections, functools, heapq, itertools, math, random, re, string
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *

"""  # such questions are set where these names are there already
_DRIVER = """

import json as _json, sys as _sys
_method = [name for name in vars(Solution) if not name.startswith("_")][-1]
for _arguments in _json.loads(_sys.stdin.read()):
    print(_json.dumps(getattr(Solution(), {method!r} or _method)(*_arguments)))
"""


@dataclass(frozen=True)
class Examples:
    """What a question shows: inputs with the outputs wanted.

    style: "stdin" (text in, text out) or "call" (arguments of a method of the class Solution).
    """

    style: str
    given: tuple[Any, ...]
    wanted: tuple[Any, ...]


def public_examples(question: str) -> Examples | None:
    """The examples in a programming question's text; None where none can be read.

    Blank lines of sample inputs are dropped, since some sources double every line break; a sample
    output ends at its first blank line, which the explanation follows.
    """
    stdin = [
        (_without_blank_lines(match["given"]), match["wanted"])
        for match in _STDIN.finditer(question)
    ]
    if stdin:
        return Examples("stdin", *map(tuple, zip(*stdin, strict=True)))
    calls = []
    for match in _CALL.finditer(question):
        given, wanted = _arguments(match["given"]), _literal(match["wanted"])
        if given is None or wanted is _UNREADABLE:
            return None
        calls.append((given, wanted))
    return Examples("call", *map(tuple, zip(*calls, strict=True))) if calls else None


def extract_program(text: str) -> str:
    """The last fenced block of Python, or without a named language, that is not empty.

    The whole text where it has none. Only what follows the last `</think>` is read; a thought that
    never ends has no program, and gives the empty string.
    """
    text = after_thoughts(text)
    blocks = [
        match["content"]
        for match in _BLOCK.finditer(text)
        if match["language"].lower() in _PYTHON and match["content"].strip()
    ]
    return blocks[-1] if blocks else text


def passes_public_examples(
    text: str, examples: Examples, limits: SandboxLimits | None = None
) -> bool:
    """Whether the program in a model's text gives every example's output. Runs it, in a sandbox.

    Outputs are compared word by word; numbers in them within 1e-6, relative or absolute.
    """
    program = extract_program(text)
    if not program.strip():
        return False
    if examples.style == "stdin":
        return all(
            _prints(program, given, wanted, limits)
            for given, wanted in zip(examples.given, examples.wanted, strict=True)
        )
    methods = re.findall(r"^    def ([a-zA-Z]\w*)\(\s*self", program, re.M)
    if "class Solution" not in program or not methods:
        return False
    names = [name for name in methods if len(methods) == 1 or name[0].islower()]
    source = _PREAMBLE + program + _DRIVER.format(method=_main_method(program, names))
    result = run_program(source, json.dumps(examples.given), limits)
    lines = result.stdout.splitlines()[-len(examples.wanted) :]
    if result.status != "finished" or len(lines) != len(examples.wanted):
        return False
    return all(
        _same_value(_parsed(line), wanted)
        for line, wanted in zip(lines, examples.wanted, strict=True)
    )


def _main_method(program: str, names: Sequence[str]) -> str:
    """The method that no other calls: the one that the question asked for; "" if that is not one."""
    called = set(re.findall(r"self\.(\w+)\(", program))
    free = [name for name in names if name not in called]
    return free[0] if free else (names[0] if names else "")


def _prints(program: str, given: str, wanted: str, limits: SandboxLimits | None) -> bool:
    result = run_program(program, given, limits)
    return result.status == "finished" and _same_words(result.stdout, wanted)


def _same_words(printed: str, wanted: str) -> bool:
    one, other = printed.split(), wanted.split()
    return len(one) == len(other) and all(
        a == b or a.lower() == b.lower() in ("yes", "no") or _close(_number(a), _number(b))
        for a, b in zip(one, other, strict=True)
    )


def _same_value(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list) and isinstance(value, list):
        return len(value) == len(wanted) and all(map(_same_value, value, wanted))
    if isinstance(wanted, bool) or isinstance(value, bool):
        return value is wanted
    if isinstance(wanted, (int, float)) and isinstance(value, (int, float)):
        return _close(value, wanted)
    return value == wanted


def _close(one: int | float | None, other: int | float | None) -> bool:
    if one is None or other is None:
        return False
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return abs(one - other) <= 1e-6 * max(1.0, abs(other))


def _number(word: str) -> int | float | None:
    if re.fullmatch(r"[-+]?\d{1,4000}", word):
        return int(word)
    return float(word) if re.fullmatch(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?", word) else None


def _without_blank_lines(text: str) -> str:
    return "".join(line + "\n" for line in text.splitlines() if line.strip())


_UNREADABLE = object()


def _literal(text: str) -> Any:
    words = re.sub(r"\b(true|false|null)\b", lambda word: _CONSTANTS[word.group()], text.strip())
    try:
        return ast.literal_eval(words)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return _UNREADABLE


def _arguments(text: str) -> list[Any] | None:
    """Values of `name = value, name = value`, in order."""
    parts = _ARGUMENT.split(" ".join(text.split()))[2::2]
    values = [_literal(part) for part in parts]
    return None if not values or any(value is _UNREADABLE for value in values) else values


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _UNREADABLE

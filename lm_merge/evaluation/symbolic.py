"""Symbolic equality of answers, decided in a process that can be killed."""

import importlib.util
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("symbolic_worker.py")
LONGEST = 500  # characters of an answer; a longer one is not parsed
_START_S = 60.0  # a worker imports sympy first
_NUMBER = re.compile(r"[-+]?\d{1,300}(?:\.\d{1,300})?")


class SymbolicChecker:
    """Whether two answers are equal as mathematics, by math-verify and sympy.

    Parsing an answer may never end or take all memory (9**9**9), so it happens in a subprocess with
    limited address space; one that has not answered after `timeout_s` is killed and replaced. One
    worker serves all questions, and starts at the first that plain comparison cannot settle.

        with SymbolicChecker() as checker:
            checker.equal(r"\\frac{1}{2}", "0.5")  # True

    `undecided` lists the answers that ended in a timeout or an error, with the reason; they count as
    unequal. Raises ImportError where math-verify is missing (`pip install 'lm-merge[judge]'`).
    """

    def __init__(self, timeout_s: float = 5.0, memory_bytes: int = 2 << 30) -> None:
        self.timeout_s, self.memory_bytes = timeout_s, memory_bytes
        self.undecided: list[tuple[str, str]] = []
        self._known: dict[tuple[str, str, bool], bool] = {}
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "SymbolicChecker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; a later question starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def equal(self, given: str, reference: str, *, up_to_constant: bool = False) -> bool:
        """Whether an answer equals the reference, both as they stand in a box.

        A reference with three decimals or more is read as rounded: what rounds to it is equal, and
        fewer digits than the reference gives are not. up_to_constant: any antiderivative in x.
        """
        plain = _plainly_equal(given, reference)
        if plain is not None:
            return plain
        key = (given, reference, up_to_constant)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._ask(*key)
            return self._known[key]

    def _ask(self, given: str, reference: str, up_to_constant: bool) -> bool:
        if max(len(given), len(reference)) > LONGEST:
            return self._undecided(given, f"longer than {LONGEST} characters")
        if self._worker is None:
            self._worker = _Worker(self.memory_bytes)
        request = {"given": given, "reference": reference, "up_to_constant": up_to_constant}
        answer = self._worker.ask(request, self.timeout_s)
        if isinstance(answer, bool):
            return answer
        if self._worker.dead:
            self._worker = None
        return self._undecided(given, answer)

    def _undecided(self, given: str, reason: str) -> bool:
        self.undecided.append((given[:LONGEST], reason))
        return False


class _Worker:
    """One process that answers one request at a time, until it is killed."""

    def __init__(self, memory_bytes: int) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise ImportError("symbolic equality needs math-verify: pip install 'lm-merge[judge]'")
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(WORKER), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env={"PATH": os.defpath, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.dead = False
        if self._next(_START_S) != "ready":
            raise RuntimeError(f"the worker {WORKER.name} did not start within {_START_S:g} s")

    def ask(self, request: dict[str, Any], timeout_s: float) -> bool | str:
        """The verdict, or in words why there is none."""
        stdin: Any = self._process.stdin
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except BrokenPipeError:
            self.kill()
            return "the worker has died"
        return self._next(timeout_s)

    def kill(self) -> None:
        """End the process at once and wait until it has gone."""
        self.dead = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            _closed(pipe.close if pipe is not None else None)
        self._folder.cleanup()

    def _next(self, timeout_s: float) -> bool | str:
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            return f"no answer within {timeout_s:g} s"
        if not line:
            self.kill()
            return "the worker has died"
        return json.loads(line)

    def _read(self) -> None:
        stdout: Any = self._process.stdout
        for line in stdout:
            self._answers.put(line)
        self._answers.put("")


def _closed(close: Callable[[], None] | None) -> None:
    try:
        if close is not None:
            close()
    except BrokenPipeError:  # what was still to be written has no reader any more
        pass


def _plainly_equal(given: str, reference: str) -> bool | None:
    """Equality of what needs no parser: equal text, or two integers or decimals; else None."""
    given, reference = (re.sub(r"\s|\\[,;! ]|\$", "", text) for text in (given, reference))
    if given == reference:
        return True
    if _NUMBER.fullmatch(given) and _NUMBER.fullmatch(reference):
        digits = len(reference.partition(".")[2])
        if digits < 3:
            return Fraction(given) == Fraction(reference)
        return abs(Fraction(given) - Fraction(reference)) <= Fraction(1, 2 * 10**digits)
    return None

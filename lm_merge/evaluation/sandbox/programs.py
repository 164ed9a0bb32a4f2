"""One program that is not trusted, run in isolation, with what it wrote."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Literal

from lm_merge.evaluation.sandbox.bubblewrap import (
    REMEDY,
    SandboxUnavailable,
    isolation,
    launch,
)

Status = Literal["finished", "failed", "timeout", "output_limit"]
_PIECE = 1 << 16


@dataclass(frozen=True)
class SandboxLimits:
    """What a program may use.

    cpu_s: seconds of CPU of each process. wall_s: seconds by the clock. memory_bytes: address space
    of each process. file_bytes: all files that it keeps. output_bytes: of standard output, and as
    many of standard error. n_processes: processes and threads at a time.
    """

    cpu_s: int = 10
    wall_s: float = 20.0
    memory_bytes: int = 512 << 20
    file_bytes: int = 1 << 20
    output_bytes: int = 1 << 20
    n_processes: int = 16


@dataclass(frozen=True)
class SandboxResult:
    """How a program ended and what it wrote; isolation: in words, what it ran under."""

    status: Status
    stdout: str
    stderr: str
    isolation: str


def run_program(code: str, stdin: str = "", limits: SandboxLimits | None = None) -> SandboxResult:
    """Run a Python program on an input; nothing that the program does raises an error here.

    status: "finished" (exit status 0), "failed" (any other end, CPU time and memory included),
    "timeout" (the wall clock), "output_limit" (it wrote more than it may, and was ended).
    Raises SandboxUnavailable where the program could not be started in isolation: it did not run.
    """
    limits = SandboxLimits() if limits is None else limits
    way = isolation()
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as ready:
        with launch(way, code, asdict(limits), writer) as started:
            process = subprocess.Popen(
                started.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=started.descriptors,
                env={},
                start_new_session=True,
            )
            os.close(writer)
            status, wrote, complained = _watched(process, stdin.encode(errors="replace"), limits)
        if ready.read() != b"ready" and status != "timeout":
            raise SandboxUnavailable(f"bubblewrap did not start: {complained.strip()}: {REMEDY}")
    return SandboxResult(status, wrote, complained, str(way))


def _watched(
    process: subprocess.Popen[bytes], given: bytes, limits: SandboxLimits
) -> tuple[Status, str, str]:
    """Feed a process, gather what it writes, and end it at its limits; nothing of it is left."""
    pipes = (process.stdout, process.stderr)
    outputs = [
        _Gathered(pipe, limits.output_bytes, process.kill) for pipe in pipes if pipe is not None
    ]
    feeder = threading.Thread(target=_feed, args=(process.stdin, given), daemon=True)
    feeder.start()
    try:
        code = process.wait(timeout=limits.wall_s)
        status: Status = "finished" if code == 0 else "failed"
    except subprocess.TimeoutExpired:
        status = "timeout"
    finally:  # an interrupt of the caller ends the program too
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wrote, complained = (output.text() for output in outputs)
        feeder.join()
    if any(output.is_over for output in outputs):
        status = "output_limit"
    return status, wrote, complained


class _Gathered:
    """What comes out of a pipe, up to a limit; above it the writer is ended."""

    def __init__(self, pipe: IO[bytes], n_bytes: int, end: Callable[[], None]) -> None:
        self._pipe, self._n_bytes, self._end = pipe, n_bytes, end
        self._content = bytearray()
        self.is_over = False
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The text up to the limit, once the pipe has ended."""
        self._thread.join()
        return self._content[: self._n_bytes].decode(errors="replace")

    def _gather(self) -> None:
        with self._pipe as pipe:
            while piece := os.read(pipe.fileno(), _PIECE):
                self._content += piece
                if len(self._content) > self._n_bytes:
                    self.is_over = True
                    self._end()
                    return


def _feed(pipe: IO[bytes], content: bytes) -> None:
    with suppress(BrokenPipeError):  # the program ended, or reads no further
        try:
            pipe.write(content)
        finally:
            pipe.close()

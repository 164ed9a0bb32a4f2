"""Programs that are not trusted, run in a process with limits.

    result = run_program("print(int(input()) + 1)", "41")
    result.stdout  # "42\\n"

Kept by the kernel: CPU time, memory (of each process), file size, number of open files and of
processes; the end of all its processes by the wall clock; no new privileges; an empty environment; and
where namespaces are allowed a network of its own without any connection, and process numbers of its
own, so that it can signal no process outside.

Kept by Python's audit hook alone, which a determined program can get round: no sockets, new processes
or native code, and no files but those of its own folder, which is deleted afterwards, and Python's
library. There is no file system of its own. So what lies behind the hook is

- run by root: the user nobody, who can read what all users can read and write what all can write, such
  as /tmp and /dev/shm, and reach other processes of nobody where there is no process namespace. Where
  nobody cannot read Python's library the program stays root, and only the hook keeps it from
  everything; `isolation` then lacks "unprivileged_user".
- run by another user: that user, with all of that user's files.

System calls are not filtered. For programs that mean harm add a container or a virtual machine.
`isolation` of each result names what was in force. Nothing in this library runs a model's code unless
it is asked to by name.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

CHILD = Path(__file__).with_name("sandbox_child.py")
Status = Literal["finished", "failed", "timeout"]


@dataclass(frozen=True)
class SandboxLimits:
    """What a program may use: seconds of CPU and of wall time, bytes, number of processes."""

    cpu_s: int = 10
    wall_s: float = 20.0
    memory_bytes: int = 512 << 20
    file_bytes: int = 1 << 20
    n_processes: int = 16


@dataclass(frozen=True)
class SandboxResult:
    """How a program ended and what it wrote.

    isolation: "network_namespace", "process_namespace", "unprivileged_user", as far as they were in
    force. Without the first, Python's own sockets are still refused, by the audit hook.
    """

    status: Status
    stdout: str
    stderr: str
    isolation: tuple[str, ...]


def run_program(code: str, stdin: str = "", limits: SandboxLimits | None = None) -> SandboxResult:
    """Run a Python program on an input and say how it ended; never raises for what it does.

    "timeout" is the wall clock; a program out of CPU time or memory is "failed". Needs Linux.
    """
    if sys.platform != "linux":
        raise OSError(f"platform {sys.platform!r}: untrusted programs are run on Linux only")
    limits = SandboxLimits() if limits is None else limits
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        Path(folder, "program.py").write_text(code, encoding="utf-8", errors="replace")
        given.write(stdin.encode())
        given.seek(0)
        reader, writer = os.pipe()
        command = [sys.executable, "-I", "-S", "-B", str(CHILD), json.dumps(asdict(limits))]
        process = subprocess.Popen(
            [*command, str(writer)],
            stdin=given,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={},
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        status = _wait(process, limits.wall_s)
        os.set_blocking(reader, False)  # a program that still holds the other end must not hold us
        with os.fdopen(reader, "rb") as pipe:
            isolation = (pipe.read() or b"").decode().split()
        wrote, complained = (_read(file, limits.file_bytes) for file in (stdout, stderr))
    return SandboxResult(status, wrote, complained, tuple(isolation))


def _wait(process: subprocess.Popen, wall_s: float) -> Status:
    """How the process ended; afterwards nothing of its session is left."""
    try:
        code = process.wait(timeout=wall_s)
        status: Status = "finished" if code == 0 else "failed"
    except subprocess.TimeoutExpired:
        status = "timeout"
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # all have gone already
        pass
    process.wait()
    return status


def _read(file, n_bytes: int) -> str:
    file.seek(0)
    return file.read(n_bytes).decode(errors="replace")

"""The isolation itself: a `bwrap` command, how its working is checked, and what to do without it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from lm_merge.evaluation.sandbox.syscall_filter import MACHINE, filter_program

LAUNCHER = Path(__file__).with_name("launcher.py")
REMEDY = (
    "install bubblewrap 0.8 or newer ('apt-get install bubblewrap', 'dnf install bubblewrap'), in a "
    "container started with the right to make namespaces ('docker run --privileged'), or leave "
    "programs unmarked with run_code=false"
)
_WORK = "/work"  # the one folder that a program can write to
_USER_IDS = range(61184, 65520)  # users without a name, for a caller that is root
_PROBE_S = 30.0


class SandboxUnavailable(OSError):
    """Programs of models cannot be isolated here, so they are not run. The text has the remedy."""


@dataclass(frozen=True)
class Way:
    """How a program's user differs from the caller.

    changes_user: the caller is root, and the launcher becomes a user without a name or rights, whose
    processes the kernel can count; otherwise a user namespace maps the caller to nobody.
    """

    bwrap: str
    version: str
    changes_user: bool

    def __str__(self) -> str:
        user = "an unprivileged user" if self.changes_user else "a user namespace"
        return (
            f"bubblewrap {self.version}: own process, mount, network, IPC and host-name namespaces, "
            f"{user}, a read-only root and a system-call filter"
        )


@dataclass(frozen=True)
class Launch:
    """A command that starts one program, and the file descriptors that it must inherit."""

    command: list[str]
    descriptors: tuple[int, ...]


@cache
def isolation() -> Way:
    """The way that works here, tried once. Raises SandboxUnavailable."""
    if sys.platform != "linux" or platform.machine() != MACHINE:
        raise SandboxUnavailable(
            f"programs of models are run on Linux on {MACHINE} only, and this is {sys.platform} on "
            f"{platform.machine()}; leave programs unmarked with run_code=false"
        )
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailable(
            f"programs of models are run under bubblewrap only, and there is no bwrap here: {REMEDY}"
        )
    version = subprocess.run([bwrap, "--version"], capture_output=True, text=True).stdout
    way = Way(bwrap, version.split()[-1] if version else "?", changes_user=os.geteuid() == 0)
    trouble = _trouble(way)
    if trouble is not None:
        raise SandboxUnavailable(
            f"programs of models are run under bubblewrap only, and {bwrap} does not work here "
            f"({trouble}): {REMEDY}"
        )
    return way


def isolation_in_use() -> str:
    """The isolation in which programs are run here, in words. Raises SandboxUnavailable."""
    return str(isolation())


@contextmanager
def launch(way: Way, code: str, limits: Mapping[str, int | float], ready: int) -> Iterator[Launch]:
    """The command that runs a program in isolation.

    limits: the fields of `SandboxLimits`. ready: descriptor of a pipe, into which the launcher
    writes once everything is in force and the program is about to start.
    """
    with TemporaryDirectory() as folder, TemporaryFile() as seccomp:
        program, launcher = Path(folder, "program.py"), Path(folder, "launcher.py")
        program.write_text(code, encoding="utf-8", errors="replace")
        shutil.copyfile(LAUNCHER, launcher)
        for path in (program, launcher):
            path.chmod(0o644)
        user = _USER_IDS[os.getpid() * 31 % len(_USER_IDS)] if way.changes_user else None
        settings = json.dumps({**limits, "user": user, "ready": ready})
        _write(seccomp, filter_program())
        python = os.path.realpath(sys.executable)
        command = [
            *_bwrap(way, int(limits["file_bytes"]), seccomp.fileno()),
            *("--ro-bind", str(program), "/program/program.py"),
            *("--ro-bind", str(launcher), "/program/launcher.py"),
            *("--remount-ro", "/"),
            *("--chdir", _WORK),
            *("--", python, "-I", "-S", "-B", "/program/launcher.py", settings),
        ]
        yield Launch(command, (seccomp.fileno(), ready))


def _bwrap(way: Way, file_bytes: int, seccomp: int) -> list[str]:
    separate = [f"--unshare-{one}" for one in ("pid", "net", "ipc", "uts", "cgroup-try")]
    user = ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
    rights = ["--cap-drop", "ALL"]
    if way.changes_user:  # the launcher gives these up with its user
        user, rights = [], [*rights, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [
        *(way.bwrap, "--die-with-parent", "--new-session", "--clearenv"),
        *(*separate, *user, *rights),
        *("--hostname", "sandbox", "--seccomp", str(seccomp)),
        *_mounts(),
        *("--perms", "0777", "--size", str(file_bytes), "--tmpfs", _WORK),
    ]


def _mounts() -> list[str]:
    """Python, the libraries that it needs, /dev/null and /dev/urandom: nothing else can be read."""
    prefix = Path(sys.base_prefix)
    library = Path(os.__file__).parent
    places = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
    places += [os.path.realpath(sys.executable), str(prefix / "lib"), str(library)]
    devices = ("/dev/null", "/dev/urandom")
    mounts = []
    for parent in _parents([*places, *devices, "/program/program.py"]):
        mounts += [
            "--perms",
            "0755",
            "--dir",
            parent,
        ]  # bubblewrap's own could not be passed through
    for place in dict.fromkeys(places):
        if Path(place).is_symlink():
            mounts += ["--symlink", os.readlink(place), place]
        else:
            mounts += ["--ro-bind-try", place, place]
    return [*mounts, *(word for device in devices for word in ("--dev-bind", device, device))]


def _parents(places: Iterable[str]) -> list[str]:
    """Every folder above a place, the upper ones first."""
    above = {str(folder) for place in places for folder in Path(place).parents}
    return sorted(above - {"/", *places})


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    file.seek(0)


def _trouble(way: Way) -> str | None:
    """Why a way does not work here; None where it does."""
    reader, writer = os.pipe()
    limits = {"cpu_s": 10, "memory_bytes": 1 << 29, "file_bytes": 1 << 20, "n_processes": 16}
    with os.fdopen(reader, "rb") as ready:
        with launch(way, "pass", limits, writer) as started:
            ended = subprocess.run(
                started.command,
                pass_fds=started.descriptors,
                capture_output=True,
                text=True,
                timeout=_PROBE_S,
            )
        os.close(writer)
        if ended.returncode == 0 and ready.read() == b"ready":
            return None
    return (ended.stderr.strip().splitlines() or [f"it ended with {ended.returncode}"])[-1]

"""The process that fences itself in and then runs a program it does not trust.

Started by path with `python -I -S`, never imported: `sandbox_child.py <settings as JSON> <pipe>`.
The kernel's limits come first (namespaces, resource limits, an unprivileged user), then an audit hook
that refuses the plain ways out of Python. What could be set up goes to the pipe, one word each.
"""

import ctypes
import json
import os
import posix
import pwd
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
STDLIB = os.path.dirname(os.__file__)
REFUSED = (  # beginnings of audit events
    "socket.", "ctypes.", "subprocess.", "pty.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn",
    "os.system", "os.kill", "os.symlink", "os.link", "os.chmod", "os.chown", "signal.pthread_kill",
    "ftplib.", "http.", "imaplib.", "nntplib.", "poplib.", "smtplib.", "urllib.", "webbrowser.",
    "sqlite3.", "syslog.",
)  # fmt: skip
REFUSED_IMPORTS = (
    "_ctypes", "ctypes", "_posixsubprocess", "_testcapi", "_testinternalcapi",
    # these open files, shared memory or interpreters in C, where no audit event tells of it
    "_sqlite3", "_dbm", "_gdbm", "_posixshmem", "_multiprocessing", "_tkinter", "readline",
    "_interpreters", "_xxsubinterpreters",
)  # fmt: skip
UNAUDITED = ("mkfifo", "mknod")  # functions of os that make files and raise no audit event
CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.utime", "shutil.")


def unshare(libc: Any, flags: int) -> bool:
    """Leave the parent's namespaces; whether the kernel allowed it."""
    return libc.unshare(flags) == 0


def leave_namespaces(libc: Any) -> list[str]:
    """No network but a loopback that is down, no sight of other processes."""
    user = 0 if os.geteuid() == 0 else CLONE_NEWUSER  # root needs no namespace of users for it
    if unshare(libc, user | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC):
        return ["network_namespace", "process_namespace"]
    return ["network_namespace"] if unshare(libc, user | CLONE_NEWNET) else []


def drop_root(folder: str) -> list[str]:
    """Become the user nobody, where that user can still read Python's library."""
    if os.geteuid() != 0:
        return ["unprivileged_user"]
    nobody = pwd.getpwnam("nobody")
    probe = os.fork()
    if probe == 0:
        os.setuid(nobody.pw_uid)
        os._exit(0 if os.access(os.path.join(STDLIB, "heapq.py"), os.R_OK) else 1)
    if os.waitpid(probe, 0)[1] != 0:
        return []
    for path in [folder, *(os.path.join(folder, name) for name in os.listdir(folder))]:
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    return ["unprivileged_user"]


def limit(settings: dict[str, Any]) -> None:
    """Limits of the kernel on this process and its children."""
    limits = {
        resource.RLIMIT_CPU: settings["cpu_s"],
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NPROC: settings["n_processes"],
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
    }
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))


def watcher(folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that refuses network, processes, native code and files outside the folder."""
    inside = os.path.realpath(folder) + os.sep
    readable = (inside, os.path.realpath(STDLIB) + os.sep, "/dev/null", "/dev/urandom")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    realpath, fsdecode, refusal = os.path.realpath, os.fsdecode, PermissionError
    refused, refused_imports, changing = REFUSED, REFUSED_IMPORTS, CHANGING

    def allowed(path: Any, places: tuple[str, ...]) -> bool:
        return isinstance(path, int) or realpath(fsdecode(path)).startswith(places)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(refused):
            raise refusal(f"the sandbox refuses {event}")
        if event == "import" and arguments[0] in refused_imports:
            raise refusal(f"the sandbox refuses to import {arguments[0]}")
        if event == "open":
            path, _, flags = arguments
            if not allowed(path, (inside,) if flags & writing else readable):
                raise refusal(f"the sandbox refuses to open {path!r}")
        if event.startswith(changing):
            paths = [one for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
            if not all(allowed(path, (inside,)) for path in paths):
                raise refusal(f"the sandbox refuses {event} of {paths}")

    return watch


def wait_for(child: int) -> None:
    """Wait for the one child that matters, then end as it ended, and all its children with it."""
    while True:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) % 256)


def main() -> None:
    """Fence in, say how far that went, run."""
    settings, pipe = json.loads(sys.argv[1]), int(sys.argv[2])
    folder = os.getcwd()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    done = leave_namespaces(libc)
    if "process_namespace" in done:
        for _ in range(2):  # the first child is process 1 there; when it ends, all end
            child = os.fork()
            if child != 0:
                wait_for(child)
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    done += drop_root(folder)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.write(pipe, " ".join(done).encode())
    os.close(pipe)
    limit(settings)
    sys.argv, sys.path = ["program.py"], [path for path in sys.path if path != sys.path[0]]
    for name in ("ctypes", "_ctypes"):
        sys.modules.pop(name, None)
    for name in UNAUDITED:
        for module in (os, posix):
            delattr(module, name)
    program = os.path.join(folder, "program.py")
    sys.addaudithook(watcher(folder))
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()

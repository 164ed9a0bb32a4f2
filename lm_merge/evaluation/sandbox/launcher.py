"""The first program inside the isolation: it sets the limits, gives up its rights, runs the other one.

Started by path with `python -I -S`, never imported: `launcher.py <settings as JSON>`. All that it does
binds this process and its children for good; only then the program starts.
"""

import json
import os
import resource
import runpy
import sys

N_OPEN_FILES = 32


def give_up_rights(user: int | None) -> None:
    """Become a user who owns nothing and may do nothing; None: a user namespace has done that."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def limit(settings: dict[str, int]) -> None:
    """Limits of the kernel on this process and its children."""
    limits = {
        resource.RLIMIT_CPU: settings["cpu_s"],
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NPROC: settings["n_processes"],
        resource.RLIMIT_NOFILE: N_OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))


def main() -> None:
    """Limit, report, run."""
    settings = json.loads(sys.argv[1])
    give_up_rights(settings["user"])
    limit(settings)
    os.write(settings["ready"], b"ready")
    os.close(settings["ready"])
    sys.argv, sys.path = ["program.py"], [path for path in sys.path if path != sys.path[0]]
    runpy.run_path("/program/program.py", run_name="__main__")


if __name__ == "__main__":
    main()

"""Programs that models wrote, run under the isolation of bubblewrap, or not at all.

    from lm_merge.evaluation.sandbox import isolation_in_use, run_program

    isolation_in_use()  # a sentence; SandboxUnavailable, with the remedy, where there is none
    run_program("print(int(input()) + 1)", "41").stdout  # "42\\n"

A program starts in namespaces of its own (processes, mounts, network, IPC, host name), without
capabilities, with a read-only file system that contains Python and its libraries and nothing else, one
small folder to write into, an empty environment, and a filter of system calls. Limits: seconds of CPU
and of wall time, memory of each process, number of processes, bytes of files and of output.

The kernel keeps these rules, so nothing that a program does inside Python can lift them. The kernel
itself is shared: a fault of the kernel is a way out, and so programs of an adversary belong in a
virtual machine. Memory that the kernel uses for a program, such as names of empty files, has no limit
of its own.
"""

from lm_merge.evaluation.sandbox.bubblewrap import SandboxUnavailable, isolation_in_use
from lm_merge.evaluation.sandbox.programs import SandboxLimits, SandboxResult, run_program

__all__ = [
    "SandboxLimits",
    "SandboxResult",
    "SandboxUnavailable",
    "isolation_in_use",
    "run_program",
]

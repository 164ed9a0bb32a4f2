"""Programs in isolation: what they read, write and may use."""

import dataclasses

import psutil
import pytest

from lm_merge.evaluation.sandbox import SandboxLimits, run_program

pytestmark = pytest.mark.usefixtures("isolated")
LIMITS = SandboxLimits(
    cpu_s=2, wall_s=20.0, memory_bytes=256 << 20, file_bytes=1 << 16, output_bytes=1 << 16
)


def test_a_program_reads_its_input_and_writes_its_output(isolated):
    result = run_program("import heapq, math\nprint(int(input()) + 1)", "41\n", LIMITS)
    assert (result.status, result.stdout, result.stderr) == ("finished", "42\n", "")
    assert result.isolation == isolated
    assert "bubblewrap" in isolated


def test_failures_are_reported_with_what_was_written():
    result = run_program("print('before')\n1 / 0", "", LIMITS)
    assert (result.status, result.stdout) == ("failed", "before\n")
    assert "ZeroDivisionError" in result.stderr


def test_input_that_is_not_read_is_no_trouble():
    assert run_program("print(1)", "x" * 10**6, LIMITS).stdout == "1\n"


def test_threads_and_the_standard_library_work():
    program = (
        "import threading, decimal, json, sqlite3\nt = threading.Thread(target=print, args=(7,))"
    )
    assert run_program(f"{program}\nt.start(); t.join()", "", LIMITS).stdout == "7\n"


def test_a_program_has_one_small_folder_that_goes_with_it():
    own = "open('x', 'w').write('mine')\nprint(open('x').read())"
    assert run_program(own, "", LIMITS).stdout == "mine\n"
    assert run_program("import os\nprint(os.listdir())", "", LIMITS).stdout == "[]\n"


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("x = bytearray(10**9)", "MemoryError"),
        ("import mmap\nx = mmap.mmap(-1, 10**9)", "Cannot allocate memory"),
        ("open('x', 'w').write('x' * 10**6)", "File too large"),
        ("for n in range(99): open(str(n), 'w').write('x' * 9999)", "No space left"),
        ("x = [open('/dev/null') for _ in range(99)]", "Too many open files"),
        ("import os\nwhile True: os.fork()", "temporarily unavailable"),
        ("import resource as r\nr.setrlimit(r.RLIMIT_CPU, (99, 99))", "maximum"),
        ("import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))", "maximum"),
    ],
)
def test_limits_hold(program, complaint):
    result = run_program(program, "", LIMITS)
    assert result.status == "failed"
    assert complaint in result.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_of_output_is_cut_and_ended(stream):
    result = run_program(f"import sys\nwhile True: sys.{stream}.write('x' * 1000)", "", LIMITS)
    assert result.status == "output_limit"
    assert len(getattr(result, stream)) == LIMITS.output_bytes


@pytest.mark.parametrize(
    ("program", "limits", "status"),
    [
        ("while True: pass", {"cpu_s": 1, "wall_s": 120.0}, "failed"),
        ("import time\ntime.sleep(600)", {"wall_s": 1.0}, "timeout"),
    ],
)
def test_endless_programs_are_ended_and_leave_nothing_behind(program, limits, status):
    assert run_program(program, "", SandboxLimits(**limits)).status == status
    assert not psutil.Process().children(recursive=True)


def test_every_limit_is_in_force(isolated):
    names = ("CPU", "AS", "FSIZE", "NPROC", "CORE")
    ask = "import resource as r\n" + "\n".join(f"print(r.getrlimit(r.RLIMIT_{n}))" for n in names)
    limits = dataclasses.asdict(LIMITS)
    wanted = [limits[n] for n in ("cpu_s", "memory_bytes", "file_bytes", "n_processes")] + [0]
    assert run_program(ask, "", LIMITS).stdout.splitlines() == [str((n, n)) for n in wanted]

"""Untrusted programs: they run, and the hostile ones get nowhere."""

import os
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from lm_merge.evaluation.code_examples import (
    Examples,
    extract_program,
    passes_public_examples,
    public_examples,
)
from lm_merge.evaluation.sandbox import SandboxLimits, run_program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
LIMITS = SandboxLimits(cpu_s=1, wall_s=5.0, memory_bytes=256 << 20, file_bytes=1 << 16)


def test_a_program_reads_its_input_and_writes_its_output():
    result = run_program("import heapq, math\nprint(int(input()) + 1)", "41\n", LIMITS)
    assert (result.status, result.stdout, result.stderr) == ("finished", "42\n", "")


def test_failures_are_told_with_what_was_written():
    result = run_program("print('before')\n1 / 0", "", LIMITS)
    assert (result.status, result.stdout) == ("failed", "before\n")
    assert "ZeroDivisionError" in result.stderr


@pytest.mark.parametrize(
    ("name", "program", "complaint"),
    [
        ("memory", "x = bytearray(10**9)", "MemoryError"),
        ("large file", "open('x', 'w').write('x' * 10**6)", "File too large"),
        ("endless output", "while True: print('x' * 1000)", "File too large"),
        ("fork", "import os\nwhile True: os.fork()", "refuses os.fork"),
        ("subprocess", "import subprocess\nsubprocess.run(['ls'])", "PermissionError"),
        ("shell", "import os\nos.system('ls')", "refuses os.system"),
        ("native code", "import ctypes", "refuses to import"),
        ("raised limits", "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (99, 99))", "maximum"),
        ("kill", "import os\nos.kill(os.getppid(), 9)", "refuses os.kill"),
        ("link", "import os\nos.symlink('/etc', 'x')", "refuses os.symlink"),
        ("interpreter", "import _xxsubinterpreters", "refuses to import"),
        ("system log", "import syslog\nsyslog.syslog('x')", "refuses syslog"),
    ],
)
def test_hostile_programs_fail(name, program, complaint):
    result = run_program(program, "", LIMITS)
    assert result.status == "failed"
    assert complaint in result.stderr
    assert len(result.stdout) <= LIMITS.file_bytes


@pytest.mark.parametrize("program", ["while True: pass", "import time\ntime.sleep(60)"])
def test_endless_programs_are_ended_and_leave_nothing_behind(program):
    limits = SandboxLimits(cpu_s=1, wall_s=60.0 if "pass" in program else 1.0)
    result = run_program(program, "", limits)
    assert result.status == ("failed" if "pass" in program else "timeout")
    children = psutil.Process().children(recursive=True)
    assert not [one for one in children if "sandbox_child" in " ".join(one.cmdline())]


def test_files_outside_its_folder_can_be_neither_written_nor_read(tmp_path):
    secret, target = tmp_path / "secret", tmp_path / "target"
    secret.write_text("hidden")
    for program in (
        f"open({str(target)!r}, 'w').write('x')",
        f"import os\nos.open({str(target)!r}, os.O_CREAT | os.O_WRONLY)",
        f"import os\nos.mkdir({str(target)!r})",
        f"import os\nos.remove({str(secret)!r})",
        f"import os\nos.rename({str(secret)!r}, 'mine')",
        f"print(open({str(secret)!r}).read())",
        "open('../target', 'w')",
        f"import sqlite3\nsqlite3.connect({str(target)!r})",
        f"import dbm.gnu\ndbm.gnu.open({str(target)!r}, 'c')",
        f"import dbm.ndbm\ndbm.ndbm.open({str(target)!r}, 'c')",
        "from multiprocessing import shared_memory as s\ns.SharedMemory('target', True, 9)",
        "import _multiprocessing",
        "import readline",
    ):
        result = run_program(program, "", LIMITS)
        assert result.status == "failed"
        assert "the sandbox refuses" in result.stderr
        assert "hidden" not in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    fifo = run_program(f"import os, posix\nos.mkfifo({str(target)!r})", "", LIMITS)
    assert "no attribute 'mkfifo'" in fifo.stderr
    assert not target.exists()
    own = run_program("open('x', 'w').write('mine')\nprint(open('x').read())", "", LIMITS)
    assert own.stdout == "mine\n"


def test_no_socket_reaches_a_listener():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    reached = threading.Event()

    def accept() -> None:
        try:
            listener.accept()[0].close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=accept)
    thread.start()
    program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}))"
    result = run_program(program, "", LIMITS)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    assert result.status == "failed"
    assert "the sandbox refuses socket" in result.stderr
    assert not reached.is_set()


def test_the_environment_is_empty_and_the_folder_goes(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    result = run_program("import os\nprint(dict(os.environ), os.getcwd())", "", LIMITS)
    assert "secret" not in result.stdout
    assert not Path(result.stdout.split()[-1]).exists()


def test_the_network_namespace_holds_where_the_kernel_allows_it():
    if "network_namespace" not in run_program("pass", "", LIMITS).isolation:
        pytest.skip("the kernel allows no new network namespace here")
    if not os.access("/proc/net/dev", os.R_OK):
        pytest.skip("/proc is not there to look at")
    # told by the parent's view: the program's own net namespace is another
    result = run_program("import os\nprint(os.readlink('/proc/self/ns/net'))", "", LIMITS)
    if result.status == "finished":  # /proc may show the outer processes only
        assert result.stdout.strip() != os.readlink("/proc/self/ns/net")


STDIN_QUESTION = """Add the numbers.

Sample Input 1:
2

1 2


Sample Output 1:

3

Explanation: so it is.

Sample Input 2:
1

5

Sample Output 2:

5
"""
CALL_QUESTION = """Return the largest number.

Example 1:

Input: nums = [1,3,2], strict = true
Output: 3
Explanation: 3 > 2.

Example 2:

Input: nums = [-1], strict = false
Output: -1
"""
SOLUTION = """Here it is:
```python
class Solution:
    def helper(self, nums):
        return max(nums)

    def largest(self, nums: List[int], strict: bool) -> int:
        return self.helper(nums)
```"""


def test_examples_are_read_from_the_question():
    assert public_examples(STDIN_QUESTION) == Examples("stdin", ("2\n1 2\n", "1\n5\n"), ("3", "5"))
    expected = Examples("call", ([[1, 3, 2], True], [[-1], False]), (3, -1))
    assert public_examples(CALL_QUESTION) == expected
    assert public_examples("What is the capital of Norway?") is None


def test_programs_are_checked_on_every_example():
    stdin, call = public_examples(STDIN_QUESTION), public_examples(CALL_QUESTION)
    assert passes_public_examples("input()\nprint(sum(map(int, input().split())))", stdin, LIMITS)
    assert not passes_public_examples("input()\ninput()\nprint(3)", stdin, LIMITS)
    assert passes_public_examples(SOLUTION, call, LIMITS)
    assert not passes_public_examples(SOLUTION.replace("max", "min"), call, LIMITS)
    assert not passes_public_examples("print(3)", call, LIMITS)
    assert not passes_public_examples("class Solution:\n    def f(self, a", call, LIMITS)


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```\na\n```\nbetter:\n```python\nb\n```", "b\n"),
        ("```python\na\n```\n```text\n3\n```\nDone.\n", "a\n"),
        ("```bash\npython x.py\n```\n```python\nb\n```\n", "b\n"),
        ("```Python3 title=x\nb\n```\n```c++\nx\n```\n```json\n{}\n```", "b\n"),
        ("Use ```x``` here.\n```py\nb\n```", "b\n"),
        ("So: ```python\nb```\nand that is it.", "b"),
        ("```python\nfirst\n```python\nb\n```\n", "b\n"),
        ("````python\ns = '```'\n```\n````\n", "s = '```'\n```\n"),
        ("```python\ncut off", "cut off"),
        ("no block at all", "no block at all"),
        ("<think>```\nx\n```</think>\nprint(1)", "\nprint(1)"),
        ("<think>```python\nx\n```", ""),
    ],
)
def test_the_program_is_the_last_block_of_python_after_the_thought(text, program):
    assert extract_program(text) == program


def test_a_thought_that_never_ended_passes_nothing():
    nothing_asked = Examples("stdin", ("",), ("",))
    assert passes_public_examples("pass", nothing_asked, LIMITS)
    assert not passes_public_examples("<think>pass", nothing_asked, LIMITS)

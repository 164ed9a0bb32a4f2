"""Attempts to leave the isolation: none reaches a file, process or connection outside."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lm_merge import evaluation
from lm_merge.evaluation.sandbox import SandboxLimits, run_program

pytestmark = pytest.mark.usefixtures("isolated")
LIMITS = SandboxLimits(cpu_s=5, wall_s=30.0, memory_bytes=256 << 20, file_bytes=1 << 16)
# takes the guard out of any audit hook that is a Python function
INTROSPECTION = """
import gc, types
for one in gc.get_objects():
    if isinstance(one, types.FunctionType) and one.__closure__:
        for cell in one.__closure__:
            if isinstance(cell.cell_contents, tuple):
                everything = ("/",) if "/dev/null" in cell.cell_contents else ()
                cell.cell_contents = everything
print(open("/etc/passwd").read())
"""
SUBCLASSES = """
found = [one for one in object.__subclasses__() if one.__name__ == "_wrap_close"][0]
print(found.__init__.__globals__["system"]("cat {secret} > {target}"))
print(found.__init__.__globals__["open"]("{secret}", 0))
"""
NATIVE = """
import ctypes
libc = ctypes.CDLL(None)
file = libc.open(b"{secret}", 0)
text = ctypes.create_string_buffer(99)
libc.read(file, text, 99)
print(text.value)
print(libc.open(b"{target}", 0o101, 0o666))
"""
READS = (
    "print(open('{secret}').read())",
    "import os\nos.symlink('{secret}', 'x')\nprint(open('x').read())",
    "import os\nos.link('{secret}', 'x')\nprint(open('x').read())",
    "print(open('../../../../..{secret}').read())",
    "print(open('/proc/self/root{secret}').read())",
    "print(open('/proc/1/root{secret}').read())",
    "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-S', '-c', 'print(open(\"{secret}\").read())'])",
    "import os\nos.chroot('/proc/1/root')\nprint(open('{secret}').read())",
    "import os\nos.setuid(0)\nprint(open('{secret}').read())",
    "import runpy\nrunpy.run_path('{secret}')",
)
WRITES = (
    "open('{target}', 'w').write('x')",
    "import os\nos.makedirs(os.path.dirname('{target}'))\nopen('{target}', 'w').write('x')",
    "import os\nos.mkfifo('{target}')",
    "import os\nos.remove('{secret}')",
    "import os\nos.rename('{secret}', 'mine')",
    "import os\nos.chmod('{secret}', 0o777)",
    "import sqlite3\nsqlite3.connect('{target}').execute('create table a (b)')",
    "import os\nos.symlink(os.path.dirname('{target}'), 'x')\nopen('x/target', 'w').write('x')",
)


@pytest.mark.parametrize("attempts", [READS, WRITES, (SUBCLASSES, NATIVE)])
def test_files_outside_are_neither_read_nor_written(attempts, tmp_path):
    secret, target = tmp_path / "secret", tmp_path / "target"
    secret.write_text("hidden")
    for path in (secret, tmp_path, *tmp_path.parents[:3]):  # rights are not what keeps it
        path.chmod(path.stat().st_mode | 0o055)
    before = secret.stat()
    sources = [attempt.format(secret=secret, target=target) for attempt in attempts]
    program = f"""
for source in {sources!r}:
    try:
        exec(source)
    except BaseException as error:
        print(error)
print("tried everything")
"""
    result = run_program(program, "", LIMITS)
    assert result.stdout.endswith("tried everything\n"), result.stderr
    assert "hidden" not in result.stdout + result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (secret.read_text(), secret.stat().st_mode) == ("hidden", before.st_mode)


def test_a_guard_made_of_python_is_not_what_keeps_the_program_in():
    result = run_program(INTROSPECTION, "", LIMITS)
    assert result.status == "failed"
    assert "root:" not in result.stdout


def test_nothing_but_the_own_folder_takes_a_file():
    program = """
for place in ("", "/dev", "/etc", "/usr", "/program", "/lib", "/proc", "/tmp", "/dev/shm", "/work"):
    try:
        open(place + "/x", "w").write("x")
        print(place)
    except OSError:
        pass
"""
    assert run_program(program, "", LIMITS).stdout == "/work\n"


def test_devices_are_the_two_that_hold_nothing():
    result = run_program("import os\nprint(sorted(os.listdir('/dev')))", "", LIMITS)
    assert result.stdout == "['null', 'urandom']\n"
    for program in ("os.mknod('x', 0o60666, os.makedev(8, 0))", "os.mknod('x', 0o20666, 257)"):
        assert run_program(f"import os\n{program}", "", LIMITS).status == "failed"


def test_there_is_no_view_of_processes():
    assert run_program("import os\nprint(os.listdir('/proc'))", "", LIMITS).status == "failed"
    pids = run_program("import os\nprint(os.getpid(), os.getppid())", "", LIMITS).stdout.split()
    assert max(map(int, pids)) < 10


def test_no_descriptor_of_the_caller_is_inherited():
    program = """
import os
for number in range(3, 999):
    try:
        os.fstat(number)
        print(number)
    except OSError:
        pass
"""
    result = run_program(program, "", LIMITS)
    assert (result.status, result.stdout) == ("finished", "")


@pytest.mark.parametrize("target", ["os.getppid()", "-1"])
def test_signals_end_nobody_outside(target):
    outside = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    run_program(f"import os\nos.kill({target}, 9)", "", LIMITS)
    assert outside.poll() is None
    outside.communicate(b"\n")
    assert outside.returncode == 0


def test_signals_to_the_numbers_of_outside_reach_nobody():
    result = run_program(f"import os\nos.kill({os.getpid()}, 0)", "", LIMITS)
    assert "ProcessLookupError" in result.stderr


def test_system_calls_that_make_rooms_of_their_own_are_refused():
    """Namespaces, mounts, memory of no process, kernel keys, looking into processes."""
    program = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def refused(number, *arguments):
    return libc.syscall(number, *arguments) == -1 and ctypes.get_errno() in (1, 38)
calls = {
    "unshare user": (272, 0x10000000), "unshare mounts": (272, 0x20000),
    "mount": (165, 0, b"/work", b"tmpfs", 0, 0), "clone": (56, 0x10000011, 0), "clone3": (435, 0, 0),
    "setns": (308, 0, 0), "shmget": (29, 0, 1 << 20, 0o1600), "memfd_create": (319, b"x", 0),
    "keyctl": (250, 0, 0), "ptrace": (101, 16, 1, 0), "bpf": (321, 0, 0, 0),
    "io_uring": (425, 1, 0), "fsopen": (430, b"tmpfs", 0), "open_by_handle_at": (304, 0, 0, 0),
}
print([name for name, call in calls.items() if not refused(*call)], libc.prctl(39, 0, 0, 0, 0))
"""
    result = run_program(program, "", LIMITS)
    assert result.stdout == "[] 1\n", result.stderr  # 1: no new privileges


def test_the_program_is_nobody_and_stays_so():
    program = """
import ctypes, os
libc = ctypes.CDLL(None)
head = (ctypes.c_uint32 * 2)(0x20080522, 0)
rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, and the upper half of each
libc.capget(head, rights)
print(os.getresuid()[0] > 1000, len(set(os.getresuid())), os.getgroups(), [*rights[:2], *rights[3:5]])
os.setuid(0)
"""
    result = run_program(program, "", LIMITS)
    groups = "[]" if os.geteuid() == 0 else result.stdout.partition("[")[2].partition("]")[0]
    assert result.stdout.startswith("True 1 "), result.stderr
    assert result.stdout.endswith("[0, 0, 0, 0]\n")
    assert groups == "[]" or "0" not in groups.split(", ")
    assert result.status == "failed"


@contextmanager
def listening(listener: socket.socket) -> Iterator[threading.Event]:
    """An event that is set when something connects."""
    reached = threading.Event()

    def accept() -> None:
        try:
            listener.accept()[0].close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield reached
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_no_socket_reaches_a_listener(tmp_path):
    tcp = socket.create_server(("127.0.0.1", 0))
    abstract, named = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    hidden, path = f"\0lm_merge_{os.getpid()}", str(tmp_path / "socket")
    for server, place in ((abstract, hidden), (named, path)):
        server.bind(place)
        server.listen()
    for listener, family, address in (
        (tcp, "AF_INET", tcp.getsockname()),
        (abstract, "AF_UNIX", hidden),
        (named, "AF_UNIX", path),
    ):
        program = f"import socket\nsocket.socket(socket.{family}).connect({address!r})"
        with listening(listener) as reached:
            result = run_program(program, "", LIMITS)
            assert result.status == "failed"
            assert not reached.is_set()
    outside = "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))"
    assert "Network is unreachable" in run_program(outside, "", LIMITS).stderr


def test_the_environment_of_the_caller_is_not_seen(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    result = run_program("import os\nprint(dict(os.environ))", "", LIMITS)
    assert "SOME_KEY" not in result.stdout


def of_run(mark: float) -> list[psutil.Process]:
    """Processes whose command line holds this run's wall time, which no other run has."""
    found = []
    for one in psutil.process_iter():
        try:
            if f'"wall_s": {mark}' in " ".join(one.cmdline()):
                found.append(one)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), 9)", "os.close(1); os.close(2)"])
def test_children_do_not_survive_their_program(end):
    mark = 20 + os.getpid() / 1e7
    program = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    os.fork()
    time.sleep(600)
{end}
"""
    run_program(program, "", SandboxLimits(wall_s=mark))
    _, alive = psutil.wait_procs(of_run(mark), timeout=20)
    assert not alive


@pytest.mark.slow
def test_a_program_ends_with_a_caller_that_is_killed():
    mark = 600 + os.getpid() / 1e7
    call = f"run_program('import time; time.sleep(600)', '', SandboxLimits(wall_s={mark}))"
    folder = str(Path(evaluation.__file__).parent)
    source = f"""
import sys, types
package = sys.modules["lm_merge.evaluation"] = types.ModuleType("lm_merge.evaluation")
package.__path__ = [{folder!r}]  # without what else the package imports
from lm_merge.evaluation.sandbox import SandboxLimits, run_program
{call}
"""
    caller = subprocess.Popen([sys.executable, "-c", source])
    try:
        while not of_run(mark):
            assert caller.poll() is None
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    _, alive = psutil.wait_procs(of_run(mark), timeout=20)
    assert not alive

"""A seccomp filter: system calls that a program of a model has no use for fail with EPERM.

It closes what namespaces leave open: new namespaces (and the file systems that they would allow),
memory that belongs to no process (System V segments, memory files), kernel keys, and calls that look
into other processes. x86-64 only: numbers of system calls differ between processors.
"""

import errno
import struct

MACHINE = "x86_64"
_AUDIT_ARCH = 0xC000003E
_X32 = 0x40000000  # the other numbering that an x86-64 kernel may accept
_CLONE, _CLONE3 = 56, 435
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID, -NET
REFUSED = {
    "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "ptrace": 101, "syslog": 103,
    "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "add_key": 248,
    "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442, "memfd_secret": 447,
}  # fmt: skip

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # offsets in struct seccomp_data


def filter_program() -> bytes:
    """The filter as the kernel's BPF instructions, for `bwrap --seccomp`."""
    steps = [
        _step(_LOAD, _MACHINE_AT),
        _step(_IF_EQUAL, _AUDIT_ARCH, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        _step(_IF_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _KILL),
        # "no such call" makes the C library use clone, whose flags a filter can read
        *_fails(_CLONE3, errno.ENOSYS),
    ]
    for number in REFUSED.values():
        steps += _fails(number, errno.EPERM)
    steps += [
        _step(_IF_EQUAL, _CLONE, 0, 3),
        _step(_LOAD, _FIRST_ARGUMENT_AT),
        _step(_IF_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _step(_RETURN, _FAIL | errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(steps)


def _fails(number: int, error: int) -> list[bytes]:
    return [_step(_IF_EQUAL, number, 0, 1), _step(_RETURN, _FAIL | error)]


def _step(code: int, value: int, skip_if: int = 0, skip_else: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_else, value)

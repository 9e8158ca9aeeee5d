"""Bubblewrap sandbox: the system calls that nothing in it needs: kernel keys, mounts, modules, namespaces, BPF, clocks.

The filter is classic BPF, made here because the table below is all there is to it (seccomp(2), linux/seccomp.h,
linux/filter.h). Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

import errno
import platform
import struct
from typing import Final

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED: Final = {
    "x86_64": (
        103, 155, 163, 164, 165, 166, 167, 168, 169, 172, 173, 174, 175, 176, 179, 180, 212, 227, 246, 248, 249, 250,
        272, 298, 303, 304, 305, 308, 313, 320, 321, 323, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 443,
    ),
    "aarch64": (
        18, 39, 40, 41, 42, 60, 89, 97, 104, 105, 106, 112, 116, 142, 170, 217, 218, 219, 224, 225, 241, 264, 265, 266,
        268, 273, 280, 282, 294, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 443,
    ),
}  # fmt: skip
_X32: Final = 0x40000000  # x86_64: the same calls under other numbers
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
_ALLOW: Final = 0x7FFF0000
_DENY: Final = 0x00050000 | errno.EPERM
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data


def program(machine: str | None = None) -> bytes | None:
    """The filter as `bwrap --seccomp` reads it; `None` for a machine whose numbers we do not know."""
    machine = machine or platform.machine()
    if machine not in _REFUSED:
        return None
    calls = _REFUSED[machine]
    checks = [(_EQUAL, len(calls) - at, 0, number) for at, number in enumerate(calls)]
    # A jump counts the steps that are left out: from the check at `at` to the refusal behind the permission.
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _NUMBER),
        *([(_AT_LEAST, len(calls) + 1, 0, _X32)] if machine == "x86_64" else []),
        *checks,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)

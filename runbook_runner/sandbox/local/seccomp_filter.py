"""Bubblewrap sandbox: the system calls that nothing in it needs: kernel keys, mounts, modules, namespaces, BPF, clocks;
and sockets of other kinds than unix, internet and netlink, which no network namespace keeps in.

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
        467,
    ),
    "aarch64": (
        18, 39, 40, 41, 42, 60, 89, 97, 104, 105, 106, 112, 116, 142, 170, 217, 218, 219, 224, 225, 241, 264, 265, 266,
        268, 273, 280, 282, 294, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 443,
        467,
    ),
}  # fmt: skip
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_AF_UNIX: Final = 1
FAMILIES: Final = (_AF_UNIX, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (linux/socket.h)
_X32: Final = 0x40000000  # x86_64: the same calls under other numbers
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
_ALLOW: Final = 0x7FFF0000
_DENY: Final = 0x00050000 | errno.EPERM
_NUMBER, _ARCH, _FIRST = 0, 4, 16  # offsets in struct seccomp_data; of the first argument its lower half


def program(machine: str | None = None, *, unix: bool = True) -> bytes | None:
    """The filter as `bwrap --seccomp` reads it; `None` for a machine whose numbers we do not know. unix: whether it
    allows unix sockets that are no pairs."""
    machine = machine or platform.machine()
    if machine not in _REFUSED:
        return None
    calls = _REFUSED[machine]
    allowed = FAMILIES if unix else tuple(family for family in FAMILIES if family != _AF_UNIX)
    families = [(_EQUAL, len(allowed) - at, 0, family) for at, family in enumerate(allowed)]
    # A jump counts the steps that are left out: from the check at `at` to the refusal behind the families.
    rest = len(families) + 2
    lines = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _NUMBER),
        *([(_AT_LEAST, len(calls) + rest, 0, _X32)] if machine == "x86_64" else []),
        *((_EQUAL, len(calls) - at - 1 + rest, 0, number) for at, number in enumerate(calls)),
        (_EQUAL, 0, rest, _SOCKET[machine]),
        (_LOAD, 0, 0, _FIRST),
        *families,
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)

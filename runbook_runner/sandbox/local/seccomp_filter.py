"""Bubblewrap sandbox: the system calls that nothing in it needs: kernel keys, mounts, modules, namespaces, BPF, clocks;
sockets of other kinds than unix, internet and netlink, which no network namespace keeps in; and room on disk without
writing (fallocate(2), and the same as ioctl(2)), which would fill a disk before anybody can look: the C library writes
instead.

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
_FALLOCATE: Final = {"x86_64": 285, "aarch64": 47}
PUNCH_HOLE: Final = 2  # linux/falloc.h
_IOCTL: Final = {"x86_64": 16, "aarch64": 29}
RESERVE: Final = (0x40305828, 0x4030582A, 0x40305839)  # FS_IOC_RESVSP, FS_IOC_RESVSP64, FS_IOC_ZERO_RANGE
_AF_UNIX: Final = 1
FAMILIES: Final = (_AF_UNIX, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (linux/socket.h)
_X32: Final = 0x40000000  # x86_64: the same calls under other numbers
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
_AND: Final = 0x54  # BPF_ALU|AND|K
_ALLOW: Final = 0x7FFF0000
_DENY: Final = 0x00050000 | errno.EPERM
_UNKNOWN: Final = 0x00050000 | errno.EOPNOTSUPP
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data; of arguments their lower halves


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
        (_EQUAL, 0, len(RESERVE) + 3, _IOCTL[machine]),
        (_LOAD, 0, 0, _SECOND),
        *((_EQUAL, len(RESERVE) - at, 0, command) for at, command in enumerate(RESERVE)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _UNKNOWN),
        (_EQUAL, 0, 5, _FALLOCATE[machine]),
        (_LOAD, 0, 0, _SECOND),
        (_AND, 0, 0, PUNCH_HOLE),
        (_EQUAL, 1, 0, PUNCH_HOLE),
        (_RETURN, 0, 0, _UNKNOWN),
        (_RETURN, 0, 0, _ALLOW),
        *([(_AT_LEAST, len(calls) + rest, 0, _X32)] if machine == "x86_64" else []),
        *((_EQUAL, len(calls) - at - 1 + rest, 0, number) for at, number in enumerate(calls)),
        (_EQUAL, 0, rest, _SOCKET[machine]),
        (_LOAD, 0, 0, _FIRST),
        *families,
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)

"""The filter of system calls, step by step as the kernel would read it, for both machines."""

import struct

import pytest

from runbook_runner.sandbox.local import seccomp_filter

ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x00050001, 0x0005005F
MACHINES = {
    "x86_64": {"arch": 0xC000003E, "read": 0, "socket": 41, "keyctl": 250, "mount": 165, "bpf": 321, "ptrace": 101,
               "fallocate": 285, "ioctl": 16},
    "aarch64": {"arch": 0xC00000B7, "read": 63, "socket": 198, "keyctl": 219, "mount": 40, "bpf": 280, "ptrace": 117,
                "fallocate": 47, "ioctl": 29},
}  # fmt: skip


def verdict(program: bytes, arch: int, number: int, first: int = 0, second: int = 0) -> int:
    """Only what classic BPF needs here: load, and, the two jumps, return (linux/filter.h)."""
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data, at, held = {0: number, 4: arch, 16: first, 24: second & 0xFFFFFFFF}, 0, 0
    while True:
        code, yes, no, value = steps[at]
        if code == 0x20:
            held = data[value]
        elif code == 0x54:
            held &= value
        elif code == 0x06:
            return value
        else:
            at += yes if (held == value if code == 0x15 else held >= value) else no
        at += 1


@pytest.mark.parametrize("machine", MACHINES)
def test_refused_calls_are_refused_and_others_are_not(machine):
    program, known = seccomp_filter.program(machine), MACHINES[machine]
    assert program is not None
    arch = known["arch"]
    assert [verdict(program, arch, known[name]) for name in ("keyctl", "mount", "bpf")] == [REFUSED] * 3
    assert [verdict(program, arch, known[name]) for name in ("read", "ptrace")] == [ALLOWED] * 2
    assert verdict(program, arch, 467) == REFUSED, "open_tree_attr, of Linux 6.15, is open_tree with more"
    refused = [number for number in range(500) if verdict(program, arch, number) == REFUSED]
    assert len(refused) == len(seccomp_filter._REFUSED[machine]) + 1, "and socket without a family"


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_are_unix_internet_or_netlink(machine):
    program, known = seccomp_filter.program(machine), MACHINES[machine]
    assert program is not None
    allowed = [family for family in range(50) if verdict(program, known["arch"], known["socket"], family) == ALLOWED]
    assert allowed == [1, 2, 10, 16]
    program = seccomp_filter.program(machine, unix=False)
    assert program is not None
    allowed = [family for family in range(50) if verdict(program, known["arch"], known["socket"], family) == ALLOWED]
    assert allowed == [2, 10, 16]


@pytest.mark.parametrize("machine", MACHINES)
def test_room_on_disk_is_not_reserved_but_can_be_given_back(machine):
    program, known = seccomp_filter.program(machine), MACHINES[machine]
    assert program is not None
    answers = [verdict(program, known["arch"], known["fallocate"], 3, mode) for mode in (0, 1, 0x10, 0x20, 2, 3)]
    assert answers == [UNKNOWN] * 4 + [ALLOWED] * 2
    commands = (0x40305828, 0x4030582A, 0x1_4030582A, 0x40305839, 0x40305829, 0x4030583A, 0x5401, 0)
    answers = [verdict(program, known["arch"], known["ioctl"], 3, command) for command in commands]
    assert answers == [UNKNOWN] * 4 + [ALLOWED] * 4


def test_calls_of_another_machine_and_of_x32_are_refused():
    program = seccomp_filter.program("x86_64")
    assert program is not None
    assert verdict(program, MACHINES["aarch64"]["arch"], 0) == REFUSED
    assert verdict(program, MACHINES["x86_64"]["arch"], 0x40000000) == REFUSED
    assert verdict(program, MACHINES["x86_64"]["arch"], 0x40000000 + 250) == REFUSED


def test_machine_whose_numbers_are_not_known_gets_no_filter():
    assert seccomp_filter.program("riscv64") is None

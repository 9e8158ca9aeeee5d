"""Host and bubblewrap sandboxes: the process between the runner and a command; it ends everything the command started.

Runs by itself as `python -I -S supervisor.py STATUS_FD LIFELINE_FD ORDERS_FD ARGV...` without an environment, needs
nothing but the standard library, and imports little of that. The orders come through a pipe as one JSON object, see
`Orders` in process.py: the command's variables are among them, and every user can read a command line. The lifeline is
a pipe that only the runner can write to: a byte on it means kill, its end means that the runner has died. The outcome
goes to the status pipe as one line of JSON: `{"code": 3, "ended_by": "exit"}`; ended_by is `exit`, `deadline`
or `killed`.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # landlock(7)
_SCOPE_ABSTRACT_UNIX_SOCKET = 1
_LONGEST_S = 86_400.0  # poll(2) takes milliseconds of 31 bits
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> None:
    status, lifeline = int(arguments[0]), int(arguments[1])
    with open(int(arguments[2]), "rb") as pipe:  # noqa: PTH123 - a descriptor
        orders = json.load(pipe)
    argv = arguments[3:]
    prctl = _prctl() if LINUX else None
    if prctl:
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
    alarm = _wake_on_signals()
    os.set_inheritable(status, False)
    os.set_inheritable(lifeline, False)
    # Blocked until the child has removed our handlers: a SIGTERM in between would be lost on it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    child = os.fork()
    if child == 0:
        limits = (orders["memory_bytes"], orders["open_files"])
        _become(argv, orders, limits, prctl)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _close_streams()
    code, ended_by = _await(child, alarm, lifeline, time.monotonic() + orders["deadline_s"])
    _end_all(child, orders["grace_s"], spared=[child] if orders["enclosed"] else [])
    os.write(status, json.dumps({"code": code, "ended_by": ended_by}).encode() + b"\n")


def _prctl() -> Callable[[int, int], int]:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).prctl
    return lambda option, value: int(call(option, value, 0, 0, 0))


def _wake_on_signals() -> int:
    """Returns a descriptor that becomes readable when a child ends or another process asks this one to end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    return reading


def _become(
    argv: list[str],
    orders: dict[str, Any],
    limits: tuple[int | None, int],
    prctl: Callable[[int, int], int] | None,
) -> None:
    """In the child: becomes the command. For a missing program or folder the exit code is a shell's."""
    code, cwd = 126, orders["cwd"]
    try:
        os.setsid()
        for group in orders["join"]:
            with open(group, "w", encoding="utf-8") as processes:  # noqa: PTH123 - as below
                processes.write("0")
        for number in (*_SIGNALS, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if prctl:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _limit(*limits)
        if orders["own_abstract_sockets"]:
            _keep_to_own_abstract_sockets()
        os.chdir(cwd)
        code = 127
        os.execvpe(argv[0], argv, orders["environment"])  # noqa: S606
    except OSError as error:
        culprit = cwd if code == 126 else argv[0]
        os.write(2, f"{culprit}: {error.strerror}\n".encode(errors="surrogateescape"))
        os._exit(126 if isinstance(error, PermissionError) else code)
    finally:
        os._exit(70)


def _keep_to_own_abstract_sockets() -> None:
    """Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    handled = (ctypes.c_uint64 * 3)(0, 0, _SCOPE_ABSTRACT_UNIX_SOCKET)  # struct landlock_ruleset_attr
    rules = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(ctypes.sizeof(handled)), 0)
    if rules < 0 or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "Landlock does not keep it from abstract unix sockets")
    os.close(rules)


def _limit(memory: int | None, open_files: int) -> None:
    """RLIMIT_DATA, not RLIMIT_AS: Node and Go reserve address space far beyond what they use."""
    import resource

    for what, wanted in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_NOFILE, open_files)):
        _, hard = resource.getrlimit(what)
        if wanted is not None:
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(what, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _close_streams() -> None:
    """Lets go of the command's streams, so that their readers see the end of them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def _await(child: int, alarm: int, lifeline: int, deadline: float) -> tuple[int | None, str]:
    code: int | None = None
    poll = select.poll()  # select() refuses descriptors from 1024 on, which a runner of many runs has
    for descriptor in (alarm, lifeline):
        poll.register(descriptor, select.POLLIN)
    while code is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return None, "deadline"
        ready = [descriptor for descriptor, _ in poll.poll(min(left, _LONGEST_S) * 1000)]
        if alarm in ready and any(n != signal.SIGCHLD for n in os.read(alarm, 4096)):
            return None, "killed"
        code = _reap(child)
        if code is None and lifeline in ready:
            return None, "killed"
    return code, "exit"


def _reap(child: int) -> int | None:
    """Waits for every child that has ended. Returns the command's exit code, if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def _end_all(child: int, grace: float, *, spared: list[int]) -> None:
    """SIGTERM, the grace, SIGKILL, until no process is left. Stopping before killing outruns what keeps forking.
    spared: get no SIGTERM: their end would end the others before the grace is over."""
    _signal([pid for pid in _descendants(child) if pid not in spared], signal.SIGTERM)
    until = time.monotonic() + grace
    while (left := _descendants(child)) and time.monotonic() < until:
        _reap(child)
        time.sleep(0.02)
    while left:
        _signal(left, signal.SIGSTOP)
        _signal(left, signal.SIGKILL)
        time.sleep(0.005)
        _reap(child)
        left = _descendants(child)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _descendants(child: int) -> list[int]:
    """Returns every process below this one that runs; without /proc only the command's process group."""
    if not LINUX:
        try:
            os.killpg(child, 0)
        except (ProcessLookupError, PermissionError):
            return []
        return [-child]
    children: dict[int, list[int]] = {}
    zombies = set()
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the start-up time
        if entry.isdigit():
            parent, state = _stat(entry)
            children.setdefault(parent, []).append(int(entry))
            if state in "ZX" and not _has_threads(entry):
                zombies.add(int(entry))
    found, ahead = [], [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return [pid for pid in found if pid not in zombies]


def _stat(pid: str) -> tuple[int, str]:
    """Returns parent and state; proc(5): the name before them is in parentheses and may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return 0, "X"
    return int(parent), state.decode()


def _has_threads(pid: str) -> bool:
    """Returns whether a process whose first thread has ended runs on in another one."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1  # noqa: PTH208 - as above
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])

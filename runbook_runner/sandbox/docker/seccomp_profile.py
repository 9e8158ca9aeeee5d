"""Docker sandbox: the system calls that a container may make, in place of the engine's own list.

Older engines allow sockets that a network namespace does not confine: AF_VSOCK leads from a container without
a network to the machine's own host (moby/moby#44562), and so it does from 32-bit programs (moby/moby#53551), which are
refused here. `local/seccomp_filter.py` does the same for bubblewrap by listing what is refused.
"""

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from tempfile import NamedTemporaryFile
from typing import Any, Final, TypeVar

from docker.errors import APIError

from runbook_runner.sandbox.docker.engine import Engine
from runbook_runner.sandbox.local.seccomp_filter import FAMILIES, PUNCH_HOLE, RESERVE

_Made = TypeVar("_Made")
_MACHINES: Final = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
_KNOWN: Final = ("x86_64", "amd64", "aarch64", "arm64")  # as Docker calls these machines, and as Podman does
# Of Linux up to 6.17 (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h) all but what
# `local/seccomp_filter.py` refuses, what looks into other processes or moves their memory, and what is obsolete.
_CALLS: Final = """
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_getres
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group
    faccessat faccessat2 fadvise64 fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
    fgetxattr file_getattr file_setattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate
    futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_mempolicy get_robust_list getcpu getcwd
    getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid
    getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_setup io_submit ioprio_get ioprio_set kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr listxattrat
    llistxattr lremovexattr lseek lsetxattr lstat madvise mbind membarrier memfd_create memfd_secret mincore mkdir
    mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
    nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
    pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_madvise process_mrelease pselect6 ptrace
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
    select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy set_mempolicy_home_node
    set_robust_list set_tid_address setdomainname setfsgid setfsuid setgid setgroups sethostname setitimer setpgid
    setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat
    shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync
    sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname
    unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""
_AF_UNIX: Final = 1
_WORD: Final = 0xFFFFFFFF  # of an argument the kernel takes no more for a command
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW* (linux/sched.h)
_PERSONALITIES: Final = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32-bit addresses, UNAME26, both, asking


def filtered(engine: Engine, make: Callable[[list[str]], _Made]) -> _Made:
    """Returns what `make` makes of the security options for a container: none where the kernel has no such filters.

    Podman takes the profile as a file that it reads itself while it makes the container, so one elsewhere has its own
    profile, and so has one that can't read our files.
    """
    info = engine.info
    can = any(str(option).startswith("name=seccomp") for option in info.get("SecurityOptions") or ())
    if not can or info.get("Architecture") not in _KNOWN:
        return make([])
    if not engine.is_podman:
        return make([f"seccomp={_profile()}"])
    if engine.is_local:
        with NamedTemporaryFile("w", prefix="runbook-", suffix=".json") as file:
            file.write(_profile())
            file.flush()
            try:
                return make([f"seccomp={file.name}"])
            except APIError as error:
                if file.name not in str(error):
                    raise
    return make([])


@cache
def _profile() -> str:
    """runc answers a call that is newer than every one listed with ENOSYS, others with EPERM."""
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": machine, "subArchitectures": []} for machine in _MACHINES],
            "syscalls": [
                _rule(*_CALLS.split()),
                *(_rule("socket", when=_equal(family)) for family in FAMILIES),
                _rule("socketpair", when=_equal(_AF_UNIX)),
                *(_rule("personality", when=_equal(value)) for value in _PERSONALITIES),
                _rule("clone", when=_masked(_NEW_NAMESPACES, 0)),
                *(_rule("ioctl", when=_masked(*prefix, index=1)) for prefix in _all_but(RESERVE)),
                *(_refusal("ioctl", errno.EOPNOTSUPP, when=_masked(_WORD, command, index=1)) for command in RESERVE),
                _rule("fallocate", when=_masked(PUNCH_HOLE, PUNCH_HOLE, index=1)),
                _refusal("fallocate", errno.EOPNOTSUPP, when=_masked(PUNCH_HOLE, 0, index=1)),
                # Its flags can't be looked at; without it the C library takes `clone`.
                _refusal("clone3", errno.ENOSYS),
            ],
        }
    )


def _rule(*names: str, when: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": [when] if when else []}


def _refusal(name: str, number: int, when: dict[str, Any] | None = None) -> dict[str, Any]:
    """number: of the error."""
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": [when] if when else []}


def _equal(value: int) -> dict[str, Any]:
    return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}


def _all_but(values: Sequence[int], bit: int = 31, above: int = 0) -> Iterator[tuple[int, int]]:
    """Yields masks of a word, and what is left of it under each, that no value has and every other word. above: the
    bits before `bit`, in which all values are the same."""
    mask = _WORD & ~((1 << bit) - 1)
    for one in (above, above | 1 << bit):
        under = [value for value in values if value & mask == one]
        if not under:
            yield mask, one
        elif bit:
            yield from _all_but(under, bit - 1, one)


def _masked(mask: int, value: int, index: int = 0) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}

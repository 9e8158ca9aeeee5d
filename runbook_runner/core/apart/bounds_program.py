"""The first part of each program that `process.py` starts, with nothing but the standard library: it bounds the
process, and takes what it needs for that off the arguments."""

import os
import resource
import signal
import sys

MEMORY = 1 << 30
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def limit_this_process(cpu_s: int) -> None:
    limits = {resource.RLIMIT_CPU: cpu_s, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = MEMORY
    for what, most in limits.items():
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def end_with(parent: int) -> None:
    """Linux kills this process when its parent, which may be killed itself, is gone."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    limit_this_process(int(sys.argv.pop(1)))
    if sys.platform == "linux":
        end_with(int(sys.argv.pop(1)))

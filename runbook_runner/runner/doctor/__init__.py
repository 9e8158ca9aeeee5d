"""Runner, doctor: whether this machine can run runbooks: one finding for each thing that matters, with what fixes it.

Each check is a function of `Machine` that yields findings. The checks run side by side; what several need is asked
once. No check writes anything, starts a container or waits longer than `PATIENCE_S` for an answer.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from runbook_runner.runner.doctor import engines, offline, tools
from runbook_runner.runner.doctor.machine import Finding, Machine

Check = Callable[[Machine], Iterator[Finding]]


def examine(machine: Machine) -> tuple[Finding, ...]:
    """Returns every finding, in the order of the checks."""
    # Here, as two threads that import a package with cycles at the same time may wait for each other.
    from runbook_runner.sandbox.docker import engine  # noqa: F401

    checks: list[Check] = [
        engines.sandboxes,
        engines.engine,
        engines.limits,
        engines.without_engine,
        engines.networks,
        engines.disk,
        tools.images,
        tools.agents,
        tools.keys,
        tools.certificates,
        tools.project,
        *([offline.readiness] if machine.offline else []),
    ]
    with ThreadPoolExecutor(len(checks), "doctor") as pool:
        return tuple(finding for found in pool.map(lambda check: list(check(machine)), checks) for finding in found)

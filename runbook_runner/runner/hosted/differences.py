"""Runner: in what a run of a platform and its rerun here differ."""

from collections.abc import Iterator
from dataclasses import replace

from runbook_runner.core.text import decoded_name
from runbook_runner.runner.diff import Calls, Diff
from runbook_runner.trajectory.folders import RESULTS


def comparable(found: Diff) -> Diff:
    """Of a pulled run and its rerun, without what the platform has not recorded, and without what was changed on
    purpose: the rerun has the spec of the pulled run but for that."""
    calls = found.calls
    if calls and not calls.one:
        calls = Calls((), (), None)
    spec = tuple(change._replace(counts=False) for change in found.spec)
    outcome = tuple(change._replace(counts=change.one not in ("-", "[]")) for change in found.outcome)
    return replace(found, spec=spec, outcome=outcome, calls=calls)


def in_order(found: Diff) -> Iterator[str]:
    """What differs, in the order in which it came about."""
    if found.mission:
        yield "mission"
    if found.calls and found.calls.first_difference:
        yield f"tool call {found.calls.first_difference}"
    yield from (f"{RESULTS}/{decoded_name(path)}" for path in (*found.changed, *found.lacking))
    yield from (change.what for change in found.outcome if change.counts)

"""Command line: the files of `runbook check`: what each is checked for, and many of them checked on all cores."""

import os
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.registry import find_facts, infer_agent, known_agents
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts
from runbook_runner.core.files import read_found
from runbook_runner.runbook.check.config import config_for, forget_configs
from runbook_runner.runbook.check.engine import Job, findings_of, job, refusal
from runbook_runner.runbook.check.files import files
from runbook_runner.runbook.check.rules import PROFILES, Selection, codes
from runbook_runner.runbook.check.rules.findings import Finding
from runbook_runner.runbook.check.rules.known_names import Near, Surroundings
from runbook_runner.runbook.sources.load import STDIN, read_stdin

_FILES_PER_WORKER = 24  # fewer take less time than a further process
_FILES_AT_ONCE = 200  # their texts are in memory together
_MOST_WORKERS = 8


class Target(NamedTuple):
    name: str
    """As findings call it: the path as given, or `<stdin>`."""
    folder: Path | None
    """The folder of the file; `None` for stdin."""
    selection: Selection

    def read(self) -> bytes:
        """Raises InputError when it can't be read or is too large."""
        return stdin() if self.folder is None else read_found(Path(self.name))


@cache
def stdin() -> bytes:
    return read_stdin()


def targets_of(
    paths: Sequence[str], profile: str | None, select: tuple[str, ...], ignore: tuple[str, ...]
) -> list[Target]:
    """The files at these paths. What the command line says replaces what the project says.

    Raises InputError for a path that does not exist, a wrong code, and wrong settings of a project.
    """
    select, ignore = codes(",".join(select)), codes(",".join(ignore))
    return [_target(path, profile, select, ignore) for path in files(paths)]


def _target(path: str, profile: str | None, select: tuple[str, ...], ignore: tuple[str, ...]) -> Target:
    absolute = os.path.abspath(path)  # noqa: PTH100 - symbolic links are not followed
    folder = Path.cwd() if path == STDIN else Path(absolute).parent
    config = config_for(folder)
    selection = Selection(
        profile=next((name for name in PROFILES if name == profile), config.profile or "auto"),
        select=select or config.select,
        ignore=(ignore or config.ignore) + config.ignored_in(absolute),
    )
    return Target("<stdin>", None, selection) if path == STDIN else Target(path, folder, selection)


def findings_of_text(text: str, path: str, profile: str | None = None) -> list[Finding]:
    """What `check` would find in the file at this path if it had this text. path: `-` for one that is no file."""
    target = _target(path, profile, (), ())
    return list(findings_of([job(text.encode(), target.name, target.folder, target.selection, HERE)])[0])


def forget() -> None:
    """For a process that checks again and again: what was read of projects is read anew."""
    forget_configs()
    for known in (_agents, _find_agent, _infer_agent, _snapshots, _providers):
        known.cache_clear()


def findings_in(targets: Sequence[Target]) -> list[Finding]:
    """In the order of the files. A worker that fails raises its exception here."""
    workers = min(_cores(), len(targets) // _FILES_PER_WORKER, _MOST_WORKERS)
    if workers < 2 or any(target.folder is None for target in targets):
        return [finding for findings in _check(targets) for finding in findings]
    import multiprocessing  # slow to import, and needed for many files only
    from concurrent.futures import ProcessPoolExecutor

    # Forked workers have our imports already. On macOS a fork may crash in system libraries.
    context = multiprocessing.get_context("fork") if os.uname().sysname == "Linux" else None
    # Neighbours are often alike: one worker must not get all the long ones.
    shares = [targets[number::workers] for number in range(workers)]
    found: list[list[Finding]] = [[]] * len(targets)
    with ProcessPoolExecutor(workers, context) as pool:
        for number, findings in enumerate(pool.map(_check, shares)):
            found[number::workers] = findings
    return [finding for findings in found for finding in findings]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(targets: Sequence[Target]) -> list[list[Finding]]:
    """For each target."""
    starts = range(0, len(targets), _FILES_AT_ONCE)
    return [found for start in starts for found in _check_together(targets[start : start + _FILES_AT_ONCE])]


def _check_together(targets: Sequence[Target]) -> Iterator[list[Finding]]:
    begun = list(map(_begin, targets))
    checked = iter(findings_of([item for item in begun if isinstance(item, Job)]))
    return (list(next(checked)) if isinstance(item, Job) else [item] for item in begun)


def _begin(target: Target) -> Job | Finding:
    try:
        return job(target.read(), target.name, target.folder, target.selection, HERE)
    except InputError as error:
        return refusal(error, target.name)


# --- what this machine knows beyond the contract; asked for only when a rule needs it --------------------------------


@cache
def _agents(near: Near) -> Collection[str]:
    return known_agents(_folders(near))


@cache
def _find_agent(name: str, near: Near) -> AgentFacts | None:
    try:
        return find_facts(name, () if name in BUILT_IN_AGENTS else _folders(near))
    except InputError:  # a rule says that the agent is unknown, a run says what is wrong with its file
        return None


@cache
def _infer_agent(model: str | None, near: Near) -> AgentFacts | None:
    return infer_agent(model, _folders(near))


@cache
def _snapshots(near: Near) -> Collection[str]:
    from runbook_runner.sandbox.images.snapshots import known_snapshots

    return known_snapshots(_folders(near))


@cache
def _providers(_near: Near) -> Collection[str]:
    from runbook_runner.gateway.providers.configure import known_providers

    return known_providers()


def _folders(near: Near) -> tuple[Path, ...]:
    """Where a run looks: from the runbook upwards, then from here."""
    return (*([near] if near else []), Path.cwd())


HERE = Surroundings(tuple(BUILT_IN_AGENTS), _agents, _find_agent, _infer_agent, _snapshots, _providers)

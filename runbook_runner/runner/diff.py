"""Runner: what differs between two runs, or between a run and a folder of expected results."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.walk import MOST_RECORDED, files_below
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Recorded, ToolCalled, Usage
from runbook_runner.core.files import is_file, is_folder, read_stream
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.redaction.redactor import Redactor
from runbook_runner.core.settings import APP, Settings
from runbook_runner.evaluation.compare.folders import compare_files
from runbook_runner.runner.bundles.read import bundle_named, unpacked
from runbook_runner.runner.replay.cassette import relocation
from runbook_runner.runner.replay.recorded_run import A_FOLDER
from runbook_runner.trajectory.diff.calls import Pair, aligned, first_difference, spelled
from runbook_runner.trajectory.diff.results import ResultsCompared, compare_results, diff_of_texts
from runbook_runner.trajectory.folders import EVENTS_FILE, MOST_SPEC_BYTES, RESULTS, SPEC_FILE
from runbook_runner.trajectory.index.names import find_folder, path_of
from runbook_runner.trajectory.outcome import UNKNOWN
from runbook_runner.trajectory.store import read_events, require_no_links
from runbook_runner.trajectory.summary import tree_status, usage_of
from runbook_runner.trajectory.tree import Tree, said_of, tree_of

_MOST_CALLS: Final = 20_000
_MOST_BY_TYPE: Final = 50
"""Files that are read to tell what differs in them; of the others it is told that they differ."""
_COMPARED: Final = ("title", "agent", "model", "provider", "snapshot", "image", "apt_packages", "inputs", "mcp_servers",
                    "outputs", "criteria", "judge", "limits", "network")  # fmt: skip
"""What of the spec is compared, beside the mission and the parameters."""
_PLACES: Final = ("line", "code_line", "source")
_NARROWED: Final = ("network", "limits")
"""A replay has no more of it than it needs."""
_NOT_GIVEN: Final = "not given: the runbook's default"
_NAMES: Final = ("path", "name", "id", "criterion")
_MOST_LINES: Final = 1_000


@dataclass(frozen=True)
class Side:
    """A run, or a folder of expected results, which has no `tree`."""

    name: str
    """For people: the trajectory id, or the folder."""
    folder: Path
    results: Path
    tree: Tree | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    """Empty when it is not recorded."""
    calls: tuple[ToolCalled, ...] = ()
    """The first 20,000."""

    @property
    def mission(self) -> str:
        """Empty when it is not recorded."""
        said = self.tree.started.init_params.get("instruction") if self.tree and self.tree.started else ""
        recorded = "".join(str(self.spec.get(part) or "") for part in ("mission", "note"))
        return recorded or str(said or "")

    @property
    def is_import(self) -> bool:
        """What it does not say is not known."""
        return bool(self.tree and self.tree.started and self.tree.started.origin)

    @property
    def app(self) -> str:
        app = self.tree.sandbox.app if self.tree and self.tree.sandbox else APP
        return app if A_FOLDER.fullmatch(app) else APP


class Change(NamedTuple):
    what: str
    one: str
    two: str
    counts: bool = True
    """False: runs that differ in nothing else are the same, such as in their time."""


@dataclass(frozen=True)
class Calls:
    one: tuple[str, ...]
    """Each as `NAME: what it was asked for`."""
    two: tuple[str, ...]
    first_difference: int | None
    """1-based; `None`: all are the same."""
    pairs: tuple[Pair, ...] = ()
    """From the first difference on, some hundred at most."""
    all: tuple[int, int] = (0, 0)
    """How many there are, those that are not compared among them."""


@dataclass(frozen=True)
class Diff:
    one: Side
    two: Side
    spec: tuple[Change, ...]
    mission: str
    """Unified diff of the missions; empty when they are the same."""
    outcome: tuple[Change, ...]
    phases: tuple[Change, ...]
    usage: tuple[Change, ...]
    calls: Calls | None
    """`None`, and nothing in what is above: one side is a folder of expected results."""
    results: ResultsCompared
    by_type: dict[str, tuple[str, ...]]
    """Path → what differs in the file by its type; nothing: only its bytes differ. Not every changed file has an
    entry."""

    @property
    def changed(self) -> tuple[str, ...]:
        """Results that differ, also by their type."""
        return tuple(path for path in self.results.changed if self.by_type.get(path) != ())

    @property
    def is_same(self) -> bool:
        return not any(self.differences())

    def differences(self) -> Iterator[str]:
        """What makes them not the same, in few words each."""
        yield from (change.what for change in (*self.spec, *self.outcome) if change.counts)
        if self.mission:
            yield "mission"
        if self.calls and self.calls.first_difference:
            yield f"tool call {self.calls.first_difference}"
        yield from (f"{RESULTS}/{path}" for path in (*self.changed, *self.lacking))

    @property
    def lacking(self) -> tuple[str, ...]:
        """Results that only one has; what an expected folder does not have does not matter."""
        missing = self.results.missing if self.two.tree else ()
        return (*missing, *(self.results.extra if self.one.tree else ()))


@contextmanager
def opened_side(settings: Settings, name: str) -> Iterator[Side]:
    """name: as `read_side` takes it, or a bundle, whose files are there in this block. Raises InputError,
    NotReadyError."""
    home = settings.require_home()
    bundle = bundle_named(name)
    if not bundle:
        yield read_side(home, name)
        return
    with unpacked(settings.data, bundle) as (folder, _):
        yield replace(read_side(home, str(folder)), name=name)


def read_side(home: Path, name: str) -> Side:
    """name: as `find_folder` takes it, or a folder of expected results. Raises InputError."""
    path = path_of(name)
    if path and is_folder(path) and not is_file(path / EVENTS_FILE):
        side = Side(name, path.absolute(), path.absolute())
        if not files_below(side.results, most=MOST_RECORDED):
            hint = "Give a run, or a folder of expected results."
            raise InputError("There is no file in this folder.", where=name, hint=hint)
        return side
    folder = find_folder(home, name)
    require_no_links(folder)
    calls: list[ToolCalled] = []
    tree = tree_of(_noting(read_events(folder), calls))
    shown = tree.started.trajectory_id if tree.started else name
    return Side(shown, folder, folder / RESULTS, tree, _spec(folder / SPEC_FILE), tuple(calls))


def diff(one: Side, two: Side) -> Diff:
    """Raises InputError when none of them is a run."""
    if one.tree is None and two.tree is None:
        raise InputError(
            "None of the two is a run.", where=f"{one.name}, {two.name}", hint="Give a run's id, or its folder."
        )
    there = relocation(one.app, two.app) if one.tree and two.tree else str
    results = compare_results(one.results, two.results, there, (one.name, two.name))
    clean = Redactor().clean
    read = islice(results.changed, _MOST_BY_TYPE)
    by_type = {path: compare_files(one.results, two.results, Path(path), clean=clean) for path in read}
    if one.tree is None or two.tree is None:
        return Diff(one, two, (), "", (), (), (), None, results, by_type)
    missions = (one.mission, two.mission)
    mission = diff_of_texts(*missions, one.name, two.name, 80) if all(missions) else ""
    return Diff(
        one, two, tuple(_spec_changes(one, two)), mission, tuple(_outcome_changes(one, two)),
        tuple(_phases(one.tree, two.tree)),
        tuple(_usage(usage_of(one.tree), usage_of(two.tree))), _calls(one, two), results, by_type,
    )  # fmt: skip


def _noting(events: Iterator[Recorded], calls: list[ToolCalled]) -> Iterator[Recorded]:
    for recorded in events:
        if isinstance(recorded.event, ToolCalled) and len(calls) < _MOST_CALLS:
            calls.append(recorded.event)
        yield recorded


def _spec(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            spec = read_json(read_stream(file, str(path), "spec", MOST_SPEC_BYTES), str(path))
    except FileNotFoundError:  # of an import
        return {}
    except OSError as error:
        raise InputError(f"The spec of this run can't be read: {error.strerror}.", where=str(path)) from error
    return spec if isinstance(spec, dict) else {}


def _spec_changes(one: Side, two: Side) -> Iterator[Change]:
    """What was asked for counts; by what it was done does not."""
    assert one.tree
    assert two.tree
    if one.spec and two.spec:
        repeats = any(tree.started and tree.started.replay for tree in (one.tree, two.tree))
        for name in _COMPARED:
            before, after = (_without_places(side.spec.get(name)) for side in (one, two))
            yield from _change(name.replace("_", " "), before, after, counts=not (repeats and name in _NARROWED))
        given = [side.spec.get("parameters") for side in (one, two)]
        before, after = (value if isinstance(value, dict) else {} for value in given)
        for name in sorted(before.keys() | after.keys()):
            yield from _change(f"parameter {name}", before.get(name, _NOT_GIVEN), after.get(name, _NOT_GIVEN))
    sandboxes, agents = (one.tree.sandbox, two.tree.sandbox), (one.tree.agent, two.tree.agent)
    backends = [sandbox.backend if sandbox else None for sandbox in sandboxes]
    digests = [sandbox.image_digest if sandbox else None for sandbox in sandboxes]
    yield from _change("sandbox", *backends, counts=False)
    yield from _change("image digest", *digests, counts=False)
    yield from _change("agent's version", *(agent.version if agent else None for agent in agents), counts=False)
    engines = [tree.started.engine if tree.started else None for tree in (one.tree, two.tree)]
    yield from _change("runbook's version", *engines, counts=False)


def _without_places(value: Any) -> Any:
    """What was asked for, without the lines of the runbook at which it stands, which an edit above it moves, and where
    an input lies on its machine."""
    if isinstance(value, dict):
        return {key: _without_places(inner) for key, inner in value.items() if key not in _PLACES}
    return [*map(_without_places, value)] if isinstance(value, list) else value


def _outcome_changes(one: Side, two: Side) -> Iterator[Change]:
    """What an import does not say is not counted as different."""
    ends = [_end(side) for side in (one, two)]
    for what, before in ends[0].items():
        after = ends[1][what]
        is_unknown = (one.is_import and before in (None, [])) or (two.is_import and after in (None, []))
        yield from _change(what, before, after, counts=not is_unknown)


def _end(side: Side) -> dict[str, Any]:
    tree = side.tree
    assert tree
    status = tree_status(tree)
    return {
        "status": None if status == UNKNOWN else status,
        "error": tree.finished.error if tree.finished else None,
        "verdict": tree.evaluated.verdict if tree.evaluated else None,
        "reasons": list(tree.evaluated.reasons) if tree.evaluated else [],
        "agent's exit code": tree.agent_end.exit_code if tree.agent_end else None,
    }


def _phases(one: Tree, two: Tree) -> Iterator[Change]:
    """All of them, with their times."""
    times = [{node.title: node.seconds for node in tree.nodes if node.kind == "phase"} for tree in (one, two)]
    for name in dict.fromkeys((*times[0], *times[1])):
        before, after = (_seconds(side.get(name)) for side in times)
        yield Change(name, before, after, counts=False)
    before, after = (_seconds(tree.finished.seconds if tree.finished else None) for tree in (one, two))
    yield Change("all", before, after, counts=False)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"


def _usage(one: Usage, two: Usage) -> Iterator[Change]:
    for name in ("api_calls", "prompt_tokens", "cache_read_tokens", "cache_write_tokens", "completion_tokens"):
        before, after = getattr(one, name), getattr(two, name)
        if before or after:
            yield Change(name.replace("_", " ").replace("api", "model"), f"{before:,}", f"{after:,}", counts=False)
    if one.cost_usd or two.cost_usd:
        yield Change("cost", _cost(one), _cost(two), counts=False)


def _cost(usage: Usage) -> str:
    return "unknown" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"


def _change(what: str, one: Any, two: Any, *, counts: bool = True) -> Iterator[Change]:
    """Of lists and objects what is not the same, a line each."""
    if one == two:
        return
    if not (isinstance(one, list | dict) or isinstance(two, list | dict)):
        yield Change(what, _shown(one), _shown(two), counts)
        return
    before, after = (list(islice(_lines(value), _MOST_LINES)) for value in (one, two))
    only = [[line for line in side if line not in other] for side, other in ((before, after), (after, before))]
    if any(only):
        yield Change(what, "\n".join(only[0]) or "-", "\n".join(only[1]) or "-", counts)
    else:
        yield Change(what, "\n".join(before), "\n".join(after), counts)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lines(value: Any, name: str = "") -> Iterator[str]:
    """`{"a": {"b": 1}}` → `a b: 1`; what is in a list has the name that it gives itself."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{name} {key}".strip())
    elif isinstance(value, list):
        for inner in value:
            key = next((key for key in _NAMES if key in inner), None) if isinstance(inner, dict) else None
            rest = {one: kept for one, kept in inner.items() if one != key} if key else inner
            yield from _lines(rest or inner, f"{name} {_shown(inner[key])}".strip() if key and rest else name)
    elif value not in (None, ""):
        yield f"{name}: {_shown(value)}" if name else _shown(value)


def _calls(one: Side, two: Side) -> Calls:
    there = relocation(one.app, two.app)
    before, after = [there(spelled(call)) for call in one.calls], [spelled(call) for call in two.calls]
    numbers = [side.tree.counts["tool"] if side.tree else 0 for side in (one, two)]
    first = first_difference(before, after)
    if first is None and numbers[0] != numbers[1]:
        first = min(len(before), len(after)) + 1
    pairs = aligned(before, after, first - 1) if first else []
    return Calls(_told(one), _told(two), first, tuple(pairs), (numbers[0], numbers[1]))


def _told(side: Side) -> tuple[str, ...]:
    as_mission = relocation(side.app, APP)
    return tuple(f"{call.name}: {as_mission(said_of(call))}" for call in side.calls)

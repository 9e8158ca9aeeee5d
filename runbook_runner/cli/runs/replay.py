"""Command line: `runbook replay`."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.text import Text

from runbook_runner.cli.options import FORK, HOW, Argument, Json, Keep, Option, Out, Quiet, with_options
from runbook_runner.cli.ui.display import plain
from runbook_runner.cli.ui.follow import Followed, console_for, follow
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.events import ToolCalled
from runbook_runner.core.settings import APP, Settings
from runbook_runner.runner.recorded_run import Parent, read_parent
from runbook_runner.runner.replay import (
    DOCUMENT,
    RECORDING,
    Replaying,
    Then,
    changes,
    check_on_miss,
    pinned,
    relocation,
    respecified,
    stand_ins,
    with_policy,
)
from runbook_runner.runner.request.inputs import with_kept_inputs
from runbook_runner.runner.request.secrets import load_environment
from runbook_runner.runner.run import RunOptions
from runbook_runner.trajectory.diff import CallsCompared, ResultsCompared, compare_calls, compare_results
from runbook_runner.trajectory.store import read_events


@dataclass(frozen=True)
class Arguments:
    """The command line as typed."""

    trajectories: Annotated[
        list[str],
        Argument(
            metavar="TRAJECTORY... [FILE]",
            help="A trajectory's id, its folder, a copy of that folder, or a RUNBOOK.md with such a copy beside it in "
            "recording/; several are replayed one by one. FILE: with --then script, the model script that goes on.",
        ),
    ]
    on_miss: Annotated[
        str,
        Option(
            metavar="stop|live|nearest",
            rich_help_panel=HOW,
            help="For a model call that was not recorded: end the run, ask the provider, or take the nearest answer.",
        ),
    ] = "stop"
    strict: Annotated[
        bool,
        Option(
            "--strict",
            rich_help_panel=HOW,
            help="Exit with 1 also when the image or the agent's version is not the recorded one.",
        ),
    ] = False
    sandbox: Annotated[str | None, Option(rich_help_panel=HOW, help="Another sandbox than the recorded one.")] = None
    network: Annotated[
        str | None,
        Option(metavar="POLICY", rich_help_panel=HOW, help="Another network policy, such as model-only."),
    ] = None
    env_file: Annotated[
        Path | None,
        Option(metavar="FILE", rich_help_panel=HOW, help="Take secrets from here first; none is needed."),
    ] = None
    keep: Keep = False
    until: Annotated[
        int | None,
        Option(metavar="N", rich_help_panel=FORK, help="Answer the first N model calls from the recording only."),
    ] = None
    then: Annotated[
        str | None,
        Option(metavar="live|script", rich_help_panel=FORK, help="Who answers after them: the provider, or FILE."),
    ] = None
    out: Out = None
    quiet: Quiet = False
    json: Json = False


@with_options(Arguments)
def replay(arguments: Arguments) -> int:
    """Run a recorded run again: the same agent in a fresh sandbox, every model call answered from the recording.

    Needs no network and no key. The results are compared with the recorded ones; a request that is not as it was
    recorded is shown and recorded, never served silently. With --until and --then it is a fork: a new run that goes
    its own way after call N.

    A RUNBOOK.md is run as it is now, with the parameters and inputs of its recording: so a hook finds out when the two
    no longer belong together.

    Exit codes: 0 the results are the same and nothing diverged in a major way, 1 they are not, 2 bad input (nothing
    to replay), 3 this machine is not ready, 4 it stopped at a call that was not recorded, or the agent failed, 5 a
    bug, 130 interrupted. A fork has the exit codes of `runbook run`.
    """
    return execute(arguments)


@dataclass(frozen=True)
class Repeated:
    """A run beside the one it repeats."""

    parent: Parent
    followed: Followed
    results: ResultsCompared
    calls: CallsCompared
    is_fork: bool
    strict: bool

    @property
    def told(self) -> dict[str, Any]:
        """What the fold says about it."""
        return self.followed.outcome.trajectory.attributes.params

    @property
    def divergences(self) -> dict[str, int]:
        """How many by severity."""
        counts: dict[str, int] = self.told["replay"]["divergences"]
        return {severity: counts.get(severity, 0) for severity in ("minor", "major", "miss")}

    @property
    def same_end(self) -> bool:
        """A recorded run that never came to its end has none to compare with."""
        return self.parent.status in ("running", self.followed.outcome.trajectory.status)

    @property
    def exit_code(self) -> ExitCode:
        if self.is_fork or (self.followed.outcome.error and not self.same_end):
            return self.followed.exit_code
        if self.divergences["miss"] and self.followed.outcome.error:
            return self.followed.exit_code
        doubtful = self.divergences["major"] or self.divergences["miss"]
        elsewhere = self.strict and list(self.environment())
        same = self.same_end and self.results.identical and not doubtful and not elsewhere
        return ExitCode.PASS if same else ExitCode.VERDICT_FAIL

    def environment(self) -> Iterator[str]:
        """What else is not as it was."""
        yield from changes(self.parent, self.followed.seen.sandbox)
        if not self.same_end:
            yield f"{self.parent.status} then, {self.followed.outcome.trajectory.status} now"

    def json(self) -> dict[str, Any]:
        return {
            **self.followed.json(),
            "parent_trajectory_id": self.parent.trajectory_id,
            "mode": "fork" if self.is_fork else "replay",
            "model_calls": self.told.get("model_calls", {}),
            "divergences": self.divergences,
            "results": {"identical": self.results.identical, **asdict(self.results), "diffs": dict(self.results.diffs)},
            "tool_calls": {"identical": self.calls.identical, **asdict(self.calls)},
            "environment": list(self.environment()),
        }


def execute(arguments: Arguments) -> int:
    """Runs, compares and reports each; the worst exit code. Raises RunbookError for what was wrong before anything
    started."""
    then = _then(arguments)
    names, script = arguments.trajectories, None
    if then == "script":
        names, script = names[:-1], Path(names[-1])
    return max(_replay(arguments, name, then, script) for name in names)


def _replay(arguments: Arguments, name: str, then: Then | None, script: Path | None) -> int:
    settings = Settings.load()
    document = Path(name) if Path(name).name == DOCUMENT else None
    if document and not (document.parent / RECORDING).is_dir():
        sys.stderr.write(f"{name}: no {RECORDING}/ beside it, nothing to replay\n")
        return ExitCode.PASS
    parent = read_parent(settings.home, str(document.parent / RECORDING) if document else name)
    plan = Replaying.of(parent, on_miss=check_on_miss(arguments.on_miss), until=arguments.until, then=then)
    spec = with_kept_inputs(respecified(parent.spec, document) if document else pinned(parent), parent.folder)
    spec = with_policy(spec, arguments.network) if arguments.network else spec
    environ = load_environment(arguments.env_file, None)
    options = RunOptions(
        settings=settings,
        environ={**environ, **stand_ins(spec, environ)},
        backend=arguments.sandbox or parent.backend or "auto",
        model_script=script,
        replay=plan,
        record_mode=settings.record_mode,
        out=arguments.out,
        keep=arguments.keep,
    )
    console = console_for(quiet=arguments.quiet, json=arguments.json)
    repeated = _beside(parent, follow(spec, options, console), arguments)
    if console:
        for line in _lines(repeated):
            console.print(line, soft_wrap=True)
    if arguments.json:
        sys.stdout.write(json.dumps(repeated.json()) + "\n")
    return repeated.exit_code


def _then(arguments: Arguments) -> Then | None:
    """Raises InputError for what does not fit together."""
    if arguments.then not in (None, "live", "script"):
        raise InputError(f"Unknown --then {arguments.then!r}.", hint="Known: live, and script FILE.")
    if (arguments.until is None) != (arguments.then is None):
        raise InputError("A fork needs both --until and --then.", hint="Such as --until 3 --then script turns.yaml.")
    if arguments.then == "script" and len(arguments.trajectories) < 2:
        raise InputError("--then script needs a model script.", hint="Such as --then script turns.yaml.")
    return "live" if arguments.then == "live" else "script" if arguments.then == "script" else None


def _beside(parent: Parent, followed: Followed, arguments: Arguments) -> Repeated:
    folder = followed.outcome.folder
    app = followed.seen.sandbox.app if followed.seen.sandbox else APP
    called = [recorded.event for recorded in read_events(folder) if isinstance(recorded.event, ToolCalled)]
    calls = compare_calls(parent.tool_calls, called, relocation(parent.app, app))
    results = compare_results(parent.folder, folder)
    return Repeated(parent, followed, results, calls, is_fork=arguments.until is not None, strict=arguments.strict)


def _lines(repeated: Repeated) -> Iterator[Text]:
    results, calls = repeated.results, repeated.calls
    yield Text(f"Beside {repeated.parent.trajectory_id}:", style="bold")
    if results.identical:
        yield Text(f"✓ results: {_count(len(results.same), 'file')}, all the same", style="green")
    for word, paths in (("differs", results.changed), ("is missing", results.missing), ("is new", results.extra)):
        yield from (Text(f"✗ results/{plain(path)} {word}", style="red") for path in paths)
    yield from (Text(plain(diff), style="dim") for _, diff in results.diffs)
    yield _about_calls(calls)
    answered = ", ".join(f"{count} from the {source}" for source, count in repeated.told.get("model_calls", {}).items())
    if answered:
        yield Text(f"  model calls: {answered.replace('replay', 'recording')}", style="dim")
    found = ", ".join(f"{count} {severity}" for severity, count in repeated.divergences.items() if count)
    if found:
        yield Text(f"! requests that are not as recorded: {found}", style="yellow")
    yield from (Text(f"! {line}", style="yellow") for line in repeated.environment())


def _about_calls(calls: CallsCompared) -> Text:
    if calls.identical:
        return Text(f"✓ {_count(calls.repeated, 'tool call')}, the same", style="green")
    told = f"{calls.recorded} recorded, {calls.repeated} now"
    return Text(f"✗ tool call {calls.first_difference} is another one ({told})", style="red")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")

"""Command line: `runbook replay`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any, cast

from rich.text import Text

from runbook_runner.cli.options import (
    FORK,
    HOW,
    OUTPUT,
    add_env_file,
    add_keep,
    add_on_miss,
    add_output,
    add_secrets,
    add_trust,
    given_fields,
)
from runbook_runner.cli.ui.follow import Followed, ask_on_terminal, console_for, follow, in_short, print_briefly
from runbook_runner.cli.ui.output import after_json, put_json
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.settings import Settings
from runbook_runner.core.text import counted, printable_name, printable_output
from runbook_runner.runner import RunOptions
from runbook_runner.runner.bundles.read import bundle_named, unpacked
from runbook_runner.runner.replay.cassette import Then
from runbook_runner.runner.replay.comparison import Comparison, compare
from runbook_runner.runner.replay.prepare import RECORDING, ReplayRequest, document_of, prepare_replay
from runbook_runner.runner.replay.renewal import renew, require_renewable
from runbook_runner.trajectory.diff.calls import CallsCompared

DESCRIPTION = """\
Needs no network and no key. The results are compared with the recorded ones, where each may name its own sandbox's
folder; a request that differs from the recorded one is shown and recorded, never answered silently. What changes from
run to run without a meaning, such as the day, is no difference there; in what the agent is told (the runbook, its
parameters, the names of inputs) it is one. With --until and --then it is a fork: a new run that continues on its own
after call N.

A RUNBOOK.md is run as it is now, with the parameters and inputs of its recording: so a hook finds out when the two
no longer belong together. What only `runbook fmt` has changed is the same. --update makes the recording anew.

A bundle (`runbook runs bundle`) is replayed without a network, unless you give it one with --network, and with what is
here: no image is pulled or built for it, and no agent's CLI installed without --network full.

Exit codes: 0 the results and the verdict are the same and nothing diverged in a major way (the replay of an agent that
failed passes when it fails in the same way again), 1 they are not, 2 bad input (nothing to replay), 3 this machine is
not ready, 4 it stopped at a call that was not recorded, or the agent failed otherwise than recorded, 5 a bug, 130
interrupted. A fork has the exit codes of `runbook run`.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    trajectories = (
        "A trajectory's id or the beginning of it, its folder, a copy of that folder, a bundle, or a RUNBOOK.md (or "
        "its folder) with such a copy beside it in recording/; several are replayed one after another. FILE: with "
        "--then script, the model script that continues."
    )
    parser.usage = "%(prog)s [OPTIONS] TRAJECTORY... [FILE]"
    parser.add_argument("trajectories", nargs="+", metavar="TRAJECTORY", help=trajectories)
    how = parser.add_argument_group(HOW)
    add_on_miss(how, "For a model call that was not recorded")
    strict = "Exit with 1 also when the image or the agent's version is not the recorded one."
    how.add_argument("--strict", action="store_true", help=strict)
    how.add_argument("--sandbox", help="auto, docker, bubblewrap or host (default: the recorded one, but never host).")
    network = "Another network policy than the recorded one (of a run that this machine has not made: than none)."
    how.add_argument("--network", metavar="POLICY", help=network)
    add_secrets(how)
    add_env_file(how, "Take secrets from this file; none is needed.")
    add_trust(how)
    update = (
        "Replace the recording/ beside a RUNBOOK.md by this replay when the two are not the same and it passes. "
        "With --on-miss live the provider answers what was not recorded."
    )
    how.add_argument("--update", action="store_true", help=update)
    add_keep(how)
    fork = parser.add_argument_group(FORK)
    until = "Answer only the first N model calls from the recording."
    fork.add_argument("--until", type=int, metavar="N", help=until)
    then = "What answers the calls after them: the provider, or FILE."
    fork.add_argument("--then", choices=("live", "script"), metavar="live|script", help=then)
    add_output(parser.add_argument_group(OUTPUT))


def execute(arguments: argparse.Namespace) -> int:
    """Runs, compares and reports each, until one is interrupted; the worst exit code. Raises RunbookError for what was
    wrong before anything started, and for results that could not be copied."""
    then = _then(arguments)
    names, script = arguments.trajectories, None
    if then == "script":
        names, script = names[:-1], Path(names[-1])
    if arguments.update:
        require_renewable(names)
    worst = ExitCode.PASS
    for name in names:
        worst = max(worst, _replay(arguments, name, then, script))
        if worst == ExitCode.INTERRUPTED:
            break
    return worst


def _replay(arguments: argparse.Namespace, name: str, then: Then | None, script: Path | None) -> ExitCode:
    bundle = bundle_named(name)
    if not bundle:
        return _replay_folder(arguments, name, then, script)
    with unpacked(Settings.load().data, bundle) as (folder, manifest):
        return _replay_folder(arguments, str(folder), then, script, bundle=name, lacks=manifest.lacks)


def _replay_folder(
    arguments: argparse.Namespace,
    name: str,
    then: Then | None,
    script: Path | None,
    *,
    bundle: str | None = None,
    lacks: tuple[str, ...] = (),
) -> ExitCode:
    """bundle: the file that `name` was unpacked from. lacks: what it was made without."""
    options = RunOptions(**given_fields(RunOptions, arguments), offline=bundle is not None)
    given: dict[str, Any] = {"name": name, "near": (Path.cwd(),), "then": then, "script": script, "options": options}
    given |= {"is_trajectory": bundle is not None, "lacks": lacks}
    prepared = prepare_replay(ReplayRequest(**{**given_fields(ReplayRequest, arguments), **given}), ask_on_terminal())
    if prepared is None:
        sys.stderr.write(f"{name}: no {RECORDING}/ beside it, nothing to replay\n")
        return ExitCode.PASS
    assert prepared.replay
    assert prepared.replay.recorded
    console = console_for(quiet=arguments.quiet, json=arguments.json)
    followed = follow(prepared, console)
    comparison = compare(prepared.replay.recorded, followed.outcome)
    problem = _problem(followed, comparison, strict=arguments.strict)
    code = comparison.exit_code(strict=arguments.strict)
    document = None if bundle else document_of(name)
    renews = bool(document and arguments.update and not comparison.is_exact and followed.outcome.exit_code == 0)
    if document and renews:
        renew(document, followed.outcome.folder)
        problem, code = None, ExitCode.PASS
    if console:
        more = [_next(comparison, bundle)] if problem and not arguments.json else []
        for line in (*_lines(comparison), *more, _verdict(comparison, problem, document if renews else None)):
            console.print(line, soft_wrap=True)
    if arguments.quiet:
        print_briefly(followed, problem)
    if arguments.json:
        put_json({**followed.json(), **comparison.json(), "renewed": renews})
    with after_json():
        followed.require_copied()
    return code


def _problem(followed: Followed, comparison: Comparison, *, strict: bool) -> str | None:
    """Why the exit code is not 0; `None` when it is."""
    if comparison.ends_as_a_run:
        return followed.problem()
    differences = list(comparison.differences(strict=strict))
    recorded = comparison.recorded.trajectory_id
    return f"The replay is not the same as {recorded}: {in_short(differences)}" if differences else None


def _verdict(comparison: Comparison, problem: str | None, renewed: Path | None) -> Text:
    """problem: as `_problem` has it. renewed: the document whose recording this replay is from here on."""
    if renewed:
        return Text(f"✓ The replay is the new {printable_name(str(renewed.parent / RECORDING))}.", style="bold green")
    if problem:
        return Text(f"✗ {printable_output(problem)}", style="bold red")
    what = "passed" if comparison.is_fork else f"is the same as {comparison.recorded.trajectory_id}"
    return Text(f"✓ The {'fork' if comparison.is_fork else 'replay'} {what}.", style="bold green")


def _then(arguments: argparse.Namespace) -> Then | None:
    """Raises InputError for what does not fit together."""
    if (arguments.until is None) != (arguments.then is None):
        raise InputError("A fork needs both --until and --then.", hint="Such as --until 3 --then script turns.yaml.")
    if arguments.then == "script" and len(arguments.trajectories) < 2:
        raise InputError("--then script needs a model script.", hint="Such as --then script turns.yaml.")
    if arguments.then and arguments.strict:
        raise InputError("--strict has no meaning for a fork, which is not compared with the recording.")
    return cast("Then | None", arguments.then)


def _lines(comparison: Comparison) -> Iterator[Text]:
    results, calls = comparison.results, comparison.calls
    if results is None or calls is None:
        yield Text(f"Not compared with {comparison.recorded.trajectory_id}.", style="bold")
        return
    yield Text(f"Compared with {comparison.recorded.trajectory_id}:", style="bold")
    if results.identical:
        yield Text(f"✓ results: {counted(len(results.same), 'file')}, all the same", style="green")
    yield from (Text(f"✗ {printable_output(line)}", style="red") for line in results.differences())
    yield from (Text(printable_output(diff), style="dim") for _, diff in results.diffs)
    yield _about_calls(calls)
    answered = ", ".join(f"{count} from the {source}" for source, count in comparison.model_calls.items())
    if answered:
        yield Text(f"  model calls: {answered.replace('replay', 'recording')}", style="dim")
    found = ", ".join(f"{count} {severity}" for severity, count in comparison.divergences.items() if count)
    if found:
        yield Text(f"! requests that are not as recorded: {found}", style="yellow")
    yield from (Text(f"! {line}", style="yellow") for line in comparison.environment())


def _next(comparison: Comparison, bundle: str | None) -> Text:
    """Which command shows more of what differs."""
    recorded, trajectory = comparison.recorded, comparison.outcome.trajectory
    one = quote(printable_name(bundle)) if bundle else recorded.told
    return Text(f"  Next: runbook diff {one} {trajectory.trajectory_id}", style="dim")


def _about_calls(calls: CallsCompared) -> Text:
    if calls.identical:
        return Text(f"✓ {counted(calls.repeated, 'tool call')}, the same", style="green")
    counts = f"{calls.recorded} recorded, {calls.repeated} now"
    return Text(f"! tool call {calls.first_difference} differs ({counts})", style="yellow")  # decides nothing

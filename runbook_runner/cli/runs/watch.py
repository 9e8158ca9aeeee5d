"""Command line: `runbook watch`: keys and signals → session; what the session tells → terminal."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.cli.options import HOW, MODEL, OUTPUT, WHAT, add_quiet
from runbook_runner.cli.runs.request import request_of
from runbook_runner.cli.runs.run_options import (
    add_judge,
    declare_budget,
    declare_inputs,
    declare_model,
    declare_record,
    declare_sandbox,
)
from runbook_runner.cli.ui.follow import ask_on_terminal, console_for
from runbook_runner.core.errors import ExitCode, RunbookError

if TYPE_CHECKING:
    from runbook_runner.cli.ui.keys import Keys
    from runbook_runner.cli.ui.watching import Watching
    from runbook_runner.runner.watch.session import Session

DESCRIPTION = """\
It runs at once, and again after each save of the runbook, an input, a fixture, a script, the .env beside it, or what
it uses of the project. A save with an error in it is shown and not run. What runs write never starts one.

The answers of the last run are taken as long as each model call is the same, or differs only in steps that the agent
had not come to; from the first other call on, the model is asked. After an edit of a step, an answer is taken only when
it names an earlier step, or a file or command that only an earlier step has; the verdict is provisional then, and f
runs it whole. What an agent's CLI writes around the output of a command at random changes no call; the random path of
output that it has put aside does. What was saved is shown, and each event says who answered.

On a terminal, keys: r run again (with an error in it, too), f run again and ask for everything anew, c only check, on
and off, d diff with the run before, o open the primary output, h show the keys, q quit. Nothing is asked after the
first run: what an edit makes untrusted, or a secret that is missing then, is told.

Exit codes: 0 ended with q, 2 bad input, 3 this machine is not ready, 5 a bug, 130 interrupted.
"""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="A RUNBOOK.md, or a folder that holds one.")
    declare_inputs(parser.add_argument_group(WHAT))
    group = parser.add_argument_group(MODEL)
    declare_model(group)
    recording = "The first run takes its answers from this run: its id, its folder, @last (default: it takes none)."
    group.add_argument("--replay", dest="recording", metavar="RUN", help=recording)
    strict = "Take no answer after an edit of the runbook, whichever step it is in."
    group.add_argument("--strict", action="store_true", help=strict)
    add_judge(group)
    declare_budget(group)
    how = parser.add_argument_group(HOW)
    busy = "What a save does to the run under way: cancel it, or queue the next one behind it (default: cancel)."
    how.add_argument("--on-busy", choices=("cancel", "queue"), default="cancel", metavar="cancel|queue", help=busy)
    how.add_argument("--check", dest="check_only", action="store_true", help="Only check what is saved; run nothing.")
    declare_sandbox(how)
    output = parser.add_argument_group(OUTPUT)
    declare_record(output)
    output.add_argument("--out", type=Path, metavar="DIR", help="Copy the results of each run into this folder.")
    add_quiet(output)


def execute(arguments: argparse.Namespace) -> int:
    """Returns when the session was ended. Raises RunbookError for what was wrong before the first run."""
    from runbook_runner.cli.ui.keys import Keys, can_read_keys
    from runbook_runner.cli.ui.watching import Watching
    from runbook_runner.runner.watch.session import Session, WatchOptions

    console = console_for(quiet=arguments.quiet, json=False)
    has_keys = can_read_keys()
    options = WatchOptions(arguments.on_busy, arguments.check_only, arguments.strict, arguments.recording)
    watching = Watching(Path(arguments.path), console, has_keys=has_keys)
    session = Session(request_of(arguments), options, watching, ask_on_terminal())
    watching.document = session.document
    came: list[int] = []
    with ExitStack() as opened:

        def begun() -> None:
            keys = Keys(lambda key: _press(key, session, watching, keys)) if has_keys else None
            opened.enter_context(_signals(session, watching, keys, came))
            if keys:
                opened.enter_context(keys)

        session.hold(begun)
    return ExitCode.INTERRUPTED if came else ExitCode.PASS


def _press(key: str, session: "Session", watching: "Watching", keys: "Keys | None") -> None:
    jobs: dict[str, Callable[[], None]] = {
        "r": session.rerun,
        "f": lambda: session.rerun(full=True),
        "c": session.toggle_check_only,
        "d": lambda: session.do(lambda: _show_diff(watching)),
        "o": lambda: session.do(lambda: _open_output(session, watching, keys)),
        "h": lambda: session.do(watching.say_keys),
        "q": session.quit,
    }
    if key in jobs:
        jobs[key]()


def _show_diff(watching: "Watching") -> None:
    """As `runbook diff` shows it."""
    from runbook_runner.cli.records import diff

    if len(watching.folders) < 2:
        watching.say("There are no two runs yet.")
        return
    one, two = map(str, watching.folders[-2:])
    with _shown_errors(watching):
        diff.execute(argparse.Namespace(one=one, two=two, html=None, json=False))


def _open_output(session: "Session", watching: "Watching", keys: "Keys | None") -> None:
    """As `runbook runs open` opens it."""
    from runbook_runner.cli.records.runs import open_

    if not watching.folders:
        watching.say("No run is over yet.")
    elif session.is_running:
        watching.say("A run is under way: the result can be opened when it is over.")
    else:
        with _shown_errors(watching), keys.released() if keys else nullcontext():
            open_.execute(argparse.Namespace(run=str(watching.folders[-1]), path=None))


@contextmanager
def _shown_errors(watching: "Watching") -> Iterator[None]:
    try:
        yield
    except RunbookError as error:
        watching.refused(error)
    sys.stdout.flush()


@contextmanager
def _signals(session: "Session", watching: "Watching", keys: "Keys | None", came: list[int]) -> Iterator[None]:
    """The first Ctrl-C cancels the run under way and ends the session in order; the second kills everything and exits.
    A terminal that is closed counts as one. came: gets the signals."""

    def on_signal(number: int, _: object) -> None:
        came.append(number)
        if len(came) == 1:
            session.quit()
            if cancellation := session.cancellation:
                cancellation.request()
        elif number != signal.SIGHUP:
            if cancellation := session.cancellation:
                cancellation.abandon()
            watching.close()
            if keys:
                keys.restore()
            os._exit(ExitCode.INTERRUPTED)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

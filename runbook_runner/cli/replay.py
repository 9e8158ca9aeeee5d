"""Command line: `runbook replay`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runbook_runner.cli.options import FORK, HOW, Argument, Json, Keep, Option, Out, Quiet, with_options


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
    from runbook_runner.cli.replaying import execute

    return execute(arguments)

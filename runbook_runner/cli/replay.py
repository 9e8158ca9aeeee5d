"""Command line: `runbook replay`."""

from pathlib import Path

import typer

_FORK, _HOW, _OUTPUT = "Fork", "Where and how", "Output"


def replay(
    trajectories: list[str] = typer.Argument(
        ...,
        metavar="TRAJECTORY... [FILE]",
        help="A trajectory's id, its folder, a copy of that folder, or a RUNBOOK.md with such a copy beside it in "
        "recording/; several are replayed one by one. FILE: with --then script, the model script that goes on.",
    ),
    on_miss: str = typer.Option(
        "stop",
        metavar="stop|live|nearest",
        rich_help_panel=_HOW,
        help="For a model call that was not recorded: end the run, ask the provider, or take the nearest answer.",
    ),
    sandbox: str | None = typer.Option(None, rich_help_panel=_HOW, help="Another sandbox than the recorded one."),
    network: str | None = typer.Option(
        None, metavar="POLICY", rich_help_panel=_HOW, help="Another network policy, such as model-only."
    ),
    env_file: Path | None = typer.Option(
        None, metavar="FILE", rich_help_panel=_HOW, help="Take secrets from here first; none is needed."
    ),
    keep: bool = typer.Option(False, "--keep", rich_help_panel=_HOW, help="Leave the sandbox there after the run."),
    until: int | None = typer.Option(
        None, metavar="N", rich_help_panel=_FORK, help="Answer the first N model calls from the recording only."
    ),
    then: str | None = typer.Option(
        None, metavar="live|script", rich_help_panel=_FORK, help="Who answers after them: the provider, or FILE."
    ),
    out: Path | None = typer.Option(
        None, metavar="DIR", rich_help_panel=_OUTPUT, help="Copy the results here as well."
    ),
    quiet: bool = typer.Option(False, "-q", "--quiet", rich_help_panel=_OUTPUT, help="Say nothing but errors."),
    json_: bool = typer.Option(
        False, "--json", rich_help_panel=_OUTPUT, help="One JSON object on stdout; everything else on stderr."
    ),
) -> None:
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
    from runbook_runner.cli.replaying import Arguments, execute

    arguments = Arguments(
        names=tuple(trajectories),
        on_miss=on_miss,
        sandbox=sandbox,
        network=network,
        env_file=env_file,
        keep=keep,
        until=until,
        then=then,
        out=out,
        quiet=quiet,
        json=json_,
    )
    raise typer.Exit(execute(arguments))

"""Command line: `runbook run`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from runbook_runner.cli.options import HOW, MODEL, OUTPUT, WHAT, Argument, Json, Keep, Option, Out, Quiet, with_options


@dataclass(frozen=True)
class Arguments:
    """The command line as typed."""

    path: Annotated[
        str,
        Argument(metavar="PATH", help="A RUNBOOK.md, a folder that holds one, '-' for stdin, or an https URL."),
    ]
    parameters: Annotated[
        list[str], Option("-p", "--param", metavar="NAME=VALUE", rich_help_panel=WHAT, help="A parameter.")
    ] = field(default_factory=list)
    parameter_file: Annotated[
        Path | None,
        Option("--params", metavar="FILE", rich_help_panel=WHAT, help="Parameters in a JSON or YAML file; -p wins."),
    ] = None
    files: Annotated[
        list[Path],
        Option(
            "-f",
            "--file",
            metavar="PATH",
            rich_help_panel=WHAT,
            help="An input file for /app/assets; a zip is unpacked.",
        ),
    ] = field(default_factory=list)
    fixture: Annotated[
        Path | None,
        Option(
            "--input",
            metavar="FILE",
            rich_help_panel=WHAT,
            help="A fixture (examples/…/input.json): its parameters and files; -p and -f add to it.",
        ),
    ] = None
    secrets: Annotated[
        list[str],
        Option(
            "--secret",
            metavar="NAME",
            rich_help_panel=WHAT,
            help="A variable of this machine to hand to the agent as a secret.",
        ),
    ] = field(default_factory=list)
    env_file: Annotated[
        Path | None,
        Option(metavar="FILE", rich_help_panel=WHAT, help="Take secrets and provider keys from here first."),
    ] = None
    agent: Annotated[
        str | None,
        Option(
            rich_help_panel=MODEL,
            help="claude-code, codex, gemini-cli, hermes, opencode, shell, or one of .runbook/agents; else the "
            "runbook's.",
        ),
    ] = None
    model: Annotated[str | None, Option(rich_help_panel=MODEL, help="Model id; else the runbook's.")] = None
    provider: Annotated[
        str | None,
        Option(rich_help_panel=MODEL, help="anthropic, openai, google, openrouter, ollama, …; else by your keys."),
    ] = None
    model_script: Annotated[
        Path | None,
        Option(metavar="FILE", rich_help_panel=MODEL, help="Answer the agent's model calls from this YAML script."),
    ] = None
    replay: Annotated[
        str | None,
        Option(
            metavar="RECORDING",
            rich_help_panel=MODEL,
            help="Answer them from the recording of another run: its id, its folder, or its model/ folder.",
        ),
    ] = None
    on_miss: Annotated[
        str,
        Option(
            metavar="stop|live|nearest",
            rich_help_panel=MODEL,
            help="With --replay, for a call that was not recorded: end the run, ask the provider, or take the nearest.",
        ),
    ] = "stop"
    sandbox: Annotated[
        str, Option(rich_help_panel=HOW, help="auto, docker, bubblewrap or host (host isolates nothing).")
    ] = "auto"
    snapshot: Annotated[str | None, Option(rich_help_panel=HOW, help="Sandbox preset, such as python312-uv.")] = None
    image: Annotated[str | None, Option(rich_help_panel=HOW, help="Container image to use instead of a snapshot.")] = (
        None
    )
    apt_packages: Annotated[
        list[str],
        Option(
            "--apt",
            metavar="PACKAGE",
            rich_help_panel=HOW,
            help="A Debian package to install on top of it, in Docker.",
        ),
    ] = field(default_factory=list)
    network: Annotated[
        str | None,
        Option(
            metavar="POLICY",
            rich_help_panel=HOW,
            help="What the sandbox may reach: full, allowlist, model-only or none; else the narrower of the runbook's "
            "and the project's (\\[run] in .runbook/config.toml), else full.",
        ),
    ] = None
    allow_hosts: Annotated[
        list[str],
        Option(
            "--allow-host",
            metavar="HOST",
            rich_help_panel=HOW,
            help="For the allowlist: example.com, *.example.com, 10.0.0.0/8, each with :PORT if you like.",
        ),
    ] = field(default_factory=list)
    timeout_s: Annotated[
        float | None,
        Option("--timeout", metavar="SECONDS", rich_help_panel=HOW, help="Agent's time limit (1200)."),
    ] = None
    cpus: Annotated[float | None, Option(rich_help_panel=HOW, help="Cores (4, or what there is).")] = None
    memory: Annotated[str | None, Option(metavar="SIZE", rich_help_panel=HOW, help="Memory, like 512M or 8G (8G).")] = (
        None
    )
    pids: Annotated[int | None, Option(metavar="N", rich_help_panel=HOW, help="Processes and threads (1024).")] = None
    disk: Annotated[str | None, Option(metavar="SIZE", rich_help_panel=HOW, help="What it may write (20G).")] = None
    idle_s: Annotated[
        float | None,
        Option(
            "--idle",
            metavar="SECONDS",
            rich_help_panel=HOW,
            help="Without a sign of life for so long it is ended (600).",
        ),
    ] = None
    max_cost_usd: Annotated[
        float | None,
        Option(
            "--max-cost",
            metavar="USD",
            rich_help_panel=MODEL,
            help="No more model calls once they have cost so much.",
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        Option(metavar="N", rich_help_panel=MODEL, help="… once they have used so many tokens, cached ones included."),
    ] = None
    max_calls: Annotated[int | None, Option(metavar="N", rich_help_panel=MODEL, help="… once there were so many.")] = (
        None
    )
    keep: Keep = False
    dry_run: Annotated[bool, Option("--dry-run", rich_help_panel=HOW, help="Show what would run, start nothing.")] = (
        False
    )
    collection: Annotated[str | None, Option(rich_help_panel=OUTPUT, help="Collection to record under (local).")] = None
    task: Annotated[str | None, Option(rich_help_panel=OUTPUT, help="Task to record under (from the title).")] = None
    labels: Annotated[
        list[str],
        Option("--label", metavar="KEY=VALUE", rich_help_panel=OUTPUT, help="A label on the trajectory."),
    ] = field(default_factory=list)
    out: Out = None
    record_mode: Annotated[
        str | None,
        Option(
            metavar="full|metadata|none",
            rich_help_panel=OUTPUT,
            help="What to keep of model calls (full, or RUNBOOK_RECORD_MODE); only full can be replayed.",
        ),
    ] = None
    quiet: Quiet = False
    json: Json = False


@with_options(Arguments)
def run(arguments: Arguments) -> int:
    """Run a runbook and record its trajectory under .runbook/ (or RUNBOOK_HOME).

    Exit codes: 0 passed, 1 the verdict is fail, 2 bad input, 3 this machine is not ready, 4 the agent failed or ran
    out of time, 5 a bug, 130 interrupted.
    """
    from runbook_runner.cli.runs.run import execute

    return execute(arguments)

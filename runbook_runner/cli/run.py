"""Command line: `runbook run`."""

from pathlib import Path

import typer

_WHAT, _HOW, _MODEL, _OUTPUT = "What to run", "Where and how", "Agent and model", "Output"


def run(
    path: str = typer.Argument(
        ..., metavar="PATH", help="A RUNBOOK.md, a folder that holds one, '-' for stdin, or an https URL."
    ),
    param: list[str] = typer.Option(
        [], "-p", "--param", metavar="NAME=VALUE", rich_help_panel=_WHAT, help="A parameter."
    ),
    params: Path | None = typer.Option(
        None, metavar="FILE", rich_help_panel=_WHAT, help="Parameters in a JSON or YAML file; -p wins."
    ),
    file: list[Path] = typer.Option(
        [], "-f", "--file", metavar="PATH", rich_help_panel=_WHAT, help="An input file, put into /app/assets."
    ),
    input_: Path | None = typer.Option(
        None,
        "--input",
        metavar="FILE",
        rich_help_panel=_WHAT,
        help="A fixture (examples/…/input.json): its parameters and files; -p and -f add to it.",
    ),
    secret: list[str] = typer.Option(
        [], metavar="NAME", rich_help_panel=_WHAT, help="A variable of this machine to hand to the agent as a secret."
    ),
    env_file: Path | None = typer.Option(
        None, metavar="FILE", rich_help_panel=_WHAT, help="Take secrets and provider keys from here first."
    ),
    agent: str | None = typer.Option(
        None,
        rich_help_panel=_MODEL,
        help="claude-code, codex, gemini-cli, hermes, opencode, shell, or one of .runbook/agents; else the runbook's.",
    ),
    model: str | None = typer.Option(None, rich_help_panel=_MODEL, help="Model id; else the runbook's."),
    provider: str | None = typer.Option(
        None, rich_help_panel=_MODEL, help="anthropic, openai, google, openrouter, ollama, …; else by your keys."
    ),
    model_script: Path | None = typer.Option(
        None, metavar="FILE", rich_help_panel=_MODEL, help="Answer the agent's model calls from this YAML script."
    ),
    replay: str | None = typer.Option(
        None,
        metavar="RECORDING",
        rich_help_panel=_MODEL,
        help="Answer them from the recording of another run: its id, its folder, or its model/ folder.",
    ),
    on_miss: str = typer.Option(
        "stop",
        metavar="stop|live|nearest",
        rich_help_panel=_MODEL,
        help="With --replay, for a call that was not recorded: end the run, ask the provider, or take the nearest.",
    ),
    sandbox: str = typer.Option(
        "auto", rich_help_panel=_HOW, help="auto, docker, bubblewrap or host (host isolates nothing)."
    ),
    snapshot: str | None = typer.Option(None, rich_help_panel=_HOW, help="Sandbox preset, such as python312-uv."),
    image: str | None = typer.Option(None, rich_help_panel=_HOW, help="Container image to use instead of a snapshot."),
    apt: list[str] = typer.Option(
        [], metavar="PACKAGE", rich_help_panel=_HOW, help="A Debian package to install on top of it, in Docker."
    ),
    network: str | None = typer.Option(
        None,
        metavar="POLICY",
        rich_help_panel=_HOW,
        help="What the sandbox may reach: full, allowlist, model-only or none; else the runbook's, else full.",
    ),
    allow_host: list[str] = typer.Option(
        [],
        metavar="HOST",
        rich_help_panel=_HOW,
        help="For the allowlist: example.com, *.example.com, 10.0.0.0/8, each with :PORT if you like.",
    ),
    timeout: float | None = typer.Option(
        None, metavar="SECONDS", rich_help_panel=_HOW, help="Agent's time limit (1200)."
    ),
    cpus: float | None = typer.Option(None, rich_help_panel=_HOW, help="Cores (4, or what there is)."),
    memory: str | None = typer.Option(None, metavar="SIZE", rich_help_panel=_HOW, help="Memory, like 512M or 8G (8G)."),
    pids: int | None = typer.Option(None, metavar="N", rich_help_panel=_HOW, help="Processes and threads (1024)."),
    disk: str | None = typer.Option(None, metavar="SIZE", rich_help_panel=_HOW, help="What it may write (20G)."),
    idle: float | None = typer.Option(
        None, metavar="SECONDS", rich_help_panel=_HOW, help="Without a sign of life for so long it is ended (600)."
    ),
    max_cost: float | None = typer.Option(
        None, metavar="USD", rich_help_panel=_MODEL, help="No more model calls once they have cost so much."
    ),
    max_tokens: int | None = typer.Option(
        None, metavar="N", rich_help_panel=_MODEL, help="… once they have used so many tokens, cached ones included."
    ),
    max_calls: int | None = typer.Option(None, metavar="N", rich_help_panel=_MODEL, help="… once there were so many."),
    keep: bool = typer.Option(False, "--keep", rich_help_panel=_HOW, help="Leave the sandbox there after the run."),
    dry_run: bool = typer.Option(False, "--dry-run", rich_help_panel=_HOW, help="Show what would run, start nothing."),
    collection: str | None = typer.Option(None, rich_help_panel=_OUTPUT, help="Collection to record under (local)."),
    task: str | None = typer.Option(None, rich_help_panel=_OUTPUT, help="Task to record under (from the title)."),
    label: list[str] = typer.Option(
        [], metavar="KEY=VALUE", rich_help_panel=_OUTPUT, help="A label on the trajectory."
    ),
    out: Path | None = typer.Option(
        None, metavar="DIR", rich_help_panel=_OUTPUT, help="Copy the results here as well."
    ),
    record_mode: str | None = typer.Option(
        None,
        metavar="full|metadata|none",
        rich_help_panel=_OUTPUT,
        help="What to keep of model calls (full, or RUNBOOK_RECORD_MODE); only full can be replayed.",
    ),
    quiet: bool = typer.Option(False, "-q", "--quiet", rich_help_panel=_OUTPUT, help="Say nothing but errors."),
    json_: bool = typer.Option(
        False, "--json", rich_help_panel=_OUTPUT, help="One JSON object on stdout; everything else on stderr."
    ),
) -> None:
    """Run a runbook and record its trajectory under .runbook/ (or RUNBOOK_HOME).

    Exit codes: 0 passed, 1 the verdict is fail, 2 bad input, 3 this machine is not ready, 4 the agent failed or ran
    out of time, 5 a bug, 130 interrupted.
    """
    from runbook_runner.cli.running import Arguments, execute

    arguments = Arguments(
        path=path,
        parameters=tuple(param),
        parameter_file=params,
        files=tuple(file),
        fixture=input_,
        secrets=tuple(secret),
        env_file=env_file,
        agent=agent,
        model=model,
        provider=provider,
        model_script=model_script,
        replay=replay,
        on_miss=on_miss,
        record_mode=record_mode,
        sandbox=sandbox,
        snapshot=snapshot,
        image=image,
        apt_packages=tuple(apt),
        network=network,
        allow_hosts=tuple(allow_host),
        timeout_s=timeout,
        cpus=cpus,
        memory=memory,
        pids=pids,
        disk=disk,
        idle_s=idle,
        max_cost_usd=max_cost,
        max_tokens=max_tokens,
        max_calls=max_calls,
        keep=keep,
        dry_run=dry_run,
        collection=collection,
        task=task,
        labels=tuple(label),
        out=out,
        quiet=quiet,
        json=json_,
    )
    raise typer.Exit(execute(arguments))

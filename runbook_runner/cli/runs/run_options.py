"""Command line: the arguments and options of `runbook run`. Each is stored under the name of the request's field."""

import argparse
from pathlib import Path

from runbook_runner.cli.options import (
    HOW,
    MODEL,
    OUTPUT,
    REPEATED,
    WHAT,
    OptionGroup,
    add_dry_run,
    add_env_file,
    add_keep,
    add_on_miss,
    add_output,
    add_secrets,
    add_trust,
)
from runbook_runner.cli.runs.publish import declare_publishing
from runbook_runner.core import settings


def declare(parser: argparse.ArgumentParser) -> None:
    path = "A RUNBOOK.md, a folder that holds one, '-' for stdin, or an https URL."
    parser.add_argument("path", metavar="PATH", help=path)
    declare_inputs(parser.add_argument_group(WHAT))
    group = parser.add_argument_group(MODEL)
    declare_model(group)
    _declare_replay(group)
    add_judge(group)
    declare_budget(group)
    how = parser.add_argument_group(HOW)
    declare_sandbox(how)
    add_keep(how)
    add_dry_run(
        how, "Show what would run and all that is missing for it, and start nothing; with --json, the whole spec."
    )
    _declare_trajectory(parser)


def declare_inputs(group: OptionGroup) -> None:
    add = group.add_argument
    add("-p", "--param", dest="parameters", **REPEATED, metavar="NAME=VALUE", help="A parameter; may be repeated.")
    parameters = "Parameters in a JSON or YAML file: an object, name → value; -p takes precedence."
    add("--params", dest="parameter_file", type=Path, metavar="FILE", help=parameters)
    files = "An input file for /app/assets; may be repeated. A zip is unpacked."
    add("-f", "--file", dest="files", **REPEATED, type=Path, metavar="PATH", help=files)
    fixture = (
        'A saved input in JSON: {"params": {"vars": {"NAME": "value"}}, "files": [{"path": "data.csv"}]}, paths below '
        "its folder; -p and -f add to it."
    )
    add("--input", dest="fixture", type=Path, metavar="FILE", help=fixture)
    add_secrets(group)
    add_env_file(group, "Take secrets and provider keys from this file first.")
    add_trust(group)


def declare_model(group: OptionGroup) -> None:
    add = group.add_argument
    agents = "claude-code, codex, gemini-cli, hermes, opencode, shell, or an agent of .runbook/agents"
    add("--agent", help=f"{agents} (default: the runbook's).")
    add("--model", help="Model id (default: the runbook's, or that of --agent, when it can't have the runbook's).")
    add("--provider", help="anthropic, openai, google, openrouter, ollama, … (default: chosen by your keys).")
    add("--model-script", type=Path, metavar="FILE", help="Answer the agent's model calls from this YAML script.")


def _declare_replay(group: OptionGroup) -> None:
    replay = (
        "Answer them from the recording of another run: its id, its folder, or its model/ folder. Differences are "
        "noted; `runbook replay` is the command that fails on them."
    )
    group.add_argument("--replay", metavar="RECORDING", help=replay)
    add_on_miss(group, "With --replay, for a call that was not recorded")


def declare_budget(group: OptionGroup) -> None:
    add = group.add_argument
    cost = "Refuse further model calls, the judge's too, once they have cost so much."
    add("--max-cost", dest="max_cost_usd", type=float, metavar="USD", help=cost)
    tokens = "Refuse further model calls once they have used so many tokens, cached ones included."
    add("--max-tokens", type=int, metavar="N", help=tokens)
    add("--max-calls", type=int, metavar="N", help="Refuse further model calls after so many.")


def add_judge(group: OptionGroup) -> None:
    add = group.add_argument
    judge = (
        "Have this model score the results by the runbook's rubric, or its short form's items (default: "
        "RUNBOOK_JUDGE_MODEL, else none); its maker's key opens it, or a router's."
    )
    add("--judge-model", metavar="MODEL", help=judge)
    samples = f"Ask it so often, and take the median (default: 1; at most {settings.MAX_JUDGE_SAMPLES})."
    add("--judge-samples", type=int, metavar="N", help=samples)
    add("--judge-script", type=Path, metavar="FILE", help="Answer the judge's model calls from this YAML script.")


def declare_sandbox(group: OptionGroup) -> None:
    add = group.add_argument
    sandbox = (
        "docker, bubblewrap, or host, which isolates nothing; auto: docker, or bubblewrap without it (default: auto)."
    )
    add("--sandbox", default="auto", help=sandbox)
    add("--snapshot", help="Sandbox preset, such as python312-uv.")
    add("--image", help="Container image to use instead of a snapshot.")
    packages = "A Debian package to install on top of it, in Docker; may be repeated."
    add("--apt", dest="apt_packages", **REPEATED, metavar="PACKAGE", help=packages)
    network = (
        "What the sandbox may reach: full, allowlist, model-only or none (default: the narrower of the runbook's and "
        "the project's ([run] in .runbook/config.toml), else full)."
    )
    add("--network", metavar="POLICY", help=network)
    hosts = "For the allowlist: example.com, *.example.com or 10.0.0.0/8, each optionally with :PORT; may be repeated."
    add("--allow-host", dest="allow_hosts", **REPEATED, metavar="HOST", help=hosts)
    timeout = f"Time limit of the agent (default: {settings.DEFAULT_TIMEOUT_S:g})."
    add("--timeout", dest="timeout_s", type=float, metavar="SECONDS", help=timeout)
    add(
        "--cpus",
        type=float,
        metavar="CORES",
        help=f"Cores at most; where there are fewer, it has all of them (default: {settings.DEFAULT_CPUS:g}).",
    )
    memory = f"Memory, such as 512M or 8G (default: {settings.DEFAULT_MEMORY_BYTES >> 30}G)."
    add("--memory", metavar="SIZE", help=memory)
    add("--pids", type=int, metavar="N", help=f"Processes and threads (default: {settings.DEFAULT_PIDS}).")
    disk = f"How much the sandbox may write, and the agent print (default: {settings.DEFAULT_DISK_BYTES >> 30}G)."
    add("--disk", metavar="SIZE", help=disk)
    size = f"Collect at most so much of results (default: {settings.DEFAULT_RESULTS_BYTES >> 30}G)."
    add("--results-size", dest="results", metavar="SIZE", help=size)
    files = f"Collect at most so many files and folders (default: {settings.DEFAULT_RESULTS_FILES})."
    add("--results-files", type=int, metavar="N", help=files)
    idle = f"End the agent after so long without output or a model call (default: {settings.DEFAULT_IDLE_S:g})."
    add("--idle", dest="idle_s", type=float, metavar="SECONDS", help=idle)


def _declare_trajectory(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(OUTPUT)
    add = group.add_argument
    declare_record(group)
    gate = (
        "What the run must reach for exit code 0, instead of its verdict; may be repeated: verdict, outputs, no-error, "
        "or a comparison like 'score>=4.0', of score, cost (USD), seconds, tokens and calls."
    )
    add("--gate", dest="gates", **REPEATED, metavar="GATE", help=gate)
    attempts = (
        "Run again, at most so often in all, until it passes: the agent is told what failed in the best attempt so "
        "far, and the best one counts. --max-cost, --max-tokens and --max-calls hold for all of them (default: 1)."
    )
    add("--attempts", type=int, default=1, metavar="N", help=attempts)
    declare_publishing(group)
    add_output(group)


def declare_record(group: OptionGroup) -> None:
    add = group.add_argument
    add("--collection", help=f"Collection to record under (default: {settings.DEFAULT_COLLECTION}).")
    add("--task", help="Task to record under (default: made from the title).")
    label = "A label on the trajectory; may be repeated."
    add("--label", dest="labels", **REPEATED, metavar="KEY=VALUE", help=label)
    mode = "How much of the model calls to keep (default: full, or RUNBOOK_RECORD_MODE). Only full can be replayed."
    add("--record-mode", metavar="full|metadata|none", help=mode)

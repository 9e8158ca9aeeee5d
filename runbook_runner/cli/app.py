"""Command line: the table of commands. The module of a command is imported when the command is called."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from runbook_runner import __version__
from runbook_runner.cli.parser import Parser


class Command(NamedTuple):
    module: str
    """Below `runbook_runner.cli`; a `CommandModule`."""
    summary: str


class Group(NamedTuple):
    summary: str
    commands: Mapping[str, Command]


COMPLETE = "complete"
"""What scripts of `runbook completion` call; not a command for people, so not in the table."""
SUMMARY = "Run agent runbooks on your own machine: one Markdown file in, a recorded trajectory out."

COMMANDS: Mapping[str, Command | Group] = {
    "run": Command("runs.run", "Run a runbook and record its trajectory under .runbook/ (or RUNBOOK_HOME)."),
    "watch": Command(
        "runs.watch",
        "Check and run a runbook whenever it or a file that it uses is saved; answers are taken from the last run up "
        "to the first model call that changed.",
    ),
    "replay": Command(
        "runs.replay",
        "Run a recorded run again: the same agent in a fresh sandbox, every model call answered from the recording.",
    ),
    "rerun": Command(
        "runs.rerun",
        "Run a recorded run again, live: the same mission, inputs and limits, with the overrides that you give.",
    ),
    "judge": Command(
        "runs.judge",
        "Have a model score what a run has made by its runbook's rubric, or compare two runs.",
    ),
    "eval": Command(
        "runs.eval",
        "Run runbooks many times, on their cases and by several agents and models, and show the pass rates.",
    ),
    "script": Group(
        "Make model scripts: files that answer an agent's model calls instead of a provider.",
        {
            "from": Command(
                "author.script",
                "Turn a recorded run into a model script that you can edit and run with --model-script.",
            )
        },
    ),
    "runs": Group(
        "Look at the recorded runs: what happened in each, and what came of it.",
        {
            "list": Command("records.runs.list", "List runs, the latest first; filter, sort and page them."),
            "show": Command("records.runs.show", "Show what happened in a run: phases, steps, tokens, cost, verdict."),
            "logs": Command("records.runs.logs", "Print what a run has shown while it ran, or follow a live run."),
            "files": Command("records.runs.files", "List what a run has made: path, size, type, which is primary."),
            "open": Command("records.runs.open_", "Open what a run has made in the right program, or print it."),
            "path": Command("records.runs.path", "Print the trajectory folder of a run."),
            "bundle": Command(
                "records.runs.bundle", "Write a run into one file, with which another machine replays and compares it."
            ),
            "label": Command("records.runs.label", "Set labels of a run, or the status that lists show."),
            "cancel": Command("records.runs.cancel", "End a live run of another process in order, with its results."),
            "rm": Command("records.runs.rm", "Remove runs, with all that was recorded of them."),
            "prune": Command("records.runs.prune", "Remove old runs: by number, age or size."),
            "stats": Command("records.runs.stats", "Show per task how many runs there are, how they ended and cost."),
            "reindex": Command("records.runs.reindex", "Make the index anew with which runs are found fast."),
        },
    ),
    "export": Command(
        "records.export", "Write a recorded run in another format: a page to share, ATIF, the platform's JSON, a zip."
    ),
    "import": Command(
        "records.import_", "Record a run of another program, or of another machine, from a file, as a trajectory."
    ),
    "diff": Command(
        "records.diff", "Show what differs between two runs, or between a run and a folder of expected results."
    ),
    "cost": Command("records.cost", "Show what the recorded runs have cost, in tokens and in USD."),
    "clean": Command(
        "records.clean", "Remove what dead runs have left: containers, temporary folders, control groups, claims."
    ),
    "check": Command("author.check", "Check runbooks for mistakes, without a network and without running them."),
    "show": Command(
        "author.show", "Show how a runbook is understood, and which agent, model and image a run would take and why."
    ),
    "new": Command("author.new", "Write a new runbook, NAME/RUNBOOK.md, that can be run and checked as it is."),
    "fmt": Command("author.fmt", "Align the tables of runbooks and sort their frontmatter keys."),
    "migrate": Command(
        "author.migrate",
        "Turn a v1 runbook into v2: its verification script and checklist become Code Checks and Checklist.",
    ),
    "optimize": Command(
        "author.optimize",
        "Show what the recorded runs of a runbook have in common, and the edits that follow from that.",
    ),
    "schema": Command("author.schema", "Print the JSON Schema of the frontmatter, of trajectory.json or of spec.json."),
    "pull": Command(
        "platform.pull", "Bring a run from a platform server into a trajectory folder, with all its files."
    ),
    "reproduce": Command(
        "platform.reproduce", "Pull a run from a platform server, run it here, and say whether the two are the same."
    ),
    "push": Command("platform.push", "Register a runbook as a task of a platform server, or update that task."),
    "snapshots": Group(
        "List, build and move snapshots: what sandboxes are made of. Your own are "
        "`.runbook/snapshots/NAME/Dockerfile` in this folder or one above.",
        {
            "list": Command(
                "machine.snapshots.list", "List the snapshots and the images of them that the Docker engine has."
            ),
            "inspect": Command(
                "machine.snapshots.inspect",
                "Show what is in a snapshot's image: size, digest, versions of Python, Node, the agents and others.",
            ),
            "build": Command(
                "machine.snapshots.build", "Build snapshots before the first run, or before the network is gone."
            ),
            "prune": Command("machine.snapshots.prune", "Remove images of snapshots that no run would use any more."),
            "export": Command(
                "machine.snapshots.export",
                "Write the images of snapshots to one file, for a machine without a network. Builds missing images.",
            ),
            "import": Command(
                "machine.snapshots.import_",
                "Load the images of an exported file, so that runs here use them instead of building their own.",
            ),
        },
    ),
    "shell": Command(
        "runs.shell", "Open a shell in a fresh sandbox, as the agent would find it: user, variables, inputs in /app."
    ),
    "attach": Command("runs.attach", "Open a shell in the sandbox of a live run, or of one that was run with --keep."),
    "trust": Command(
        "machine.trust",
        "Trust what a project offers (agents, snapshots) and the secrets that its runbook wants, with their content.",
    ),
    "doctor": Command(
        "machine.doctor",
        "Show what this machine has for runs, what it lacks, and the command that fixes it. Changes nothing.",
    ),
    "completion": Command(
        "machine.completion", "Print a script that completes the commands and options in your shell."
    ),
}


def call(argv: Sequence[str]) -> int:
    """Does what the command line says; returns the exit code. `help COMMAND` is `COMMAND --help`. Raises RunbookError,
    and SystemExit after help."""
    called = argv[0] if argv else ""
    if called == COMPLETE:
        from runbook_runner.cli.machine.complete import complete

        return complete(argv[1:])
    if called == "help":
        return call([*argv[1:], "--help"])
    entries = {called: COMMANDS[called]} if called in COMMANDS else COMMANDS
    arguments = root_parser(entries).parse_args(argv)
    return int(arguments.execute(arguments))


def root_parser(entries: Mapping[str, Command | Group] = COMMANDS, *, complete: bool = False) -> Parser:
    """complete: with the arguments of every command, which imports all their modules."""
    root = Parser(prog="runbook", description=SUMMARY)
    root.add_argument("-V", "--version", action="version", version=f"runbook {__version__}", help="Print the version.")
    _add(root, entries, complete=complete)
    return root


def _add(parser: Parser, entries: Mapping[str, Command | Group], *, complete: bool) -> None:
    parser.elsewhere = _elsewhere(entries)
    commands = parser.add_commands()
    for name, entry in entries.items():
        module = f"runbook_runner.cli.{entry.module}" if isinstance(entry, Command) else None
        child = commands.add_parser(name, module=module, help=entry.summary, description=entry.summary)
        if isinstance(entry, Group):
            _add(child, entry.commands, complete=complete)
        elif complete:
            child.load()


def _elsewhere(entries: Mapping[str, Command | Group]) -> dict[str, str]:
    """Names of commands that are not in this table, but in another → how they are called."""
    found = dict[str, list[str]]()
    for name, entry in COMMANDS.items():
        below = [(word, f"`runbook {name} {word}`") for word in entry.commands] if isinstance(entry, Group) else []
        for word, line in [*below, (name, f"`runbook {name}`")]:
            if word not in entries:
                found.setdefault(word, []).append(line)
    return {word: " or ".join(lines) for word, lines in found.items()}

"""Command line: what came of a run for the programs around a build: files of JUnit and SARIF, and GitHub Actions."""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runbook_runner.cli.options import OptionGroup
from runbook_runner.cli.ui.follow import Followed
from runbook_runner.cli.ui.output import put, require_place, warn, write_new
from runbook_runner.core.errors import InputError, RunbookError
from runbook_runner.core.files import is_file
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.core.text import whole_lines
from runbook_runner.evaluation.points import Point
from runbook_runner.runbook.sources.load import STDIN

_LONGEST_SUMMARY = 250_000
"""Characters; GitHub shows none of more than 1 MiB."""
FORMATS = ("text", "github")
RUN, EVAL = "run", "eval"


def declare_publishing(group: OptionGroup) -> None:
    add = group.add_argument
    junit = "Write what the run was judged by as a JUnit file: a test case for each output, check and gate."
    add("--junit", type=Path, metavar="FILE", help=junit)
    add("--sarif", type=Path, metavar="FILE", help="Write what is wrong as a SARIF file, at the lines of the runbook.")
    form = (
        "github: print what is wrong as annotations of GitHub Actions as well, and add it to the job's summary "
        "(default: text)."
    )
    add("--format", choices=FORMATS, default=FORMATS[0], metavar="text|github", help=form)
    declare_comment(group)


def declare_comment(group: OptionGroup) -> None:
    comment = "In a job of GitHub Actions: write it as one comment on the pull request, which later runs update."
    group.add_argument("--comment", action="store_true", help=f"{comment} Needs GITHUB_TOKEN.")


def require_places(arguments: argparse.Namespace) -> None:
    """Before anything runs. Raises InputError for files that can't be written there, and options that do not fit."""
    if arguments.json and arguments.format != FORMATS[0]:
        raise InputError(f"--format {arguments.format} and --json both print on stdout.", hint="Give one of them.")
    files = list(filter(None, _files(arguments)))
    if len({file.absolute() for file in files}) < len(files):
        raise InputError("--junit and --sarif name one file.", where=str(files[0]))
    for file in files:
        require_place(file)


def _is_asked(arguments: argparse.Namespace) -> bool:
    """Whether anything is to be published: what that needs is slow to import."""
    return arguments.comment or arguments.format == "github" or any(_files(arguments))


def _files(arguments: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """For JUnit and SARIF; `runbook eval` writes neither."""
    return getattr(arguments, "junit", None), getattr(arguments, "sarif", None)


def publish_run(arguments: argparse.Namespace, followed: Followed, document: str) -> None:
    """document: the runbook's file, or what it is called without one. Raises InputError."""
    if not _is_asked(arguments):
        return
    from runbook_runner.cli.ui.display import headline

    told = headline(followed.outcome.trajectory, followed.outcome.outputs)
    points = [_placed(point, followed.outcome.error, document) for point in followed.outcome.points(followed.gates)]
    _publish(arguments, RUN, followed.prepared.spec.task, told, points, document, followed.seen.notes)


@contextmanager
def publishing_errors(arguments: argparse.Namespace, command: str) -> Iterator[None]:
    """What ends a command before there is a result is told wherever that would have been: an earlier one there would
    pass for this one's."""
    try:
        yield
    except RunbookError as error:
        if not arguments.dry_run and _is_asked(arguments):
            document = _document(str(arguments.path))
            point = _placed(Point("run", "run", "error", str(error)), error, document)
            with suppress(InputError):  # a file that can't be written
                _publish(arguments, command, str(arguments.path), "error", [point], document)
        raise


def _document(path: str) -> str:
    """The runbook's file in a folder that was given."""
    inner = Path(path, RUNBOOK_FILE)
    return str(inner) if is_file(inner) else path


def _placed(point: Point, error: RunbookError | None, document: str) -> Point:
    """With the line of the document that the error names, where it is what the point is about."""
    where = (error.where or "").rpartition(", ")[2] if error and point.kind == "run" else ""
    file, _, line = where.rpartition(":")
    is_same = bool(file) and line.isdecimal() and Path(file).absolute() == Path(document).absolute()
    return point._replace(line=int(line)) if is_same else point


def _publish(
    arguments: argparse.Namespace,
    command: str,
    title: str,
    told: str,
    points: Sequence[Point],
    document: str,
    notes: Iterable[str] = (),
) -> None:
    from runbook_runner.evaluation import publish

    if arguments.format == "github":
        put(publish.annotations(points, document))
    publish_markdown(arguments, command, publish.markdown(title, told, points, notes))
    junit, sarif = _files(arguments)
    if junit:
        write_new(junit, publish.junit(points, title))
    if sarif:
        write_new(sarif, publish.sarif(points, document))


def publish_markdown(arguments: argparse.Namespace, command: str, text: str) -> None:
    """In the job's summary, and as the comment of this command on this path."""
    if arguments.format == "github":
        _add_to_summary(text)
    if arguments.comment:
        _comment(f"{command} {_in_workspace(str(arguments.path))}", text)


def _in_workspace(path: str) -> str:
    """A path as the job's workspace has it: `.` is another runbook in each folder that a step works in."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    return path if not workspace or path == STDIN or "://" in path else os.path.relpath(path, workspace)


def _comment(name: str, text: str) -> None:
    """A comment that can't be written is a warning: the run is made, and its verdict counts."""
    from runbook_runner.cli.runs.pull_request import CommentError, PullRequest

    try:
        PullRequest(os.environ).comment(name, text)
    except CommentError as error:
        warn(f"No comment on the pull request: {error}")


def _add_to_summary(text: str) -> None:
    """Of the job."""
    if not (file := os.environ.get("GITHUB_STEP_SUMMARY")):
        return
    try:
        with Path(file).open("a", encoding="utf-8") as summary:
            summary.write(whole_lines(text, _LONGEST_SUMMARY) + "\n")
    except OSError as error:
        warn(f"The job's summary can't be written: {error.strerror} ({file}).")

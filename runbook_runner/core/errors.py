"""Core: what users see when something fails: one family of errors, one table of exit codes.

Every error says what happened, where, and what to do next. Nothing else reaches a user: the edge (cli) prints
`str(error)` and leaves with `error.exit_code`.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import PurePath
from typing import ClassVar

from runbook_runner.core.text import short


class ExitCode(IntEnum):
    PASS = 0
    VERDICT_FAIL = 1
    BAD_INPUT = 2
    NOT_READY = 3
    AGENT_FAILED = 4
    INTERNAL = 5
    INTERRUPTED = 130


class RunbookError(Exception):
    """Base of all errors a user may see.

    message: what happened, one sentence. where: `file:line` or a name, put in front. hint: what to do next.
    details: more lines (a build log's end, a child's stderr), printed below.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None, details: str | None = None):
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.details = details
        self.warnings: Sequence[str] = ()
        """What else was found until then; printed above the message."""
        self.follows_json = False
        """stdout has the JSON of the command already."""

    def redact(self, clean: Callable[[str], str]) -> None:
        """Applies the function to every text of it."""
        self.message = clean(self.message)
        self.args = (self.message,)
        self.where, self.hint, self.details = (text and clean(text) for text in (self.where, self.hint, self.details))

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        parts = [head, self.hint, self.details]
        return short("\n".join(part for part in parts if part))


class InputError(RunbookError, ValueError):
    """The runbook, a parameter, a file or an option is wrong."""

    code = "bad_input"
    exit_code = ExitCode.BAD_INPUT


class NotReadyError(RunbookError):
    """This machine lacks something the run needs: an engine, an image, a CLI, a key, disk space."""

    code = "not_ready"
    exit_code = ExitCode.NOT_READY


def all_of(errors: Sequence[RunbookError]) -> RunbookError:
    """One error that tells several, as bad input if one of them is."""
    first = next((error for error in errors if isinstance(error, InputError)), errors[0])
    if len(errors) == 1:
        return first
    told = "\n".join(f"- {error}".replace("\n", "\n  ") for error in errors)
    return type(first)(f"{len(errors)} things are missing:", details=told)


def raised(error: RunbookError) -> None:
    """Takes the errors of whoever could go on without what is wrong, for callers that do not."""
    raise error


class SandboxError(RunbookError):
    """The sandbox broke while it was in use: the engine went away, a container vanished."""

    code = "sandbox_failed"
    exit_code = ExitCode.NOT_READY


class AgentError(RunbookError):
    """The agent did not do its work: it crashed, could not log in, or ran out of time."""

    code = "agent_failed"
    exit_code = ExitCode.AGENT_FAILED


class RecordingError(RunbookError):
    """The trajectory can't be written any more; everything written before is intact."""

    code = "recording_failed"
    exit_code = ExitCode.NOT_READY

    @classmethod
    def of(cls, error: OSError, path: PurePath) -> "RecordingError":
        """path: the file that could not be written."""
        hint = "Make room on this disk, or point RUNBOOK_HOME to another one. All events until now are kept."
        return cls(f"The run can't be recorded any more: {error.strerror}.", where=str(path), hint=hint)


class CancelledError(RunbookError):
    """The run was asked to stop."""

    code = "cancelled"
    exit_code = ExitCode.INTERRUPTED

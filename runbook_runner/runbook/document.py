"""Room `runbook`: the document. `parse` turns the text of a RUNBOOK.md into a `Runbook`."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from runbook_runner.core.declared import McpServer
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.runbook.markdown.blocks import Section, outline
from runbook_runner.runbook.parts.frontmatter import Origin, cut, read, read_origin
from runbook_runner.runbook.parts.mcp_servers import read_mcp_servers
from runbook_runner.runbook.parts.outputs import required_outputs
from runbook_runner.runbook.parts.parameters import read_parameters
from runbook_runner.runbook.parts.sections import find, find_exact, has_v1_marks
from runbook_runner.runbook.parts.steps import Step, read_steps

if TYPE_CHECKING:
    from runbook_runner.core.criteria import (
        ChecklistItem,
        ChecksConfig,
        CodeCheck,
        Criteria,
        Rubric,
        Status,
        VerificationScript,
    )
    from runbook_runner.runbook.criteria.iteration import CommonFix, IterationBound


class Runbook:
    """A parsed document. All lines are 1-based lines of the file, frontmatter included.

    What a run needs is read at once, the rest when it is first asked for.
    """

    def __init__(self, text: str, source: str):
        """See `parse`."""
        text = text.removeprefix("\ufeff")
        _require_utf8(text, source)
        parts = cut(text)
        self.source = source
        """What messages call the file."""
        self.text = text
        """The whole document; ends with `body`."""
        self.frontmatter = read(parts, source)
        self.body = parts.body
        """All below the frontmatter."""
        self.body_line = parts.body_line
        self.outline = outline(parts.body, parts.body_line)
        headings = self.outline.headings
        self.title = next((heading.title for heading in headings if heading.level == 1), "")
        """The first `#` heading; empty when there is none."""
        self.parameters = read_parameters(self.outline, parts.body)
        self.outputs = required_outputs(self.outline)
        """In manifest order."""

    @property
    def sections(self) -> tuple[Section, ...]:
        return self.outline.sections

    @property
    def primary_outputs(self) -> tuple[str, ...]:
        return self.frontmatter.primary_outputs

    def section(self, name: str, *, prefix: bool = False) -> Section | None:
        """The section of this name in any case, with or without `Step N:` before it (contract §3.4)."""
        return find(self.sections, name, prefix=prefix)

    # --- read when asked for. The criteria are imported there, too: their dataclasses take 10 ms, which `check` and
    # --- the `shell` agent do not need.

    @cached_property
    def generation(self) -> Literal[1, 2]:
        """2: a Code Checks section and no mark of v1 (contract §3.11, end)."""
        return 2 if find_exact(self.sections, "code checks") and not has_v1_marks(self.body) else 1

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return read_steps(self.outline)

    @cached_property
    def code_checks(self) -> "tuple[CodeCheck, ...]":
        """Those that don't count (`counts`) included. Raises InputError when `code_checks:` above is malformed."""
        from runbook_runner.runbook.criteria.code_checks import read_code_checks

        return read_code_checks(self.outline, self.checks_config.executor)

    @cached_property
    def checks_config(self) -> "ChecksConfig":
        """Raises InputError with the line for a value of the wrong type."""
        from runbook_runner.runbook.criteria.check_options import read_checks_config

        return read_checks_config(self.frontmatter, self.source)

    @cached_property
    def checklist(self) -> "tuple[ChecklistItem, ...]":
        from runbook_runner.runbook.criteria.checklist import read_checklist

        return read_checklist(self.outline)

    @cached_property
    def rubric(self) -> "Rubric | None":
        from runbook_runner.runbook.criteria.rubric import read_rubric

        return read_rubric(self.outline)

    @cached_property
    def statuses(self) -> "tuple[Status, ...]":
        from runbook_runner.runbook.criteria.statuses import read_statuses

        return read_statuses(self.outline)

    @cached_property
    def criteria(self) -> "Criteria":
        """How a run of this document is judged. Never raises: what is malformed is named in it."""
        from runbook_runner.core.criteria import ChecksConfig, Criteria
        from runbook_runner.runbook.criteria.checklist import reads_short_form
        from runbook_runner.runbook.criteria.code_checks import with_builtin

        try:
            checks, config, problem = self.code_checks, self.checks_config, ""
        except InputError as error:
            checks, config, problem = (), ChecksConfig(), str(error)
        return Criteria(
            generation=self.generation,
            strict=self.frontmatter.strict_evaluation,
            rubric=self.rubric,
            statuses=self.statuses,
            checklist=self.checklist,
            is_short_form=reads_short_form(self.outline),
            code_checks=tuple(with_builtin(check, self.source) for check in checks if check.counts),
            checks=config,
            verification=self.verification,
            problem=problem,
        )

    @cached_property
    def iteration_bounds(self) -> "tuple[IterationBound, ...]":
        """The one that counts first."""
        from runbook_runner.runbook.criteria.iteration import read_bounds

        return read_bounds(self.outline)

    @cached_property
    def common_fixes(self) -> "tuple[CommonFix, ...]":
        from runbook_runner.runbook.criteria.iteration import read_common_fixes

        return read_common_fixes(self.outline)

    @cached_property
    def verification(self) -> "VerificationScript | None":
        from runbook_runner.runbook.criteria.verification_script import read_verification

        return read_verification(self.outline)

    @cached_property
    def mcp_servers(self) -> tuple[McpServer, ...]:
        """Raises InputError with the line for an entry that names no server."""
        return read_mcp_servers(self.frontmatter, self.source)

    @cached_property
    def origin(self) -> Origin | None:
        return read_origin(self.frontmatter)


def parse(text: str, source: str = RUNBOOK_FILE) -> Runbook:
    """Reads any Markdown with a frontmatter; a missing section is not an error (validation never gates a run).

    The body never raises: of one with more pieces of Markdown than any runbook has, what comes after
    `outline.cut_line` is plain text of its last section. Raises InputError with `source:line` when the frontmatter is
    missing, broken or has a key of the wrong type, and when the text can't be written as UTF-8.
    """
    return Runbook(text, source)


def _require_utf8(text: str, source: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        message = "The text holds half a character."
        raise InputError(message, where=f"{source}:{line}", hint="Save it as UTF-8.") from error

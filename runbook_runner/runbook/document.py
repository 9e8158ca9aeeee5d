"""Room `runbook`: the document. `parse` turns the text of a RUNBOOK.md into a `Runbook`."""

from dataclasses import dataclass

from runbook_runner.errors import InputError
from runbook_runner.runbook.frontmatter import Frontmatter, cut, read
from runbook_runner.runbook.markdown import Outline, Section, outline
from runbook_runner.runbook.outputs import required_outputs
from runbook_runner.runbook.parameters import Parameter, read_parameters
from runbook_runner.runbook.sections import find
from runbook_runner.spec import RequiredOutput


@dataclass(frozen=True)
class Runbook:
    """A parsed document. All lines are 1-based lines of the file, frontmatter included."""

    source: str
    """What messages call the file."""
    text: str
    """The whole document; ends with `body`."""
    frontmatter: Frontmatter
    body: str
    """All below the frontmatter."""
    body_line: int
    title: str
    """The first `#` heading; empty when there is none."""
    outline: Outline
    parameters: tuple[Parameter, ...]
    outputs: tuple[RequiredOutput, ...]
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


def parse(text: str, source: str = "RUNBOOK.md") -> Runbook:
    """Reads any Markdown with a frontmatter; a missing section is no error (validation never gates a run).

    Raises InputError with `source:line` when the frontmatter is missing, broken or has a key of the wrong type, and
    when the text can't be written as UTF-8.
    """
    text = text.removeprefix("\ufeff")
    _require_utf8(text, source)
    parts = cut(text)
    frontmatter = read(parts, source)
    document = outline(parts.body, parts.body_line)
    return Runbook(
        source=source,
        text=text,
        frontmatter=frontmatter,
        body=parts.body,
        body_line=parts.body_line,
        title=next((heading.title for heading in document.headings if heading.level == 1), ""),
        outline=document,
        parameters=read_parameters(document, parts.body),
        outputs=required_outputs(document),
    )


def _require_utf8(text: str, source: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        line = text.count("\n", 0, e.start) + 1
        raise InputError("The text holds a half character.", where=f"{source}:{line}", hint="Save it as UTF-8.") from e

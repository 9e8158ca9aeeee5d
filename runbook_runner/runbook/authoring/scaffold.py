"""Room `runbook`: a new runbook of the v2 form (contract §3.4, §3.10, §3.11), rendered from templates."""

import json
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runbook_runner.core import ids, settings
from runbook_runner.core.criteria import ChecklistItem
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.authoring.fmt import formatted
from runbook_runner.runbook.criteria.report_example import block_report, report_example
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.parts.steps import step_blocks

EVALUATIONS = ("rubric", "programmatic")
_TEMPLATES = Path(__file__).with_name("templates")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_STARTS_BLOCK = re.compile(r"[#>|~`=<-]|[*+]\s")
_SENTENCE = re.compile(r"[.!?;:]\s|[.!?;:]\Z|\s[—–-]\s|,\s")
_SMALL = frozenset(
    ("a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "of", "on", "or", "the", "to", "with")
)
_TITLE_CHARACTERS = 60

_OBJECTIVE = (
    "Work through the input files and write down what they say in a form that a reader can act on. "
    "Everything in the report must come from those files or from a command that was run, never from memory."
)
_PROMISE = "Everything in the report must come from the input or from a command that was run, never from memory."
_ITEMS = (
    "`report.md` answers the Objective without a look at anything else",
    "Every statement in `report.md` can be traced to an input or to a command",
    "`summary.md` says what was done, what was left out and why",
)
_BLOCK_ITEMS = ("`report.md` names every file that was given", "`summary.md` says how long the report is")
_AVERAGE_ITEM = "Overall rubric average is at least 4.0"


@dataclass(frozen=True)
class NewRunbook:
    name: str
    """The author's name for it; becomes the folder and, without a description, the title."""
    evaluation: str
    """One of `EVALUATIONS`."""
    agent: AgentFacts
    model: str | None = None
    """`None`: the runbook does not name a model."""
    snapshot: str = settings.DEFAULT_SNAPSHOT
    description: str = ""
    """What it should do, in the author's words; becomes Objective and title."""


def scaffold(new: NewRunbook) -> str:
    """The text of a runbook that can be run and checked as it is.

    Raises InputError: an unknown evaluation, or a rubric for an agent that only runs code blocks.
    """
    if new.evaluation not in EVALUATIONS:
        hint = did_you_mean(new.evaluation, EVALUATIONS) or f"Choose {' or '.join(EVALUATIONS)}."
        raise InputError(f"Unknown evaluation {new.evaluation!r}.", hint=hint)
    if new.agent.runs_blocks and new.evaluation == "rubric":
        raise InputError(f"The {new.agent.name} agent can't judge by a rubric.", hint="Add --evaluation programmatic.")
    draft = parse(_render(new, report="{}\n"))
    return formatted(_render(new, report=_report(draft, runs_blocks=new.agent.runs_blocks)))


def folder_name(name: str) -> str:
    """`Harbour Digest` → `harbour-digest`, `Café` → `cafe`. Raises InputError when nothing of the name is left."""
    slug = ids.task_from_title(name)
    if not slug:
        raise InputError(f"{name!r} can't be a runbook's name.", hint="Use at least one letter or digit (a-z, 0-9).")
    return slug


def title_of(new: NewRunbook) -> str:
    """The description's first words, else the name; one line, in title case."""
    text = _one_line(new.description)
    words = (_SENTENCE.split(text, maxsplit=1)[0] if text else _one_line(re.sub(r"[-_]+", " ", new.name))).split()
    while len(" ".join(words)) > _TITLE_CHARACTERS and len(words) > 1:
        words.pop()
    while len(words) > 1 and words[-1].lower() in _SMALL:
        words.pop()
    title = " ".join(_capital(word, first=index == 0) for index, word in enumerate(words))[:_TITLE_CHARACTERS]
    return title.strip("#*_` ") or folder_name(new.name)


def _capital(word: str, *, first: bool) -> str:
    if not first and word.lower() in _SMALL:
        return word.lower()
    return word[:1].upper() + word[1:]


def _render(new: NewRunbook, *, report: str) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        # Markdown, not HTML; and marks that occur in no runbook: runbooks use {{ }}, [[ ]] and <<.
        autoescape=False,  # noqa: S701
        variable_start_string="«",
        variable_end_string="»",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(yaml=_yaml, shell=shlex.quote)
    runs_blocks = new.agent.runs_blocks
    items = _BLOCK_ITEMS if runs_blocks else (*_ITEMS, *([_AVERAGE_ITEM] if new.evaluation == "rubric" else []))
    template = environment.get_template("shell.md.j2" if runs_blocks else f"{new.evaluation}.md.j2")
    return template.render(
        title=title_of(new),
        objective=_objective(new),
        evaluation=new.evaluation,
        agent=new.agent.name,
        model=new.model,
        snapshot=new.snapshot,
        rubric=new.evaluation == "rubric",
        checklist=[ChecklistItem(ids.slug(text), text, 0, False) for text in items],
        report=report,
    )


def _report(draft: Runbook, *, runs_blocks: bool) -> str:
    steps = [(ids.slug(step.name), step.name) for step in draft.steps[:-1]]
    if not runs_blocks:
        return report_example(steps, draft.checklist, draft.rubric)
    busy = {block.heading for block in step_blocks(draft.text)}
    idle = [named for named, step in zip(steps, draft.steps, strict=False) if step.title not in busy]
    return block_report(steps, draft.checklist, idle)


def _objective(new: NewRunbook) -> str:
    text = _one_line(new.description)
    if not text:
        return _wrapped(_OBJECTIVE)
    ended = text if text[-1] in ".!?" else f"{text}."
    return _wrapped(f"{_escaped(ended)} {_PROMISE}")


def _wrapped(text: str) -> str:
    """In one line when a shorter one would begin like a heading, a list or a table."""
    lines = textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)
    return text if any(_escaped(line) != line for line in lines[1:]) else "\n".join(lines)


def _one_line(text: str) -> str:
    """No control characters, nothing that the engine would take for a placeholder of its own."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.replace("{{", "{ {").replace("{TODO", "{ TODO").split())


def _escaped(text: str) -> str:
    """A paragraph stays one when it begins like a heading, a list or a table."""
    text = re.sub(r"^(\d+)([.)]\s)", r"\1\\\2", text)
    return "\\" + text if _STARTS_BLOCK.match(text) else text


def _yaml(text: str) -> str:
    """A plain word where YAML reads one as text, else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)

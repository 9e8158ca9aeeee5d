"""Room `runbook`: the `## Step N` sections, and their commands for the agent that needs no model (`shell`)."""

import re
from typing import NamedTuple

from runbook_runner.core.declared import Block
from runbook_runner.runbook.markdown.blocks import Outline, outline
from runbook_runner.runbook.parts.frontmatter import cut
from runbook_runner.runbook.parts.sections import is_judging, is_step, step_number, without_step

LANGUAGES = frozenset({"bash", "sh", "shell", "python", "python3"})


class Step(NamedTuple):
    number: int
    """As it is written; gaps and repeats are the author's."""
    title: str
    """The whole heading: `Step 3: Iterate on Errors (max 3 rounds)`."""
    name: str
    """Without the `Step N:`, `Step N.` or `Step N —`; empty when there is nothing else."""
    line: int
    end_line: int


def read_steps(outline: Outline) -> tuple[Step, ...]:
    """In the order of the file."""
    return tuple(
        Step(number.number, section.title, without_step(section.title), section.line, section.end_line)
        for section in filter(is_step, outline.sections)
        if (number := step_number(section.title))
    )


def step_blocks(text: str) -> tuple[Block, ...]:
    """The fenced bash, sh, shell, python and python3 blocks under `## Step N` headings, in order.

    text: a rendered runbook, with or without frontmatter. Blocks below a `###` of a step and in its lists count; blocks
    of other `##` sections don't, nor those that judge a run, also where they are numbered as steps (`## Step 6: Code
    Checks`). Lines are those of `text`.
    """
    parts = cut(text)
    document = outline(parts.body, parts.body_line)
    return tuple(
        Block(heading=step.title, language=language, code=fence.code, line=fence.line)
        for step in document.sections
        if is_step(step) and not is_judging(step)
        for fence in document.fences_in(step)
        if (language := language_of(fence.info)) in LANGUAGES
    )


def language_of(info: str) -> str:
    """First word of a fence's info string: `Python title="x"` → `python`; empty when there is none."""
    return re.split(r"[\s,{]", info.strip(), maxsplit=1)[0].lower()

"""Room `runbook`: the commands of a runbook, for the agent that needs no model (design §4: `shell`)."""

import re

from runbook_runner.runbook.frontmatter import cut
from runbook_runner.runbook.markdown import outline
from runbook_runner.runbook.sections import is_step
from runbook_runner.spec import Block

LANGUAGES = frozenset({"bash", "sh", "shell", "python", "python3"})


def step_blocks(text: str) -> tuple[Block, ...]:
    """The fenced bash, sh, shell, python and python3 blocks under `## Step N` headings, in order.

    text: a rendered runbook, with or without frontmatter. Blocks below a `###` of a step and in its lists count;
    blocks of other `##` sections don't. Lines are those of `text`.
    """
    parts = cut(text)
    document = outline(parts.body, parts.body_line)
    return tuple(
        Block(heading=step.title, language=language, code=fence.code, line=fence.line)
        for step in filter(is_step, document.sections)
        for fence in document.fences_in(step)
        if (language := language_of(fence.info)) in LANGUAGES
    )


def language_of(info: str) -> str:
    """First word of a fence's info string: `Python title="x"` → `python`; empty when there is none."""
    return re.split(r"[\s,{]", info.strip(), maxsplit=1)[0].lower()

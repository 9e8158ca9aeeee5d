"""Room `runbook`: the short form of a runbook (contract §3.4, end): `The job`, `What "done" looks like`, `How to check`
in the place of tables."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runbook_runner.runbook.markdown.blocks import Section, inline_codes
from runbook_runner.runbook.markdown.lists import Item, list_items

_QUOTES = re.compile(r"[\"'“”‘’`*_]")


class ShortForm(NamedTuple):
    job: Section | None
    done: Section


def short_form(sections: Sequence[Section]) -> ShortForm | None:
    """`None` for a runbook of another form."""
    named = {_QUOTES.sub("", section.name): section for section in reversed(sections) if section.level == 2}
    done = named.get("what done looks like")
    return ShortForm(named.get("the job"), done) if done else None


def done_items(form: ShortForm) -> tuple[Item, ...]:
    """The items of `What "done" looks like`, with or without a box."""
    return tuple(item for item in list_items(form.done.text, form.done.text_line) if item.text)


class Mention(NamedTuple):
    spelled: str
    line: int
    """Of the item or the heading that it is below."""
    item: str
    """The text of the item; empty elsewhere."""


def mentions(form: ShortForm) -> Iterator[Mention]:
    """Yields each code span that may name a result."""
    items = done_items(form)
    for item in items:
        yield from (Mention(code, item.line, item.text) for code in inline_codes(item.text))
    for section in (None if items else form.done, form.job):
        if section:
            yield from (Mention(code, section.line, "") for code in inline_codes(section.text))

"""Room `runbook`: the checklist of a runbook: v2 `## Checklist`, v1 inside the Final Checklist."""

from runbook_runner.core import ids
from runbook_runner.core.criteria import ChecklistItem
from runbook_runner.runbook.markdown.blocks import Outline, Section
from runbook_runner.runbook.markdown.lists import Item, tasks
from runbook_runner.runbook.parts.sections import find_exact, is_final_checklist, subsections
from runbook_runner.runbook.parts.short_form import done_items, short_form


def read_checklist(outline: Outline) -> tuple[ChecklistItem, ...]:
    """The items of the v2 section; of a v1 file those of `### Checklist`, else of the whole Final Checklist; of the
    short form what it calls done."""
    if section := find_exact(outline.sections, "checklist") or _v1(outline):
        return tuple(map(_item, tasks(section.text, section.text_line)))
    form = short_form(outline.sections)
    return tuple(map(_item, done_items(form))) if form else ()


def reads_short_form(outline: Outline) -> bool:
    """Whether the checklist is what the short form calls done."""
    own = find_exact(outline.sections, "checklist") or _v1(outline)
    return own is None and short_form(outline.sections) is not None


def _v1(outline: Outline) -> Section | None:
    fits = filter(is_final_checklist, outline.sections)
    final = min(fits, key=lambda section: section.level != 2, default=None)
    if final is None:
        return None
    inner = subsections(outline.sections, final, final.level + 1)
    return next((section for section in inner if section.name == "checklist"), final)


def _item(item: Item) -> ChecklistItem:
    return ChecklistItem(ids.slug(item.text), item.text, item.line, bool(item.checked))

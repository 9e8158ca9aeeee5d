"""Room `runbook`, `check`: RB2xx, headings, steps, the manifest and links."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from urllib.parse import unquote

from runbook_runner.core import settings
from runbook_runner.runbook.check.rules.findings import Hit
from runbook_runner.runbook.check.rules.subject import Rule, Subject
from runbook_runner.runbook.markdown.blocks import BEYOND_BOUNDS, Section, inline_links
from runbook_runner.runbook.parts.outputs import in_results, is_elsewhere, spelled_outputs
from runbook_runner.runbook.parts.sections import StepNumber, find, is_step, step_number
from runbook_runner.runbook.parts.short_form import short_form

_REPORTS = ("summary.md", "validation_report.json")
_MOST = 300  # files of a manifest that are compared with a text or with each other
_LISTS = ("required output", "parameters", "final checklist", "code checks", "checklist", "dependencies")
_RENUMBER = "Number the steps without gaps, and update the references to them."
_MOST_LINKS = 5_000


def title(subject: Subject) -> Iterator[Hit]:
    if not subject.runbook.title:
        line = min(subject.runbook.body_line, subject.last_line)
        yield Hit(line, 1, "The runbook has no title.", "Begin with `# Task — Agent Runbook`.")


def manifest(subject: Subject) -> Iterator[Hit]:
    section = subject.manifest
    if section is None and short_form(subject.runbook.sections):
        return  # it has no tables
    if section is None:
        hint = "Add `## REQUIRED OUTPUT FILES (MANDATORY)` with a table `File | Description`."
        yield Hit(
            min(subject.runbook.body_line, subject.last_line), 1, "Nothing says which files a run must make.", hint
        )
    elif not subject.runbook.outline.tables_in(section):
        yield subject.on(section.line, "The list of required files is not a table.", "Write `| File | Description |`.")


def output_outside(subject: Subject) -> Iterator[Hit]:
    for parameter in subject.runbook.parameters:
        if parameter.name == "results_dir" and parameter.kind == "value" and parameter.prose:
            message = f"The default of `results_dir` is {settings.RESULTS} in every run, whatever this row says."
            hint = f"Write `{settings.RESULTS}` or `./results`."
            yield subject.on(parameter.line, message, hint, at=parameter.prose)
    for table in subject.manifest_tables:
        for line, path in spelled_outputs(table):
            if is_elsewhere(path):
                hint = "Only files in /app/results are delivered and counted."
                yield subject.on(line, f"`{path}` is outside the results directory.", hint, at=path)


def repeated_output(subject: Subject) -> Iterator[Hit]:
    for table in subject.manifest_tables:
        if not table.header.cells[0].text.lower().startswith(("file", "path", "output", "artifact", "deliverable")):
            continue  # rows keyed by something else may well name a file again
        seen: set[str] = set()
        for line, path in spelled_outputs(table):
            relative = in_results(path)
            if relative in seen:
                yield subject.on(line, f"`{relative}` is listed twice.", at=path)
            seen.add(relative or "")


def unmentioned_output(subject: Subject) -> Iterator[Hit]:
    """The two reports have steps of their own, often in other words. Lists that repeat the manifest do not count."""
    tables = subject.manifest_tables if subject.steps else ()
    if not tables:
        return
    lists = "\n".join(_lists(subject))
    body = subject.runbook.body
    for table in tables:
        for line, path in islice(spelled_outputs(table), _MOST):
            relative = in_results(path)
            stem = _stem(relative) if relative else ""
            if stem and relative not in _REPORTS and not _is_more(stem, body, lists):
                hint = "Say in a step what goes into it, or take it off the list."
                yield subject.on(line, f"No step mentions `{relative}`.", hint, at=path)


def _is_more(word: str, body: str, lists: str) -> bool:
    """In any case, but lower-casing a text takes longer than all else a rule does."""
    if body.count(word) > lists.count(word):
        return True
    word = word.lower()
    return body.lower().count(word) > lists.lower().count(word)


def _lists(subject: Subject) -> Iterator[str]:
    for section in subject.runbook.sections:
        if section.level == 2 and section.name.startswith(_LISTS):
            yield section.title
            yield section.text


def _stem(path: str) -> str:
    """The longest fixed part of the file's name; a folder's own name for a pattern."""
    parts = re.split(r"<[^<>]*>|\{\{[^{}]*\}\}|[*?\[\]]", path)
    if len(parts) == 1:
        return path.rpartition("/")[2]
    return max((part.strip("/.-_ ").rpartition("/")[2] for part in parts), key=len)


def primary_not_listed(subject: Subject) -> Iterator[Hit]:
    paths = subject.runbook.frontmatter.primary_outputs
    listed = (path for table in subject.manifest_tables for _, path in spelled_outputs(table))
    spelled = list(map(in_results, islice(listed, _MOST)))
    if not paths or not spelled or len(spelled) == _MOST:
        return
    folders = tuple(f"{path}/" for path in spelled if path)
    for path in paths[:_MOST]:
        fits = path in spelled or path.startswith(folders) or any(map(_is_pattern, (*spelled, path)))
        if not fits:
            line = subject.runbook.frontmatter.lines["primary_outputs"]
            hint = "Add it to REQUIRED OUTPUT FILES."
            yield subject.on(line, f"The primary output `{path}` is not among the required files.", hint)


def _is_pattern(path: str | None) -> bool:
    return bool(path) and any(mark in str(path) for mark in ("*", "<", "{"))


def lost_cells(subject: Subject) -> Iterator[Hit]:
    """A `|` ends a cell also inside back-ticks (GitHub's tables): what follows in the row is dropped."""
    wanted = (subject.manifest, find(subject.runbook.sections, "parameters"))
    for section in filter(None, wanted):
        for table in subject.runbook.outline.tables_in(section):
            columns = len(table.header.cells)
            for row in table.rows:
                text = subject.line(row.line).strip().rstrip("|")
                has_bars = text.startswith("|") and text.count("|") > columns
                if has_bars and len(re.findall(r"(?<!\\)\|", text)) > columns:
                    message = f"This row has more cells than the {columns} of its table; the rest is lost."
                    yield subject.on(row.line, message, "Write a bar that is meant as text as `\\|`.")


def repeated_heading(subject: Subject) -> Iterator[Hit]:
    """Same words below the same parent; `### Notes` in two steps is fine."""
    parents: list[Section] = []
    seen: dict[tuple[int, str], int] = {}
    for section in subject.runbook.sections:
        while parents and parents[-1].level >= section.level:
            parents.pop()
        parent = parents[-1].line if parents else 0
        parents.append(section)
        first = seen.setdefault((parent, section.title.lower()), section.line)
        if first != section.line and section.title:
            message = f"The heading {section.title!r} is already on line {first}."
            yield subject.on(section.line, message, "Only the first is found by its name: merge or rename them.")


def step_numbers(subject: Subject) -> Iterator[Hit]:
    """`Step 2a` and `Step 2b`, `Step 2.1` and `Step 2.2` are parts of one step; below another `#` title the count may
    begin again."""
    allowed, before = {0, 1}, StepNumber(0, "")
    for section in subject.runbook.sections:
        if section.level == 1:
            allowed |= {0, 1}
        if not is_step(section) or not (step := step_number(section.title)):
            continue
        goes_on = step.number == before.number and step.part not in ("", before.part)
        if step.number in allowed or goes_on:
            allowed = {step.number + 1}
        else:
            yield subject.on(section.line, _misnumbered(step, before), _RENUMBER)
            allowed = {step.number + 1, *(other + 1 for other in allowed)}  # one slip is one finding
        before = step


def _misnumbered(step: StepNumber, before: StepNumber) -> str:
    number = f"{step.number}{step.part}"
    if not before.number:
        return f"The first step is number {number}."
    repeats = step.number == before.number
    return f"There are two steps {number}." if repeats else f"Step {number} follows step {before.number}."


def relative_link(subject: Subject) -> Iterator[Hit]:
    if subject.folder is None or "](" not in subject.text:
        return
    below = subject.text[subject.body_start :]
    for start, target in islice(inline_links(below), _MOST_LINKS):
        path = unquote(target.partition("#")[0].partition("?")[0])
        if path and not _is_elsewhere(path) and not os.path.lexists(subject.folder / path):
            offset = subject.body_start + len(below.encode()[:start].decode())
            yield subject.at(
                offset, f"The link to `{path}` leads nowhere.", "Links are relative to the runbook's folder."
            )


def _is_elsewhere(path: str) -> bool:
    """An address, a place in the sandbox, a template, or what a run is yet to make."""
    made = ("results/", "./results/", "assets/", "./assets/")
    return (
        bool(re.match(r"[a-zA-Z][\w+.-]*:|/|<|~|\$", path))
        or bool(re.search(r"[{}<>*…\0]", path))
        or path.startswith(made)
    )


def beyond_bounds(subject: Subject) -> Iterator[Hit]:
    line = subject.runbook.outline.cut_line
    if line is not None:
        hint = "Move data and long listings to a file next to it."
        yield subject.on(min(line, subject.last_line), BEYOND_BOUNDS, hint)


RULES = (
    Rule("RB201", "title", "warning", "The runbook has a `#` title", title),
    Rule("RB202", "manifest", "warning", "A table lists the required output files", manifest),
    Rule(
        "RB203",
        "output-outside",
        "warning",
        "Required files, and the default of `results_dir`, are in the results directory",
        output_outside,
    ),
    Rule("RB204", "repeated-output", "warning", "No required file is listed twice", repeated_output),
    Rule(
        "RB205",
        "unmentioned-output",
        "warning",
        "Every required file is mentioned outside the list",
        unmentioned_output,
    ),
    Rule("RB206", "primary-not-listed", "warning", "Primary outputs are required files", primary_not_listed),
    Rule("RB207", "lost-cells", "warning", "Rows of Parameters and the manifest fit their table", lost_cells),
    Rule("RB208", "repeated-heading", "warning", "No two headings below one parent are the same", repeated_heading),
    Rule("RB209", "step-numbers", "warning", "Steps are numbered 1, 2, 3 …", step_numbers),
    Rule("RB210", "broken-link", "warning", "Relative links lead to files", relative_link),
    Rule("RB211", "beyond-bounds", "error", "The document has no more pieces than are read", beyond_bounds),
)

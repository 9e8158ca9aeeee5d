"""Room `runbook`, `check`: RB4xx, the code blocks."""

import re
from collections.abc import Iterator
from itertools import chain, islice

from runbook_runner.runbook.check.rules.findings import Hit
from runbook_runner.runbook.check.rules.json_syntax import json_problem
from runbook_runner.runbook.check.rules.subject import SHELLS, Rule, Subject
from runbook_runner.runbook.parts.steps import LANGUAGES, language_of
from runbook_runner.runbook.quoting.fill import hint, places
from runbook_runner.runbook.quoting.places import BARE, PLAIN, Place, UnquotableError

_PROGRAMS = SHELLS | {"python", "python3", ""}
_MARKDOWN = frozenset({"markdown", "md", "mdx", "text", "txt", ""})
_MOST_READS = 30
# Text, compiled when code mentions such a place. Each begins with plain text, which `re` finds ten times as fast.
_PLACES = {
    "/app/": r"/app/(?:results|work)/[\w./-]{1,200}",
    "results_dir": r"\{\{\s?results_dir\s?\}\}/[\w./-]{1,200}",
}
_SHELL_READERS = r"cat|head|tail|jq|wc|grep|sort|less|source|python3?|node|bash|sh"
_READING = rf"\b(?:{_SHELL_READERS}|open|read_csv|read_json|read_text|load)\b[^#|;&>]*[\s\"'(]$|<\s?\"?$"
_OPENED_TO_WRITE = r"['\"]\)?\s*,\s*(?:mode\s*=\s*)?['\"][wax]"
_ANY_VALUE = 'it\'s "any" value'
_SPLIT = r"(?:^|[;&|({]|\b(?:then|do|else))\s*\Z|\bfor \w+ in [^;]*\Z"
_NEAR = 120  # characters of a line that are looked at: it may be as long as the file


def shell_syntax(subject: Subject) -> Iterator[Hit]:
    for error in subject.shell_errors:
        yield subject.on(error.line, error.message, "Run `bash -n` on the block.")


def unchecked_shell(subject: Subject) -> Iterator[Hit]:
    """One hit for each reason, at the first block."""
    reasons: dict[str, list[int]] = {}
    for block in subject.unchecked_shells:
        reasons.setdefault(block.message, []).append(block.line)
    for why, lines in reasons.items():
        what = "This shell block was" if len(lines) == 1 else f"{len(lines)} shell blocks from here on were"
        yield subject.on(min(lines), f"{what} not parsed: {why}.", "Check again, or run `bash -n` on it.")


def json_syntax(subject: Subject) -> Iterator[Hit]:
    for language, fence in subject.languages:
        if language == "json" and (found := json_problem(fence.code)) is not None:
            line = fence.line + 1 + fence.code.count("\n", 0, found[0])
            hint = "Fix it, or write ```jsonc when it shows a shape."
            yield subject.on(min(line, fence.end_line), f"The JSON example does not parse: {found[1]}.", hint)


def unclosed_fence(subject: Subject) -> Iterator[Hit]:
    yield from _swallows_sections(subject)
    yield from _swallows_the_rest(subject)


def _swallows_sections(subject: Subject) -> Iterator[Hit]:
    """A block that contains a heading and then another block's opening line: its own end was forgotten."""
    for language, fence in subject.languages:
        if "```" not in fence.code or language in _MARKDOWN or _holds_others(subject.line(fence.line)):
            continue
        opening = re.search(r"^```[A-Za-z]", fence.code, re.MULTILINE)
        heading = fence.code.find("\n## ", 0, opening.start()) if opening else -1
        if heading >= 0:
            line = fence.line + 2 + fence.code.count("\n", 0, heading)
            message = f"This code block is not closed before the heading on line {line}, so that counts as code."
            yield subject.on(fence.line, message, "Add a line of three back-ticks at its end.")


def _holds_others(opening: str) -> bool:
    """Four back-ticks or tildes: the author means to show blocks in it."""
    return "````" in opening or "~~~" in opening


def _swallows_the_rest(subject: Subject) -> Iterator[Hit]:
    """Inside a list or a quote the end of that closes it."""
    fences = subject.runbook.outline.fences
    if fences and fences[-1].end_line >= subject.last_line - 1:
        opening = subject.line(fences[-1].line).strip()
        closing = subject.line(fences[-1].end_line).strip(" \t>")
        mark = re.match(r"`{3,}|~{3,}", opening.lstrip("-*+> 0123456789.)\t"))
        is_closed = fences[-1].end_line > fences[-1].line and mark and re.fullmatch(mark[0][0] + "{3,}", closing)
        if mark and not (is_closed and len(closing) >= len(mark[0])):
            message = "This code block is never closed, so all below it counts as code."
            yield subject.on(fences[-1].line, message, f"Add a line {mark[0]} at its end.")


def unwritten_file(subject: Subject) -> Iterator[Hit]:
    """A file in the sandbox that code reads although nothing else, words included, ever mentions it."""
    outputs = {output.path for output in subject.runbook.outputs}
    reads: dict[str, tuple[int, int]] = {}
    for path, line in islice(_all_reads(subject), _MOST_READS):
        first, count = reads.get(path, (line, 0))
        reads[path] = first, count + 1
    for path, (line, count) in reads.items():
        name = path.rpartition("/")[2]
        if path.removeprefix("/app/results/") in outputs or "." not in name or _is_made(subject, path, name, count):
            continue
        hint = "Let an earlier step write it, or correct the name."
        yield subject.on(line, f"This reads `{path}`, which nothing writes.", hint, at=name)


def _all_reads(subject: Subject) -> Iterator[tuple[str, int]]:
    """Path and line of every place in a block with a command that reads before the path."""
    for language, fence in subject.languages:
        if language not in _PROGRAMS:
            continue
        places = [pattern for word, pattern in _PLACES.items() if word in fence.code]
        for match in chain.from_iterable(re.finditer(place, fence.code) for place in places):
            start = fence.code.rfind("\n", 0, match.start()) + 1
            before = fence.code[max(start, match.start() - _NEAR) : match.start()]
            after = fence.code[match.end() : match.end() + _NEAR].partition("\n")[0]
            if re.search(_READING, before) and not re.match(_OPENED_TO_WRITE, after):
                yield match[0].rstrip(".,;:"), fence.line + 1 + fence.code.count("\n", 0, match.start())


def _is_made(subject: Subject, path: str, name: str, reads: int) -> bool:
    """Whether the name is anywhere else than in the reads, or something may make files in its folder: a pattern, a
    variable, the folder's bare name."""
    if subject.text.count(name) > reads:
        return True
    folder = path.rpartition("/")[0]
    pattern = rf"{re.escape(folder)}/?[\w-]*[*<{{$]"
    if folder not in ("/app/results", "/app/work") and not folder.startswith("{{"):
        pattern += rf"|{re.escape(folder)}/?[\s\"'`)]"
    return re.search(pattern, subject.text) is not None


def empty_step(subject: Subject) -> Iterator[Hit]:
    for step in subject.steps:
        if step.is_empty:
            yield subject.on(step.line, f"{step.title!r} says nothing.", "Say what the agent has to do, or remove it.")


def unquotable_placeholder(subject: Subject) -> Iterator[Hit]:
    """A place in which the shell agent writes only a plain value, or a quoted value is not what is meant."""
    if not subject.agent or not subject.agent.runs_blocks:
        return
    defaults = {parameter.name: parameter.default for parameter in subject.runbook.parameters}
    for step in subject.steps:
        for fence in subject.runbook.outline.fences_in(step):
            language = language_of(fence.info)
            if language not in LANGUAGES:
                continue
            for place in places(fence.code, language, defaults.keys()):
                if problem := _problem_of(place, fence.code, language, defaults[place.name]):
                    line = fence.line + 1 + fence.code.count("\n", 0, place.start)
                    mark = fence.code[place.start : place.end]
                    yield subject.on(line, f"`{mark}` stands {problem}.", hint(language, place.name), at=mark)


def _problem_of(place: Place, code: str, language: str, default: str | None) -> str | None:
    """A place with a default is meant for values like that one."""
    try:
        place.write(_ANY_VALUE if default is None else default)
    except UnquotableError as error:
        return f"{error}, where not every value can be quoted"
    start = code.rfind("\n", 0, place.start) + 1
    is_split = language in SHELLS and place.where == BARE and re.search(_SPLIT, code[start : place.start][-_NEAR:])
    if is_split and (default is None or not PLAIN.fullmatch(default)):
        return "where a command or a list of words is expected: its value is quoted, as one word"
    return None


RULES = (
    Rule("RB401", "shell-syntax", "error", "Shell blocks parse (`bash -n`)", shell_syntax),
    Rule("RB402", "json-syntax", "warning", "JSON examples parse", json_syntax),
    Rule("RB403", "unclosed-fence", "error", "Every code block is closed", unclosed_fence),
    Rule("RB404", "unwritten-file", "warning", "Files that code reads are written somewhere", unwritten_file),
    Rule("RB405", "empty-step", "warning", "Every step says something", empty_step),
    Rule("RB406", "unchecked-shell", "warning", "No shell block was left out", unchecked_shell),
    Rule(
        "RB407",
        "unquotable-placeholder",
        "warning",
        "Values can be quoted where their placeholders stand (`agent: shell`)",
        unquotable_placeholder,
    ),
)

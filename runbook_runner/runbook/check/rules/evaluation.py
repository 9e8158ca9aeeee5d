"""Room `runbook`, `check`: RB5xx, how a run is judged."""

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.yaml_text import YamlText
from runbook_runner.runbook.check.rules.findings import Edit, Hit
from runbook_runner.runbook.check.rules.subject import Rule, Subject
from runbook_runner.runbook.parts.frontmatter import cut
from runbook_runner.runbook.parts.short_form import short_form
from runbook_runner.runbook.parts.substitution import PLACEHOLDER

if TYPE_CHECKING:
    from runbook_runner.core.criteria import CodeCheck

_JUDGES = ("evaluat", "rubric", "verif", "quality", "check", "validat", "review", "test", "success", "criteria", "done")
_REPORT = "validation_report.json"
_NUMBER = r"(?:\d+|one|two|three|four|five)"
_BOUND = (  # text, compiled when a section iterates
    r"(?:max(?:imum)?|up to|at most|no more than|limit(?:ed)?)[\W_]{1,6}(?:\w{1,20}\W{1,6}){0,3}?"
    rf"{_NUMBER}\b|\b{_NUMBER}\s+(?:\w+\s+)?(?:rounds?|iterations?|attempts?|times|retries|passes|cycles)"
)


def no_evaluation(subject: Subject) -> Iterator[Hit]:
    """Wider than the published validators, which want `Evaluate` or `Rubric` in just this case."""
    who = subject.agent
    if who and who.runs_blocks:
        return  # it is judged by its files alone
    titles = "\n".join(section.title for section in subject.runbook.sections).lower()
    if subject.steps and not any(word in titles for word in _JUDGES):
        hint = "Add a step `Evaluate Outputs` with a table `Status | Criteria`."
        yield subject.on(subject.steps[-1].line, "No section says how the results are judged.", hint)


def unbounded_iteration(subject: Subject) -> Iterator[Hit]:
    """A bound elsewhere satisfies the published validators, but not the agent in this step."""
    for section in subject.runbook.sections:
        if (
            section.level == 2
            and "iterat" in section.title.lower()
            and not re.search(_BOUND, section.title + section.text, re.IGNORECASE)
        ):
            hint = "Say `(max 3 rounds)` in the heading."
            yield subject.on(section.line, "The iteration has no bound: an agent may go on for ever.", hint)


def no_criteria(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    if short_form(subject.runbook.sections):
        return  # what it calls done are the criteria
    if front.evaluation == "rubric" and (subject.runbook.rubric is None or not subject.runbook.rubric.criteria):
        hint = "Add a table `# | Criterion | 5 (Excellent) | 3 (Acceptable) | 1 (Poor)`."
        yield subject.on(
            front.lines["evaluation"], "The evaluation is a rubric, and no table gives its criteria.", hint
        )


def report_without_verdict(subject: Subject) -> Iterator[Hit]:
    """`overall_passed` is the one key every reader of a v1 report needs (contract §3.9)."""
    if subject.has_code_checks or "overall_passed" in subject.text:
        return
    if any(output.path == _REPORT for output in subject.runbook.outputs):
        line = subject.text.count("\n", 0, subject.text.rindex(_REPORT)) + 1
        hint = f'Give an example of {_REPORT} with `"overall_passed": true`.'
        yield subject.on(
            line, "The report's `overall_passed`, which carries the verdict, is nowhere mentioned.", hint, at=_REPORT
        )


def malformed_task(subject: Subject) -> Iterator[Hit]:
    if "[] " not in subject.text:
        return
    for match in re.finditer(r"^([ \t]*[-*+][ \t]+\[)(\] +\S)", subject.text, re.MULTILINE):
        hit = subject.at(match.start(2) - 1, "`[]` is not a check box, so this item is not counted.", "Write `[ ]`.")
        if hit.line >= subject.runbook.body_line and subject.language_at(hit.line) is None:
            yield Hit(hit.line, hit.column, hit.message, hit.hint, (Edit(match.start(2), match.start(2), " "),))


def check_sources(subject: Subject) -> Iterator[Hit]:
    """What a run would refuse before it starts, or, of the other keys of `code_checks`, call an error afterwards."""
    front = subject.runbook.frontmatter
    if "code_checks" not in front.lines:
        return
    from runbook_runner.runbook.criteria.check_sources import MOST, wrong_in

    try:
        sources = subject.runbook.checks_config.sources
    except InputError as error:
        yield _hit(subject, error, _line_in(subject, "code_checks", *_named_in(error)))
        return
    if len(sources) > MOST:
        yield subject.on(_line_in(subject, "code_checks", "sources"), f"There are more than {MOST} check sources.")
    names = [source.name.lower() for source in sources]
    for number, source in enumerate(sources):
        line = _line_in(subject, "code_checks", "sources", number)
        if wrong := wrong_in(source, front.secrets):
            yield subject.on(line, wrong.message, wrong.hint)
        elif source.name.lower() in names[:number]:
            message = f"The check source {source.name} is declared twice."
            yield subject.on(line, message, "Each needs a name of its own.")


def _named_in(error: InputError) -> list[str]:
    """`code_checks.KEY` in its message."""
    return re.findall(r"`code_checks\.(\w+)`", error.message)


def _line_in(subject: Subject, *place: int | str) -> int:
    """Of the frontmatter."""
    yaml = YamlText(cut(subject.runbook.text).yaml or "", subject.name, first_line=2)
    root = yaml.root()
    return yaml.line_of(root, place) if root else 1


def _hit(subject: Subject, error: InputError, line: int) -> Hit:
    """line: where the error names none."""
    with suppress(ValueError):
        line = max(line, int((error.where or "").rpartition(":")[2]))
    return subject.on(line, error.message, error.hint or "")


def builtin_checks(subject: Subject) -> Iterator[Hit]:
    """What would be an error each time that the check is run."""
    if not subject.has_code_checks:
        return
    from runbook_runner.runbook.criteria.code_checks import read_builtin

    with suppress(InputError):  # of `code_checks`, which is another rule's
        for check in subject.runbook.code_checks:
            if check.counts and check.kind == "builtin" and not check.problem and check.code_line:
                try:
                    pattern = read_builtin(check, subject.name).pattern
                except InputError as error:
                    yield _hit(subject, error, check.code_line)
                else:
                    yield from _pattern(subject, check, pattern)


def _pattern(subject: Subject, check: "CodeCheck", pattern: str | None) -> Iterator[Hit]:
    if not pattern or PLACEHOLDER.search(pattern):
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        line = (check.code_line or check.line) + 1
        line += next((n for n, text in enumerate(check.code.split("\n")) if re.match(r"\s*(pattern|regex)\b", text)), 0)
        yield subject.on(line, f"The pattern is not a regular expression: {error}.", "It is in Python's syntax.")


RULES = (
    Rule("RB501", "no-evaluation", "warning", "A section says how the results are judged", no_evaluation),
    Rule("RB502", "unbounded-iteration", "warning", "Iterating steps have a bound", unbounded_iteration),
    Rule("RB503", "no-criteria", "warning", "A rubric has a table of criteria", no_criteria),
    Rule(
        "RB504", "report-without-verdict", "warning", "A v1 report's `overall_passed` is shown", report_without_verdict
    ),
    Rule("RB505", "malformed-task", "warning", "Checklist items have a box `[ ]`", malformed_task, True),
    Rule("RB506", "check-sources", "error", "`code_checks` holds what a run can use", check_sources),
    Rule("RB507", "built-in-check", "error", "Built-in checks have what they need", builtin_checks),
)

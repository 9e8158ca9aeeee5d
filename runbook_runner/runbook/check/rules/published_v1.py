"""Room `runbook`, `check`: RB8xx, the published validator for v1 runbooks, row by row (contract §3.12).

It is a shell script around `grep`: words count anywhere in the file, and their case matters. Every row here has the
verdict, the severity and the order of the script; a missing word is a hit on line 1.
"""

import re
from collections.abc import Callable, Iterator

from runbook_runner.runbook.check.rules.findings import Hit
from runbook_runner.runbook.check.rules.subject import Rule, Subject

# Together `max [0-9]+ round|iterate.*max|up to [0-9]+`; apart, on lower case, they take a hundredth of the time.
_BOUNDS = (r"max [0-9]+ round", r"up to [0-9]+")
_PATTERNS = ("programmatic", "rubric")
_Test = Callable[[Subject], Iterator[Hit]]


def frontmatter(subject: Subject) -> Iterator[Hit]:
    if not any(line.startswith("---") for line in subject.text.split("\n", 5)[:5]):
        yield Hit(1, 1, "No YAML frontmatter found")


def value_of(subject: Subject, key: str) -> tuple[int, str]:
    """Offset and value of the first line that begins with the key, quotes and comment removed; (0, "") without one."""
    match = re.search(rf"^{key}:(.*)$", subject.text, re.MULTILINE)
    if match is None:
        return 0, ""
    return match.start(), re.sub(r"(?<!\s)\s++#.*$", "", match[1]).strip().strip("'\"")


def keys(subject: Subject) -> Iterator[Hit]:
    for key in ("version", "evaluation"):
        offset, value = value_of(subject, key)
        if not value:
            yield subject.at(offset, f"Missing '{key}' in frontmatter")


def evaluation(subject: Subject) -> Iterator[Hit]:
    offset, value = value_of(subject, "evaluation")
    if value and value not in _PATTERNS:
        yield subject.at(offset, f"Invalid evaluation {value!r}: must be programmatic or rubric")


def heading(name: str) -> _Test:
    pattern = rf"\n## (Step [0-9]+: )?{name}"

    def check(subject: Subject) -> Iterator[Hit]:
        text = subject.text
        if f"\n## {name}" not in text and not re.search(pattern, "\n" + text):
            yield Hit(1, 1, f"Missing section: {name}", f"Add a heading `## {name}`.")

    return check


def mentions(*words: str, message: str, hint: str = "") -> _Test:
    """One of the words is anywhere in the file, in this case."""

    def check(subject: Subject) -> Iterator[Hit]:
        if not any(word in subject.text for word in words):
            yield Hit(1, 1, message, hint)

    return check


def primary_outputs(subject: Subject) -> Iterator[Hit]:
    if not subject.text.startswith("primary_outputs:") and "\nprimary_outputs:" not in subject.text:
        yield Hit(1, 1, "No 'primary_outputs' in frontmatter", "List the files the run is for, most important first.")


def bounded(subject: Subject) -> Iterator[Hit]:
    if not _is_bounded(subject.text) and not _is_bounded(subject.text.lower()):
        yield Hit(1, 1, "No bounded iteration found", "Say `max 3 rounds` in the step that iterates.")


def _is_bounded(text: str) -> bool:
    return any(re.search(bound, text) for bound in _BOUNDS) or _iterates_to_a_maximum(text)


def _iterates_to_a_maximum(text: str) -> bool:
    """`iterate.*max` in time that grows with the text alone."""
    start = text.find("iterate")
    while start >= 0:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if text.find("max", start, end) >= 0:
            return True
        start = text.find("iterate", end)
    return False


def parameters(subject: Subject) -> Iterator[Hit]:
    if "{{" in subject.text and "## Parameters" not in subject.text:
        match = re.search(r"\{\{[a-z_]+\}\}", subject.text)
        if match:
            yield subject.at(match.start(), "Template variables are used but there is no Parameters section")


def todo(subject: Subject) -> Iterator[Hit]:
    if (first := subject.text.find("{TODO:")) >= 0:
        count = sum("{TODO:" in line for line in subject.text.split("\n"))
        yield subject.at(first, f"{count} unresolved {{TODO: …}} placeholder{'s' if count > 1 else ''}")


REPORT = mentions("validation_report.json", message="validation_report.json is not mentioned")
SUMMARY = mentions("summary.md", message="summary.md is not mentioned")
EVALUATION = mentions(
    "Evaluate",
    "Rubric",
    message="No evaluation step found",
    hint="The published validator wants the word `Evaluate` or `Rubric`, capitalised, anywhere in the file.",
)
DEPENDENCIES = mentions("## Dependencies", message="No Dependencies section")
TIPS = mentions("## Tips", message="No Tips section")
_SCRIPT = mentions("FINAL OUTPUT VERIFICATION", "Verification Script", message="No verification script found")


RULES = (
    Rule("RB801", "v1-frontmatter", "error", "v1: one of the first five lines starts with ---", frontmatter),
    Rule("RB802", "v1-keys", "error", "v1: `version:` and `evaluation:` have values", keys),
    Rule("RB803", "v1-evaluation", "error", "v1: evaluation is programmatic or rubric", evaluation, default=False),
    Rule("RB804", "v1-objective", "error", "v1: there is a section Objective", heading("Objective")),
    Rule(
        "RB805", "v1-outputs", "error", "v1: there is a section REQUIRED OUTPUT FILES", heading("REQUIRED OUTPUT FILES")
    ),
    Rule("RB806", "v1-checklist", "error", "v1: there is a section Final Checklist", heading("Final Checklist")),
    Rule("RB807", "v1-report", "error", "v1: validation_report.json is mentioned", REPORT),
    Rule("RB808", "v1-summary", "warning", "v1: summary.md is mentioned", SUMMARY),
    Rule(
        "RB809", "v1-primary-outputs", "warning", "v1: frontmatter has primary_outputs", primary_outputs, default=False
    ),
    Rule("RB810", "v1-evaluate", "error", "v1: the word Evaluate or Rubric is there", EVALUATION, default=False),
    Rule("RB811", "v1-bound", "error", "v1: iteration has a bound", bounded),
    Rule("RB812", "v1-script", "error", "v1: there is a verification script", _SCRIPT),
    Rule("RB813", "v1-parameters", "error", "v1: variables need a Parameters section", parameters),
    Rule("RB814", "v1-dependencies", "warning", "v1: there is a section Dependencies", DEPENDENCIES),
    Rule("RB815", "v1-tips", "warning", "v1: there is a section Tips", TIPS),
    Rule("RB816", "v1-todo", "warning", "v1: no {TODO: …} is left", todo),
)
"""In `auto` the rows that are not default are left out: over the 115 public runbooks 94 have their evaluation in other
words and 100 have no primary_outputs (contract §3.12), so neither tells a good file from a bad one.
RB803 is the same rule as RB107."""

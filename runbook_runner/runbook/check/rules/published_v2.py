"""Room `runbook`, `check`: RB9xx, the published validator for v2 runbooks, row by row (contract §3.13)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from runbook_runner.runbook.check.rules import published_v1 as v1
from runbook_runner.runbook.check.rules.findings import Hit, Severity
from runbook_runner.runbook.check.rules.published_v2_text import TextFence, TextSection, V2Text, parts, read
from runbook_runner.runbook.check.rules.subject import Rule, Subject

_PLACEHOLDER = re.compile(r"(?<![{$])\{(TODO:[^}]{0,300}+|[A-Za-z_][^{}\"':]*)\}")
_F_STRING = re.compile(r"\b[fF][rR]?[\"']")
_HEADING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s+[—–-]\s+\S")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMANDS = frozenset({"", "bash", "sh", "shell"})
_LANGUAGES = _COMMANDS | {"yaml", "check", "agent"}
_MIGRATE = "Bring it to v2 with `runbook migrate`."


@dataclass(frozen=True)
class _Check:
    part: TextSection

    @property
    def id(self) -> str:
        match = _ID.match(self.part.title)
        return match[0] if match else ""

    @property
    def fence(self) -> TextFence | None:
        return next(iter(self.part.fences), None)

    @property
    def words(self) -> list[str]:
        """Of the fence's opening line, the language first, in lower case."""
        words = self.fence.info.split() if self.fence else []
        return [words[0].lower(), *words[1:]] if words else []

    @property
    def language(self) -> str:
        words = self.words
        return "" if not words or words[0].startswith("executor") else words[0]


class _View:
    """The file as the validator sees it, read once per file."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.text: V2Text = read(subject.text)

    @cached_property
    def code_checks(self) -> TextSection | None:
        return self.text.exact("Code Checks")

    @cached_property
    def checklist(self) -> TextSection | None:
        return self.text.exact("Checklist")

    @cached_property
    def checks(self) -> tuple[_Check, ...]:
        return tuple(map(_Check, parts(self.code_checks))) if self.code_checks else ()


@lru_cache(maxsize=1)  # the rows of one file come one after the other
def _view(subject: Subject) -> _View:
    return _View(subject)


def _missing(message: str, hint: str = "") -> Hit:
    return Hit(1, 1, message, hint)


def frontmatter(subject: Subject) -> Iterator[Hit]:
    yield from v1.frontmatter(subject)
    yield from v1.keys(subject)


def v1_marks(subject: Subject) -> Iterator[Hit]:
    if (banner := subject.text.find("FINAL OUTPUT VERIFICATION")) >= 0:
        yield subject.at(banner, "A v1 verification script: checks belong under Code Checks", _MIGRATE)
    for section in _view(subject).text.sections:
        if section.title.startswith("Final Checklist"):
            yield subject.on(section.heading.number, "A v1 Final Checklist section", _MIGRATE)


def sections(subject: Subject) -> Iterator[Hit]:
    text = _view(subject).text
    for name in ("Objective", "REQUIRED OUTPUT FILES", "Write Validation Report"):
        if text.starting(name) is None:
            yield _missing(f"Missing section: {name}", f"Add a heading `## {name}`.")
    for name in ("Code Checks", "Checklist"):
        if text.exact(name) is not None:
            continue
        longer = next((s for s in text.sections if re.match(rf"{name}\b", s.title, re.IGNORECASE)), None)
        if longer is None:
            yield _missing(f"Missing section: {name}", f"Add a heading `## {name}`.")
        else:
            message = f"The heading must be just `{name}`: nothing may follow the name"
            yield subject.on(longer.heading.number, message)


def outputs_exist(subject: Subject) -> Iterator[Hit]:
    if not any(not line.in_fence and re.match(r"### outputs-exist\b", line.text) for line in _view(subject).text.lines):
        yield _missing("No check `### outputs-exist — …`", "Test there that every required file is there: `test -s`.")


def unterminated(subject: Subject) -> Iterator[Hit]:
    view = _view(subject)
    for section in filter(None, (view.code_checks, view.checklist)):
        for fence in section.fences:
            if not fence.is_closed:
                yield subject.on(fence.line, f"Unterminated code fence under {section.title}")


def todo_before_checks(subject: Subject) -> Iterator[Hit]:
    section = _view(subject).code_checks
    for line in section.lines if section else ():
        if not line.in_fence and line.text.startswith("### "):
            return
        if "{TODO:" in line.text:
            yield subject.on(line.number, "Unresolved {TODO: …} before the first check", at="{TODO:")


def heading_placeholder(subject: Subject) -> Iterator[Hit]:
    for check in _view(subject).checks:
        if match := _PLACEHOLDER.search(check.part.heading.text):
            yield subject.on(check.part.heading.number, f"Placeholder {match[0]} in a check heading", at=match[0])


def _commands(subject: Subject) -> Iterator[tuple[int, str]]:
    for check in _view(subject).checks:
        if check.fence:
            yield from ((line.number, line.text) for line in check.fence.lines)


def command_placeholder(subject: Subject) -> Iterator[Hit]:
    for number, text in _commands(subject):
        for match in _PLACEHOLDER.finditer(text):
            if match[1].startswith("TODO:") or match[1] == "primary_output":
                yield subject.on(number, f"Unresolved placeholder {match[0]} in a check command", at=match[0])


def command_words(subject: Subject) -> Iterator[Hit]:
    for number, text in _commands(subject):
        if _F_STRING.search(text):
            continue
        for match in _PLACEHOLDER.finditer(text):
            if not match[1].startswith("TODO:") and match[1] != "primary_output":
                yield subject.on(number, f"{match[0]} in a check command looks like a placeholder", at=match[0])


def heading_form(subject: Subject) -> Iterator[Hit]:
    for check in _view(subject).checks:
        if not _HEADING.match(check.part.title):
            yield subject.on(check.part.heading.number, "A check heading must be `### <id> — <name>`")


def usable_fence(subject: Subject) -> Iterator[Hit]:
    for check in _view(subject).checks:
        number = check.part.heading.number
        if check.fence is None:
            yield subject.on(number, f"The check {check.part.title!r} has no code block")
        elif check.language not in _LANGUAGES:
            message = f"A block in {check.language!r} is not a check: use bash, yaml or agent"
            yield subject.on(check.fence.line, message)


def executor(subject: Subject) -> Iterator[Hit]:
    for check in _view(subject).checks:
        word = next((word for word in check.words if word.startswith("executor")), None)
        if word is None or check.fence is None:
            continue
        if word not in ("executor=jetty", "executor=agent"):
            yield subject.on(check.fence.line, f"{word!r} must be executor=jetty or executor=agent", at=word)
        elif check.language == "agent" and word == "executor=jetty":
            yield subject.on(check.fence.line, "An agent check can't have executor=jetty", at=word)


def unique_ids(subject: Subject) -> Iterator[Hit]:
    seen: set[str] = set()
    for check in _view(subject).checks:
        if check.id in seen and check.id:
            yield subject.on(check.part.heading.number, f"Duplicate check id {check.id!r}")
        seen.add(check.id)


def tested_outputs(subject: Subject) -> Iterator[Hit]:
    view = _view(subject)
    manifest = view.text.starting("REQUIRED OUTPUT FILES")
    rows = "\n".join(line.text for line in manifest.lines if "|" in line.text) if manifest else ""
    check = next((check for check in view.checks if check.id == "outputs-exist"), None)
    seen: set[str] = set()
    for line in check.fence.lines if check and check.fence else ():
        for match in re.finditer(r"\{\{\s*results_dir\s*\}\}/([\w./-]*\w)", line.text):
            if match[1] not in seen and match[1] not in rows:
                yield subject.on(line.number, f"{match[1]} is tested but not a required output", at=match[1])
            seen.add(match[1])


def two_checks(subject: Subject) -> Iterator[Hit]:
    view = _view(subject)
    if view.code_checks and len(view.checks) < 2:
        yield subject.on(view.code_checks.heading.number, "Fewer than 2 code checks")


def checklist_items(subject: Subject) -> Iterator[Hit]:
    section = _view(subject).checklist
    if section is None:
        return
    items = [line for line in section.lines if not line.in_fence and re.match(r"\s*[-*+] \[ \]", line.text)]
    if not items:
        yield subject.on(section.heading.number, "The Checklist has no `- [ ]` item")
    for line in items:
        if match := _PLACEHOLDER.search(line.text):
            yield subject.on(line.number, f"Placeholder {match[0]} in a checklist item", at=match[0])


def report_example(subject: Subject) -> Iterator[Hit]:
    if not re.search(r'"version"\s*:\s*2\s*[,}\n]', subject.text):
        yield _missing('The report example has no `"version": 2`', "It is the integer 2, not text.")
    if not re.search(r'"checks"\s*:\s*\[', subject.text):
        yield _missing('The report example has no `"checks": [`')


def declared_variables(subject: Subject) -> Iterator[Hit]:
    section = _view(subject).text.exact("Parameters")
    if section is None:
        return
    rows = {word for line in section.lines if "|" in line.text for word in re.findall(r"\w+", line.text)}
    for name, offset in _variables(subject).items():
        if name not in rows:
            yield subject.at(offset, f"{{{{{name}}}}} has no row in the Parameters table")


def parameters_section(subject: Subject) -> Iterator[Hit]:
    variables = _variables(subject)
    if variables and _view(subject).text.exact("Parameters") is None:
        yield subject.at(min(variables.values()), "Template variables are used but there is no Parameters section")


def _variables(subject: Subject) -> dict[str, int]:
    """Template variable → offset of its first use."""
    found: dict[str, int] = {}
    for match in re.finditer(r"\{\{([a-z_]+)\}\}", subject.text):
        found.setdefault(match[1], match.start())
    return {name: offset for name, offset in found.items() if name not in ("checks_dir", "assets_dir")}


def _row(
    number: str,
    name: str,
    severity: Severity,
    summary: str,
    check: Callable[[Subject], Iterator[Hit]],
    default: bool = True,
) -> Rule:
    return Rule(number, f"v2-{name}", severity, f"v2: {summary}", check, default=default)


RULES = (
    _row("RB902", "frontmatter", "error", "frontmatter with version and evaluation", frontmatter),
    _row("RB929", "evaluation", "error", "evaluation is programmatic or rubric", v1.evaluation, default=False),
    _row("RB903", "v1-marks", "error", "no mark of v1 is left", v1_marks),
    _row("RB904", "sections", "error", "the five sections are there, by their exact names", sections),
    _row("RB905", "report", "error", "validation_report.json is mentioned", v1.REPORT),
    _row("RB921", "summary", "warning", "summary.md is mentioned", v1.SUMMARY),
    _row("RB922", "primary-outputs", "warning", "frontmatter has primary_outputs", v1.primary_outputs),
    _row("RB923", "evaluate", "error", "the word Evaluate or Rubric is there", v1.EVALUATION),
    _row("RB924", "bound", "error", "iteration has a bound", v1.bounded),
    _row("RB906", "outputs-exist", "error", "there is a check outputs-exist", outputs_exist),
    _row("RB907", "unterminated-fence", "error", "fences of checks and checklist are closed", unterminated),
    _row("RB908", "todo-checks", "error", "no {TODO: …} before the first check", todo_before_checks),
    _row("RB909", "heading-placeholder", "error", "no {placeholder} in a check heading", heading_placeholder),
    _row("RB910", "command-placeholder", "error", "no {primary_output} or {TODO: …} in a command", command_placeholder),
    _row("RB925", "command-words", "warning", "no other {words} in a command", command_words),
    _row("RB911", "heading-form", "error", "check headings are `### <id> — <name>`", heading_form),
    _row("RB912", "usable-fence", "error", "every check has a block in a language that counts", usable_fence),
    _row("RB913", "executor", "error", "executor= is jetty or agent, where it is allowed", executor),
    _row("RB914", "unique-ids", "error", "check ids are unique", unique_ids),
    _row("RB915", "tested-outputs", "warning", "outputs-exist tests required files only", tested_outputs),
    _row("RB916", "two-checks", "warning", "there are at least two checks", two_checks),
    _row("RB917", "checklist-items", "error", "the Checklist has items, without placeholders", checklist_items),
    _row("RB918", "report-example", "error", "the report example is of version 2", report_example),
    _row("RB919", "declared-variables", "warning", "variables have a row in Parameters", declared_variables, False),
    _row("RB926", "parameters", "error", "variables need a Parameters section", parameters_section),
    _row("RB920", "dependencies", "warning", "there is a section Dependencies", v1.DEPENDENCIES),
    _row("RB927", "tips", "warning", "there is a section Tips", v1.TIPS),
    _row("RB928", "todo", "warning", "no {TODO: …} is left", v1.todo),
)
"""In the validator's order. Row 1 (the file can be read) is RB101, as for bytes that are not text. What is
not default has a rule of our own that says the same: RB107, RB301."""

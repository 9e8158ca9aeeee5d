"""Room `runbook`, `check`: the text under check, read once for all rules, and what a rule is."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts
from runbook_runner.core.text import Nearest
from runbook_runner.runbook.check.rules.findings import Hit, Severity
from runbook_runner.runbook.check.rules.known_names import NOWHERE, Surroundings
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.markdown.blocks import Fence, Section
from runbook_runner.runbook.markdown.tables import Table
from runbook_runner.runbook.parts.sections import find, has_v1_marks, is_step, without_step
from runbook_runner.runbook.parts.substitution import Placeholder, each_placeholder

MOST_PLACEHOLDERS = 20_000
_WIDE = 20_000  # characters of a line that are looked at
_MOST_READ = 100  # uses of `read`
SHELLS = frozenset({"bash", "sh", "shell"})
_CODE_CHECKS = re.compile(r"\W{0,8}code checks", re.IGNORECASE)
_LANGUAGE = re.compile(r"\s*([^\s,{]*)")


class ShellError(NamedTuple):
    """A shell block that does not parse, or was not parsed."""

    line: int
    message: str


class Subject:
    def __init__(self, name: str, text: str, folder: Path | None = None, surroundings: Surroundings = NOWHERE):
        """
        name: what findings call the file.
        text: all of it, a byte order mark included, line ends as they are.
        folder: where its relative links lead; `None` for stdin.
        """
        self.name = name
        self.text = text
        self.folder = folder
        self.surroundings = surroundings
        self.shell_errors: list[ShellError] = []
        """Filled in for many subjects at once, before the rules run."""
        self.unchecked_shells: list[ShellError] = []
        """Blocks that bash could not be asked about, and why."""
        self._nearest = Nearest()

    @classmethod
    def of(cls, runbook: Runbook) -> "Subject":
        """Of a document that has been read."""
        subject = cls(runbook.source, runbook.text)
        subject._read = runbook
        return subject

    @cached_property
    def _read(self) -> "Runbook | InputError":
        try:
            return parse(self.text, self.name)
        except InputError as error:
            return error

    def did_you_mean(self, word: str, known: "list[str]") -> str:
        """`Did you mean `x`?`; empty when no known word is similar."""
        near = self._nearest(word, known, cutoff=0.75)
        return f"Did you mean `{near}`?" if near else ""

    @property
    def problem(self) -> InputError | None:
        """Why this is not a runbook; only rules that look at the text alone can run then."""
        return self._read if isinstance(self._read, InputError) else None

    @property
    def runbook(self) -> Runbook:
        assert isinstance(self._read, Runbook), "the engine asks `problem` first"
        return self._read

    @cached_property
    def agent(self) -> AgentFacts | None:
        """The agent that a run would take; `None` when it is not known here."""
        front, known = self.runbook.frontmatter, self.surroundings
        if front.agent:
            return known.find_agent(front.agent.strip().lower(), self.folder)
        return known.infer_agent(front.model, self.folder)

    # --- places ---

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def start_of(self, line: int) -> int:
        """Offset of a line's first character; of the text's end for a line beyond it."""
        return self._starts[line - 1] if line <= len(self._starts) else len(self.text)

    def line(self, number: int) -> str:
        """A line without its end; of an endless line the beginning."""
        start = self.start_of(number)
        return self.text[start : min(self.start_of(number + 1), start + _WIDE)].rstrip("\r\n")

    @cached_property
    def last_line(self) -> int:
        return self.text.count("\n") + 1

    def at(self, offset: int, message: str, hint: str = "") -> Hit:
        """A hit at this character of the text."""
        line = bisect_right(self._starts, offset)
        return Hit(line, offset - self._starts[line - 1] + 1, message, hint)

    def on(self, line: int, message: str, hint: str = "", *, at: str = "") -> Hit:
        """A hit on a line, at the first occurrence of `at` there, else at its first character that is not a blank."""
        text = self.line(line)
        found = text.find(at) if at else -1
        column = found if found >= 0 else len(text) - len(text.lstrip())
        return Hit(line, column + 1, message, hint)

    # --- what rules share ---

    @cached_property
    def body_start(self) -> int:
        return len(self.text) - len(self.runbook.body)

    @cached_property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """Those of the body, MOST_PLACEHOLDERS at most; lines of the file."""
        below = self.runbook.body_line - 1
        found = islice(each_placeholder(self.runbook.body), MOST_PLACEHOLDERS)
        return tuple(Placeholder(used.name, used.line + below, used.is_secret) for used in found)

    @cached_property
    def steps(self) -> tuple[Section, ...]:
        return tuple(filter(is_step, self.runbook.sections))

    @cached_property
    def manifest(self) -> Section | None:
        return find(self.runbook.sections, "required output", prefix=True)

    @cached_property
    def manifest_tables(self) -> tuple[Table, ...]:
        return self.runbook.outline.tables_in(self.manifest) if self.manifest else ()

    @cached_property
    def languages(self) -> tuple[tuple[str, Fence], ...]:
        """Every fence with the first word of its info string, in lower case."""
        fences = self.runbook.outline.fences
        return tuple((_LANGUAGE.match(fence.info)[1].lower(), fence) for fence in fences)  # type: ignore[index]

    def language_at(self, line: int) -> str | None:
        """The language of the fence this line is in; `None`: it is in none."""
        fences = self.runbook.outline.fences
        index = bisect_right(fences, line, key=lambda fence: fence.line) - 1
        return self.languages[index][0] if index >= 0 and line <= fences[index].end_line else None

    @cached_property
    def has_template_blocks(self) -> bool:
        """`{{if …}}`, `{{range …}}`: Go's templates or Handlebars are shown somewhere."""
        return re.search(r"\{\{-?\s?#?(?:if|range|with|block|define|each|unless)\s", self.text) is not None

    @cached_property
    def read_by_shell(self) -> frozenset[str]:
        """The words after `read`, options and prompts included: variables that get a value."""
        lines = islice(re.finditer(r"\bread ([^\n;|&]{1,80})", self.text), _MOST_READ) if "read " in self.text else ()
        return frozenset(word for line in lines for word in line[1].split())

    @cached_property
    def has_v1_marks(self) -> bool:
        return has_v1_marks(self.text)

    @cached_property
    def has_code_checks(self) -> bool:
        """Also under a heading that only its author takes for one, like `## 🔧 Code Checks`: v2's rules name it."""
        if self.problem is not None:
            return False
        return any(s.level == 2 and _CODE_CHECKS.match(without_step(s.title)) for s in self.runbook.sections)


class Rule(NamedTuple):
    id: str
    """Stable: `RB` and three digits; the hundred says what it is about."""
    name: str
    severity: Severity
    summary: str
    """What it asks for, one line."""
    check: Callable[[Subject], Iterable[Hit]]
    fixable: bool = False
    default: bool = True
    """Whether it applies without being selected by name."""

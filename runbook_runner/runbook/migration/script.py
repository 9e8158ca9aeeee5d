"""Room `runbook`: a v1 verification script as v2 code checks (contract §3.16, last paragraph)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from runbook_runner.core import ids
from runbook_runner.core.criteria import VerificationScript
from runbook_runner.runbook.criteria.verification_script import BANNER
from runbook_runner.runbook.parts.outputs import in_results

_OPENS = frozenset({"if", "for", "while", "until", "case", "select", "{"})
_CLOSES = frozenset({"fi", "done", "esac", "}"})
_GOES_ON = ("\\", "&&", "||", "|")
_KEYWORD = re.compile(r"[A-Za-z]+|[{}]")
_HEREDOC = re.compile(r"<<(-?)\s*(['\"\\]?)([A-Za-z_][A-Za-z0-9_]*)")
_BEFORE_COMMAND = frozenset({"then", "do", "else", "elif", "!", "time"})


@dataclass(frozen=True)
class Unit:
    """One command, be it a line or a loop of twenty, with the comment lines right above it."""

    comment: str
    """Without its `#`; empty when there is none."""
    code: str
    """Ends with a line end."""
    line: int
    """Of its first line of code, counted from 0 in the script."""


def split(script: str) -> tuple[Unit, ...]:
    """In order. A script that never closes what it opens ends in one long unit."""
    return tuple(_units(script.splitlines()))


def _units(lines: list[str]) -> Iterator[Unit]:
    comments: list[str] = []
    code: list[str] = []
    state, first = _State(), 0
    for number, line in enumerate(lines):
        if not code and not line.strip():
            comments = []
        elif not code and line.lstrip().startswith("#"):
            comments.append(line.strip().lstrip("#! ").strip("-= "))
        else:
            first = first if code else number
            code.append(line)
            state.feed(line)
            if state.is_closed:
                yield Unit(" ".join(filter(None, comments)), "\n".join(code) + "\n", first)
                comments, code, state = [], [], _State()
    if code:
        yield Unit(" ".join(filter(None, comments)), "\n".join(code) + "\n", first)


@dataclass
class _State:
    """What is open at the end of a line: blocks, brackets, a quote, here-documents."""

    blocks: int = 0
    cases: int = 0
    brackets: int = 0
    quote: str = ""
    heredocs: list[tuple[bool, str]] = field(default_factory=list)
    goes_on: bool = False

    @property
    def is_closed(self) -> bool:
        return not (self.blocks > 0 or self.brackets > 0 or self.quote or self.heredocs or self.goes_on)

    def feed(self, line: str) -> None:
        if self.heredocs:
            tabs, end = self.heredocs[0]
            if (line.lstrip("\t") if tabs else line) == end:
                self.heredocs.pop(0)
            return
        code = self._code(line)
        self.heredocs += [(bool(m[1]), m[3]) for m in _HEREDOC.finditer(line) if "<<<" not in line]
        self._count(code)
        self.goes_on = not self.quote and code.rstrip().endswith(_GOES_ON)

    def _code(self, line: str) -> str:
        """The line with what is quoted or commented out replaced by blanks."""
        kept, index = [], 0
        while index < len(line):
            letter = line[index]
            if letter == "\\" and self.quote != "'" and index + 1 < len(line):
                index += 1
                kept.append("_")
            elif self.quote:
                self.quote = "" if letter == self.quote else self.quote
                kept.append(" " if self.quote else "_")
            elif letter in "'\"":
                self.quote = letter
                kept.append("_")
            elif letter == "#" and (not kept or kept[-1].isspace()):
                break
            else:
                kept.append(letter)
            index += 1
        return "".join(kept)

    def _count(self, code: str) -> None:
        for part in re.split(r"[;&|()]|\$\(", code):
            words = part.split()
            while words and words[0] in _BEFORE_COMMAND:
                words.pop(0)
            if words and (match := _KEYWORD.fullmatch(words[0])):
                self._word(match[0])
        if not self.cases:  # the patterns of a case close brackets that nobody opened
            self.brackets += code.count("(") - code.count(")")

    def _word(self, word: str) -> None:
        if word in _OPENS:
            self.blocks += 1
            self.cases += word == "case"
        elif word in _CLOSES:
            self.blocks -= 1
            self.cases -= word == "esac"


REPORT = "validation_report.json"
MANIFEST_ID = "outputs-exist"
_MANIFEST_NAME = "Every required output file exists and is non-empty"
MAX_CHECKS = 100
_MAX_ID = 48

_ASSIGNMENT = re.compile(r"\s*(?:export\s+|readonly\s+)?[A-Za-z_][A-Za-z0-9_]*\+?=(?P<value>.*)", re.DOTALL)
_WORD = re.compile(r"[^\s;&|]*|'[^']*'|\"[^;&]*\"", re.DOTALL)
_FUNCTION = re.compile(r"\s*(?:function\s+\w+|\w+\s*\(\s*\))")
_SETUP = re.compile(r"\s*(?:set|shopt|cd|mkdir|source|\.)\s")
_SAYS_NOTHING = re.compile(r"\s*(?:echo|printf|exit|:)\b[^;&|]*\n\Z")
_OWN_FOLDER = re.compile(r"\s*(?:export\s+)?RESULTS_DIR=[\"']?(?:\$\{RESULTS_DIR:-)?[^\"'\s]*[\"'}]*\s*\Z")
_EXISTS = re.compile(r"\s-[sfe]\s|test -[sfe]\s|\bwc -c\b|\bstat\b")
_OTHER_TEST = re.compile(r"\b(?:grep|jq|python3?|awk|node|sqlite3|xmllint|cmp|uv)\b|\s-(?:gt|lt|ge|le)\s+(?![01]\b)")
_FAILS = re.compile(r"FAIL|\bexit 1\b|assert|sys\.exit")
_PASS_TEXT = re.compile(r"PASS(?:ED)?\s*[:—–-]?\s+([^\"'\n$]{4,80})")
_FILE_WORD = re.compile(r"[\w{}<>*./$-]+\.[A-Za-z0-9]{1,8}\b")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class NewCheck:
    id: str
    name: str
    code: str
    """For a bash fence; ends with a line end."""

    def markdown(self) -> str:
        return f"### {self.id} — {self.name}\n\n```bash\n{self.code}```\n"


@dataclass
class Moved:
    """What became of a script."""

    checks: list[NewCheck] = field(default_factory=list)
    left: list[tuple[int, str]] = field(default_factory=list)
    """Line of the file and why: what could not be moved."""


def manifest_check(outputs: Iterable[str]) -> NewCheck:
    """`outputs-exist`; a pattern must have at least one file."""
    lines = [_exists(path) for path in outputs if path != REPORT]
    return NewCheck(MANIFEST_ID, _MANIFEST_NAME, "".join(f"{line}\n" for line in lines) or "true\n")


def _exists(path: str) -> str:
    glob = re.sub(r"<[^<>]*>", "*", path)
    if "*" not in glob:
        return f'test -s "{{{{results_dir}}}}/{path}"'
    pattern = re.sub(r"[^\w*./{}-]", lambda odd: "\\" + odd[0], glob)
    return f'test -n "$(find "{{{{results_dir}}}}" -path "*/{pattern}" -type f -size +0c -print -quit)"'


def move_script(script: VerificationScript | None, outputs: Sequence[str]) -> Moved:
    """The file loop is `outputs-exist`'s business; every other test becomes a check of its own."""
    moved = Moved(checks=[manifest_check(outputs)])
    context: list[Unit] = []
    counted: set[str] = set()
    for unit in split(script.code) if script else ():
        line = script.line + 1 + unit.line if script else 0
        if _is_context(unit):
            context.append(unit)
        elif counted & set(_VARIABLE.findall(unit.code)) and not _FILE_WORD.search(unit.code):
            moved.left.append((line, "it sums up the other tests, which the verdict does now"))
        elif _tests_content(unit) and len(moved.checks) >= MAX_CHECKS:
            moved.left.append((line, f"it is one test too many: {MAX_CHECKS} were moved"))
        elif _tests_content(unit):
            moved.checks.append(_check(unit, context, moved.checks))
        else:
            moved.left += [(line, why) for why in _reasons(unit, outputs)]
        counted |= _assigned(unit)
    return moved


def _is_context(unit: Unit) -> bool:
    """What later commands build upon."""
    return bool(_is_assignment(unit.code) or _FUNCTION.match(unit.code) or _SETUP.match(unit.code))


def _is_assignment(code: str) -> bool:
    """Nothing but `name=value`, and not `name=value command`."""
    match = _ASSIGNMENT.fullmatch(code)
    if match is None:
        return False
    value = match["value"].strip()
    if value.startswith(("(", "$(", '"$(')):
        return _closes_at_end(value.strip('"'))
    return _WORD.fullmatch(value) is not None


def _closes_at_end(value: str) -> bool:
    depth = 0
    for index, letter in enumerate(value):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return index == len(value) - 1
    return False


def _reasons(unit: Unit, outputs: Sequence[str]) -> list[str]:
    """Why a command that became no check might be missed: none for a file test that `outputs-exist` makes too."""
    if _EXISTS.search(unit.code):
        return [f"it tests {path}, which the manifest does not name" for path in _others(unit, outputs)]
    if _SAYS_NOTHING.fullmatch(unit.code):
        return []
    return ["it tests nothing: " + unit.code.strip().splitlines()[0]]


def _tests_content(unit: Unit) -> bool:
    """More than whether a file is there: it looks into one, or compares something, and can say FAIL."""
    return bool(_OTHER_TEST.search(unit.code) and (_FAILS.search(unit.code) or _PASS_TEXT.search(unit.code)))


def _assigned(unit: Unit) -> set[str]:
    """Variables that a command other than a plain assignment sets: counters."""
    if _is_assignment(unit.code):
        return set()
    return set(re.findall(r"(?:^|[\s;({])([A-Za-z_][A-Za-z0-9_]*)\+?=", unit.code)) | set(
        re.findall(r"\(\(\s*([A-Za-z_][A-Za-z0-9_]*)", unit.code)
    )


def _others(unit: Unit, outputs: Sequence[str]) -> list[str]:
    named = (in_results(re.sub(r"\$\{?\w+\}?/", "", word)) for word in _FILE_WORD.findall(unit.code))
    return sorted({path for path in named if path and path not in outputs and path != REPORT})


def _check(unit: Unit, context: Sequence[Unit], before: Sequence[NewCheck]) -> NewCheck:
    name = _name(unit) or f"Test {len(before)} of the former verification script"
    return NewCheck(_unique(ids.slug(name)[:_MAX_ID].strip("-"), before), name, _code(unit, context))


def _name(unit: Unit) -> str:
    """The comment above the command, else what it prints when all is well."""
    said = _PASS_TEXT.search(unit.code)
    text = unit.comment or (said[1] if said else "")
    return re.sub(r"[{}`]", "", text).strip(" .:—–-") if BANNER not in text else ""


def _unique(wanted: str, before: Sequence[NewCheck]) -> str:
    taken = {check.id for check in before}
    wanted = wanted or "test"
    numbered = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, len(before) + 2))
    return next(name for name in numbered if name not in taken)


def _code(unit: Unit, context: Sequence[Unit]) -> str:
    """The command as it was, in a shell of its own; it printed FAIL where a check must exit with an error."""
    needed = "".join(_needed(unit, context))
    return (
        f'output=$(\nset +o pipefail\n{needed}{unit.code})\nprintf \'%s\\n\' "$output"\n! grep -q FAIL <<< "$output"\n'
    )


def _needed(unit: Unit, context: Sequence[Unit]) -> list[str]:
    """Of what came before: settings, and the variables and functions that are used, in order."""
    code = unit.code
    needed: list[str] = []
    for earlier in reversed(context):
        if _OWN_FOLDER.fullmatch(earlier.code) or BANNER in earlier.code:
            continue
        if _SETUP.match(earlier.code) or _uses(code, earlier.code):
            needed.insert(0, earlier.code)
            code += earlier.code
    return needed


def _uses(code: str, earlier: str) -> bool:
    """Does the code name the variable or the function that the earlier command defines?"""
    match = re.match(r"\s*(?P<export>export\s+)?(?:readonly\s+|function\s+)?(?P<name>[A-Za-z_]\w*)", earlier)
    if match is None or match["export"]:
        return True
    name = match["name"]
    use = rf"\$\{{?{name}\b|\(\([^)]*\b{name}\b" if _is_assignment(earlier) else rf"\b{name}\b"
    return re.search(use, code) is not None

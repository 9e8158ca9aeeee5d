"""Room `runbook`, `check`: RB7xx, what a step expects of its sandbox and does not find there."""

import re
from collections.abc import Collection, Iterator
from itertools import islice

from runbook_runner.core.facts.providers import PROVIDER_KEYS
from runbook_runner.core.files import is_file
from runbook_runner.core.settings import DEFAULT_SNAPSHOT
from runbook_runner.runbook.check.rules.findings import Hit
from runbook_runner.runbook.check.rules.frontmatter import SNAPSHOTS
from runbook_runner.runbook.check.rules.subject import SHELLS, Rule, Subject
from runbook_runner.runbook.check.rules.variables import KEY_NAME, is_set
from runbook_runner.runbook.parts.frontmatter import OWN_KEY
from runbook_runner.runbook.parts.steps import LANGUAGES

PACKAGES = {
    "7z": "p7zip-full", "aws": "awscli", "bc": "bc", "cmake": "cmake", "convert": "imagemagick", "dot": "graphviz",
    "exiftool": "libimage-exiftool-perl", "ffmpeg": "ffmpeg", "ffprobe": "ffmpeg", "g++": "g++", "gcc": "gcc",
    "gh": "gh", "go": "golang", "gs": "ghostscript", "inkscape": "inkscape", "java": "default-jre-headless",
    "jq": "jq", "libreoffice": "libreoffice", "make": "make", "mysql": "default-mysql-client", "pandoc": "pandoc",
    "pdfinfo": "poppler-utils", "pdftoppm": "poppler-utils", "pdftotext": "poppler-utils",
    "psql": "postgresql-client", "qpdf": "qpdf", "rg": "ripgrep", "rsvg-convert": "librsvg2-bin", "rsync": "rsync",
    "ruby": "ruby", "shellcheck": "shellcheck", "soffice": "libreoffice", "sqlite3": "sqlite3",
    "ssh": "openssh-client", "tesseract": "tesseract-ocr", "tree": "tree", "unzip": "unzip", "wget": "wget",
    "xmllint": "libxml2-utils", "xxd": "xxd", "zip": "zip",
    "az": "", "bun": "", "cargo": "", "deno": "", "gcloud": "", "helm": "", "kubectl": "", "pnpm": "",
    "terraform": "", "yarn": "", "yq": "",
}  # fmt: skip
"""Programs that no snapshot of ours has, but for SOME_HAVE → the Debian package; empty: none, or not what is meant."""
SOME_HAVE = {("prism-playwright", "ffmpeg")}
_PROGRAM = "|".join(sorted(map(re.escape, PACKAGES), reverse=True))
_BEFORE = r"(?:^|[;&|({`!]|\b(?:then|do|else|xargs|time|exec|env|if))[ \t]*(?:[A-Z_]{1,60}+=[^\s;&|({`!]{0,60}+ )?"
_COMMAND = rf"{_BEFORE}({_PROGRAM})(?=\s|$)"
_ALONE = r"{0}(?<![\w-]{0})(?![\w-])"  # begins with letters, which are found fast
_GETS = re.compile(r"(?:install|command -v|which|type|hash|add)\b")
_DEFINES = re.compile(r"\s?\(\)")

_VARIABLE = r"(?<![\\\w])\$(?:\{([A-Z][A-Z0-9_]+)\}|([A-Z][A-Z0-9_]+)\b)"
_ALWAYS_SET = frozenset(
    {
        "BASH", "BASHPID", "BASH_SOURCE", "BASH_VERSION", "COLUMNS", "EUID", "FUNCNAME", "HOME", "HOSTNAME", "IFS",
        "LANG", "LINENO", "LINES", "LOGNAME", "OLDPWD", "OPTARG", "OPTIND", "OSTYPE", "PATH", "PIPESTATUS", "PPID",
        "PWD", "RANDOM", "REPLY", "SECONDS", "SHELL", "SHLVL", "TERM", "TMPDIR", "UID", "USER",
        "FNR", "FS", "NF", "NR", "OFS", "ORS", "RS",
        "ASSETS_DIR", "CHECKS_DIR", "JETTY_COLLECTION", "JETTY_TASK", "JETTY_TRAJECTORY_ID", "RESULTS_DIR",
    }
)  # fmt: skip
"""By a shell, by awk, or by every run (contract §5.8)."""

_BESIDE = r"(?<![\w/.$}~*<-])(?:\./)?((?:[A-Za-z0-9_][\w-]*/)*[A-Za-z0-9_][\w.-]*\.[A-Za-z0-9]{1,8})(?![\w/(])"
_WRITES = re.compile(r">|tee|-o|--output|-O|touch|cp|mv|mkdir")
_OPENS = re.compile(r"['\"]\)?\s*,\s*(?:mode\s*=\s*)?['\"][wax]")
_LOOK_BACK = 200  # characters
_MOST_PLACES = 1000  # of one name
_MOST = 100  # different names that are looked up


def missing_program(subject: Subject) -> Iterator[Hit]:
    front = subject.runbook.frontmatter
    name = front.snapshot or DEFAULT_SNAPSHOT
    if front.image or name not in SNAPSHOTS:
        return
    added = _own(subject, "apt_packages")
    for program, line in _first_uses(subject, SHELLS, _COMMAND):
        package, word = PACKAGES[program], _ALONE.format(re.escape(program))
        if package in added or (name, program) in SOME_HAVE:
            continue
        if _stands(word, subject.text, _GETS, _DEFINES) or (package and f"install {package}" in subject.text):
            continue
        hint = f"Add `{OWN_KEY}: {{apt_packages: [{package}]}}` to the frontmatter, or --apt {package} to the command."
        if not package:
            hint = "Let a step install it, or make a snapshot of your own that has it."
        yield subject.on(line, f"The snapshot {name} has no `{program}`.", hint, at=program)


def unset_variable(subject: Subject) -> Iterator[Hit]:
    secrets = {secret.env for secret in subject.runbook.frontmatter.secrets}
    known = _ALWAYS_SET | PROVIDER_KEYS | secrets | {p.name for p in subject.runbook.parameters}
    for name, line in _first_uses(subject, SHELLS, _VARIABLE):
        if name in known or re.fullmatch(KEY_NAME, name) or is_set(subject, name):
            continue
        hint = f"Set it in the block, `{name}=…`, or make it a parameter."
        yield subject.on(line, f"The block reads `${name}`, which no run sets.", hint, at=name)


def file_left_behind(subject: Subject) -> Iterator[Hit]:
    """A run takes the runbook and its inputs along, not the folder."""
    if subject.folder is None:
        return
    taken = {name.rpartition("/")[2] for name in _own(subject, "inputs")}
    for name, line in _first_uses(subject, LANGUAGES, _BESIDE):
        if name.rpartition("/")[2] in taken or not is_file(subject.folder / name):
            continue
        if not _stands(re.escape(name), subject.text, _WRITES, _OPENS):
            hint = f"Add `{OWN_KEY}: {{inputs: [{name}]}}` to the frontmatter, and read it from /app/assets."
            yield subject.on(
                line, f"`{name}` is beside the runbook, and stays there: no sandbox has it.", hint, at=name
            )


def _stands(word: str, text: str, before: "re.Pattern[str]", after: "re.Pattern[str]") -> bool:
    """Whether what the pattern `word` finds stands, in its line, behind the one or directly before the other."""
    for found in islice(re.finditer(word, text), _MOST_PLACES):
        at = found.start()
        first = max(at - _LOOK_BACK, 0)
        if before.search(text, max(text.rfind("\n", first, at), first), at) or after.match(text, found.end()):
            return True
    return False


def _own(subject: Subject, key: str) -> Collection[str]:
    """A list of texts below our own key; its other forms are RB115's."""
    settings = subject.runbook.frontmatter.extra.get(OWN_KEY)
    values = settings.get(key) if isinstance(settings, dict) else None
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else ()


def _first_uses(subject: Subject, languages: Collection[str], pattern: str) -> Iterator[tuple[str, int]]:
    """What the pattern's groups find in the blocks of the steps, each once, with its line."""
    return islice(_uses(subject, languages, re.compile(pattern, re.MULTILINE)), _MOST)


def _uses(subject: Subject, languages: Collection[str], pattern: "re.Pattern[str]") -> Iterator[tuple[str, int]]:
    seen = set[str]()
    for language, fence in subject.languages:
        if language not in languages or not any(s.line <= fence.line <= s.end_line for s in subject.steps):
            continue
        for match in pattern.finditer(fence.code):
            name = next(filter(None, match.groups()))
            if name not in seen:
                seen.add(name)
                yield name, fence.line + 1 + fence.code.count("\n", 0, match.start())


RULES = (
    Rule("RB701", "missing-program", "warning", "The snapshot has the programs that steps call", missing_program),
    Rule("RB702", "unset-variable", "warning", "Every `$NAME` that a shell block reads is set", unset_variable),
    Rule("RB703", "file-left-behind", "warning", "Files of the folder that steps read are inputs", file_left_behind),
)

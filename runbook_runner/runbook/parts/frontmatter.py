"""Room `runbook`: the YAML block at the top of a RUNBOOK.md, with types (contract §3.1-3.3), and its `origin`.

Any text is accepted as `evaluation`, `agent` or `model`: whether it can be run is the runner's question, whether it
is wise is `runbook check`'s.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import yaml
from frontmatter.default_handlers import YAMLHandler

from runbook_runner.core.declared import Secret
from runbook_runner.core.errors import InputError, raised
from runbook_runner.core.formats.yaml_text import Entry, Repeated, YamlText
from runbook_runner.runbook.parts.outputs import in_results

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BOUNDARY = re.compile(r"^---[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_MINIMAL = "Begin the file with:\n---\nversion: 1.0.0\nevaluation: programmatic\nagent: claude-code\n---"
OWN_KEY = "runbook_runner"
"""Key of the settings for this program alone (`own_settings`); the platform ignores it."""
_TEXTS = (
    "url",
    "source_host",
    "source_title",
    "imported_at",
    "imported_by",
    "license",
    "notice",
    "user_supplied_url",
)


class _Fences(YAMLHandler):
    """python-frontmatter's splitting, with exactly three dashes and nothing of the body swallowed."""

    FM_BOUNDARY = _BOUNDARY


class Frontmatter(NamedTuple):
    version: str | None = None
    """As it is written: `1.10` stays "1.10"."""
    evaluation: str | None = None
    agent: str | None = None
    model: str | None = None
    model_provider: str | None = None
    snapshot: str | None = None
    image: str | None = None
    primary_outputs: tuple[str, ...] = ()
    """Relative to the results directory, most important first."""
    secrets: tuple[Secret, ...] = ()
    strict_evaluation: bool = False
    code_checks: Mapping[str, Any] = {}
    mcp_servers: Mapping[str, Any] = {}
    origin: Mapping[str, Any] = {}
    extra: Mapping[str, Any] = {}
    """Keys the contract does not know, kept."""
    raw: Mapping[str, Any] = {}
    """The whole mapping as plain values."""
    lines: Mapping[str, int] = {}
    """Top-level key → its line in the file, and `secrets.NAME` → that of a secret."""
    repeated: tuple[Repeated, ...] = ()
    """Keys that are given twice, inner ones included. The last counts, but no run takes such a file."""


KNOWN_KEYS = set(Frontmatter._fields) - {"extra", "raw", "lines", "repeated"}


class Parts(NamedTuple):
    """A document cut in two: `head + body` is the text."""

    head: str
    """With both `---` lines; empty when there is no frontmatter."""
    yaml: str | None
    """Between the `---` lines; begins on line 2. `None`: there is no frontmatter."""
    body: str
    body_line: int


def cut(text: str) -> Parts:
    """Splits a document; one without (or with an unclosed) frontmatter is all body."""
    fences = _Fences()
    if fences.detect(text):
        try:
            block, body = fences.split(text)
        except ValueError:
            return Parts("", None, text, 1)
        head = text[: len(text) - len(body)]
        return Parts(head, block, body, head.count("\n") + 1)
    return Parts("", None, text, 1)


def read(parts: Parts, source: str, wrong: Callable[[InputError], None] = raised) -> Frontmatter:
    """The typed frontmatter; a YAML that is not a mapping counts as empty (contract §3.1).

    wrong: gets an error for each known key of the wrong type, with file and line; such a key counts as left out.
    Raises InputError with file and line: no frontmatter, or one that is broken or too large.
    """
    if parts.yaml is None:
        raise _missing(parts.body, source)
    text = YamlText(parts.yaml, source, first_line=2)
    root = text.root()
    if not isinstance(root, yaml.MappingNode):
        return Frontmatter()
    repeated = text.repeated(root)
    return _Keys(text, root, wrong).frontmatter()._replace(repeated=repeated)


def problems(parts: Parts, source: str) -> list[InputError]:
    """All that `read` refuses."""
    found: list[InputError] = []
    try:
        read(parts, source, found.append)
    except InputError as error:
        found.append(error)
    return found


def _missing(body: str, source: str) -> InputError:
    where = f"{source}:1"
    if _BOUNDARY.match(body):
        return InputError(
            "The YAML frontmatter is never closed.", where=where, hint="Add a line `---` below its last key."
        )
    if body.startswith("---\r") and "\n" not in body:
        return InputError("The lines end in CR alone.", where=where, hint="Save the file with LF or CRLF line ends.")
    hint = _MINIMAL
    if body.startswith("---"):
        hint = "The first line must be `---` and nothing else."
    elif body.lstrip().startswith("---"):
        hint = "The first `---` must be the very first line of the file."
    return InputError("There is no YAML frontmatter.", where=where, hint=hint)


class _Keys:
    """Reads known keys by type; every complaint names the key and its line."""

    def __init__(self, text: YamlText, root: yaml.MappingNode, wrong: Callable[[InputError], None]):
        self._text = text
        self._report = wrong
        self._entries = {entry.key: entry for entry in text.entries(root)}
        self._raw = {entry.key: text.value(entry.node, entry.key) for entry in self._entries.values()}

    def frontmatter(self) -> Frontmatter:
        return Frontmatter(
            version=self._version(),
            evaluation=self._string("evaluation"),
            agent=self._string("agent"),
            model=self._string("model"),
            model_provider=self._string("model_provider"),
            snapshot=self._string("snapshot"),
            image=self._string("image"),
            primary_outputs=self._paths("primary_outputs"),
            secrets=self._secrets(),
            strict_evaluation=self._flag("strict_evaluation"),
            code_checks=self._mapping("code_checks"),
            mcp_servers=self._mapping("mcp_servers"),
            origin=self._mapping("origin"),
            extra={key: value for key, value in self._raw.items() if key not in KNOWN_KEYS},
            raw=self._raw,
            lines={key: entry.line for key, entry in self._entries.items()} | self._inner_lines("secrets", OWN_KEY),
        )

    def _version(self) -> str | None:
        value = self._raw.get("version")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(self._entries["version"].node.value)
        return self._string("version")

    def _string(self, key: str) -> str | None:
        value = self._raw.get(key)
        if value is None or isinstance(value, str):
            return value
        self._wrong(key, "text", value, hint="Put it in quotes if it is meant as text.")
        return None

    def _flag(self, key: str) -> bool:
        value = self._raw.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._wrong(key, "true or false", value)
        return False

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self._raw.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        hint = "Write a line `NAME: {}` for each." if key == "secrets" and isinstance(value, list) else None
        self._wrong(key, "a mapping", value, hint=hint)
        return {}

    def _paths(self, key: str) -> tuple[str, ...]:
        value = self._raw.get(key)
        items = [value] if isinstance(value, str) else value or []
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            self._wrong(key, "a list of file names", value)
            return ()
        return tuple(dict.fromkeys(path for item in items if (path := in_results(item))))

    def _secrets(self) -> tuple[Secret, ...]:
        self._mapping("secrets")
        entry = self._entries.get("secrets")
        if entry is None or not isinstance(entry.node, yaml.MappingNode):
            return ()
        return tuple(self._secret(item) for item in self._text.entries(entry.node))

    def _inner_lines(self, *keys: str) -> dict[str, int]:
        entries = [entry for key in keys if (entry := self._entries.get(key))]
        inner = ((one.key, self._text.entries(one.node)) for one in entries if isinstance(one.node, yaml.MappingNode))
        return {f"{key}.{item.key}": item.line for key, items in inner for item in items}

    def _secret(self, entry: Entry) -> Secret:
        label = f"secrets.{entry.key}"
        body = self._text.value(entry.node, label)
        if body is None:
            body = {}
        if not isinstance(body, dict):
            hint = "Name secrets here; never write their values."
            self._wrong(label, "a mapping or empty", body, entry.line, hint)
            body = {}
        env = self._typed(body, "env", str, label, entry) or entry.key
        if not _VARIABLE.fullmatch(env):
            self._error(entry.line, f"`{label}` needs an `env:` that is the name of an environment variable.")
        required = self._typed(body, "required", bool, label, entry)
        return Secret(
            name=entry.key,
            env=env,
            required=True if required is None else required,
            description=self._typed(body, "description", str, label, entry) or "",
            expose_to_agent=self._typed(body, "expose_to_agent", bool, label, entry),
            expose_to_checks=self._typed(body, "expose_to_checks", bool, label, entry) or False,
        )

    def _typed(self, body: dict[str, Any], key: str, kind: type, label: str, entry: Entry) -> Any:
        value = body.get(key)
        if value is None or isinstance(value, kind):
            return value
        expected = "text" if kind is str else "true or false"
        self._wrong(f"{label}.{key}", expected, value, self._inner_line(entry, key))
        return None

    def _inner_line(self, entry: Entry, key: str) -> int:
        inner = self._text.entries(entry.node) if isinstance(entry.node, yaml.MappingNode) else ()
        return next((item.line for item in inner if item.key == key), entry.line)

    def _wrong(self, key: str, expected: str, value: Any, line: int | None = None, hint: str | None = None) -> None:
        line = self._entries[key].line if line is None else line
        self._error(line, f"`{key}` must be {expected}, not {_kind(value)}.", hint)

    def _error(self, line: int, message: str, hint: str | None = None) -> None:
        self._report(InputError(message, where=f"{self._text.source}:{line}", hint=hint))


def _kind(value: Any) -> str:
    """The kind of value, without the value itself, which may be a secret."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "empty")


class Attribution(NamedTuple):
    collection_or_org: str | None = None
    source_collection: str | None = None
    skill_name: str | None = None
    author: str | None = None
    license: str | None = None
    confidence: str | None = None


class Origin(NamedTuple):
    line: int
    url: str | None = None
    source_host: str | None = None
    source_title: str | None = None
    imported_at: str | None = None
    """As it is written."""
    imported_by: str | None = None
    license: str | None = None
    notice: str | None = None
    is_directory_mirror: bool = False
    user_supplied_url: str | None = None
    attribution: Attribution = Attribution()


_ATTRIBUTION = Attribution._fields


def read_origin(front: Frontmatter) -> Origin | None:
    """`None` without the key or with nothing under it. It is only shown, so values of other types become text."""
    if not front.origin:
        return None
    inner = front.origin.get("attribution")
    return Origin(
        line=front.lines["origin"],
        is_directory_mirror=front.origin.get("is_directory_mirror") is True,
        attribution=Attribution(**_texts(inner, _ATTRIBUTION)) if isinstance(inner, dict) else Attribution(),
        **_texts(front.origin, _TEXTS),
    )


def _texts(body: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: str(body[key]) for key in keys if body.get(key) is not None}

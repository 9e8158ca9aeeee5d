"""Core, formats: YAML from outside as plain values that remember their lines, bounded in size, depth and aliases.

Values are JSON's: text, numbers, booleans, null, lists, mappings with text keys. Dates stay as they are written, and
so do mapping keys (`on:` is "on"), so nothing changes its spelling between the file and us. Where values are put into
a text, `as_written`, that holds for each number and boolean that JSON would spell in another way, too (`1.10`, `no`).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import yaml
from frontmatter.default_handlers import SafeLoader  # libyaml's, or pure Python where that is missing
from yaml.constructor import SafeConstructor

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import read_json, require_few_values

MAX_CHARACTERS = 256 << 10
"""Of a piece of YAML inside a file."""
MAX_DEPTH = 64
MAX_EXPANDED = 4 << 20
"""Characters that are added when every alias is written out."""
_LONGEST_NUMBER = 1000
"""Characters. Python's limit is 4300 digits, which fewer hexadecimal ones exceed."""

_DEEP = re.compile(rf"^[ \t?:-]{{{MAX_DEPTH // 2 - 2}}}", re.MULTILINE)
"""Of blocks, no deeper level fits into less."""

_OTHER_LINE_ENDS = re.compile(r"[\x85\u2028\u2029]|\r(?!\n)")
"""YAML counts them as line ends, editors and we don't."""
_YAML_LINE = r"[^\r\n\x85\u2028\u2029]*(?:\r\n|[\r\n\x85\u2028\u2029])"  # hardly ever needed: not compiled

_TAG = "tag:yaml.org,2002:"
_PLAIN = SafeConstructor()
_SCALARS: dict[str, Callable[[Any], Any]] = {
    _TAG + "null": _PLAIN.construct_yaml_null,
    _TAG + "bool": _PLAIN.construct_yaml_bool,
    _TAG + "int": _PLAIN.construct_yaml_int,
    _TAG + "float": _PLAIN.construct_yaml_float,
    _TAG + "str": lambda node: node.value,
    _TAG + "timestamp": lambda node: node.value,
}
_TYPED = frozenset({_TAG + "bool", _TAG + "int", _TAG + "float"})
_FEWER_ALIASES = "Write the values out in place of the aliases (`*NAME`)."
_HINT = "Check the indentation, and quote values that hold `: ` or ` #` or start with one of @ ` * & ! % { [ > |."


@lru_cache(maxsize=4)
def _lines_of(text: str) -> list[int]:
    """YAML's lines → the editor's, both from 0; empty when they are the same."""
    if not _OTHER_LINE_ENDS.search(text):
        return []
    return [0, *accumulate(line.count("\n") for line in re.findall(_YAML_LINE, text + "\n")[:-1])]


def _may_explode(text: str) -> bool:
    """Whether aliases or depth are possible at all; most frontmatters are ruled out at a glance."""
    return "*" in text or _DEEP.search(text) is not None or text.count("[") + text.count("{") > MAX_DEPTH // 2 - 2


class Repeated(NamedTuple):
    """A key that its mapping has already."""

    key: str
    first: int
    """Line of the first one."""
    line: int

    def __str__(self) -> str:
        return f"The key {self.key!r} is given twice, on lines {self.first} and {self.line}."


class Entry(NamedTuple):
    """One key of a mapping."""

    key: str
    line: int
    node: yaml.Node


def read_yaml(text: str, source: str, *, as_written: bool = False) -> Any:
    """The value of a whole file of YAML or JSON, `None` when it is empty. Raises InputError with the line, also for a
    key that is given twice. as_written: see above."""
    if text.lstrip()[:1] in ("{", "["):
        require_few_values(text, source)
        with suppress(InputError):  # as JSON, because YAML refuses its tabs, and emoji that are escaped
            return read_json(text, source, as_written=as_written, unique=True)
    yaml_text = YamlText(text, source, longest=len(text), as_written=as_written)
    root = yaml_text.root()
    if root is None:
        return None
    yaml_text.require_unique(root)
    return yaml_text.value(root)


def place_in(text: str, source: str, place: Iterable[int | str]) -> str:
    """`source:line` of what such a file holds at this place; `source` alone where only JSON's reader can read it."""
    yaml_text = YamlText(text, source, longest=len(text))
    with suppress(InputError):
        root = yaml_text.root()
        return source if root is None else f"{source}:{yaml_text.line_of(root, place)}"
    return source


class YamlText(NamedTuple):
    """A file of YAML, or a piece of YAML inside a file."""

    text: str
    source: str
    first_line: int = 1
    """Where it begins in the file."""
    longest: int = MAX_CHARACTERS
    loader: Any = SafeLoader
    as_written: bool = False

    def root(self) -> yaml.Node | None:
        """The document's node, `None` when it is empty. Raises InputError with the line."""
        if len(self.text) > self.longest:
            raise self.refusal(None, f"The YAML is longer than {self.longest >> 10} KiB.")
        try:
            if _may_explode(self.text):
                self._measure()
            root: yaml.Node | None = yaml.compose(self.text, Loader=self.loader)
        except yaml.reader.ReaderError as error:
            found = yaml.reader.Reader.NON_PRINTABLE.search(self.text)  # libyaml's own position is in bytes
            line = self.first_line + self.text.count("\n", 0, found.start() if found else error.position)
            message = f"The YAML holds a forbidden character: {error.reason}."
            raise InputError(message, where=f"{self.source}:{line}") from error
        except yaml.MarkedYAMLError as error:
            raise self._broken(error) from error
        return root

    def repeated(self, root: yaml.Node) -> tuple[Repeated, ...]:
        """In the order of their lines; to be asked before `entries` or `value`, which merge `<<` in."""
        found: list[Repeated] = []
        seen, waiting = set[int](), [root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                waiting += [value for _, value in node.value]
                lines: dict[str, int] = {}
                for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                    line = self.line(key.start_mark)
                    if key.value in lines:
                        found.append(Repeated(key.value, lines[key.value], line))
                    lines.setdefault(key.value, line)
        return tuple(sorted(found, key=lambda one: one.line))

    def require_unique(self, root: yaml.Node, hint: str = "Keep one of them.") -> None:
        """Raises InputError for the first of `repeated`."""
        for one in self.repeated(root):
            raise InputError(str(one), where=f"{self.source}:{one.line}", hint=hint)

    def line_of(self, node: yaml.Node, place: Iterable[int | str]) -> int:
        """The line of what is at this place, or of the deepest key or item on the way to it that is there."""
        line = self.line(node.start_mark)
        for part in place:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = self.line(node.start_mark)
            elif isinstance(node, yaml.MappingNode):
                pairs = [(key, value) for key, value in node.value if key.value == str(part)]
                if not pairs:
                    break
                line, node = self.line(pairs[0][0].start_mark), pairs[0][1]
        return line

    def entries(self, node: yaml.MappingNode) -> tuple[Entry, ...]:
        """Keys of a mapping with `<<` merged in; of a key given twice the last counts, as YAML readers do."""
        try:
            _PLAIN.flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            message = f"The YAML merge key `<<` can't be used like this: {error.problem}."
            raise self.refusal(error.problem_mark, message) from error
        found: dict[str, Entry] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.refusal(key.start_mark, "A list or mapping can't be a key here.")
            found[key.value] = Entry(key.value, self.line(key.start_mark), value)
        return tuple(found.values())

    def value(self, node: yaml.Node, name: str = "") -> Any:
        """The node as plain values. name: the keys that lead to it, for messages. Raises InputError for a tag (`!x`) or
        a number that can't be read."""
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {
                entry.key: self.value(entry.node, f"{name}.{entry.key}" if name else entry.key)
                for entry in self.entries(node)
            }
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, name) for item in node.value]
        read, what = _SCALARS.get(node.tag), f"`{name}`" if name else "A value"
        if read is None or not isinstance(node, yaml.ScalarNode):
            tag = node.tag.replace(_TAG, "!!")
            raise self.refusal(node.start_mark, f"{what} has the YAML tag {tag}, which is not allowed here.")
        keeps_text = self.as_written and not node.style
        try:
            if node.tag == _TAG + "int" and len(node.value) > _LONGEST_NUMBER:
                raise ValueError("too long")
            value = read(node)
        except (ValueError, OverflowError, LookupError) as error:
            if keeps_text and node.value[:1] in "+-.0123456789":
                return node.value
            raise self.refusal(node.start_mark, f"{what} can't be read as YAML.", "Put it in quotes.") from error
        return node.value if keeps_text and node.tag in _TYPED and json.dumps(value) != node.value else value

    def line(self, mark: Any) -> int:
        if mark is None:
            return self.first_line
        lines = _lines_of(self.text)
        return self.first_line + (lines[min(mark.line, len(lines) - 1)] if lines else int(mark.line))

    def refusal(self, mark: Any, message: str, hint: str | None = None) -> InputError:
        return InputError(message, where=f"{self.source}:{self.line(mark)}", hint=hint)

    def _broken(self, error: yaml.MarkedYAMLError) -> InputError:
        mark = self._mark_of(error)
        problem = ", ".join(filter(None, (error.context, error.problem))) or "it can't be read"
        if "nesting depth" in problem:  # libyaml looks ahead and has a limit of its own, of 1,000 levels
            return self._too_deep(mark)
        refusal = self.refusal(mark, f"The YAML is broken: {problem}.", _HINT)
        refusal.details = self._excerpt(mark)
        return refusal

    def _mark_of(self, error: yaml.MarkedYAMLError) -> Any:
        """What is left open is noticed behind it: for a key without a colon that is the next token, for a quote or a
        bracket it may be the end of the text."""
        found, lines = error.problem_mark or error.context_mark, self._yaml_lines()
        if found is None or (lines[found.line].strip() and error.context != "while scanning a simple key"):
            return found
        mark = error.context_mark or found
        last = next((n for n in range(mark.line, -1, -1) if lines[n].strip()), mark.line)
        return mark if last == mark.line else yaml.Mark("", 0, last, len(lines[last]), "", 0)

    def _too_deep(self, mark: Any) -> InputError:
        return self.refusal(mark, f"The YAML is nested deeper than {MAX_DEPTH} levels.", "Use fewer levels.")

    def _measure(self) -> None:
        """Refuses what would explode, before anything recursive touches it: the event stream is flat."""
        sizes: dict[str, int] = {}
        open_: list[tuple[str | None, int]] = [(None, 0)]
        for event in self._events():
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.pop(event.anchor or "", None)
                open_.append((event.anchor, 1))
            else:
                anchor, size = self._size(event, open_, sizes)
                open_[-1] = (open_[-1][0], open_[-1][1] + size)
                if anchor:
                    sizes[anchor] = size
            if len(open_) > MAX_DEPTH:
                raise self._too_deep(event.start_mark)
            if open_[-1][1] > MAX_EXPANDED + len(self.text):
                message = "The YAML explodes when its aliases are written out."
                raise self.refusal(event.start_mark, message, _FEWER_ALIASES)

    def _size(
        self, event: yaml.Event, open_: list[tuple[str | None, int]], sizes: dict[str, int]
    ) -> tuple[str | None, int]:
        """What an event adds, in characters, and the anchor it is known by."""
        if isinstance(event, yaml.CollectionEndEvent):
            return open_.pop()
        if isinstance(event, yaml.ScalarEvent):
            return event.anchor, len(event.value) + 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes and any(anchor == event.anchor for anchor, _ in open_):
                message = f"The YAML alias *{event.anchor} refers to itself."
                raise self.refusal(event.start_mark, message, _FEWER_ALIASES)
            return None, sizes.get(event.anchor or "", 1)
        return None, 0

    def _events(self) -> Iterator[yaml.Event]:
        events: Iterator[yaml.Event] = yaml.parse(self.text, Loader=self.loader)
        return events

    def _excerpt(self, mark: Any) -> str | None:
        line = self._yaml_lines()[mark.line] if mark else ""
        if not line.strip():
            return None  # a blank line shows nothing
        return f"  {line[:120]}\n  {' ' * min(mark.column, 120)}^"

    def _yaml_lines(self) -> list[str]:
        """With two empty ones at the end: a mark may be behind the last."""
        return [line.rstrip("\r\n\x85\u2028\u2029") for line in re.findall(_YAML_LINE, self.text + "\n\n")]

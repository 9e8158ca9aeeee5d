"""Core, formats: YAML from outside as plain values that remember their lines, bounded in size, depth and aliases.

Values are JSON's: text, numbers, booleans, null, lists, mappings with text keys. Dates stay as they are written, and
so do mapping keys (`on:` is "on"), so nothing changes its spelling between the file and us.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import yaml
from frontmatter.default_handlers import SafeLoader  # libyaml's, or pure Python where that is missing
from yaml.constructor import SafeConstructor

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import read_json

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


class Entry(NamedTuple):
    """One key of a mapping."""

    key: str
    line: int
    node: yaml.Node


def read_yaml(text: str, source: str) -> Any:
    """The value of a whole file of YAML or JSON, `None` when it is empty. Raises InputError with the line."""
    if text.lstrip()[:1] in ("{", "["):
        with suppress(InputError):  # as JSON, because YAML refuses its tabs, and emoji that are escaped
            return read_json(text, source)
    yaml_text = YamlText(text, source, longest=len(text))
    root = yaml_text.root()
    return None if root is None else yaml_text.value(root)


class YamlText(NamedTuple):
    """A file of YAML, or a piece of YAML inside a file."""

    text: str
    source: str
    first_line: int = 1
    """Where it begins in the file."""
    longest: int = MAX_CHARACTERS
    loader: Any = SafeLoader

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

    def value(self, node: yaml.Node) -> Any:
        """The node as plain values. Raises InputError for a tag (`!x`) or a number that can't be read."""
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {entry.key: self.value(entry.node) for entry in self.entries(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item) for item in node.value]
        read = _SCALARS.get(node.tag) if isinstance(node, yaml.ScalarNode) else None
        if read is None:
            raise self.refusal(node.start_mark, f"The YAML tag {node.tag.replace(_TAG, '!!')} is not allowed here.")
        try:
            if node.tag == _TAG + "int" and len(node.value) > _LONGEST_NUMBER:
                raise ValueError("too long")
            return read(node)
        except (ValueError, OverflowError, LookupError) as error:
            where = f"{self.source}:{self.line(node.start_mark)}"
            raise InputError("This YAML value can't be read.", where=where, hint="Put it in quotes.") from error

    def line(self, mark: Any) -> int:
        if mark is None:
            return self.first_line
        lines = _lines_of(self.text)
        return self.first_line + (lines[min(mark.line, len(lines) - 1)] if lines else int(mark.line))

    def refusal(self, mark: Any, message: str) -> InputError:
        return InputError(message, where=f"{self.source}:{self.line(mark)}")

    def _broken(self, error: yaml.MarkedYAMLError) -> InputError:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(filter(None, (error.context, error.problem))) or "it can't be read"
        if "nesting depth" in problem:  # libyaml looks ahead and has a limit of its own, of 1,000 levels
            return self._too_deep(mark)
        refusal = self.refusal(mark, f"The YAML is broken: {problem}.")
        refusal.hint, refusal.details = _HINT, self._excerpt(mark) or self._excerpt(error.context_mark)
        return refusal

    def _too_deep(self, mark: Any) -> InputError:
        return self.refusal(mark, f"The YAML is nested deeper than {MAX_DEPTH} levels.")

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
                raise self.refusal(event.start_mark, "The YAML explodes when its aliases are written out.")

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
                raise self.refusal(event.start_mark, f"The YAML alias *{event.anchor} refers to itself.")
            return None, sizes.get(event.anchor or "", 1)
        return None, 0

    def _events(self) -> Iterator[yaml.Event]:
        events: Iterator[yaml.Event] = yaml.parse(self.text, Loader=self.loader)
        return events

    def _excerpt(self, mark: Any) -> str | None:
        lines = [line.rstrip("\r\n\x85\u2028\u2029") for line in re.findall(_YAML_LINE, self.text + "\n")]
        if mark is None or mark.line >= len(lines) or not lines[mark.line].strip():
            return None  # a blank line shows nothing: the YAML ends before it is complete
        return f"  {lines[mark.line][:120]}\n  {' ' * min(mark.column, 120)}^"

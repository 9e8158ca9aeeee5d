"""Core, redaction: finds all secrets in a text, and puts marks or asterisks in their place."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from runbook_runner.core.redaction import patterns
from runbook_runner.core.redaction.dumps import dumps
from runbook_runner.core.redaction.spellings import Form, forms, literals

_SEPARATORS: Final = b"\0\r\n\t :,-"
# A backslash, no second one of a row, and all of the row: what begins with a literal is found ten times as quickly.
_ESCAPED_LINE_END: Final = re.compile(rb"\\(?<!\\\\)\\*+[rn]")
_HEX_ESCAPE: Final = re.compile(rb"\\(?<!\\\\)\\*+x")
_SURE: Final = 3
"""Bytes: a shorter anchor is in almost every text."""
_FRAGMENT: Final = 12
"""Characters of a value with which a text begins or ends: the rest was in the text before or after."""
_JSON_TOKEN: Final = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?|-?[0-9][0-9.eE+-]*+')
_NAMES_OF_KINDS: Final = frozenset(
    {"type", "role", "status", "object", "model", "id", "name", "event", "kind", "stop_reason", "finish_reason"}
)
"""Keys of JSON objects whose values are words of a format, as the APIs of model providers have them."""


class Span(NamedTuple):
    start: int
    end: int
    name: str
    """Of the secret."""
    token: bool = False
    """The span is a number of a JSON document."""


def mark(name: str) -> str:
    """The mark in place of a secret. name: the secret's, or that of the pattern which found it."""
    return f"***REDACTED:{name}***"


class Redactor:
    """Removes the given secrets from text, bytes and JSON values. Safe to share between threads."""

    def __init__(self, *sources: Mapping[str, str]):
        """sources: of each, name → value; a name that two of them have stands for both values. Values under four
        characters are ignored: they would match anything. Short values and common words are found only as words of
        their own in free text."""
        secrets = [*dict.fromkeys(pair for source in sources for pair in source.items())]
        by_literal: dict[bytes, Form] = {}
        for name, value in secrets:
            for form in forms(name, value):
                by_literal.setdefault(form.literal, form)
        self._forms = sorted(by_literal.values(), key=lambda form: len(form.literal), reverse=True)
        self._values = tuple(value for _, value in secrets)
        self.reach = 8 * max((len(form.literal) for form in self._forms), default=0) + 64
        """Bytes: how far a spelling of a secret usually reaches."""

    # --- text -------------------------------------------------------------------------------------------------------

    def text(self, text: str, *, strong: bool = False) -> tuple[str, Counter[str]]:
        """The text without secrets, and how often each rule hit. strong: without those that may be ordinary words."""
        text, hits = self._known(text, strong=strong, whole=False)
        return without_patterns(text, hits), hits

    def clean(self, text: str) -> str:
        return self.text(text)[0]

    def structured(self, text: str) -> str:
        """As `clean` for a text that programs read: its words stay."""
        return self.text(text, strong=True)[0]

    def known(self, text: str) -> tuple[str, Counter[str]]:
        """Only the known values go. For a user's own result files, which stay byte for byte otherwise."""
        return self._known(text, strong=False, whole=True)

    def name(self, name: str) -> tuple[str, Counter[str]]:
        """A file's name without secrets, in letters that every file system takes, and how often each rule hit."""
        data = name.encode("utf-8", "surrogatepass")
        spans = self.spans(data, strong=True)
        clean = _joined(data, spans, lambda span: f"REDACTED-{span.name}".encode())
        return clean.decode("utf-8", "surrogatepass"), Counter(span.name for span in spans)

    def _known(self, text: str, *, strong: bool, whole: bool) -> tuple[str, Counter[str]]:
        data = text.encode("utf-8", "surrogatepass")
        spans = self.spans(data, strong=strong, json=is_json(data))
        if not whole:
            spans = _merged([*spans, *self._fragments(data)])
        if not spans:
            return text, Counter()
        spans = _merged([_of_letters(data, span) for span in spans])
        return with_marks(data, spans).decode("utf-8", "surrogatepass"), Counter(span.name for span in spans)

    # --- JSON -------------------------------------------------------------------------------------------------------

    def json(self, value: Any, *, strong: bool = False) -> Any:
        """The same JSON value with every string, keys included, and every number cleaned. Words of a format stay."""
        return self._json(value, strong=strong)

    def _json(self, value: Any, *, strong: bool) -> Any:
        if isinstance(value, str):
            return self.text(value, strong=strong)[0]
        if isinstance(value, dict):
            return self._object(value, strong=strong)
        if isinstance(value, (list, tuple)):
            return [self._json(item, strong=strong) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self._has_numbers:
            text = str(value)
            return next((mark(span.name) for span in self.spans(text.encode(), strong=strong)), value)
        return value

    def _object(self, value: dict[Any, Any], *, strong: bool) -> dict[str, Any]:
        """Two keys that become the same one get a number, so that nothing is lost."""
        cleaned: dict[str, Any] = {}
        numbers: Counter[str] = Counter()  # the last one of each name: a model may choose thousands of keys
        for key, item in value.items():
            name = first = self.structured(str(key))
            while name in cleaned or (name != key and name in value):
                numbers[first] += 1
                name = f"{first} {numbers[first] + 1}"
            cleaned[name] = self._json(item, strong=strong or key in _NAMES_OF_KINDS)
        return cleaned

    @cached_property
    def _has_numbers(self) -> bool:
        return any(form.number for form in self._forms)

    # --- bytes ------------------------------------------------------------------------------------------------------

    def spans(self, data: bytes, *, strong: bool = False, json: bool = False, begin: int = 0) -> list[Span]:
        """Returns where known values are, in order, none overlapping another. json: the data begins a line of a JSON
        document: a number there is a span of its own. begin: what stands before it is only looked back at."""
        found = [
            Span(match.start(), match.end(), form.name)
            for form in self._there(data)
            if not (strong and form.weak)
            for match in form.pattern.finditer(data, begin)
        ]
        if found and json and self._has_numbers:
            found = list(_with_numbers(data, found))
        if self._forms:
            found += self._dumped(data, begin)
        return _merged(found)

    def _dumped(self, data: bytes, begin: int) -> Iterator[Span]:
        """The lines of hex dumps in which values are."""
        for dump in dumps(data):
            for form in self._there(dump.content):
                for match in () if form.weak else form.pattern.finditer(dump.content):
                    start, end = dump.place(match.start(), match.end())
                    if end > begin:
                        yield Span(max(start, begin), end, form.name)

    def _there(self, data: bytes) -> Sequence[Form]:
        """The forms that may be in the data: their anchors are."""
        views = [data]
        squeezed = data
        if b"\\n" in data or b"\\r" in data:
            squeezed = _ESCAPED_LINE_END.sub(b"", squeezed)
        squeezed = squeezed.translate(None, _SEPARATORS)
        if len(squeezed) != len(data):
            views.append(squeezed)
        if b"0x" in squeezed or b"\\x" in squeezed:
            views.append(_HEX_ESCAPE.sub(b"", squeezed.replace(b"0x", b"")))
        if not any(map(self._anything, views)):
            return self._unsure
        return [form for form in self._forms if any(form.anchor in view for view in views)]

    @cached_property
    def _unsure(self) -> Sequence[Form]:
        """Forms that have no anchor to speak of."""
        return [form for form in self._forms if len(form.anchor) < _SURE]

    def _anything(self, data: bytes) -> bool:
        return self._search is not None and bool(self._search.find_matches_as_indexes(data))

    @cached_property
    def _search(self) -> Any:
        from ahocorasick_rs import BytesAhoCorasick

        anchors = {form.anchor for form in self._forms if len(form.anchor) >= _SURE}
        return BytesAhoCorasick(sorted(anchors)) if anchors else None

    # --- texts that come in pieces ----------------------------------------------------------------------------------

    def unfinished(self, text: str) -> bool:
        """Whether a secret may have begun in this text and go on in what follows it. A text that is not unfinished
        can be cleaned apart from what follows."""
        return any(patterns.overlaps(text, form) for form in self._spelt) or patterns.begun(text)

    @cached_property
    def _spelt(self) -> Sequence[str]:
        plain = [form for value in self._values for form in literals(value)]
        return [*dict.fromkeys([*plain, *(form.literal.decode("utf-8", "replace") for form in self._forms)])]

    @cached_property
    def _long(self) -> Sequence[Form]:
        return [form for form in self._forms if len(form.literal) > _FRAGMENT and not form.weak]

    @cached_property
    def _all_long(self) -> bytes:
        return b"\0".join(form.literal for form in self._long)

    def _fragments(self, data: bytes) -> Iterator[Span]:
        """Where the data begins or ends with a part of a secret that was cut into lines or pieces."""
        shown = data.rstrip(b"\r\n =")
        head, tail = shown[:_FRAGMENT], shown[-_FRAGMENT:]
        if len(shown) < _FRAGMENT or not (head in self._all_long or tail in self._all_long):
            return
        for form in self._long:
            whole = form.literal
            if (at := whole.find(head)) >= 0 and (shown in whole or shown.startswith(whole[at:])):
                yield Span(0, min(len(shown), len(whole) - at), form.name)
            if (at := whole.find(tail)) >= 0 and shown.endswith(whole[: at + _FRAGMENT]):
                yield Span(max(0, len(shown) - at - _FRAGMENT), len(shown), form.name)


def without_patterns(text: str, hits: Counter[str]) -> str:
    """The text without what looks like a key; counted in `hits`."""
    for rule in patterns.PATTERNS:
        text = _marked(text, rule, hits)
    return text


def is_json(data: bytes) -> bool:
    """Whether it looks like a JSON document, or like an event with one."""
    return data.lstrip()[:1] in (b"{", b"[") or data.startswith(b"data:")


def with_marks(data: bytes, spans: Sequence[Span]) -> bytes:
    """The text with marks in place of its secrets."""
    return _joined(data, spans, lambda span: (f'"{mark(span.name)}"' if span.token else mark(span.name)).encode())


def same_length(data: bytes, spans: Sequence[Span]) -> bytes:
    """The data with asterisks in place of its secrets: offsets and lengths in a binary file stay true."""
    return _joined(data, spans, lambda span: _NOT_NUL.sub(b"*", data[span.start : span.end]))


_NOT_NUL: Final = re.compile(rb"[^\0]")


def _joined(data: bytes, spans: Sequence[Span], replaced: Any) -> bytes:
    parts, end = [], 0
    for span in spans:
        parts += [data[end : span.start], replaced(span)]
        end = span.end
    return b"".join((*parts, data[end:]))


def _merged(found: list[Span]) -> list[Span]:
    """In order; of two that overlap the first begun grows."""
    merged: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, -span.end)):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = last._replace(end=max(last.end, span.end), token=last.token or span.token)
        else:
            merged.append(span)
    return merged


def _of_letters(data: bytes, span: Span) -> Span:
    """The span, grown to whole letters: one byte of a letter in UTF-8 may be a letter of another encoding."""
    start, end = span.start, span.end
    while start > 0 and data[start] & 0xC0 == 0x80:
        start -= 1
    while end < len(data) and data[end] & 0xC0 == 0x80:
        end += 1
    return span._replace(start=start, end=end)


def _with_numbers(data: bytes, found: list[Span]) -> Iterator[Span]:
    """The spans, grown to the whole number where a span is in one that stands outside of strings."""
    yield from found
    spans = iter(_merged(found))
    span = next(spans, None)
    for token in _JSON_TOKEN.finditer(data):
        while span and span.end <= token.start():
            span = next(spans, None)
        if span is None:
            return
        if span.start < token.end() and data[token.start()] != 0x22:
            yield Span(min(span.start, token.start()), max(span.end, token.end()), span.name, token=True)


def _marked(text: str, rule: str, hits: Counter[str]) -> str:
    parts, end = [], 0
    for match in patterns.matches(rule, text):
        parts += [text[end : match.start()], mark(rule)]
        end = match.end()
        hits[rule] += 1
    return "".join((*parts, text[end:])) if parts else text

"""Known values are found in whatever encoding they land by accident; ordinary text, JSON and names are left alone."""

import base64
import csv
import html
import io
import json
import pickle
import random
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from runbook_runner.core.redaction import Redactor, looks_secret, mark, weakness

SECRETS = {
    "TOKEN": "tok_CANARY_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_end",
    "PASSWORD": "p@ss(w*rd)!/\"q'uote&<x>",
    "FOREIGN": "pässwörd-日本-\\x\\new 1",
    "LINE": "ghx-CANARY-with-a-line-end\n",
    "LINES": 'tok with space\nand line two here ok\n"x"',
}

Encode = Callable[[str], bytes]


def wrapped(data: bytes, width: int, end: bytes) -> bytes:
    return end.join(data[n : n + width] for n in range(0, len(data), width))


def percent(text: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), quote(text, safe=""))


def bash_quoted(text: str) -> bytes:
    return subprocess.run(["bash", "-c", 'printf %q "$1"', "-", text], capture_output=True, check=True).stdout


def as_csv(text: str) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([text, 1])
    return out.getvalue().encode()


def dump(text: str, line: str, words: int = 1) -> bytes:
    """As hexdump programs print it. line: the format of one; words: the bytes of a word of this machine."""
    data = b"HOME=/root\nX=" + text.encode() + b"\nZ=1\n"
    data += bytes(len(data) % words)
    lines = [""]
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        digits = " ".join(part[n : n + words][::-1].hex() for n in range(0, len(part), words))
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(line.format(at=at, digits=digits, pairs=part.hex(" ", 2), letters=letters))
    return "\n".join([*lines, ""]).encode()


ENCODINGS: dict[str, Encode] = {
    "xxd": lambda text: dump(text, "{at:08x}: {pairs:<40} {letters}"),
    "hexdump -C": lambda text: dump(text, "{at:08x}  {digits:<47}  |{letters}|"),
    "hexdump": lambda text: dump(text, "{at:07x} {digits}", words=2),
    "od -t x1": lambda text: dump(text, "{at:07o} {digits}"),
    "xxd in JSON": lambda text: json.dumps({"a": dump(text, "{at:08x}: {pairs:<40} {letters}").decode()}).encode(),
    "small letters": lambda text: text.lower().encode(),
    "capital letters": lambda text: text.upper().encode(),
    "as it is": str.encode,
    "without what is at its ends": lambda text: text.strip().encode(),
    "JSON": lambda text: json.dumps(text).encode(),
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False).encode(),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})).encode(),
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps({"a": text}))).encode(),
    "JSON four deep": lambda text: json.dumps(json.dumps(json.dumps(json.dumps({"a": text})))).encode(),
    "HTML": lambda text: html.escape(text).encode(),
    "HTML twice": lambda text: html.escape(html.escape(text)).encode(),
    "a shell's quotes": lambda text: shlex.quote(text).encode(),
    "a shell's other quotes": lambda text: text.replace("'", "'\\''").encode(),
    "bash %q": bash_quoted,
    "URL": lambda text: quote(text, safe="").encode(),
    "URL in small letters": lambda text: percent(text).encode(),
    "URL path": lambda text: quote(text).encode(),
    "form": lambda text: quote_plus(text).encode(),
    "URL twice": lambda text: quote(quote(text, safe=""), safe="").encode(),
    "UTF-16 little": lambda text: text.encode("utf-16-le"),
    "UTF-16 big": lambda text: text.encode("utf-16-be"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "Python": lambda text: repr(text).encode(),
    "Python in ASCII": lambda text: ascii(text).encode(),
    "Python bytes": lambda text: repr(text.encode()).encode(),
    "SQL": lambda text: text.replace("'", "''").encode(),
    "CSV": as_csv,
    "pickle": lambda text: pickle.dumps({"x": text}),
    "old pickle": lambda text: pickle.dumps({"x": text}, 0),
    "environ": lambda text: b"A=1\0B=" + text.encode() + b"\0C=2\0",
    "folded": lambda text: wrapped(text.encode(), 20, b"\n"),
    "base64 in a URL": lambda text: base64.urlsafe_b64encode(b"x" + text.encode()),
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")),
    "hex": lambda text: text.encode().hex().encode(),
    "hex in capitals": lambda text: text.encode().hex().upper().encode(),
    **{f"hex by {between}": lambda text, between=between: text.encode().hex(between).encode() for between in " :-,"},  # type: ignore[misc]
    "hex in lines": lambda text: wrapped(text.encode().hex().encode(), 60, b"\n"),
    "hex in C": lambda text: ", ".join(f"0x{byte:02x}" for byte in text.encode()).encode(),
    "hex escapes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()).encode(),
}


def wraps() -> Iterator[tuple[str, Encode]]:
    for width in (1, 7, 60, 64, 76):
        for end in (b"\n", b"\r\n", b"\n    ", b"\\n"):
            for tail in (b"", b"\n"):

                def encode(text: str, width: int = width, end: bytes = end, tail: bytes = tail) -> bytes:
                    return wrapped(base64.b64encode(text.encode() + tail), width, end)

                yield f"base64 in lines of {width} with {end!r} and {tail!r}", encode


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(("encode"), [*ENCODINGS.values(), *dict(wraps()).values()], ids=[*ENCODINGS, *dict(wraps())])
def test_a_known_value_is_found_in_every_encoding(name: str, encode: Encode) -> None:
    data = b"before " + encode(SECRETS[name]) + b" after"
    spans = Redactor(SECRETS).spans(data)
    assert name in {span.name for span in spans}
    core = SECRETS[name].strip()
    assert core.encode() not in data[spans[-1].end :]


@pytest.mark.parametrize(("encode"), ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("value", [
    "".join(f"{n:x}Kz" for n in range(1500)),  # a service account's key on one line, or a certificate in base64
    "\n".join(f"{n}-{'Ab1' * n}" for n in range(70)),
], ids=["one line", "lines"])  # fmt: skip
def test_nothing_of_a_long_value_is_left(value: str, encode: Encode) -> None:
    data = b"before " + encode(value) + b" after"
    spans = Redactor({"LONG": value}).spans(data)
    left = len(data) - sum(span.end - span.start for span in spans)
    assert (len(spans), left < 100) == (1, True)


def test_what_is_around_a_value_stays() -> None:
    for encode in (ENCODINGS["JSON in JSON"], ENCODINGS["HTML"], ENCODINGS["URL"]):
        text = f"before {encode(SECRETS['PASSWORD']).decode()} after"
        clean = Redactor(SECRETS).clean(text)
        assert clean.startswith("before ")
        assert clean.endswith(" after")
        assert clean.count("REDACTED") == 1


def test_a_value_in_pieces_is_not_put_together_from_what_is_recorded() -> None:
    redactor, token = Redactor(SECRETS), SECRETS["TOKEN"]
    encoded = base64.b64encode(token.encode() + b"\n").decode()
    for whole in (token, encoded):
        for cut in (20, 40, 60):
            clean = redactor.clean(f"it is {whole[:cut]}") + redactor.clean(f"{whole[cut:]}, it was")
            assert not any(whole[n : n + 16] in clean for n in range(len(whole) - 16))


# --- numbers, JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "clean"), [
    ('{"pin":83749201}', {"pin": mark("PIN")}),
    ('{"pin": 83749201.0, "other": 1837492015}', {"pin": mark("PIN"), "other": 1837492015}),
    ('[-83749201,\n "83749201", "the 83749201 \\" pin"]', [mark("PIN"), mark("PIN"), f'the {mark("PIN")} " pin']),
    ('{"83749201": {"a": [83749201]}}', {mark("PIN"): {"a": [mark("PIN")]}}),
])  # fmt: skip
def test_json_with_a_secret_number_stays_json(text: str, clean: Any) -> None:
    assert json.loads(Redactor({"PIN": "83749201"}).known(text)[0]) == clean
    assert Redactor({"PIN": "83749201"}).json(json.loads(text)) == clean


def test_no_entry_is_lost_when_two_keys_become_the_same() -> None:
    token = SECRETS["TOKEN"]
    entries = {token: 1, token.encode().hex(): 2, mark("TOKEN"): 3, "plain": 4}
    clean = Redactor(SECRETS).json(entries)
    assert sorted(clean.values()) == [1, 2, 3, 4]
    assert clean[mark("TOKEN")] == 3


# --- ordinary words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["warning", "completed", "agent", "hunter2", "4711"])
def test_an_ordinary_word_is_removed_from_free_text_only_and_as_a_word(value: str) -> None:
    redactor = Redactor({"X": value})
    assert redactor.clean(f"it is {value}, not un{value}s") == f"it is {mark('X')}, not un{value}s"
    assert redactor.json({"type": value, value: f"a {value}"}) == {"type": value, value: f"a {mark('X')}"}
    assert redactor.name(f"{value}.txt")[0] == f"{value}.txt"
    assert redactor.structured(f'{{"type":"{value}"}}') == f'{{"type":"{value}"}}'
    warning = weakness("X", value)
    assert warning
    assert value not in warning.replace("ordinary word", "")


@pytest.mark.parametrize("value", ["abc", "true", "none", " a \n"])
def test_a_value_that_would_match_anything_is_not_searched_and_said_so(value: str) -> None:
    text = f"it is {value}"
    assert Redactor({"X": value}).clean(text) == text
    assert "too short or too common" in (weakness("X", value) or "")


def test_a_good_value_needs_no_warning() -> None:
    assert weakness("X", "correct-horse") is None
    assert weakness("X", "83749201") is None


@pytest.mark.parametrize(("name", "value", "secret"), [
    ("MAX_TOKENS", "100000000", False), ("MAX_OUTPUT_TOKENS", "64000000", False), ("TOKEN_BUDGET", "1_000_000", False),
    ("TOKENIZERS_PARALLELISM", "disabled", False), ("KEYBOARD", "pc105-de-nodeadkeys", False),
    ("AUTH_URL", "https://login.example.com/oauth", False), ("AUTH_URL", "https://me:pw1234@login.example.com", True),
    ("AUTH_URL", "https://example.com/?token=abcdef", True), ("KEY_FILE", "./keys/a.pem", False),
    ("AUTH_PIN_TOKEN", "83749201", True), ("API_KEY_MAX", "sk-abcdefgh", True), ("USE_AUTH", "required", False),
    ("SSH_PASSPHRASE", "correct horse", True), ("TOKEN_TTL", "36000000", False),
])  # fmt: skip
def test_counts_paths_and_addresses_are_not_secrets_by_name(name: str, value: str, secret: bool) -> None:
    assert looks_secret(name, value) is secret


# --- time ----------------------------------------------------------------------------------------------------------


def test_the_time_is_linear_in_the_number_of_keys_that_become_the_same() -> None:
    keys = {f"ghp_{number:036}": number for number in range(20_000)}
    before = time.process_time()
    cleaned = Redactor({}).json(keys)
    assert time.process_time() - before < 10
    assert list(cleaned.values()) == list(keys.values())


@pytest.mark.parametrize("piece", [
    "eyJ", "-eyJ", "eyJaaaaaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "-----BEGIN A ", "sk-", "-sk-ant-", "gh", "p@ss(",
    "p@ss(\\", "tok\n", "tok_CANARY_", '"', "\\", "\\n", "\0", "0x", "74 ", "&amp;", "%",
    "\n00000000: 41 ", "00000000: 41 42\n", "00000000: 746f 6b5f 4341 4e41 5259\n",
])  # fmt: skip
def test_the_time_is_linear_in_the_length_of_a_text(piece: str) -> None:
    """A quadratic search of this much takes minutes."""
    redactor = Redactor(SECRETS)
    text = piece * (1_000_000 // len(piece))
    before = time.process_time()
    redactor.clean(text)
    redactor.unfinished(text[-100_000:])
    assert time.process_time() - before < 10


@pytest.mark.parametrize(("value", "text"), [
    ("." * 900 + "x", "."), ("\\" * 400 + ".", "\\"), ("+" + " " * 900 + "x.y", "+"), ("ab" * 500 + ".", "ab"),
    ("\n" * 900 + "x", "\\n"),
])  # fmt: skip
def test_the_time_of_a_text_that_repeats_the_beginning_of_a_value(value: str, text: str) -> None:
    """From each place of the text a search went through all of the repetition: a minute and more."""
    redactor = Redactor({"A": value})
    before = time.process_time()
    redactor.clean(text * (200_000 // len(text)) + " " + value)
    assert time.process_time() - before < 20


@pytest.mark.parametrize(
    "value", ["ab" * 500 + "tail", "k3y!" * 300 + "end", "a" * 2000, "." * 90 + "p@ss" * 400 + "w0rd"]
)
def test_a_value_that_repeats_itself_is_found_over_its_length(value: str) -> None:
    clean = Redactor({"A": value}).clean(f"<{value}>")
    assert not any(part in clean for part in ("abab", "k3y!", "aaaaaaaaaaaaaaaa" * 2, "p@ss", "tail", "end"))


def test_a_binary_file_is_searched_as_quickly_as_by_two_plain_expressions() -> None:
    data, redactor = random.Random(1).randbytes(1 << 20) * 8, Redactor(SECRETS)
    simple = re.compile(rb"(?<!\\)\\+n")

    def took(job: Callable[[bytes], object]) -> float:
        began = time.process_time()
        job(data)
        return time.process_time() - began

    searched = min(took(redactor.spans) for _ in range(3))
    assert searched < 2 * min(took(lambda part: simple.sub(b"", part)) for _ in range(3))


def test_rows_of_backslashes_before_a_line_end_or_a_number_are_taken_whole() -> None:
    value = SECRETS["TOKEN"]
    for row in range(1, 8):
        cut = f"{value[:30]}{chr(92) * row}n{value[30:]}".encode()
        (span,) = Redactor({"TOKEN": value}).spans(b"x " + cut + b" y")
        assert (span.start, span.end) == (2, 2 + len(cut))

"""Text from outside, on a terminal and in files."""

from random import sample
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.text import (
    Lines,
    Nearest,
    counted,
    decoded_name,
    did_you_mean,
    dollars,
    encodable,
    printable,
    printable_name,
    printable_output,
    whole_lines,
    width,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc", "a\tb\nc"), ("a\x1b[2Jb", "a�[2Jb"), ("a\u202eb", "a�b"), ("a\x9bb\x7f", "a�b�"), ("日本", "日本")],
)
def test_nothing_moves_the_cursor_and_the_length_stays(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert len(printable(text)) == len(text)


def test_output_of_programs_loses_its_colours_and_carriage_returns() -> None:
    assert printable_output("\x1b[1;31mred\x1b[0m\r\n50%\r100%\x07") == "red\n50%\n100%�"


@pytest.mark.parametrize(("text", "kept"), [
    ("a\nbc\n", "a\nbc\n"),
    ("a\nbcde\nf\n", "a\n\n2 more lines.\n"),
    ("a\nbcdefgh", "a\n\n1 more line.\n"),
    ("abcdefgh", "\n1 more line.\n"),
])  # fmt: skip
def test_what_is_too_long_ends_at_the_end_of_a_line(text: str, kept: str) -> None:
    assert whole_lines(text, 6) == kept


def test_names_are_on_one_line() -> None:
    assert printable_name("a\nb\u202ec\udcff") == "a\\nb\\u202ec\\udcff"
    assert decoded_name("a\udcffb") == "a\\xffb"


def test_numbers_of_things_and_amounts_of_money() -> None:
    said = [
        counted(1, "call"),
        counted(2000, "call"),
        counted(1.0, "core"),
        counted(0.5, "core"),
        counted(2, "process"),
    ]
    assert said == ["1 call", "2,000 calls", "1 core", "0.5 cores", "2 processes"]
    assert list(map(dollars, (0.5, 1000.0, 0.004, 3))) == ["$0.50", "$1,000.00", "$0.004", "$3.00"]


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_encoded(text: str) -> None:
    encodable(text).encode()
    assert printable_name(text).isprintable()


def test_halves_that_belong_together_become_one_character() -> None:
    assert encodable("\ud83d\ude00 \ud83d") == "😀 \ufffd"


@given(st.lists(st.text("ab\r\n\u2028")))
def test_lines_are_found_however_they_come(pieces: list[str]) -> None:
    lines = Lines()
    found = [*(line for piece in pieces for line in lines.feed(piece)), *lines.end()]
    assert found == [line for line in "".join(pieces).replace("\r", "\n").split("\n") if line]


def test_a_line_without_end_comes_in_parts() -> None:
    for piece, times in (("x" * 1000, 1000), ("x" * 1_000_000, 1)):
        lines = Lines()
        parts = [*(line for _ in range(times) for line in lines.feed(piece)), *lines.end()]
        assert max(map(len, parts)) <= 2 * 65536
        assert "".join(parts) == "x" * 1_000_000


def test_width_counts_cells() -> None:
    assert width("ab") == 2
    assert width("日本 é😀") == 8
    assert width("e\u0301") == 1


def test_the_nearest_word_is_asked_for() -> None:
    assert did_you_mean("nework", ["network", "timeout"]) == "Did you mean 'network'?"
    assert did_you_mean("cloude", ["claude-code", "codex", "opencode"]) == "Did you mean 'claude-code'?"
    assert did_you_mean("x", ["network", "timeout"]) is None
    assert did_you_mean("a" * 10_000, ["a" * 10_000, *map(str, range(10_000))]) is None


def test_of_many_words_only_the_first_are_compared() -> None:
    """In a clone they may all be anagrams, which takes difflib a millisecond for each pair."""
    known = ["".join(sample(ascii_uppercase * 3, 78)) for _ in range(600)]
    nearest = Nearest()
    assert nearest("NETWROK", ["NETWORK"]) == "NETWORK"
    found = [nearest("".join(sample(one, 78)), known, cutoff=0.1) for one in known]
    assert [name for name in found if name] == found[:1]
    assert nearest("NETWROK", ["NETWORK"]) is None

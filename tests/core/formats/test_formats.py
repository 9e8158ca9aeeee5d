"""YAML, JSON and TOML from outside: plain values, within bounds, and a line for what is wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from frontmatter.default_handlers import SafeLoader

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import MAX_DEPTH, MOST_VALUES, has_more_values, read_json, read_toml
from runbook_runner.core.formats.yaml_text import YamlText, read_yaml

Read = Callable[[str, str], Any]


def refused(read: Read, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text, "f")
    return str(caught.value)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (read_json, '{"a": 1,\n}', "f:2: The JSON is broken"),
        (read_json, "9" * 5000, "f: The JSON holds a number that is too long."),
        (read_toml, "a = 1\nb = \n", "f:2: This is not TOML"),
        (read_toml, "a = " + "9" * 5000, "f: The TOML holds a number that is too long."),
        (read_yaml, "a: 1\nb: [\n", "f:2: The YAML is broken"),
    ],
)
def test_broken_text_has_its_line(read: Read, text: str, says: str) -> None:
    assert refused(read, text).startswith(says)


@pytest.mark.parametrize("loader", [SafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        ("a: 1\nwhat\nb: 2\n", 11, "what"),
        ("a: 1\n\nwhat\n\n", 12, "what"),
        ("a: 1\nwhat", 11, "what"),
        ('a: "b\nc: 1\n', 10, 'a: "b'),
        ("a: {b: 1\n\n", 10, "a: {b: 1"),
        ("a: 1\nb: [\n\n", 11, "b: ["),
        ("a: b: c\nd: 1\n", 10, "a: b: c"),
        ("a: [1,\n2\nb: 1]\n", 12, "b: 1]"),
    ],
)
def test_what_is_left_open_in_yaml_is_told_where_it_begins(loader: Any, text: str, line: int, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        YamlText(text, "f", first_line=10, loader=loader).root()
    assert caught.value.where == f"f:{line}"
    assert str(caught.value.details).splitlines()[0] == f"  {shown}"


@pytest.mark.parametrize("read", [read_json, read_yaml])
@pytest.mark.parametrize("encode", [str, str.encode])
def test_json_is_bounded_in_values(read: Read, encode: Callable[[str], Any]) -> None:
    if read is read_yaml and encode is not str:
        return
    fits = "[" + "[ ]," * (MOST_VALUES - 2) + "1]"
    assert len(read(encode(fits), "f")) == MOST_VALUES - 1
    more = "[" + "[ ]," * (MOST_VALUES - 1) + "1]"
    assert refused(read, encode(more)) == "f: The JSON has more than 1,000,000 values."


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": 1, "b": {"c": [2, 3, {}, [ ]]}}', 8),
        ('["a,b,[{", "\\",{[", "x\\\\", ","]', 5),
        ('["never ended,,,,,,,,', 2),
    ],
)
def test_values_are_counted_and_not_what_is_in_texts(text: str, values: int) -> None:
    assert [has_more_values(text, most) for most in (values - 1, values)] == [True, False]


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_json_is_bounded_in_depth(read: Read) -> None:
    fits = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    value = read(fits, "f")
    for _ in range(MAX_DEPTH - 2):
        (value,) = value
    assert value == []
    for depth in (MAX_DEPTH, 900, 100_000):
        assert "nested deeper" in refused(read, "[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "key", ["a." * 200_000 + "a = 1", "[" + "a." * 200_000 + "a]", "'a' . \"b\" . " * 100 + "c = 1"]
)
def test_a_toml_key_of_many_parts_is_nested_deeply(key: str) -> None:
    assert refused(read_toml, "\n" + key).startswith("f:2: This is nested deeper")


def test_dots_in_a_text_are_no_key() -> None:
    assert read_toml(f'a = "{"." * 1000}"', "f") == {"a": "." * 1000}


def test_values_of_yaml_are_those_of_json_as_they_are_written() -> None:
    text = "on: yes\nday: 2024-02-29\n3: [1, 0x10, .5, ~]\nsame: &a {x: 1}\nagain: {<<: *a, y: 2}"
    same = {"on": True, "day": "2024-02-29", "3": [1, 16, 0.5, None], "same": {"x": 1}, "again": {"x": 1, "y": 2}}
    assert read_yaml(text, "f") == same
    assert read_yaml("# nothing", "f") is None


WRITTEN = ["2021-06-01", "2021-02-31", "1.10", "12:30", "007", "no", "True", "0x1F", "1_000", "+5", ".inf", "9" * 5000]


@pytest.mark.parametrize("text", WRITTEN)
def test_what_is_put_into_a_text_is_spelled_as_in_the_file(text: str) -> None:
    assert read_yaml(f"a: {text}\nb: [{text}]\n", "f", as_written=True) == {"a": text, "b": [text]}


def test_a_value_that_we_spell_alike_keeps_its_type() -> None:
    typed = {"a": [5, -1, 1.5, True, None, "x"], "b": {}}
    assert read_yaml('{"a": [5, -1, 1.5, true, null, "x"], "b": {}}', "f", as_written=True) == typed
    assert read_yaml("a: [5, -1, 1.5, true, null, x]\nb: {}", "f", as_written=True) == typed
    assert read_yaml("a: !!int 5", "f", as_written=True) == {"a": 5}


def test_numbers_of_json_are_spelled_as_in_the_file() -> None:
    text = '{"a": [1.10, 1e5, -0, %s]}' % ("9" * 5000)
    assert read_json(text, "f", as_written=True) == {"a": ["1.10", "1e5", "-0", "9" * 5000]}
    assert read_yaml(text, "f", as_written=True) == {"a": ["1.10", "1e5", "-0", "9" * 5000]}


@pytest.mark.parametrize("text", ["a: 1\nb:\n  c: 1\n  'c': 2\n", "a: &x {c: 1}\nb:\n  c: 1\n  c: 2\nd: *x"])
def test_a_key_that_is_given_twice_is_refused_with_both_lines(text: str) -> None:
    assert refused(read_yaml, text).startswith("f:4: The key 'c' is given twice, on lines 3 and 4.")


def test_a_merged_key_may_be_given_again() -> None:
    assert read_yaml("a: &x {c: 1}\nb: {<<: *x, c: 2}", "f") == {"a": {"c": 1}, "b": {"c": 2}}


def test_toml_may_begin_with_a_byte_order_mark() -> None:
    assert read_toml("\ufeffa = 1\n", "f") == {"a": 1}

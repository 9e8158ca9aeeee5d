"""YAML, JSON and TOML from outside: plain values, within bounds, and a line for what is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import MAX_DEPTH, read_json, read_toml
from runbook_runner.core.formats.yaml_text import read_yaml

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
        (read_yaml, "a: 1\nb: [\n", "f:3: The YAML is broken"),
    ],
)
def test_broken_text_has_its_line(read: Read, text: str, says: str) -> None:
    assert refused(read, text).startswith(says)


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

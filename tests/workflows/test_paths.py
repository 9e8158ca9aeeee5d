"""Paths: where a value of a step comes from (contract §6.3)."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.workflows.paths import ALL, Absent, as_path, find, inline, parse_path

VALUES: dict[str, Any] = {
    "init_params": {"prompt": "Hi", "file_paths": ["a.txt", "b.txt"], "n": 3},
    "env": {"TOKEN": "t"},
    "step1": {
        "inputs": {"prompt": "Hi"},
        "outputs": {
            "text": "x",
            "items": [{"id": 1, "name": "one"}, {"id": 2}, "loose"],
            "nested": [[{"v": 1}], [{"v": 2}]],
        },
    },
    "two-parts": {"outputs": {"result": {"text": "deep"}}},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("init_params.prompt", "Hi"),
        ("init_params.file_paths[0]", "a.txt"),
        ("init_params.file_paths[-1]", "b.txt"),
        ("init_params", VALUES["init_params"]),
        ("env.TOKEN", "t"),
        ("step1.inputs.prompt", "Hi"),
        ("step1.outputs.items[0].name", "one"),
        ("step1.outputs.items[*].id", [1, 2]),
        ("step1.outputs.items[*]", VALUES["step1"]["outputs"]["items"]),
        ("step1.outputs.nested[*][*].v", [1, 2]),
        ("step1.outputs.nested[*][0].v", [1, 2]),
        ("two-parts.outputs.result.text", "deep"),
    ],
)
def test_it_leads_to(path: str, value: Any) -> None:
    assert find(parse_path(path), VALUES) == value
    assert str(parse_path(path)) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("step2.outputs.text", "There is no 'step2' yet. Did you mean 'step1'?"),
        ("nothing.at", "There is no 'nothing' yet. There are: 'init_params', 'env', 'step1', 'two-parts'."),
        ("init_params.promt", "init_params has no 'promt'. Did you mean 'prompt'?"),
        ("init_params.zzz", "init_params has no 'zzz'. It has: 'prompt', 'file_paths', 'n'."),
        ("init_params.file_paths[2]", "init_params.file_paths has 2 items, and no [2]."),
        ("init_params.file_paths[-3]", "init_params.file_paths has 2 items, and no [-3]."),
        ("init_params.prompt.text", "init_params.prompt is text, which has no text."),
        ("init_params.prompt[*].id", "init_params.prompt is text, which has no [*]."),
        ("init_params[0]", "init_params is an object, which has no [0]."),
        ("step1.outputs.items.id", "step1.outputs.items is a list, which has no id."),
    ],
)
def test_where_it_leads_nowhere_it_says_why(path: str, why: str) -> None:
    assert find(parse_path(path), VALUES) == Absent(why)


def test_other_runs_have_paths_too() -> None:
    path = parse_path("my-task/0badcafe.draft.outputs.text")
    assert (path.run, path.root, path.segments) == ((None, "my-task", "0badcafe"), "draft", ("outputs", "text"))
    assert parse_path("acme/my task/0badcafe.draft").run == ("acme", "my task", "0badcafe")
    assert str(parse_path("acme/t/0badcafe.draft[*]")) == "acme/t/0badcafe.draft[*]"


@pytest.mark.parametrize(
    "text", ["", ".a", "a..b", "a[", "a[x]", "a[1", "a b", "a.[0]", "a[*", "https://x.y/z", "a." + "b." * 200]
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(InputError):
        parse_path(text)
    assert as_path(text, VALUES) is None


def test_a_text_is_a_path_only_where_its_root_is_known() -> None:
    assert as_path("step1.outputs", VALUES)
    assert as_path("gpt-4o", VALUES) is None
    assert as_path("Mr.Smith", VALUES) is None


def test_wildcards_that_multiply_have_an_end() -> None:
    shared: Any = ["x"] * 1000
    for _ in range(3):
        shared = [shared] * 1000
    with pytest.raises(InputError, match="more than 1,000,000 values"):
        find(parse_path("a[*][*][*][*]"), {"a": shared})


def test_values_stand_in_texts() -> None:
    def value_of(inside: str) -> Any:
        path = as_path(inside, VALUES)
        return find(path, VALUES) if path else Absent("")

    text = "{{ init_params.prompt }} {{step1.outputs.items}} {{ other }} {{ step1.none }} ${{ x }} {{{{ env.TOKEN }}}}"
    items = json.dumps(VALUES["step1"]["outputs"]["items"])
    assert inline(text, value_of) == f"Hi {items} {{{{ other }}}} {{{{ step1.none }}}} ${{{{ x }}}} {{{{t}}}}"


# --- against a reference ---------------------------------------------------------------------------------------------

_names = st.sampled_from(["a", "b", "c-d", "7"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=20,
)
_segments = st.lists(_names | st.integers(-3, 3) | st.just(ALL), max_size=5)


def _reference(value: Any, segments: list[Any]) -> list[Any]:
    """Every value that the path leads to, by its definition."""
    if not segments:
        return [value]
    first, rest = segments[0], segments[1:]
    if first is ALL:
        return [found for inner in value for found in _reference(inner, rest)] if isinstance(value, list) else []
    try:
        if isinstance(value, (dict, list)) and isinstance(first, int) == isinstance(value, list):
            return _reference(value[first], rest)
    except LookupError:
        pass
    return []


@given(_json, _segments)
def test_it_finds_what_the_definition_says(value: Any, segments: list[Any]) -> None:
    text = "root" + "".join("[*]" if s is ALL else f"[{s}]" if isinstance(s, int) else f".{s}" for s in segments)
    path = parse_path(text)
    assert path.segments == tuple(segments)
    found, expected = find(path, {"root": value}), _reference(value, segments)
    if isinstance(found, Absent):
        assert expected == []
        assert re.fullmatch(r"[^\n]+\.", found.why)
    elif ALL in segments:
        assert found == expected
    else:
        assert [found] == expected


@given(st.text(alphabet="ab.[]*-01 /_:\n{", max_size=30))
def test_what_is_taken_for_a_path_is_spelt_as_it_was(text: str) -> None:
    path = as_path(text, {"a": 0, "b": 0, "ab": 0})
    if path:
        assert parse_path(str(path)) == path
        assert re.sub(r"\[-?0*(\d+)\]", r"[\1]", str(path)) == re.sub(r"\[-?0*(\d+)\]", r"[\1]", text)

"""The parameters of a step (contract §6.2)."""

from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.workflows.parameters import Scope, references, resolve
from runbook_runner.workflows.paths import Run

OTHER = Run(None, "draft-task", "0badcafe")
SCOPE = Scope(
    {
        "init_params": {"llm": "gpt-4o-mini", "question": "Why?", "file_paths": ["a/b.png"]},
        "env": {"KEY": "k"},
        "model_a": {"inputs": {}, "outputs": {"text": "A"}},
        "model_b": {"inputs": {}, "outputs": {"text": "B", "images": [{"path": "x.png"}]}},
    },
    {OTHER: {"draft": {"outputs": {"text": "theirs"}}}},
)


@pytest.mark.parametrize(
    ("config", "parameters", "depends_on"),
    [
        (
            {"activity": "x", "model_path": "init_params.llm", "temperature": 0.2},
            {"model": "gpt-4o-mini", "temperature": 0.2},
            (),
        ),
        ({"text": "written", "text_path": "model_a.outputs.text"}, {"text": "A"}, ("model_a",)),
        ({"text_path": "model_a.outputs.text", "text": "written"}, {"text": "A"}, ("model_a",)),
        ({"text": "written", "text_path": "model_a.outputs.none"}, {"text": "written"}, ()),
        (
            {"items_path": ["model_b.outputs.text", "model_a.outputs.text", "model_a.outputs.none"]},
            {"items": ["B", "A"]},
            ("model_b", "model_a"),
        ),
        (
            {"input": {"prompt_path": "init_params.question", "deep": [{"a_path": "env.KEY"}]}},
            {"input": {"prompt": "Why?", "deep": [{"a": "k"}]}},
            (),
        ),
        (
            {"prompt": "{{ init_params.question }} {{ model_a.outputs.text }} {{ nobody.x }}"},
            {"prompt": "Why? A {{ nobody.x }}"},
            ("model_a",),
        ),
        ({"image_path_expr": "init_params.file_paths[0]"}, {"image_path": "a/b.png"}, ()),
        ({"image_path": "model_b.outputs.images[0].path"}, {"image_path": "x.png"}, ("model_b",)),
        ({"image_path": "folder/x.png"}, {"image_path": "folder/x.png"}, ()),
        ({"text_path": "draft-task/0badcafe.draft.outputs.text"}, {"text": "theirs"}, ()),
    ],
)
def test_of_a_configuration(config: dict[str, Any], parameters: dict[str, Any], depends_on: tuple[str, ...]) -> None:
    made = resolve(config, {"image_path", "text"}, SCOPE)
    assert (made.parameters, made.depends_on) == (parameters, depends_on)


def test_what_leads_nowhere_is_named_by_its_key() -> None:
    config = {"input": {"a_path": "model_a.outputs.txt"}, "b_path": ["env.NONE"], "c_path": "t/0000beef.a.b"}
    made = resolve(config, (), SCOPE)
    assert made.parameters == {"input": {}, "b": []}
    assert made.absent == {
        "input.a_path": "model_a.outputs has no 'txt'. Did you mean 'text'?",
        "b_path[0]": "env has no 'NONE'. It has: 'KEY'.",
        "c_path": "There is no run t/0000beef.",
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"a_path": 7}, "a_path must be a path, as `draft.outputs.text`, and is a number."),
        ({"a_path": ["env.KEY", {}]}, "a_path[1] must be a path, as `draft.outputs.text`, and is an object."),
        (
            {"in": {"a_path": "https://x.y"}},
            "in.a_path: 'https://x.y' is no path: `.name`, `[0]` or `[*]` is expected at character 6.",
        ),
    ],
)
def test_a_key_of_paths_that_holds_none(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        resolve(config, (), SCOPE)
    assert refused.value.message == message
    with pytest.raises(InputError) as refused:
        [*references(config, (), ["init_params", "env"])]
    assert refused.value.message == message


def test_all_paths_of_a_configuration_are_found_without_values() -> None:
    config = {
        "activity": "x",
        "a_path": ["one.outputs", "two.outputs"],
        "image_path": "one.outputs.images[0].path",
        "other": {"deep": [{"b_path": "two.inputs"}], "text": "{{ one.outputs.text }} {{ nobody.x }}"},
        "plain": "one.outputs",
    }
    found = {(reference.place, str(reference.path)) for reference in references(config, {"image_path"}, ["one", "two"])}
    assert found == {
        (("a_path", 0), "one.outputs"),
        (("a_path", 1), "two.outputs"),
        (("image_path",), "one.outputs.images[0].path"),
        (("other", "deep", 0, "b_path"), "two.inputs"),
        (("other", "text"), "one.outputs.text"),
    }

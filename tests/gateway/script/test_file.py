"""A model script file that is wrong says where, and what was meant."""

from pathlib import Path

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.gateway import load_script


def write(folder: Path, text: str) -> Path:
    path = folder / "model.yaml"
    path.write_text(text)
    return path


def test_turns_are_read_in_order_with_their_usage(tmp_path: Path) -> None:
    text = """
- say: Looking.
  shell: |
    echo one
    echo two
  usage: {input: 12, output: 3, cache_read: 4, cache_write: 5}
- tool: {name: Read, input: {file_path: /app/a.txt}}
- say: Done.
"""
    turns = load_script(write(tmp_path, text)).turns
    assert [turn.say for turn in turns] == ["Looking.", None, "Done."]
    assert turns[0].shell == "echo one\necho two\n"
    assert turns[0].tokens().prompt_tokens == 12
    assert turns[0].tokens().cache_write_tokens == 5
    assert turns[1].tool is not None
    assert turns[1].tool.input == {"file_path": "/app/a.txt"}
    assert turns[2].tokens().total_tokens == 0


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("- say: a\n- shel: ls\n", 2, "Did you mean 'shell'?"),
        ("- say: a\n\n- say: b\n  usage:\n    input: 1\n    outptu: 2\n", 6, "Did you mean 'output'?"),
        ("- tool:\n    name: Read\n    inputs: {}\n", 3, "Did you mean 'input'?"),
        (
            "- say: a\n- xyzzy: 1\n",
            2,
            "Known keys: think, say, shell, timeout, tool, tools, usage, error, message, stop, retry_after, delay, "
            "expect.",
        ),
        ("- say: a\n- usage: {input: 1}\n", 2, "at least one of say, shell, tool, tools, think and error"),
        ("- tool: {name: Read}\n  tools: [{name: Read}]\n", 1, "tool or tools, not both"),
        ("- say: a\n- tools:\n  - name: Read\n  - naem: Read\n", 4, "Did you mean 'name'?"),
        ("- error: 200\n", 1, "An error is an HTTP status from 400 to 599, or drop."),
        ("- say: a\n- error: 429\n  say: b\n", 2, "says nothing else"),
        ("- say: a\n  timeout: 3\n", 1, "timeout needs a shell command"),
        ("- shell: a\n  timeout: 601\n", 2, "timeout: must be less than or equal to 600"),
        ("- say: a\n  retry_after: 3\n", 1, "retry_after needs an error with a status"),
        ("- say: a\n- say: b\n  message: Busy.\n", 2, "message needs an error with a status"),
        ("- say: a\n- error: 429\n  stop: length\n", 2, "A turn that fails has no stop."),
        ("- say: a\n  stop: never\n", 2, "stop: must be 'length' or 'refusal'"),
        ("- say: a\n- say: b\n  expect: '('\n", 3, "This is not a regular expression"),
        ("- say: a\n  delay: -1\n", 2, "delay: must be greater than or equal to 0"),
        ("- say: a\n- just text\n", 2, "A turn is a mapping."),
        ("- say: a\n- say: 5\n", 2, "say: must be text"),
        ("- say: a\n  usage:\n    input: -1\n", 3, "usage.input: must be greater than or equal to 0"),
        ("- say: a\n- shell: ls\n  say: b\n  shell: pwd\n", 4, "The key 'shell' is given twice, on lines 2 and 4."),
        ("- say: a\n- say: [b\n", 2, "The YAML is broken"),
        (
            "- say: a\n- say: !!python/name:os.system\n",
            2,
            "`say` has the YAML tag !!python/name:os.system, which is not allowed here.",
        ),
    ],
)
def test_mistake_is_reported_with_file_and_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_script(path)
    assert caught.value.where == f"{path}:{line}"
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "say: a\n", "just text"])
def test_file_without_turns_shows_what_a_script_looks_like(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r'There are no turns in this file.\n.*`- say: "Done."`'):
        load_script(write(tmp_path, text))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing.yaml: The model script can't be read: No such file"):
        load_script(tmp_path / "nothing.yaml")


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\xff\xfe- say: a")
    with pytest.raises(InputError, match="not UTF-8"):
        load_script(path)


def test_half_of_a_surrogate_pair_and_a_nul_stay_as_a_recording_has_them(tmp_path: Path) -> None:
    (turn,) = load_script(write(tmp_path, '- say: "a\\uD800 b\\0"\n')).turns
    assert turn.say == "a\ud800 b\0"

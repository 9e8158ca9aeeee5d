"""The shell agent: the driver script it sends, run for real, and what its reader makes of the output."""

import subprocess
from pathlib import Path

import pytest

from runbook_runner.agents.base import AgentInput
from runbook_runner.agents.built_in.shell import MAX_OUTPUT, Reader, invoke, runnable
from runbook_runner.core.declared import Block
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, Event, ToolCalled, ToolReturned
from runbook_runner.runbook.parts.steps import LANGUAGES


def perform(tmp_path: Path, *blocks: tuple[str, str]) -> tuple[Reader, list[Event], int]:
    """Runs (language, code) blocks as the sandbox would."""
    made = tuple(
        Block(heading=f"Step {n}", language=lang, code=code, line=n) for n, (lang, code) in enumerate(blocks, 1)
    )
    agent_input = AgentInput(mission="", app=str(tmp_path), blocks=made)
    invocation = invoke(agent_input)
    for path, content in invocation.files.items():
        target = tmp_path / path.removeprefix("/app/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    done = subprocess.run(invocation.argv, capture_output=True, cwd=tmp_path)
    reader = Reader(agent_input)
    lines = done.stdout.decode().split("\n")
    return reader, [event for line in lines for event in reader.feed(line)], done.returncode


def returned(events: list[Event]) -> list[ToolReturned]:
    return [event for event in events if isinstance(event, ToolReturned)]


def test_each_block_is_one_tool_call_in_order(tmp_path: Path) -> None:
    reader, events, code = perform(tmp_path, ("bash", "echo one"), ("sh", "echo two"), ("python", "print('three')"))
    assert code == 0
    assert [event.output for event in returned(events)] == ["one", "two", "three"]
    assert [event.input["heading"] for event in events if isinstance(event, ToolCalled)] == [
        "Step 1",
        "Step 2",
        "Step 3",
    ]
    assert isinstance(events[-1], AgentMessage)
    assert reader.finished
    assert reader.result(0).error is None


def test_a_block_that_failed_has_run(tmp_path: Path) -> None:
    reader, _, _ = perform(tmp_path, ("sh", "exit 2"), ("sh", "true"))
    assert reader.result(2).text.startswith("1 of 2 blocks ran. Step 1: the sh block")


@pytest.mark.parametrize("code", ["printf 'no line end'", "printf 'a\\n\\n\\nb\\n'", "echo err >&2; echo out", "true"])
def test_output_is_kept_as_it_is(tmp_path: Path, code: str) -> None:
    plain = subprocess.run(["bash", "-c", f"( {code} ) 2>&1"], capture_output=True, text=True).stdout
    _, events, _ = perform(tmp_path, ("bash", code))
    assert returned(events)[0].output == plain.removesuffix("\n")


@pytest.mark.parametrize("code", ["false; echo on", "false | true; echo on", "exit 3"])
def test_a_failing_command_ends_the_run_there(tmp_path: Path, code: str) -> None:
    reader, events, exit_code = perform(tmp_path, ("bash", code), ("bash", "echo never"))
    assert exit_code != 0
    assert len(returned(events)) == 1
    assert returned(events)[0].is_error
    assert "on" not in returned(events)[0].output
    assert "Step 1" in str(reader.result(exit_code).error)


def test_a_block_cannot_take_the_drivers_input(tmp_path: Path) -> None:
    _, events, code = perform(tmp_path, ("bash", "cat"), ("bash", "echo after"))
    assert code == 0
    assert [event.output for event in returned(events)] == ["", "after"]


def test_what_a_block_leaves_running_serves_the_next(tmp_path: Path) -> None:
    first = "sleep 30 >/dev/null 2>&1 & echo $! > pid"
    _, events, code = perform(tmp_path, ("bash", first), ("bash", "kill $(cat pid) && echo was there"))
    assert code == 0
    assert returned(events)[1].output == "was there"


def test_endless_output_is_cut(tmp_path: Path) -> None:
    _, events, _ = perform(tmp_path, ("bash", f"head -c {MAX_OUTPUT + 5000} /dev/zero | tr '\\0' 'x\n'"))
    assert len(returned(events)[0].output) < MAX_OUTPUT + 100
    assert "not recorded" in returned(events)[0].output


def test_an_end_without_the_last_block_is_an_error() -> None:
    blocks = (Block(heading="Step 1: Build", language="sh", code="x", line=1),)
    reader = Reader(AgentInput(mission="", app="/app", blocks=blocks))
    assert "was ended" in str(reader.result(None).error)


def test_the_check_and_the_agent_run_the_same_languages() -> None:
    blocks = tuple(Block(heading="Step 1", language=language, code="x", line=1) for language in LANGUAGES)
    assert runnable(blocks) == blocks


def test_nothing_to_run_is_bad_input() -> None:
    blocks = (Block(heading="Step 1", language="json", code="{}", line=1),)
    with pytest.raises(InputError, match="nothing to run"):
        invoke(AgentInput(mission="", app="/app", blocks=blocks))

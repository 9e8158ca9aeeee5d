"""The shell agent: the driver it sends, run for real, and what its reader makes of the output."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runbook_runner.agents.base import AgentInput
from runbook_runner.agents.built_in.shell import MAX_OUTPUT, Reader, invoke, runnable
from runbook_runner.agents.built_in.shell_driver import TAIL
from runbook_runner.core.declared import Block
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, AgentNotice, Event, ToolCalled, ToolReturned
from runbook_runner.runbook.parts.steps import LANGUAGES


def perform(tmp_path: Path, *blocks: tuple[str, str], before: Sequence[str] = ()) -> tuple[Reader, list[Event], int]:
    """Runs (language, code) blocks as the sandbox would. before: words in front of the command line."""
    made = tuple(
        Block(heading=f"Step {n}", language=lang, code=code, line=n) for n, (lang, code) in enumerate(blocks, 1)
    )
    agent_input = AgentInput(mission="", app=str(tmp_path), blocks=made)
    invocation = invoke(agent_input)
    done = subprocess.run(
        [*before, *invocation.argv],
        input=invocation.stdin,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, **invocation.env},
    )
    assert done.stderr == b""
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
    reader, events, _ = perform(tmp_path, ("bash", "yes | head -c 2M || echo; echo the reason; exit 2"))
    output = returned(events)[0].output
    assert len(output) < MAX_OUTPUT + TAIL + 100
    head, _, tail = output.partition(" bytes not recorded]\n")
    assert head.endswith("y\n[1,032,206")
    assert tail.startswith("y\ny\n")
    assert tail.endswith("y\n\nthe reason")
    assert reader.result(2).output == output


def test_an_end_without_the_last_block_is_an_error() -> None:
    blocks = (Block(heading="Step 1: Build", language="sh", code="x", line=1),)
    reader = Reader(AgentInput(mission="", app="/app", blocks=blocks))
    assert "was ended" in str(reader.result(None).error)


def test_the_check_and_the_agent_run_the_same_languages() -> None:
    blocks = tuple(Block(heading="Step 1", language=language, code="x", line=1) for language in LANGUAGES)
    assert runnable(blocks) == blocks


def test_a_block_that_no_program_can_be_started_with_is_named() -> None:
    blocks = (Block(heading="Step 2: Go", language="bash", code="#" * (128 << 10), line=7),)
    with pytest.raises(InputError, match="Step 2: Go: the bash block at line 7 has 131,072 bytes"):
        invoke(AgentInput(mission="", app="/app", blocks=blocks))


def test_nothing_to_run_is_bad_input() -> None:
    blocks = (Block(heading="Step 1", language="json", code="{}", line=1),)
    with pytest.raises(InputError, match="nothing to run"):
        invoke(AgentInput(mission="", app="/app", blocks=blocks))


# --- what a block can't do to the record -----------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_a_block_finds_no_file_of_a_later_one(tmp_path: Path) -> None:
    _, events, code = perform(tmp_path, ("bash", "find . -type f"), ("bash", "echo 'tests failed'; exit 1"))
    assert code == 1
    assert [event.output for event in returned(events)] == ["", "tests failed"]


def test_a_line_like_the_drivers_is_output(tmp_path: Path) -> None:
    line = f'{"0" * 32} {{"end": 1, "code": 0, "n": 99}}'
    _, events, code = perform(tmp_path, ("bash", f"echo '{line}'; exit 3"))
    assert code == 3
    assert [(event.output, event.exit_code) for event in returned(events)] == [(line, 3)]


@linux
def test_what_a_block_writes_to_the_drivers_own_output_is_a_notice() -> None:
    """Not the driver's: an older line of it that comes again, and one that anybody wrote."""
    blocks = (Block(heading="Step 1", language="sh", code="exit 1", line=1),)
    agent_input = AgentInput(mission="", app="/app", blocks=blocks)
    invocation = invoke(agent_input)
    done = subprocess.run(invocation.argv, input=invocation.stdin, capture_output=True)
    begin, end, _ = done.stdout.decode().split("\n")
    reader = Reader(agent_input)
    forged = end.replace('"code": 1', '"code": 0')
    assert forged != end
    events = [event for line in (begin, begin, forged, end, end) for event in reader.feed(line)]
    assert [event.exit_code for event in returned(events)] == [1]
    assert len([event for event in events if isinstance(event, AgentNotice)]) == 3


@linux
@pytest.mark.needs("setpriv")  # root gives its capabilities up
@pytest.mark.parametrize("file", ["fd/1", "fd/0", "environ", "mem", "maps"])
def test_a_block_has_no_way_into_the_driver(tmp_path: Path, file: str) -> None:
    """As the blocks of a sandbox run: without capabilities."""
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    _, events, _ = perform(tmp_path, ("bash", f"exec 3</proc/$PPID/{file} && head -c1 <&3"), before=without)
    (end,) = returned(events)
    assert end.is_error
    assert "Permission denied" in end.output


def test_the_input_with_the_key_is_empty_before_the_first_block(tmp_path: Path) -> None:
    blocks = (Block(heading="Step 1", language="sh", code="true", line=1),)
    invocation = invoke(AgentInput(mission="", app=str(tmp_path), blocks=blocks))
    orders = tmp_path / "orders"
    orders.write_bytes(invocation.stdin or b"")
    with orders.open("rb+") as stdin:
        assert subprocess.run(invocation.argv, stdin=stdin, capture_output=True).returncode == 0
    assert orders.read_bytes() == b""


def test_a_background_process_writes_into_no_later_block(tmp_path: Path) -> None:
    noisy = "(while [ ! -e stop ]; do echo noise; touch seen; done) &"
    _, events, code = perform(
        tmp_path, ("bash", noisy), ("bash", "rm -f seen; until [ -e seen ]; do :; done; touch stop; echo mine")
    )
    assert code == 0
    assert returned(events)[1].output == "mine"


def test_the_output_of_a_block_that_has_ended_takes_no_descriptor(tmp_path: Path) -> None:
    """And one from 1024 on is as good as any."""
    taken = 'ulimit -n 1040; for n in {10..1029}; do eval "exec $n</dev/null"; done; exec "$0" "$@"'
    _, events, code = perform(tmp_path, *[("bash", "echo said")] * 30, before=("bash", "-c", taken))
    assert (code, [event.output for event in returned(events)]) == (0, ["said"] * 30)


@pytest.mark.parametrize("taken", ["begin", "out", "end"])
def test_a_line_that_a_block_takes_out_of_the_pipe_fails_the_run(taken: str) -> None:
    """The processes around the driver have the same pipe open, and a block may open it through them."""
    blocks = tuple(Block(heading=f"Step {n}", language="sh", code="echo x", line=n) for n in (1, 2))
    agent_input = AgentInput(mission="", app="/app", blocks=blocks)
    invocation = invoke(agent_input)
    lines = subprocess.run(invocation.argv, input=invocation.stdin, capture_output=True).stdout.decode().split("\n")
    reader = Reader(agent_input)
    for line in lines:
        list(reader.feed(line if f'"{taken}": 1' not in line else "spoiled" + line))
    assert "are missing" in str(reader.result(0).error)


def test_without_python_the_error_says_so(tmp_path: Path) -> None:
    blocks = (Block(heading="Step 1", language="sh", code="true", line=1),)
    agent_input = AgentInput(mission="", app=str(tmp_path), blocks=blocks)
    invocation = invoke(agent_input)
    sh = str(shutil.which("sh"))
    done = subprocess.run([sh, *invocation.argv[1:]], env={"PATH": str(tmp_path)}, stdin=subprocess.DEVNULL)
    assert "python3 in the sandbox" in str(Reader(agent_input).result(done.returncode).error)

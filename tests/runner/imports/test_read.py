"""What can be imported is recognised by its content; what is broken leaves nothing."""

import io
import json
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.agents.sessions.claude_code import FORM as CLAUDE_FORM
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import AgentMessage, ModelCalled, RunStarted, ToolCalled, ToolReturned
from runbook_runner.runner.imports.read import import_file
from runbook_runner.trajectory.store import read_events

STREAM = Path(__file__).parents[2] / "agents" / "claude-code-2.1.330.jsonl"
TIME = "2026-07-01T09:00:0{}.000Z"


def jsonl(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def claude(number, kind, content, **more):
    message = {"role": kind, "content": content}
    if kind == "assistant":
        usage = {"input_tokens": 3, "output_tokens": number, "cache_read_input_tokens": 5}
        message |= {"id": "msg", "model": "claude-x", "usage": usage}
    known = {"sessionId": "1f6a5c2e-0000-4000-8000-000000000000", "version": "2.1.0", "timestamp": TIME.format(number)}
    return {"type": kind, "message": message, **known, **more}


CLAUDE = jsonl(
    {"type": "file-history-snapshot", "messageId": "x", "sessionId": "1f6a5c2e-0000-4000-8000-000000000000"},
    claude(0, "user", "Look around."),
    claude(1, "assistant", [{"type": "text", "text": "I look."}]),
    claude(2, "assistant", [{"type": "tool_use", "id": "t1", "name": "Task", "input": {"prompt": "x"}}]),
    claude(3, "user", "x", isSidechain=True),
    claude(4, "user", [{"type": "tool_result", "tool_use_id": "t1", "content": "seen", "is_error": True}]),
)


def codex(number, kind, **payload):
    return {"timestamp": TIME.format(number), "type": kind, "payload": payload}


CODEX = jsonl(
    codex(0, "session_meta", id="0199-abc", cli_version="0.169.0", cwd="/x"),
    codex(0, "turn_context", model="gpt-x"),
    codex(1, "response_item", type="message", role="user", content=[{"type": "input_text", "text": "<environment>"}]),
    codex(1, "response_item", type="message", role="user", content=[{"type": "input_text", "text": "Look around."}]),
    codex(2, "response_item", type="function_call", name="shell", call_id="c1", arguments='{"command": "ls"}'),
    codex(3, "response_item", type="function_call_output", call_id="c1", output="a b"),
    codex(
        3,
        "event_msg",
        type="token_count",
        info={"last_token_usage": {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2}},
    ),
    codex(4, "response_item", type="message", role="assistant", content=[{"type": "output_text", "text": "Two."}]),
)
ATIF = json.dumps(
    {
        "schema_version": "ATIF-v1.6",
        "session_id": "s-1",
        "agent": {"name": "terminus", "version": "2.0", "model_name": "m"},
        "steps": [
            {"step_id": 1, "source": "user", "message": [{"type": "text", "text": "Do it."}]},
            {
                "step_id": 2,
                "source": "agent",
                "timestamp": TIME.format(1),
                "message": "I do.",
                "reasoning_content": "Hm.",
                "tool_calls": [{"tool_call_id": "1", "function_name": "ls", "arguments": {}}],
                "observation": {"results": [{"source_call_id": "1", "content": "a"}]},
                "metrics": {"prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 2, "cost_usd": 0.1},
            },
        ],
    }
).encode()


def record(tmp_path, content, name="run.jsonl", **options):
    file = tmp_path / name
    file.write_bytes(content)
    return import_file(tmp_path / "home", file, data=tmp_path / "data", **options)


def events(made):
    return [recorded.event for recorded in read_events(made.folder)]


def of_kind(made, kind):
    return [event for event in events(made) if isinstance(event, kind)]


def test_many_subagents_without_an_answer_take_little_time(tmp_path):
    tasks = ({"type": "tool_use", "id": f"t{number}", "name": "Task", "input": {}} for number in range(20_000))
    others = ({"type": "tool_result", "tool_use_id": f"o{number}", "content": "x"} for number in range(20_000))
    reader = CLAUDE_FORM.reader()
    begun = time.process_time()
    list(reader(claude(1, "assistant", list(tasks))))
    list(reader(claude(2, "user", list(others))))
    *_, last = reader(claude(3, "user", "y", isSidechain=True))
    assert last.parent_call_id == "t19999", "the latest"
    assert time.process_time() - begun < 3


def test_a_session_of_claude_code(tmp_path):
    made = record(tmp_path, CLAUDE)
    (start,) = of_kind(made, RunStarted)
    assert start.init_params == {"agent": "claude-code", "model": "claude-x", "instruction": "Look around."}
    assert (made.trajectory_id, made.task) == ("1f6a5c2e-0000-4000-8000-000000000000", "session-of-claude-code")
    assert [(m.text, m.parent_call_id) for m in of_kind(made, AgentMessage)] == [("I look.", None), ("x", "t1")]
    (call,), (answer,) = of_kind(made, ModelCalled), of_kind(made, ToolReturned)
    assert (call.usage.completion_tokens, call.usage.cache_read_tokens) == (2, 5), "its last count, once"
    assert (answer.output, answer.is_error) == ("seen", True)
    assert next(recorded.ts for recorded in read_events(made.folder)) == "2026-07-01T09:00:00.000000Z"
    assert (made.folder / "imported" / "run.jsonl").read_bytes() == CLAUDE


def test_a_session_of_codex(tmp_path):
    made = record(tmp_path, CODEX)
    (start,), (call,), (answer,) = (of_kind(made, kind) for kind in (RunStarted, ToolCalled, ToolReturned))
    assert (start.init_params["instruction"], start.init_params["model"]) == ("Look around.", "gpt-x")
    assert (call.name, call.input, answer.output) == ("shell", {"command": "ls"}, "a b")
    assert [message.text for message in of_kind(made, AgentMessage)] == ["<environment>", "Two."]
    (asked,) = of_kind(made, ModelCalled)
    assert (asked.usage.prompt_tokens, asked.usage.cache_read_tokens, asked.usage.completion_tokens) == (6, 4, 2)


def test_what_the_cli_has_printed_is_a_session_too(tmp_path):
    made = record(tmp_path, STREAM.read_bytes())
    assert len(of_kind(made, ToolCalled)) == 3
    assert of_kind(made, AgentMessage)[-1].text.startswith("Done.")


def test_atif_of_another_program(tmp_path):
    made = record(tmp_path, ATIF, "run.json")
    assert (made.form, made.trajectory_id, made.collection, made.task) == ("ATIF-v1.6", "s-1", "imported", "atif-v1-6")
    body = json.loads((made.folder / "trajectory.json").read_text())
    assert body["init_params"]["instruction"] == "Do it."
    usage = body["steps"]["run"]["outputs"]["usage"]
    assert (usage["prompt_tokens"], usage["cache_read_tokens"], usage["cost_usd"]) == (6, 4, 0.1)
    assert body["created"] == "2026-07-01T09:00:01.000000Z"


def test_a_last_line_that_is_torn_is_left_out_and_said(tmp_path):
    made = record(tmp_path, CODEX + b'{"timestamp": "2026')
    assert made.notes == ("The last line, 9, is torn and was left out.",)


def zipped(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


STARTED = '{"seq":1,"ts":"2026-07-01T09:00:00Z","type":"run.started","trajectory_id":"x"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a run"),
        (b"# A text\n", "not a run"),
        (b"\0\0\0", "run.jsonl:1: There is a NUL byte"),
        (b'{\n\n"a": ', "run.jsonl:3: The JSON is broken"),
        (b"{}", "This JSON is not a run"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"schema_version": "ATIF-v2.0", "steps": []}', "The format 'ATIF-v2.0' is not known"),
        (b'{"schema_version": "ATIF-v1.7", "steps": []}', "no steps"),
        (CLAUDE + b"\0\0\n" + CLAUDE, "run.jsonl:7: The line is not JSON"),
        (CODEX + b"[]\n", "run.jsonl:9: The line is not a JSON object"),
        (CODEX + b'{"a":' + b"[" * 10_000 + b"\n", "run.jsonl:9: The line is not JSON"),
        (zipped(("a.txt", "x")), "not that of a run"),
        (zipped(("../events.jsonl", "x")), "leads out of the folder"),
        (zipped(("x/events.jsonl", "{}\n")), "does not begin with a run"),
        (zipped(("x/events.jsonl", STARTED)), "does not begin with a run"),
        (zipped(("a", "x"), ("events.jsonl", ""))[:-30], "is incomplete"),
        (zipped(("events.jsonl", b"0" * (80 << 20))), "can't be read|is too long|does not begin"),
    ],
)
def test_what_is_broken_says_where_and_leaves_nothing(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        record(tmp_path, content)
    home = tmp_path / "home"
    assert [path for path in home.rglob("*") if path.is_file() and path.name != ".gitignore"] == []
    assert list(home.rglob("*.part")) == []


def test_a_zip_of_a_run_that_needs_too_many_folders_is_refused(tmp_path):
    deep = [(f"results/{n}{'/d' * 198}/x", "") for n in range(510)]
    with pytest.raises(InputError, match=r"This run has 102,002 files and folders; a zip of a run can have 100,000\."):
        record(tmp_path, zipped(("events.jsonl", STARTED), *deep))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5) | st.just("t1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def wild(value):
    """The same JSON, any part of which may be anything."""
    if isinstance(value, dict):
        return json_values | st.fixed_dictionaries({}, optional={key: wild(item) for key, item in value.items()})
    if isinstance(value, list):
        return json_values | st.lists(st.one_of(*map(wild, value)) if value else json_values, max_size=3)
    return st.just(value) | json_values


def lines_of(content):
    return st.lists(st.one_of(*(wild(json.loads(line)) for line in content.splitlines())), min_size=1, max_size=5)


@pytest.mark.parametrize("content", [CLAUDE, CODEX], ids=["claude", "codex"])
def test_no_session_is_more_than_bad_input(tmp_path_factory, content):
    @given(lines=lines_of(content))
    def wildly(lines):
        with suppress(InputError):
            record(tmp_path_factory.mktemp("home"), content.splitlines()[0] + b"\n" + jsonl(*lines))

    wildly()


@given(body=wild(json.loads(ATIF)))
def test_no_atif_is_more_than_bad_input(tmp_path_factory, body):
    head = {"schema_version": "ATIF-v1.7", "steps": [{"source": "user", "message": "x"}]}
    body = {**head, **body} if isinstance(body, dict) else head
    with suppress(InputError):
        record(tmp_path_factory.mktemp("home"), json.dumps(body).encode())


@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_no_bytes_are_more_than_bad_input(tmp_path_factory, data, cut):
    whole = zipped(("x/events.jsonl", STARTED), ("x/results/a", "b"))
    with suppress(InputError):
        record(tmp_path_factory.mktemp("home"), whole[:cut] + data + whole[cut + len(data) :])

"""A run as OpenTelemetry spans: nested as it was, without what was said unless that is asked for."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    Evaluated,
    ModelCalled,
    Recorded,
    RunFinished,
    RunStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)
from runbook_runner.trajectory.export.otel import write_otlp
from runbook_runner.trajectory.export.send import send_otlp

pytest.importorskip("opentelemetry.sdk")
USAGE = Usage(prompt_tokens=10, completion_tokens=2, cache_read_tokens=5, cost_usd=0.5, api_calls=1)
STARTED = RunStarted(
    trajectory_id="bb2bb71e",
    collection="acme",
    task="t",
    author="a",
    spec_digest="",
    init_params={"instruction": "SECRET WORDS"},
    step_config={},
    engine="e",
)
EVENTS = (
    STARTED,
    AgentStarted(agent="claude-code", version="2", model="m", provider="p"),
    ModelCalled(number=1, dialect="d", model="m", source="provider", status=200, seconds=0.5, usage=USAGE),
    ToolCalled(call_id="1", name="Task", input={"prompt": "SECRET WORDS"}),
    ToolCalled(call_id="2", name="Bash", input={"command": "SECRET WORDS"}, parent_call_id="1"),
    ToolReturned(call_id="2", output="SECRET WORDS", exit_code=1, parent_call_id="1"),
    ToolReturned(call_id="1", output="SECRET WORDS"),
    AgentMessage(text="SECRET WORDS"),
    AgentFinished(exit_code=0, ended_by="exit", text="SECRET WORDS"),
    Evaluated(verdict="fail", success=False),
    RunFinished(status="completed", seconds=8),
)


def log(events=EVENTS):
    for number, event in enumerate(events, 1):
        yield Recorded(seq=number, ts=f"2026-07-01T09:{number // 60 % 60:02}:{number % 60:02}.000000Z", event=event)


def written(events=EVENTS, **options):
    out = io.BytesIO()
    write_otlp(log(events), out, **options)
    return out.getvalue()


def spans_of(*requests):
    found = {}
    for request in requests:
        for resource in json.loads(request)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                found |= {span["name"]: span for span in scope["spans"]}
    return found


def attributes(span):
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_spans_are_nested_as_the_run_was():
    spans = spans_of(*written().splitlines())
    parents = {
        name: next((other for other, one in spans.items() if one["spanId"] == span.get("parentSpanId")), None)
        for name, span in spans.items()
    }
    assert parents == {
        "invoke_workflow acme/t": None,
        "invoke_agent claude-code": "invoke_workflow acme/t",
        "chat m": "invoke_agent claude-code",
        "execute_tool Task": "invoke_agent claude-code",
        "execute_tool Bash": "execute_tool Task",
    }
    assert len({span["traceId"] for span in spans.values()}) == 1
    chat = spans["chat m"]
    assert int(chat["endTimeUnixNano"]) - int(chat["startTimeUnixNano"]) == 500_000_000
    facts = attributes(chat)
    assert (facts["gen_ai.operation.name"], facts["gen_ai.provider.name"]) == ("chat", "p")
    assert (int(facts["gen_ai.usage.input_tokens"]), int(facts["gen_ai.usage.output_tokens"])) == (15, 2)
    assert attributes(spans["execute_tool Bash"])["error.type"] == "tool_error"
    assert attributes(spans["invoke_workflow acme/t"])["runbook.verdict"] == "fail"


def test_what_was_said_is_left_out_unless_it_is_asked_for():
    assert b"SECRET" not in written()
    assert written(content=True).count(b"SECRET WORDS") >= 5


def test_the_same_run_is_the_same_trace():
    assert written() == written()


def test_a_run_that_was_killed_has_all_its_spans():
    spans = spans_of(*written(EVENTS[:5]).splitlines())
    assert len(spans) == 5
    assert attributes(spans["execute_tool Bash"])["error.type"] == "no_answer"


def test_a_long_run_comes_in_pieces():
    calls = [
        event
        for n in range(2000)
        for event in (ToolCalled(call_id=str(n), name=f"t{n}"), ToolReturned(call_id=str(n), output=""))
    ]
    lines = written([*EVENTS[:2], *calls]).splitlines()
    assert len(lines) == 5
    assert len(spans_of(*lines)) == 2002


@pytest.fixture
def collector():
    """A collector that keeps what it gets, and answers what `status` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append((self.path, self.headers["Content-Type"], body))
            self.send_response(server.status)
            self.send_header("Location", "/other")
            self.send_header("Content-Length", str(len(server.said)))
            self.end_headers()
            self.wfile.write(server.said)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.status, server.said = [], 200, b"{}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(30)
    server.server_close()


def test_a_collector_gets_the_spans_as_json(collector):
    sent = send_otlp(log(), f"http://127.0.0.1:{collector.server_port}/v1/traces")
    ((path, kind, body),) = collector.got
    assert (sent, path, kind) == (5, "/v1/traces", "application/json")
    assert "invoke_workflow acme/t" in spans_of(body)


def test_a_collector_that_refuses_is_told_of(collector, capfd):
    collector.status = 401
    with pytest.raises(NotReadyError, match="did not take the spans") as caught:
        send_otlp(log(), f"http://127.0.0.1:{collector.server_port}/v1/traces")
    assert "401" in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("status", "said", "why"), [
    (301, b"", "It answered 301"),
    (302, b"{}", "It answered 302"),
    (307, b"", "It answered 307"),
    (200, b"<!doctype html><title>Sign in</title>", "not a JSON object"),
    (200, b"[]", "not a JSON object"),
    (200, b'{"partialSuccess": {"rejectedSpans": 5, "errorMessage": "too old"}}', "It rejected 5 spans: too old"),
    (200, b'{"partialSuccess": {"rejectedSpans": "1"}}', "It rejected 1 spans: it does not say why"),
])  # fmt: skip
def test_only_an_answer_that_says_so_means_that_spans_were_taken(collector, status, said, why):
    collector.status, collector.said = status, said
    with pytest.raises(NotReadyError, match="did not take the spans") as caught:
        send_otlp(log(), f"http://127.0.0.1:{collector.server_port}/v1/traces")
    assert why in str(caught.value)
    assert len(collector.got) == 1


@pytest.mark.parametrize("said", [b"", b"{}", b'{"partialSuccess": {}}', b'{"partialSuccess": {"rejectedSpans": "0"}}'])
def test_a_collector_may_say_little_of_what_it_took(collector, said):
    collector.said = said
    assert send_otlp(log(), f"http://127.0.0.1:{collector.server_port}/v1/traces") == 5

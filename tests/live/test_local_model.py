"""`--agent claude-code --model ollama/qwen3`: the real Claude Code, a local model server, litellm between."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytestmark = [pytest.mark.needs("docker", "litellm")]

RUNBOOK = """\
---
agent: claude-code
---
# Local model — Agent Runbook

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Objective

Write a word to the file.
"""


COMMAND = "echo local > /app/results/out.txt"
ERRAND = "Write the word for me."


class Ollama(BaseHTTPRequestHandler):
    """Asks for one command, then says that it is done. A server with `sends` has a subagent do it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/api/show":
            return self._send("application/json", {"capabilities": ["tools"], "model_info": {}, "details": {}})
        self.server.models.append(body["model"])  # type: ignore[attr-defined]
        message: dict[str, Any] = {"role": "assistant", "content": "Done."}
        if body.get("tools") and not any(said["role"] == "tool" for said in body["messages"]):
            call: dict[str, Any] = {"name": "Bash", "arguments": {"command": COMMAND}}
            if self.server.sends and not any(ERRAND in said["content"] for said in body["messages"]):  # type: ignore[attr-defined]
                errand = {"description": "An errand", "prompt": ERRAND, **self.server.sends}  # type: ignore[attr-defined]
                call = {"name": "Agent", "arguments": errand}
            message = {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}
        counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 900, "eval_count": 7}
        whole = {"model": body["model"], "created_at": "2026-01-01T00:00:00Z", "message": message, **counts}
        return self._send("application/x-ndjson", whole)

    def _send(self, kind: str, body: Any) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ollama() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    server.models, server.sends = [], {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_claude_code_works_with_a_local_model(runbook: Any, ollama: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    env = {"OLLAMA_API_BASE": f"http://127.0.0.1:{ollama.server_port}"}
    ran = runbook("run", "RUNBOOK.md", "--model", "ollama/qwen3", "--sandbox", "docker", "--json", env=env)
    assert ran.code == 0, ran.err + ran.out
    assert (ran.folder / "results" / "out.txt").read_text() == "local\n"
    assert ran.trajectory["init_params"]["model_provider"] == "ollama"
    assert ran.json["usage"]["prompt_tokens"] >= 1800
    assert ran.json["usage"]["cost_usd"] is None, "nobody knows what it costs, whatever the CLI believes"
    told = [event["message"] for event in ran.events("log") if event["source"] == "gateway"]
    assert "the translation to ollama_chat/qwen3 leaves out cache control" in told


@pytest.mark.parametrize(
    "sends", [{"subagent_type": "Explore"}, {"subagent_type": "general-purpose", "model": "haiku"}]
)
def test_subagents_of_claude_code_ask_the_local_model_too(runbook: Any, ollama: Any, sends: dict[str, str]) -> None:
    ollama.sends = sends
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    env = {"OLLAMA_API_BASE": f"http://127.0.0.1:{ollama.server_port}"}
    ran = runbook("run", "RUNBOOK.md", "--model", "ollama/qwen3", "--sandbox", "docker", "--json", env=env)
    assert ran.code == 0, ran.err + ran.out
    assert [call["name"] for call in ran.events("tool.called")] == ["Agent", "Bash"]
    assert (ran.folder / "results" / "out.txt").read_text() == "local\n"
    assert set(ollama.models) == {"qwen3"}

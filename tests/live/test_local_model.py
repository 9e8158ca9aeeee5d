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


class Ollama(BaseHTTPRequestHandler):
    """Asks for one command, then says that it is done."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/api/show":
            return self._send("application/json", {"capabilities": ["tools"], "model_info": {}, "details": {}})
        message: dict[str, Any] = {"role": "assistant", "content": "Done."}
        if body.get("tools") and not any(said["role"] == "tool" for said in body["messages"]):
            call = {"name": "Bash", "arguments": {"command": "echo local > /app/results/out.txt"}}
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
def ollama() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_claude_code_works_with_a_local_model(runbook: Any, ollama: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    env = {"OLLAMA_API_BASE": ollama}
    ran = runbook("run", "RUNBOOK.md", "--model", "ollama/qwen3", "--sandbox", "docker", "--json", env=env)
    assert ran.code == 0, ran.err + ran.out
    assert (ran.folder / "results" / "out.txt").read_text() == "local\n"
    assert ran.trajectory["init_params"]["model_provider"] == "ollama"
    assert ran.json["usage"]["prompt_tokens"] >= 1800
    assert ran.json["usage"]["cost_usd"] is None, "nobody knows what it costs, whatever the CLI believes"
    told = [event["message"] for event in ran.events("log") if event["source"] == "gateway"]
    assert "the translation to ollama_chat/qwen3 leaves out cache control" in told

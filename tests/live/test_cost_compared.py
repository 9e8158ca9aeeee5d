"""What a run cost: by our prices and as the CLI itself says; where the two differ, both are shown."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runbook_runner.core.events import Usage
from runbook_runner.gateway.dialects.anthropic import AnthropicMessages
from runbook_runner.gateway.dialects.base import ParsedRequest, Reply

pytestmark = [pytest.mark.needs("docker")]

RUNBOOK = '---\nversion: "1.0.0"\nagent: claude-code\n---\n# T\n\n## Objective\n\nSay that you are done.\n'
USAGE = Usage(prompt_tokens=200_000, completion_tokens=10_000, api_calls=1)
BY_CLAUDE = 200_000 * 3e-6 + 10_000 * 15e-6


class Provider(BaseHTTPRequestHandler):
    """Is done, whatever it is asked, and took many tokens for it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        reply = Reply("done", None, "Done.", (), USAGE)
        data = b"".join(AnthropicMessages().render(reply, ParsedRequest("claude-sonnet-4-6", True, (), {})))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[dict[str, str]]:
    """The environment that leads to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.server_port}", "ANTHROPIC_API_KEY": "sk-canary-1234567890"}
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("dearer", [1, 2])
def test_a_cost_that_the_cli_sees_otherwise_is_a_warning_with_both(
    runbook: Any, provider: dict[str, str], dearer: int
) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    (runbook.cwd / "prices.yaml").write_text(f"claude-sonnet-4-6: {{input: {3 * dearer}, output: {15 * dearer}}}\n")
    environ = {**provider, "RUNBOOK_PRICES": str(runbook.cwd / "prices.yaml")}
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--json", env=environ)
    assert ran.code == 0, ran.err
    assert ran.json["usage"]["cost_usd"] == pytest.approx(BY_CLAUDE * dearer)
    warned = [event["message"] for event in ran.events("log") if event["message"].startswith("cost:")]
    differ = [f"cost: ${BY_CLAUDE * 2:.4f} by the price table, ${BY_CLAUDE:.4f} as claude-code reports."]
    assert warned == (differ if dearer == 2 else [])

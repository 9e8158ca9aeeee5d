"""What the provider does wrong, seen through the real Claude Code: the run fails with the provider's own reason."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytestmark = [pytest.mark.needs("docker")]

KEY = "sk-canary-provider-key-1234567890"


class Provider(BaseHTTPRequestHandler):
    """Answers every request with the status of the server, or drops the connection for status 0."""

    def do_POST(self) -> None:
        self.server.keys.append(self.headers.get("x-api-key"))  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["content-length"]))
        status = self.server.status  # type: ignore[attr-defined]
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = b'{"type":"error","error":{"type":"test_error","message":"the provider says no"}}'
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status == 429:
            self.send_header("retry-after", self.server.retry_after)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Callable[..., ThreadingHTTPServer]]:
    servers = []

    def start(status: int, retry_after: str = "0") -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        server.status, server.keys, server.retry_after = status, [], retry_after  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "kind"), [
    (401, "authentication"),
    (429, "rate_limit"),
    (500, "provider_error"),
    (0, "provider_error"),
])  # fmt: skip
def test_a_provider_that_refuses_fails_the_run_with_its_reason(
    runbook: Any, provider: Callable[[int], ThreadingHTTPServer], status: int, kind: str
) -> None:
    server = provider(status)
    (runbook.cwd / "RUNBOOK.md").write_text("---\nagent: claude-code\n---\n# T\n\n## Objective\n\nWork.\n")
    env = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.server_port}", "ANTHROPIC_API_KEY": KEY}
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--json", env=env)
    assert (ran.code, ran.json["status"]) == (4, "failed")
    end = ran.events("agent.finished")[0]
    assert end["error_kind"] == kind
    if status:
        assert "the provider says no" in ran.json["error"]
    assert set(server.keys) == {KEY}, "the gateway puts the real key in"  # type: ignore[attr-defined]
    assert {call["status"] for call in ran.events("model.called")} == {status or 502}
    assert not [path for path in ran.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


AGENTS = {
    "claude-code": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    "codex": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "gemini-cli": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY"),
    "hermes": ("OPENROUTER_BASE_URL", "OPENROUTER_API_KEY"),
    "opencode": ("OPENROUTER_BASE_URL", "OPENROUTER_API_KEY"),
}


@pytest.mark.xdist_group("agents")
@pytest.mark.parametrize(
    ("agent", "wrong"), [*((agent, "limited") for agent in AGENTS), ("codex", "unreachable"), ("hermes", "unreachable")]
)
def test_no_cli_goes_on_asking_where_nothing_can_help(
    runbook: Any, provider: Callable[..., ThreadingHTTPServer], agent: str, wrong: str
) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(f"---\nagent: {agent}\n---\n# T\n\n## Objective\n\nWork.\n")
    port = provider(429, "287441").server_port if wrong == "limited" else 9
    base, key = AGENTS[agent]
    env = {base: f"http://127.0.0.1:{port}", key: KEY}
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--json", env=env)
    assert (ran.code, ran.json["status"]) == (4, "failed")
    said, kind = {
        "limited": (r"limits this key until [\d-]{10} [\d:]{5} .*: the provider says no", "usage_limit"),
        "unreachable": (r"no answer from \w+ at 127.0.0.1: Connection refused", "network"),
    }[wrong]
    assert re.search(said, ran.trajectory["error"])
    (end,) = ran.events("agent.finished")
    assert end["error_kind"] == kind
    assert len(ran.events("agent.retried")) <= (wrong == "unreachable"), "another start may find it up"


def test_a_run_that_waits_in_vain_until_its_deadline_says_for_what(
    runbook: Any, provider: Callable[..., ThreadingHTTPServer]
) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text("---\nagent: claude-code\n---\n# T\n\n## Objective\n\nWork.\n")
    base, key = AGENTS["claude-code"]
    env = {base: f"http://127.0.0.1:{provider(529).server_port}", key: KEY}
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--timeout", "5", "--json", env=env)
    assert ran.code == 4
    told = "Agent exceeded timeout_sec (5). Its last model call had failed: the provider says no"
    assert ran.trajectory["error"] == told
    assert [event for event in ran.events("agent.message") if "inference gateway" in event["text"]] == []


def test_a_script_that_ends_too_early_says_so(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text("---\nagent: claude-code\n---\n# T\n\n## Objective\n\nWork.\n")
    (runbook.cwd / "model.yaml").write_text("- shell: echo one\n")
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "docker", "--json", "--model-script", "model.yaml")
    assert (ran.code, ran.json["status"]) == (4, "failed")
    assert "model.yaml" in ran.json["error"]
    assert len(ran.events("tool.called")) == 1

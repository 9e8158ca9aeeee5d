"""A run of a rubric runbook, and a provider that answers as a test says, in each API that a judge is asked in."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

RUBRIC = """\
---
version: "{version}"
evaluation: rubric
agent: shell
{secrets}
---
# Story — Agent Runbook

## Objective

Write a story.

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/story.md` | The story |

## Step 1: Write

```bash
{code}
```

## Step 2: Evaluate

The average must be at least 4.0, and no criterion below 3.

| # | Criterion | 5 (Excellent) | 3 (Acceptable) | 1 (Poor) |
|---|---|---|---|---|
{rows}
"""
ROWS = "| 1 | Clarity | clear | so-so | muddy |\n| 2 | Wit | funny | so-so | dull |"


@pytest.fixture
def rubric(runbook: Any) -> Callable[..., Path]:
    """Writes a runbook for the shell agent, with two criteria."""

    def write(
        code: str = "echo '# Once' > /app/results/story.md",
        version: str = "1.0.0",
        secrets: str = "",
        rows: str = ROWS,
    ) -> Path:
        path = runbook.cwd / "RUNBOOK.md"
        path.write_text(RUBRIC.format(code=code, version=version, secrets=secrets, rows=rows))
        return Path(path)

    return write


@pytest.fixture
def judged(runbook: Any, rubric: Callable[..., Path]) -> Callable[..., Any]:
    """Runs it with a judge that answers with these turns of a script."""

    def run(*turns: Any, options: tuple[str, ...] = (), **document: str) -> Any:
        (runbook.cwd / "judge.yaml").write_text(json.dumps([t if isinstance(t, dict) else {"say": t} for t in turns]))
        path = rubric(**document)
        return runbook("run", path, "--sandbox", "host", "--json", "--judge-script", "judge.yaml", *options)

    return run


class Provider:
    """Speaks three APIs. Answers with what is next in `answers`: a text, or a status and headers."""

    def __init__(self) -> None:
        fake = self
        self.requests: list[dict[str, Any]] = []
        self.answers: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fake.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                answer = fake.answers.pop(0) if fake.answers else (500, {})
                status, headers = (200, {}) if isinstance(answer, str) else answer
                said = written(self.path, answer) if isinstance(answer, str) else {"error": {"message": "no"}}
                data = json.dumps(said).encode()
                self.send_response(status)
                fixed = {"content-type": "application/json", "content-length": str(len(data))}
                for name, value in {**fixed, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


def written(path: str, text: str) -> dict[str, Any]:
    if "messages" in path:
        call = {"type": "tool_use", "id": "t", "name": "answer", "input": json.loads(text)}
        usage = {"input_tokens": 1000, "output_tokens": 100}
        return {"type": "message", "role": "assistant", "content": [call], "stop_reason": "tool_use", "usage": usage}
    if "generateContent" in path:
        parts = [{"text": "I think", "thought": True}, {"text": text}]
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 100}
        return {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def provider() -> Iterator[Provider]:
    fake = Provider()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()

"""A model whose provider does not speak the agent's API, reached through litellm: a local Ollama and a local vLLM,
played by real HTTP servers."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import Log
from runbook_runner.gateway import provider_from
from runbook_runner.gateway.providers.configure import _require_litellm
from runbook_runner.gateway.providers.translation.library import load_litellm

pytestmark = pytest.mark.needs("litellm")

COMMAND = {"type": "object", "properties": {"command": {"type": "string"}}}
CALL = {"function": {"name": "Bash", "arguments": {"command": "ls"}}}


class Local(BaseHTTPRequestHandler):
    """Ollama at /api/…, an OpenAI-compatible server at /v1/…; the model `broken` fails, `quoting` quotes the key."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, body, self.headers.get("authorization")))  # type: ignore[attr-defined]
        if body.get("model", "").endswith("quoting"):
            self._json(401, {"error": {"message": f"no such key: {self.headers['authorization']}"}})
        elif body.get("model") == "broken":
            self._json(429, {"error": {"message": "too busy"}}, {"retry-after": "0"})
        elif self.path == "/api/show":
            self._json(200, {"capabilities": ["completion", "tools"], "model_info": {}, "details": {}, "template": ""})
        elif self.path == "/api/chat":
            self._ollama(body)
        else:
            self._openai(body)

    def _ollama(self, body: dict[str, Any]) -> None:
        base = {"model": "qwen3", "created_at": "2026-01-01T00:00:00Z", "done": False}
        said = [{**base, "message": {"role": "assistant", "content": text}} for text in ("Hel", "lo")]
        called = {**base, "message": {"role": "assistant", "content": "", "tool_calls": [CALL]}}
        counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 12}
        last = {**base, "message": {"role": "assistant", "content": ""}, **counts}
        if body["stream"]:
            self._chunks("application/x-ndjson", [json.dumps(line) + "\n" for line in (*said, called, last)])
        else:
            whole = {"role": "assistant", "content": "Hello", "tool_calls": [CALL]}
            self._json(200, {**last, "message": whole})

    def _openai(self, body: dict[str, Any]) -> None:
        usage = {"prompt_tokens": 26, "completion_tokens": 12, "total_tokens": 38}
        base = {"id": "c1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "Hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self._json(200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage})
        lines = []
        for delta, finish in (({"role": "assistant", "content": "Hel"}, None), ({"content": "lo"}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            lines.append({**base, "object": "chat.completion.chunk", "choices": [choice]})
        lines.append({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        return self._chunks(
            "text/event-stream", [*(f"data: {json.dumps(line)}\n\n" for line in lines), "data: [DONE]\n\n"]
        )

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def _chunks(self, kind: str, chunks: list[str]) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk.encode()), chunk.encode()))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def local() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Local)
    server.requests = []  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def ollama(connect: Callable[..., Any], local: Any) -> Callable[..., Any]:
    def open_line(model: str = "qwen3", dialect: str = "anthropic") -> Any:
        return connect(provider_from("ollama", {"OLLAMA_API_BASE": local.url}, model=model, dialect=dialect))

    return open_line


def body_for(path: str, stream: bool) -> dict[str, Any]:
    function = {"name": "Bash", "parameters": COMMAND}
    if "responses" in path:
        return {
            "model": "big",
            "stream": stream,
            "input": "hi",
            "store": False,
            "tools": [{"type": "function", **function}],
        }
    if "generateContent" in path or "GenerateContent" in path:
        return {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "tools": [{"functionDeclarations": [function]}],
        }
    return {
        "model": "big",
        "stream": stream,
        "max_tokens": 99,
        "system": "be brief",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "Bash", "input_schema": COMMAND}],
    }


@pytest.mark.parametrize(("path", "stream"), [
    ("/v1/messages", False),
    ("/v1/messages", True),
    ("/v1/responses", False),
    ("/v1/responses", True),
    ("/v1beta/models/big:generateContent", False),
    ("/v1beta/models/big:streamGenerateContent", True),
])  # fmt: skip
def test_agents_of_every_api_can_use_a_local_model(ollama: Any, local: Any, path: str, stream: bool) -> None:
    line = ollama()
    response = line.post(path, **body_for(path, stream))
    assert response.status_code == 200, response.text
    assert "ls" in response.text
    assert ("Hel" in response.text) if stream else ("Hello" in response.text)
    sent = next(body for way, body, _ in local.requests if way == "/api/chat")
    assert sent["model"] == "qwen3", "the run's model, whatever the agent asks for"
    assert sent["tools"][0]["function"]["name"] == "Bash"
    (called,) = [event for event in line.events if event.type == "model.called"]
    assert (called.status, called.model, called.error) == (200, "big", None)
    if "streamGenerate" not in path:  # litellm tells Gemini's clients no tokens there
        assert (called.usage.prompt_tokens, called.usage.completion_tokens) == (26, 12)
    assert called.usage.cost_usd is None


def test_what_the_translation_loses_is_told_once(ollama: Any) -> None:
    line = ollama()
    cached = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "xx"}]}
    for text in ("a", "b"):
        line.ask(text, system=cached, metadata={"user_id": "u"}, context_management={},
                 messages=[{"role": "user", "content": "x"}, thought, {"role": "user", "content": text}])  # fmt: skip
    told = [event.message for event in line.events if isinstance(event, Log)]
    assert told == [
        f"the translation to ollama_chat/qwen3 leaves out {loss}"
        for loss in ("cache control", "the signatures of earlier thinking", "the fields context_management")
    ]


def test_tools_that_are_no_functions_are_named(ollama: Any, local: Any) -> None:
    line = ollama(dialect="openai-responses")
    tools = [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}, {"type": "function", "name": "sh"}]
    assert line.post("/v1/responses", input="hi", tools=tools).status_code == 200
    assert "not functions (web_search, apply_patch)" in line.events[0].message
    sent = next(body for path, body, _ in local.requests if path == "/api/chat")
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["sh"]


def test_openai_compatible_server_gets_chat_requests_as_they_are(connect: Any, local: Any) -> None:
    upstream = provider_from("vllm", {"HOSTED_VLLM_API_BASE": local.url + "/v1"}, model="m", dialect="openai-chat")
    line = connect(upstream)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "odd": 1}
    assert line.post("/v1/chat/completions", **body).json()["choices"][0]["message"]["content"] == "Hello"
    assert local.requests == [("/v1/chat/completions", body, None)]


def test_claude_code_can_use_an_openai_compatible_server(connect: Any, local: Any) -> None:
    environ = {"HOSTED_VLLM_API_BASE": local.url, "HOSTED_VLLM_API_KEY": "canary-77"}
    line = connect(provider_from("hosted_vllm", environ, model="Qwen/Qwen3-32B", dialect="anthropic"))
    assert line.ask("hi", stream=True).status_code == 200
    path, sent, credential = local.requests[0]
    assert (path, sent["model"], credential) == ("/v1/chat/completions", "Qwen/Qwen3-32B", "Bearer canary-77")
    assert line.session.usage.prompt_tokens == 26


def test_chat_request_to_a_provider_with_another_api_is_translated(connect: Any, local: Any) -> None:
    """The fake has no Anthropic API: what matters is where litellm asks, with which key."""
    environ = {"ANTHROPIC_BASE_URL": local.url, "ANTHROPIC_API_KEY": "canary-88"}
    line = connect(provider_from("anthropic", environ, model="claude-x", dialect="openai-chat"))
    line.post("/v1/chat/completions", model="claude-x", messages=[{"role": "user", "content": "hi"}])
    assert [path for path, _, _ in local.requests] == ["/v1/messages"]


def test_error_of_a_translated_provider_keeps_its_status(ollama: Any) -> None:
    line = ollama("broken")
    response = line.ask("hi")
    assert response.status_code == 429
    assert response.json()["type"] == "error"
    assert "too busy" in response.json()["error"]["message"]
    assert line.session.failure is None


def test_server_that_is_not_there_is_an_error_in_the_agents_own_api(connect: Any) -> None:
    line = connect(provider_from("ollama", {"OLLAMA_API_BASE": "http://127.0.0.1:9"}, model="qwen3"))
    response = line.ask("hi")
    assert response.status_code >= 500
    assert response.json()["type"] == "error"
    assert line.events[-1].status == response.status_code


REGION_OF_A_STRANGER = "agentcore/arn:aws:bedrock-agentcore:stranger.test/:1:runtime/x"


def test_a_models_name_puts_no_strangers_host_before_the_key(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """litellm's AgentCore takes the region of an ARN as it is, and asks bedrock-agentcore.stranger.test."""
    asked: list[str] = []
    monkeypatch.setattr("httpx.AsyncClient.send", lambda _, request, **__: asked.append(str(request.url)))
    environ = {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-1234", "AWS_REGION": "us-east-1"}
    for provider in ("bedrock", "bedrock_converse"):
        line = connect(provider_from(provider, environ, dialect="anthropic"))
        said = [{"role": "user", "content": "hi"}]
        answer = line.post("/v1/messages", model=REGION_OF_A_STRANGER, max_tokens=9, messages=said)
        assert (answer.status_code, "is an address, not the name of a model" in answer.text) == (400, True)
    assert asked == []


def test_a_models_name_sends_the_key_nowhere(connect: Any, local: Any) -> None:
    """litellm's Hugging Face takes a model that begins with a scheme for the server's address."""
    line = connect(provider_from("huggingface", {"HUGGINGFACE_API_KEY": "hf-1234"}, dialect="anthropic"))
    asked = [{"role": "user", "content": "hi"}]
    answer = line.post("/v1/messages", model=f"{local.url}/stolen", max_tokens=9, messages=asked)
    assert answer.status_code == 400
    assert "is an address, not the name of a model" in answer.text
    assert local.requests == []


@pytest.mark.parametrize("dialect", ["anthropic", "openai-chat", "openai-responses", "gemini"])
@pytest.mark.parametrize(("own", "sent"), [(None, "none"), ("canary-own-4711", "canary-own-4711")])
def test_a_provider_gets_its_own_key_or_none(
    connect: Any, local: Any, monkeypatch: pytest.MonkeyPatch, dialect: str, own: str | None, sent: str
) -> None:
    """litellm would send OpenAI's to some eighty others, and a runbook names the provider."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, f"canary-of-{name}")
    monkeypatch.setenv("HYPERBOLIC_API_BASE", f"{local.url}/v1")
    line = connect(provider_from("hyperbolic", {"HYPERBOLIC_API_KEY": own} if own else {}, dialect=dialect))
    path = IMAGES[dialect][0]
    line.post(path, **body_for(path, False))
    assert [credential for _, _, credential in local.requests] == [f"Bearer {sent}"]


def test_a_key_that_litellm_found_is_removed_from_errors_that_quote_it(
    connect: Any, local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_AI_TOKEN", "canary-found-4711")
    monkeypatch.setenv("FIREWORKS_API_BASE", f"{local.url}/v1")
    line = connect(provider_from("fireworks_ai", {}, model="quoting", dialect="anthropic"))
    answer = line.post("/v1/messages", model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert [credential for _, _, credential in local.requests] == ["Bearer canary-found-4711"]
    assert (answer.status_code, "no such key: Bearer ***" in answer.text) == (401, True)
    assert "canary" not in answer.text


URL = "https://stranger.test/?stolen=4711"
IMAGES: dict[str, tuple[str, str, Any]] = {
    "anthropic": ("/v1/messages", "messages", [{"type": "image", "source": {"type": "url", "url": URL}}]),
    "openai-chat": (
        "/v1/chat/completions",
        "messages",
        [{"type": "image_url", "image_url": {"url": " HTTP" + URL[5:]}}],
    ),
    "openai-responses": ("/v1/responses", "input", [{"type": "input_image", "image_url": URL.replace("s:", "s\n:")}]),
    "gemini": ("/v1beta/models/m:generateContent", "contents", [{"fileData": {"fileUri": URL}}]),
}


def test_an_agent_reads_no_object_of_its_users_cloud(connect: Any) -> None:
    """Vertex AI opens it with the user's credentials."""
    line = connect(provider_from("vertex_ai", {}, model="gemini-2.5-pro", dialect="openai-chat"))
    image = {"type": "image_url", "image_url": {"url": "gs://users-own-bucket/passport.png"}}
    answer = line.post("/v1/chat/completions", model="m", messages=[{"role": "user", "content": [image]}])
    assert (answer.status_code, "send its content as base64" in answer.text) == (400, True)


def test_no_template_of_a_stranger_is_rendered(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """litellm would fetch it from huggingface.co/stranger/x; it may take any time and memory."""
    load_litellm()  # with the settings that the first import needs
    asked: list[str] = []
    for method in ("HTTPHandler.get", "AsyncHTTPHandler.post"):
        place = f"litellm.llms.custom_httpx.http_handler.{method}"
        monkeypatch.setattr(place, lambda _, url, **__: asked.append(url))
    environ = {"REPLICATE_API_KEY": "r8-1234"}
    line = connect(provider_from("replicate", environ, model="stranger/x", dialect="openai-chat"))
    line.post("/v1/chat/completions", model="m", messages=[{"role": "user", "content": "hi"}])
    assert [url.split("/")[2] for url in asked] == ["api.replicate.com"]


@pytest.mark.parametrize("dialect", IMAGES)
def test_what_an_agent_sends_is_fetched_from_nowhere(connect: Any, local: Any, dialect: str) -> None:
    """litellm would fetch it from this machine, whatever the sandbox may reach."""
    if dialect == "openai-chat":  # a local Ollama speaks it
        provider, environ = "google", {"GOOGLE_GEMINI_BASE_URL": local.url, "GEMINI_API_KEY": "AIza-1234"}
    else:
        provider, environ = "ollama", {"OLLAMA_API_BASE": local.url}
    path, key, parts = IMAGES[dialect]
    model = {} if dialect == "gemini" else {"model": "qwen3", "max_tokens": 9}
    asked = [{"role": "user", "parts" if dialect == "gemini" else "content": parts}]
    answer = connect(provider_from(provider, environ, dialect=dialect)).post(path, **model, **{key: asked})
    assert (answer.status_code, "send its content as base64" in answer.text) == (400, True)
    assert local.requests == []


def test_addresses_in_texts_and_in_what_tools_are_given_are_no_images(ollama: Any) -> None:
    called = {"type": "tool_use", "id": "t1", "name": "Fetch", "input": {"url": URL}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": URL}
    said = [("user", URL), ("assistant", [called]), ("user", [result, {"type": "text", "text": URL}])]
    messages = [{"role": role, "content": content} for role, content in said]
    assert ollama().post("/v1/messages", model="qwen3", max_tokens=9, messages=messages).status_code == 200


def named_twice(levels: int) -> dict[str, Any]:
    """A schema of which each level names the next one twice."""
    defs = {
        f"a{n}": {"type": "object", "properties": {key: {"$ref": f"#/$defs/a{n + 1}"} for key in "xy"}}
        for n in range(levels)
    }
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/a0"}}, "$defs": defs}


@pytest.mark.parametrize(("levels", "status"), [(3, 200), (60, 400)])
def test_definitions_that_double_with_each_level_are_not_written_out(
    connect: Any, local: Any, levels: int, status: int
) -> None:
    """Gemini has none, so litellm puts each where it is named, in the memory of the runner."""
    environ = {"GOOGLE_GEMINI_BASE_URL": local.url, "GEMINI_API_KEY": "AIza-1234"}
    line = connect(provider_from("google", environ, model="gemini-2.5-pro", dialect="openai-chat"))
    tool = {"type": "function", "function": {"name": "f", "parameters": named_twice(levels)}}
    said = [{"role": "user", "content": "hi"}]
    line.post("/v1/chat/completions", model="m", messages=said, tools=[tool])
    assert (line.events[-1].status == 400, len(local.requests)) == (status == 400, int(status == 200))


def test_a_translation_that_takes_forever_holds_up_neither_the_gateway_nor_the_end_of_the_run(
    ollama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand tool calls in one message take litellm's Gemini twenty seconds, and ten times as many a hundred
    times as long."""
    begun, go_on = threading.Event(), threading.Event()

    async def busy(**_: Any) -> None:
        begun.set()
        go_on.wait(60)

    monkeypatch.setattr(load_litellm().anthropic.messages, "acreate", busy)
    line, answers = ollama(), []
    asking = threading.Thread(target=lambda: answers.append(line.ask("hi").status_code), daemon=True)
    asking.start()
    try:
        assert begun.wait(30)
        assert line.post("/v1/messages/count_tokens", messages=[]).status_code == 404, "answered meanwhile"
        line.session.close()
        assert line.events[-1].error == "the run ended before the answer did"
    finally:
        go_on.set()
    asking.join(30)
    assert answers == [502]


def test_no_environment_file_of_a_clone_is_read(tmp_path: Path) -> None:
    """litellm looks for one above its own files, which may be in a virtual environment of the clone, or the folder."""
    (tmp_path / ".env").write_text("GROQ_API_BASE=https://stranger.test/\n")
    module = "runbook_runner.gateway.providers.translation.library"
    code = f"import os; from {module} import load_litellm; load_litellm(); print(*os.environ)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "GROQ_API_BASE" not in done.stdout.split()


def test_missing_litellm_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(NotReadyError, match=r"groq does not speak .*\(anthropic\).*\n.*'\.\[litellm\]'"):
        _require_litellm("groq", "anthropic", found=lambda name: None)

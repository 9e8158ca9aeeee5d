"""The connection to a provider: through a proxy, over TLS, packed, large, and used again."""

import gzip
import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from runbook_runner.core.errors import NotReadyError
from runbook_runner.gateway import provider_from

Connect = Callable[..., Any]


def through(connect: Connect, url: str) -> Any:
    return connect(provider_from("anthropic", {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "k-1234"}))


def test_proxy_of_the_environment_is_used_but_not_for_this_machine(
    connect: Connect, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", fake.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server = provider_from("hosted_vllm", {"HOSTED_VLLM_API_BASE": "http://models.test:1/base"})
    assert connect(server).post("/v1/chat/completions", model="m", messages=[]).status_code == 200
    assert through(connect, fake.url).ask("b").status_code == 200
    asked = [request["path"] for request in fake.requests]
    assert asked == ["http://models.test:1/base/v1/chat/completions", "/v1/messages"]


def test_provider_over_tls_must_be_trusted(
    connect: Connect, fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    fake._server.socket = server.wrap_socket(fake._server.socket, server_side=True)
    url = fake.url.replace("http:", "https:")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    stranger = through(connect, url).ask("a")
    assert stranger.status_code == 502
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.text
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert through(connect, url).ask("a").status_code == 200


def test_answer_that_is_packed_all_the_same_is_unpacked(
    connect: Connect, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = gzip.compress(json.dumps({"type": "message", "content": []}).encode())

    def answer(http: Any, body: Any) -> None:
        told = {"content-type": "application/json", "content-encoding": "gzip", "content-length": str(len(packed))}
        fake.head(http, 200, told)
        http.wfile.write(packed)

    monkeypatch.setattr(fake, "answer", answer)
    line = through(connect, fake.url)
    response = line.ask("a")
    assert response.json() == line.cassette.read(1).response == {"type": "message", "content": []}
    assert "content-encoding" not in response.headers


def test_large_request_arrives_whole(connect: Connect, fake: Any) -> None:
    line = through(connect, fake.url)
    assert line.ask("large " * 1_000_000).status_code == 200
    (sent,) = fake.requests
    assert {name.lower(): value for name, value in sent["headers"].items()}["content-length"] == str(len(sent["body"]))
    assert json.loads(sent["body"])["messages"][0]["content"] == "large " * 1_000_000


def test_connection_to_the_provider_is_used_again(connect: Connect, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = []
    answer = fake.answer

    def note(http: Any, body: Any) -> None:
        ports.append(http.client_address[1])
        answer(http, body)

    monkeypatch.setattr(fake, "answer", note)
    line = through(connect, fake.url)
    for number in range(6):
        assert line.ask(f"{number}", stream=number % 2 == 0).status_code == 200
    assert len(set(ports)) == 1


def test_address_that_leads_nowhere_is_told_without_its_password(connect: Connect) -> None:
    response = through(connect, "https://me:hunter22@nowhere.invalid:1").ask("a")
    assert response.status_code == 502
    assert "hunter22" not in response.text
    with pytest.raises(NotReadyError, match="ANTHROPIC_BASE_URL") as refused:
        through(connect, "http://me:hunter22@nowhere:99999")
    assert "hunter22" not in str(refused.value)


def test_gateway_without_calls_loads_no_client_library() -> None:
    code = "import sys, runbook_runner.gateway as g\nwith g.listen(): print({'aiohttp', 'httpx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

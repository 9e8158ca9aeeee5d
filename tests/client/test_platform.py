"""Each bad answer of a platform is one clear error; a real server on this machine answers."""

import select
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from runbook_runner.client.access import Access
from runbook_runner.client.download import download
from runbook_runner.client.platform import NotFoundError, Platform, PlatformError
from runbook_runner.core.errors import InputError

PATH = "/api/v1/trajectory/acme/pdf/37c37963"
KEY = "acme/pdf/0000/37c37963.run.0000.app--results--a b.bin"
FILE = "/api/v1/file/acme/pdf/0000/37c37963.run.0000.app--results--a%20b.bin"


@pytest.fixture
def client(platform_server: Any) -> Platform:
    return Platform(Access(platform_server.api, platform_server.token), timeout_s=20, pauses=(0, 0))


def complaint(client: Platform, kind: type[Exception] = PlatformError) -> str:
    with pytest.raises(kind) as caught:
        client.get(PATH, "the run")
    return str(caught.value)


def test_json_is_returned(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, '{"status":"completed"}')
    assert client.get(PATH, "the run") == {"status": "completed"}


def test_a_token_that_is_wrong_is_said_to_be_wrong_and_one_that_is_missing_to_be_missing(platform_server: Any) -> None:
    wrong = Platform(Access(platform_server.api, "mlc_wrong"))
    said = complaint(wrong)
    assert "refuses the run (401)" in said
    assert "Invalid or inactive API key" in said
    assert "mlc_wrong" not in said
    assert "No token was sent. Set JETTY_API_TOKEN" in complaint(Platform(Access(platform_server.api)))


def test_a_run_of_another_collection_is_refused_with_the_platforms_words(
    platform_server: Any, client: Platform
) -> None:
    platform_server.on("GET", PATH, '{"detail":"API key not valid for this collection"}', 403)
    assert "API key not valid for this collection" in complaint(client)


def test_what_is_not_there_is_bad_input(platform_server: Any, client: Platform) -> None:
    assert "The platform does not have the run." in complaint(client, NotFoundError)
    assert len(platform_server.requests) == 1


def test_after_429_it_is_asked_again_when_the_platform_says_so(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, "{}", 429, Retry_After="0")
    platform_server.on("GET", PATH, "[1]")
    assert client.get(PATH, "the run") == [1]


def test_a_long_wait_after_429_is_left_to_the_user(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, "{}", 429, Retry_After="3600")
    assert "Try again in 3600 s." in complaint(client)
    assert len(platform_server.requests) == 1


def test_after_500_it_is_asked_three_times(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, '{"error":{"message":"broken"}}', 500)
    said = complaint(client)
    assert "500 Internal Server Error for the run" in said
    assert "It says: broken" in said
    assert len(platform_server.requests) == 3


def test_what_changes_the_platform_is_sent_once(platform_server: Any, client: Platform) -> None:
    platform_server.on("PUT", PATH, "{}", 500)
    with pytest.raises(PlatformError):
        client.send("PUT", PATH, {}, "the task")
    assert platform_server.asked() == [f"PUT {PATH}"]


def test_a_web_page_is_not_an_answer(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, "<!doctype html><title>Sign in</title>", Content_Type="text/html; charset=utf-8")
    assert "a web page, not with the run" in complaint(client)


@pytest.mark.parametrize("body", ['{"half":', "", "NaN NaN", "[" * 100_000, "9" * 5000, "\xff"])
def test_what_is_not_json_is_said_to_be_none(platform_server: Any, client: Platform, body: str) -> None:
    platform_server.on("GET", PATH, body.encode("latin-1"))
    assert "can't be read as JSON" in complaint(client)


def test_half_a_body_is_asked_for_again_and_then_an_error(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, '{"status":"completed"}', cut=9)
    platform_server.on("GET", PATH, "[1]", cut=1)
    platform_server.on("GET", PATH, "[2]")
    assert client.get(PATH, "the run") == [2]
    platform_server.answers.clear()
    platform_server.on("GET", PATH, "", Content_Length="10")
    assert "ended 10 bytes too early" in complaint(client)


def test_a_redirect_is_not_followed(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, "", 302, Location=f"{platform_server.api}/elsewhere")
    assert "Redirects are not followed" in complaint(client)
    assert platform_server.asked() == [f"GET {PATH}"]


def test_a_host_that_can_not_be_a_name_is_not_found() -> None:
    client = Platform(Access(f"https://{'a' * 300}.example.org", "mlc_x"), pauses=())
    assert "a" * 300 in complaint(client)


def test_a_platform_that_is_not_there_is_named() -> None:
    said = complaint(Platform(Access("http://127.0.0.1:1", "mlc_x"), pauses=()))
    assert said.startswith("http://127.0.0.1:1: The platform can't be asked:")


def test_a_token_that_is_sent_back_is_not_shown(platform_server: Any, client: Platform) -> None:
    platform_server.on("GET", PATH, f'{{"detail":"\\u001b[2Jno {platform_server.token}"}}', 403)
    said = complaint(client)
    assert "It says: no ***REDACTED:JETTY_API_TOKEN***" in said
    assert "\x1b" not in said


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_download_that_broke_goes_on_where_it_ended(platform_server: Any, client: Platform, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    platform_server.on("GET", FILE, content, cut=100_000, Content_Type="application/octet-stream")
    seen: list[int] = []
    size = download(client, KEY, tmp_path / "file", 1 << 20, lambda have, _: seen.append(have))
    assert (size, (tmp_path / "file").read_bytes()) == (len(content), content)
    assert platform_server.requests[1]["headers"]["Range"] == "bytes=100000-"
    assert seen == sorted(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_of_a_file_that_breaks_off_and_is_not_there_then(
    platform_server: Any, client: Platform, tmp_path: Path
) -> None:
    """Else a platform could have any number of them written, each as large as the limit."""
    platform_server.on("GET", FILE, b"x" * 1000, cut=999)
    platform_server.on("GET", FILE, "{}", 404)
    with pytest.raises(NotFoundError):
        download(client, KEY, tmp_path / "file", 1000)
    assert [*tmp_path.iterdir()] == []


def test_a_part_that_is_not_of_the_file_is_dropped(platform_server: Any, client: Platform, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"much more than the file has")
    platform_server.on("GET", FILE, b"{}", 416)
    platform_server.on("GET", FILE, b"small")
    assert download(client, KEY, tmp_path / "file", 100) == 5
    assert (tmp_path / "file").read_bytes() == b"small"


def test_a_platform_without_ranges_sends_the_whole_file_again(
    platform_server: Any, client: Platform, tmp_path: Path
) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 5)
    platform_server.has_ranges = False
    platform_server.on("GET", FILE, b"0123456789")
    assert download(client, KEY, tmp_path / "file", 100) == 10
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("headers", [{}, {"Content_Length": "99999999999"}])
def test_a_file_that_is_too_large_is_not_written(
    platform_server: Any, client: Platform, tmp_path: Path, headers: dict[str, str]
) -> None:
    platform_server.on("GET", FILE, b"x" * 100_000, **headers)
    with pytest.raises(InputError, match="--max-size"):
        download(client, KEY, tmp_path / "file", 50_000)
    assert not (tmp_path / "file").exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50_000


# --- connections ---------------------------------------------------------------------------------------------------


@pytest.fixture
def secured(platform_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same server over TLS, with a certificate for `localhost` that RUNBOOK_CA_BUNDLE trusts."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    platform_server.wrap(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("RUNBOOK_CA_BUNDLE", str(tmp_path / "ca.pem"))
    platform_server.on("GET", PATH, "[1]")
    return platform_server


def test_a_platform_is_asked_over_tls(secured: Any) -> None:
    api = secured.api.replace("http://127.0.0.1", "https://localhost")
    assert Platform(Access(api, secured.token)).get(PATH, "the run") == [1]


def test_a_certificate_of_another_name_is_refused(secured: Any) -> None:
    api = secured.api.replace("http://127.0.0.1", "https://127.0.0.1")
    assert "CERTIFICATE_VERIFY_FAILED" in complaint(Platform(Access(api, secured.token), pauses=()))
    assert secured.requests == []


def test_a_proxy_gets_a_tunnel_and_no_token(secured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(secured.api.rpartition(":")[2])
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = threading.Thread(target=tunnel, args=(listening, port, seen))
        proxy.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "")
        client = Platform(Access(f"https://platform.test:{port}", secured.token), pauses=())
        said = complaint(client)
        proxy.join(timeout=60)
    assert "CERTIFICATE_VERIFY_FAILED" in said  # the certificate is for localhost: the tunnel led there
    assert seen[0].startswith(f"CONNECT platform.test:{port} HTTP/1.".encode())
    assert secured.token.encode() not in seen[0]


def tunnel(listening: socket.socket, port: int, seen: list[bytes]) -> None:
    """A proxy that takes one connection and leads every name to this machine."""
    inner, _ = listening.accept()
    with inner, socket.create_connection(("127.0.0.1", port)) as outer:
        seen.append(inner.recv(4096))
        inner.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ends = {inner: outer, outer: inner}
        while True:
            for one in select.select(list(ends), [], [], 60)[0]:
                block = one.recv(4096)
                if not block:
                    return
                ends[one].sendall(block)


def test_a_platform_that_sends_a_byte_now_and_then_is_left() -> None:
    done = threading.Event()

    def trickle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not done.wait(0.05):
                connection.sendall(b"X: y\r\n"[:1])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=trickle, args=(listening,))
        server.start()
        api = f"http://127.0.0.1:{listening.getsockname()[1]}"
        said = complaint(Platform(Access(api), timeout_s=0.5, pauses=()))
        done.set()
        server.join(timeout=60)
    assert "The platform can't be asked: " in said

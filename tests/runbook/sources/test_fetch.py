"""Fetching over https: a real server with a real certificate, on this machine."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.sources.fetch import fetch
from runbook_runner.runbook.sources.load import load

TEXT = "---\nversion: 1.0.0\n---\n# Café\n".encode()


@dataclass
class Site:
    port: int
    tls: ssl.SSLContext
    """Trusts the server's certificate, which is for the name `localhost` only."""
    hosts: list[str] = field(default_factory=list)
    """Host headers, in order of arrival."""

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    def get(self, path: str, **options) -> bytes:
        return fetch(self.url(path), **{"is_allowed": lambda _: True, "tls": self.tls, **options})

    def complaint(self, path: str, **options) -> str:
        with pytest.raises(InputError) as caught:
            self.get(path, **options)
        return str(caught.value)


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hosts.append(self.headers["Host"])
        name, _, argument = self.path[1:].partition("?")[0].partition("/")
        getattr(self, f"page_{name}")(argument)

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def page_text(self, _):
        self.answer(body=TEXT, Content_Type="text/markdown")

    def page_html(self, _):
        self.answer(body=b"<html>", Content_Type="text/html; charset=utf-8")

    def page_status(self, code):
        self.answer(int(code))

    def page_latin(self, _):
        self.answer(body=b"\n\xe9")

    def page_hops(self, count):
        self.answer(302, Location="/text" if count == "1" else f"/hops/{int(count) - 1}")

    def page_to(self, target):
        self.answer(301, Location=target)

    def page_endless(self, _):
        self.send_response(200)
        self.end_headers()
        block = b"x" * 65536
        while True:
            self.wfile.write(block)

    def page_trickle(self, _):
        self.send_response(200)
        self.end_headers()
        while not self.server.closing.wait(0.05):
            self.wfile.write(b"x")

    def page_continue(self, _):
        while True:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    def page_header(self, _):
        self.send_response(200)
        self.flush_headers()
        while not self.server.closing.wait(0.05):
            self.wfile.write(b"x")

    def page_silent(self, _):
        self.server.closing.wait(120)

    def page_cut(self, _):
        self.answer(body=b"half", Content_Length="4000")

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that hangs up is what these tests are about."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def site(authority) -> Iterator[Site]:
    server = _Server(("127.0.0.1", 0), _Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    site = Site(server.server_port, trusting)
    server.hosts = site.hosts
    server.closing = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield site
    server.closing.set()
    server.shutdown()
    server.server_close()


def test_text_is_fetched_from_the_checked_address_under_its_name(site):
    assert site.get("/text") == TEXT
    assert site.hosts == [f"localhost:{site.port}"]


@pytest.mark.parametrize("path", ["/text/é ü", "/text?name=é&x=%20", "/to/../text?é", "/text#part"])
def test_letters_beyond_ascii_and_relative_redirects_are_followed(site, path):
    assert site.get(path) == TEXT


def test_this_machine_is_refused_by_default_and_never_asked(site):
    with pytest.raises(InputError, match="The host localhost is in a private network"):
        load(site.url("/text"), tls=site.tls)
    assert site.hosts == []


def test_certificate_for_another_name_is_refused(site):
    with pytest.raises(InputError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(site.url("/text", host="127.0.0.1"), is_allowed=lambda _: True, tls=site.tls)
    assert site.hosts == []


def test_unknown_authority_is_refused_with_the_way_out(site):
    assert "point RUNBOOK_CA_BUNDLE at its certificate" in site.complaint("/text", tls=None)


def test_ca_bundle_of_the_settings_is_trusted(site, authority, tmp_path, monkeypatch):
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("RUNBOOK_CA_BUNDLE", str(bundle))
    assert site.get("/text", tls=None) == TEXT


def test_missing_ca_bundle_is_said(site, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_CA_BUNDLE", str(tmp_path / "absent.pem"))
    assert "The CA bundle can't be read" in site.complaint("/text", tls=None)


def test_five_redirects_are_followed_and_six_are_not(site):
    assert site.get("/hops/5") == TEXT
    assert "more than 5 redirects" in site.complaint("/hops/6")


def test_redirect_to_a_private_host_is_refused(site):
    target = site.url("/text", host="127.0.0.2")
    message = site.complaint(f"/to/{target}", is_allowed=lambda address: str(address) in ("127.0.0.1", "::1"))
    assert "The host 127.0.0.2 is in a private network" in message
    assert len(site.hosts) == 1


@pytest.mark.parametrize("target", ["http://localhost/x", "file:///etc/passwd", "ftp://localhost/x"])
def test_redirect_away_from_https_is_refused(site, target):
    assert "by https only" in site.complaint(f"/to/{target}")


@pytest.mark.parametrize(
    "url", ["http://example.org/R.md", "ftp://example.org/R.md", "file:///etc/passwd", "HTTP://x/"]
)
def test_other_schemes_are_refused(url):
    with pytest.raises(InputError, match="by https only"):
        load(url)


@pytest.mark.parametrize("url", ["https://", "https:///x", "https://[::1", "https://a b/", "https://x:99999/"])
def test_broken_addresses_are_refused(url):
    with pytest.raises(InputError):
        load(url)


@pytest.mark.parametrize(
    "start", ["https://me:hunter2@example.org/", "http://me:hunter2@x/", "https://me:hunter2@[::/"]
)
def test_password_in_the_address_is_refused_and_not_repeated(start):
    with pytest.raises(InputError) as caught:
        load(start)
    assert "hunter2" not in str(caught.value)


def test_missing_file_is_said_with_a_hint(site):
    message = site.complaint("/status/404?token=abc")
    assert "abc" not in message
    assert "The server answered 404 Not Found." in message
    assert "private repository" in message


@pytest.mark.parametrize("status", [204, 304, 403, 500])
def test_any_other_answer_is_an_error(site, status):
    assert f"The server answered {status}" in site.complaint(f"/status/{status}")


def test_web_page_is_refused(site):
    assert "web page, not a runbook" in site.complaint("/html")


def test_endless_answer_is_cut_at_five_megabytes(site):
    assert "more than 5 MB" in site.complaint("/endless")


@pytest.mark.parametrize("path", ["/trickle", "/silent", "/continue", "/header"])
def test_slow_server_is_given_up(site, path):
    message = site.complaint(path, timeout_s=0.5)
    assert "slow" in message or "timed out" in message


def test_broken_off_answer_is_an_error(site):
    assert "can't be fetched" in site.complaint("/cut")


def test_closed_port_is_said(site):
    with pytest.raises(InputError, match="can't be reached"):
        fetch("https://localhost:1/", is_allowed=lambda _: True)

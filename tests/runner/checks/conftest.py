"""Git repositories, in folders and behind a real https server on this machine."""

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

TOKEN = "canary-source-0815-0815"
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "init.defaultBranch",
    "GIT_CONFIG_VALUE_0": "main",
    **{f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Repository:
    """A bare one, which git itself has made."""

    def __init__(self, path: Path):
        self.path = path
        self("init", "--quiet", "--bare", str(path), cwd=path.parent)

    def __call__(self, *args: str, cwd: Path | None = None, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *args], cwd=cwd or self.path, env=_ENVIRONMENT, input=stdin, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def blob(self, content: bytes) -> str:
        return self("hash-object", "-w", "--stdin", stdin=content)

    def commit(self, *entries: tuple[str, str, str], branch: str = "main") -> str:
        """entries: mode, path and blob (or commit) of each file."""
        index = {"GIT_INDEX_FILE": str(self.path / "made-index")}
        listed = "".join(f"{mode} {blob}\t{path}\n" for mode, path, blob in entries)
        subprocess.run(
            ["git", "update-index", "--index-info"],
            cwd=self.path,
            env={**_ENVIRONMENT, **index},
            input=listed.encode(),
            check=True,
        )
        tree = subprocess.run(
            ["git", "write-tree", "--missing-ok"],
            cwd=self.path,
            env={**_ENVIRONMENT, **index},
            capture_output=True,
            check=True,
        )
        (self.path / "made-index").unlink()
        return self.commit_tree(tree.stdout.decode().strip(), branch)

    def commit_tree(self, tree: str, branch: str = "main") -> str:
        made = self("commit-tree", "-m", "x", tree)
        self("update-ref", f"refs/heads/{branch}", made)
        return made

    def files(self, branch: str = "main", **files: str) -> str:
        """Commits regular files with these contents; `__` stands for a slash, `_` for a dot."""
        named = ((name.replace("__", "/").replace("_", "."), text) for name, text in files.items())
        return self.commit(*(("100644", name, self.blob(text.encode())) for name, text in named), branch=branch)


@pytest.fixture
def repository(tmp_path: Path) -> Callable[[str], Repository]:
    """Makes one with that name, in the folder of the runbook."""
    return lambda name: Repository(tmp_path / name)


@dataclass
class Server:
    port: int
    bundle: Path
    """Trusts its certificate, which is for `localhost`, `127.0.0.1` and `sources.test`."""
    root: Path
    asked: list[str] = field(default_factory=list)
    """Paths, in order of arrival."""
    credentials: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Until then nothing below `slow/` is answered."""

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}/{path}"

    def repository(self, name: str) -> Repository:
        path = self.root / name
        path.parent.mkdir(exist_ok=True, parents=True)
        return Repository(path)


class _Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # its connections end as TLS has it
    server: Any

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        site: Server = self.server.site
        path, _, query = self.path.partition("?")
        site.asked.append(path)
        given = self.headers.get("Authorization", "")
        if given:
            site.credentials.append(given)
        wanted = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        if path.startswith("/private/") and given != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/slow/"):
            site.released.wait(60)
        elif path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", f"https://127.0.0.1:{site.port}/{path.removeprefix('/moved/')}?{query}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._serve(site, path, query)

    def _serve(self, site: Server, path: str, query: str) -> None:
        environment = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(site.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, timeout=60)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "sources.test").configure_cert(tls)
    httpd: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
    httpd.site = Server(httpd.server_address[1], folder / "ca.pem", folder / "repositories")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd.site
    httpd.site.released.set()
    httpd.shutdown()
    httpd.server_close()

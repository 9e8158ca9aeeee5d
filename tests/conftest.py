"""What every test may use: real parts of this machine, `eventually`, and the `runbook` command as a user runs it."""

import inspect
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from runbook_runner.sandbox.backends import BACKENDS

REPOSITORY = Path(__file__).parent.parent
EXAMPLES = REPOSITORY / "examples"
RUNBOOK = Path(sys.executable).with_name("runbook")

# A busy machine is not a fault, and what fails can be repeated elsewhere.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("here")


# --- real parts ----------------------------------------------------------------------------------------------------


def _works(name: str) -> bool:
    from runbook_runner.core.errors import RunbookError

    try:
        BACKENDS[name].open(None).require()
    except RunbookError:
        return False
    return True


def _makes_groups() -> bool:
    from runbook_runner.sandbox.docker.engine import connect

    return _works("docker") and connect().groups


def _rootless() -> list[str]:
    """The command that starts a Docker engine as the user tests/provision.sh made for that; empty where that can't be.
    Where control groups are of version 1 nothing limits the processes in its containers: its user is limited."""
    user = "runbook-rootless"
    become = ["prlimit", "--nproc=1000", "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    start = shutil.which("dockerd-rootless.sh", path=f"{os.environ['PATH']}:/usr/share/docker.io/contrib")
    programs = map(shutil.which, ("prlimit", "setpriv", "rootlesskit", "slirp4netns", "newuidmap"))
    if os.getuid() != 0 or start is None or not all(programs):
        return []
    attempt = ["rootlesskit", "--net=slirp4netns", "--mtu=1500", "--disable-host-loopback", "--copy-up=/etc", "true"]
    return [*become, start] if subprocess.run([*become, *attempt], capture_output=True).returncode == 0 else []


_PARTS: Mapping[str, Callable[[], bool]] = {
    **{name: partial(_works, name) for name in BACKENDS},
    "bash": lambda: shutil.which("bash") is not None,
    "fish": lambda: shutil.which("fish") is not None,
    "groups": _makes_groups,
    "harbor": lambda: find_spec("harbor") is not None,
    "litellm": lambda: find_spec("litellm") is not None,
    "pdfium": lambda: find_spec("pypdfium2") is not None,
    "pillow": lambda: find_spec("PIL") is not None,
    "linux": lambda: platform.system() == "Linux",
    "node": lambda: shutil.which("node") is not None,
    "npm": lambda: shutil.which("npm") is not None,
    "podman": lambda: shutil.which("podman") is not None and os.getuid() == 0,
    "registry": lambda: shutil.which("docker-registry") is not None,
    "root": lambda: os.getuid() == 0,
    "rootless": lambda: bool(_rootless()),
    "setpriv": lambda: os.geteuid() != 0 or shutil.which("setpriv") is not None,
    "tcsh": lambda: shutil.which("tcsh") is not None,
    "zsh": lambda: shutil.which("zsh") is not None,
    "sshd": lambda: bool(shutil.which("ssh") and shutil.which("sshd", path=f"{os.defpath}:/usr/sbin")),
}


@cache
def has(part: str) -> bool:
    return _PARTS[part]()


@pytest.fixture(scope="session")
def rootless_command() -> list[str]:
    return _rootless()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs an absent part; fails it when RUNBOOK_TEST_REQUIRE=docker,node,… says the part must be there."""
    required = {part for part in os.environ.get("RUNBOOK_TEST_REQUIRE", "").split(",") if part}
    for mark in item.iter_markers("needs"):
        for part in mark.args:
            if has(part):
                continue
            if part in required:
                pytest.fail(f"{part} is required (RUNBOOK_TEST_REQUIRE) and not there", pytrace=False)
            pytest.skip(f"needs {part}, which is not there")


# --- the ids of tests ----------------------------------------------------------------------------------------------


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long value is cut: pytest puts a test's id into the environment (PYTEST_CURRENT_TEST), and where a variable
    has more than 128 KiB no program starts, those of the fixtures that end with this test among them."""
    if isinstance(val, str | bytes) and len(val) > 100:
        return f"{val[:40]!a}... ({len(val)})"
    if isinstance(val, int) and val.bit_length() > 300:
        return f"{val.bit_length()} bits"
    return None


# --- waiting -------------------------------------------------------------------------------------------------------

T = TypeVar("T")


def _eventually(condition: Callable[[], T], within: float = 60, every: float = 0.05) -> T:
    """Returns the condition's first true value. An exception of the condition counts as "not yet", except
    `pytest.fail`, which ends the waiting at once.

    within: seconds. It only bounds how long a fault takes to show, so it is generous: the machine may be busy.
    every: seconds between two looks.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            if last := condition():
                return last
        except Exception as error:
            last = error
        if time.monotonic() > deadline:
            pytest.fail(f"Not true within {within:g} s: {_source(condition)}\nIts last value: {last!r}")
        time.sleep(every)


def _source(function: Callable[..., object]) -> str:
    try:
        return inspect.getsource(function).strip()
    except (OSError, TypeError):
        return repr(function)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`eventually(condition, within=60)` waits until the condition is true, and fails when it does not become true."""
    return _eventually


# --- the command ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        body = json.loads(self.out)
        assert isinstance(body, dict)
        return body

    @property
    def folder(self) -> Path:
        """The trajectory's."""
        return Path(self.json["path"])

    @property
    def trajectory(self) -> dict[str, Any]:
        body = json.loads((self.folder / "trajectory.json").read_text())
        assert isinstance(body, dict)
        return body

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["type"] == kind]

    @property
    def warnings(self) -> list[str]:
        """What the run warned of, without what is said of every run on a machine of this one's control groups."""
        said = [event["message"] for event in self.events("log") if event["level"] == "warning"]
        return [message for message in said if "the control groups have version 1" not in message]


class Command:
    """`runbook` in a folder of its own, which is its home and data folder too, with no key of this machine in its
    environment."""

    def __init__(self, cwd: Path):
        self.cwd = cwd
        self.under: tuple[str, ...] = ()
        """A program that starts it, and that program's arguments."""
        kept = (
            "PATH",
            "HOME",
            "LANG",
            "TMPDIR",
            "DOCKER_HOST",
            "RUNBOOK_BASE_IMAGE",
            "RUNBOOK_CA_BUNDLE",
            "SSL_CERT_FILE",
        )
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.data = cwd / "user-data"
        self.env["RUNBOOK_DATA"] = str(self.data)

    @property
    def programs(self) -> Path:
        """A folder for programs of the user's, which lies outside of the project."""
        folder = self.cwd.with_name(f"{self.cwd.name}-programs")
        folder.mkdir(exist_ok=True)
        return folder

    def left(self) -> list[Path]:
        """The claims of runs that are not settled, and what is left of their sandboxes on this machine."""
        return [*self.data.glob("runs/*"), *self.data.glob("work/*")]

    def __call__(
        self, *args: str | Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 280
    ) -> Ran:
        done = subprocess.run(
            [*self.under, RUNBOOK, *map(str, args)],
            cwd=self.cwd,
            env={**self.env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(
        self, *args: str | Path, env: Mapping[str, str] | None = None, **streams: IO[Any] | int
    ) -> subprocess.Popen[str]:
        """streams: `stdin`, `stdout`, `stderr` as `Popen` takes them, instead of nothing and two pipes."""
        usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*self.under, RUNBOOK, *map(str, args)],
            cwd=self.cwd,
            env={**self.env, **(env or {})},
            text=True,
            **(usual | streams),
        )


@pytest.fixture
def runbook(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="session")
def make_runbook(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Command]:
    """For fixtures that live longer than a test."""
    return lambda: Command(tmp_path_factory.mktemp("runbook"))


SHELL_RUNBOOK = """\
---
version: "1.0.0"
evaluation: programmatic
agent: shell
---
# Test — Agent Runbook

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Step 1: Work

```bash
{code}
```
"""


@pytest.fixture
def shell_runbook(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a runbook for the shell agent whose one block is the given code."""

    def write(code: str) -> Path:
        folder = tmp_path / "shell-runbook"
        folder.mkdir(exist_ok=True)
        (folder / "RUNBOOK.md").write_text(SHELL_RUNBOOK.format(code=code))
        return folder

    return write


# --- a platform ----------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What a platform answers to one request."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: int | None = None
    """Bytes after which the connection ends, once."""


class Platform:
    """A server that plays answers of a platform that were recorded, and keeps what it was asked."""

    token = "mlc_" + "k3y0" * 8

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        """(method, path) → the answers in order, of which the last stays."""
        self.requests: list[dict[str, Any]] = []
        self.has_ranges = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_PlatformRequest, self))
        self.api = f"http://127.0.0.1:{self._server.server_port}"
        self.env = {"JETTY_API_URL": self.api, "JETTY_API_TOKEN": self.token}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def wrap(self, context: ssl.SSLContext) -> None:
        """From now on it is asked over TLS."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def play(self, file: Path) -> None:
        """file: JSON, a list of {method, path, status, headers, json or text}."""
        for one in json.loads(file.read_text()):
            body = json.dumps(one["json"]) if "json" in one else one["text"]
            self.on(one["method"], one["path"], body, one.get("status", 200), **one.get("headers", {}))

    def on(
        self, method: str, path: str, body: str | bytes, status: int = 200, cut: int | None = None, **headers: str
    ) -> None:
        raw = body.encode() if isinstance(body, str) else body
        named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        self.answers.setdefault((method, path), []).append(Answer(raw, status, named, cut))

    def asked(self) -> list[str]:
        return [f"{one['method']} {one['path']}" for one in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=60)


class _PlatformRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, platform: Platform, *args: Any):
        self._platform = platform
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        asked = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        self._platform.requests.append(asked)
        known = self._platform.answers.get((self.command, self.path), [])
        answer = known.pop(0) if len(known) > 1 else known[0] if known else Answer(b'{"detail":"Not found"}', 404)
        if self.headers["Authorization"] != f"Bearer {self._platform.token}":
            answer = Answer(b'{"detail":"Invalid or inactive API key"}', 401)
        asks_for = self.headers["Range"] if self._platform.has_ranges else None
        start = int((asks_for or "bytes=0-")[6:].rstrip("-"))
        part = answer.body[start:]
        status = 206 if start and answer.status == 200 else answer.status
        self.send_response(status)
        named = {"Content-Length": str(len(part)), "Connection": "close", **answer.headers}
        if status == 206:
            named["Content-Range"] = f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}"
        for name, text in named.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(part[: answer.cut])
        answer.cut = None
        self.close_connection = True


@pytest.fixture
def platform_server() -> Iterator[Platform]:
    server = Platform()
    yield server
    server.close()


@pytest.fixture
def nested() -> Iterator[Callable[[Path, int], Path]]:
    """Makes so many folders in each other in a folder, and returns the last of them."""
    made = []

    def make(top: Path, levels: int) -> Path:
        made.append(top / "a")
        inner = [top.joinpath(*["a"] * level) for level in range(1, levels + 1)]
        for folder in inner:
            folder.mkdir(parents=folder == inner[0])
        return inner[-1]

    yield make
    subprocess.run(["rm", "-rf", *made], check=True)  # pytest's own clean-up calls itself


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in BACKENDS])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend of the table, by name."""
    return str(request.param)

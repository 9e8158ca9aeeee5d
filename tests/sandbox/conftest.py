"""Real sandboxes for tests: `engine`, `image` and `make_sandbox`."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.backends import BACKENDS
from runbook_runner.sandbox.base import Exit, Process, Sandbox, SandboxSpec

MakeSandbox = Callable[..., Sandbox]


class Lines(list[str]):
    """A `Report` that keeps what it gets."""

    def __call__(self, line: str, *, detail: bool = False) -> None:
        self.append(line)


@dataclass(frozen=True)
class Ran:
    stdout: bytes
    stderr: bytes
    exit: Exit


def finish(process: Process) -> Ran:
    """Reads a command to its end."""
    parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    for chunk in process:
        parts[chunk.stream].append(chunk.data)
    return Ran(b"".join(parts["stdout"]), b"".join(parts["stderr"]), process.wait())


class Shell:
    """Runs sh scripts that say `/app/...` in a sandbox, whatever it calls that."""

    def start(self, sandbox: Sandbox, script: str, *, deadline_s: float = 60, **options: Any) -> Process:
        return sandbox.exec(["sh", "-c", sandbox.localise(script)], deadline_s=deadline_s, **options)

    def __call__(self, sandbox: Sandbox, script: str, **options: Any) -> Ran:
        return finish(self.start(sandbox, script, **options))


class SilentRegistry:
    """Accepts connections and says nothing. Engines accept one on 127.0.0.1 without TLS, or try it with TLS."""

    def __init__(self, server: socket.socket):
        self._server = server
        server.settimeout(60)
        self.address = f"127.0.0.1:{server.getsockname()[1]}"

    def await_end(self) -> None:
        """Until the engine, which has come, has gone."""
        with self._server.accept()[0] as connection:
            connection.settimeout(10)
            while connection.recv(4096):
                pass


@pytest.fixture
def silent_registry() -> Iterator[SilentRegistry]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SilentRegistry(server)


@pytest.fixture(scope="session")
def shell() -> Shell:
    return Shell()


@pytest.fixture(scope="session")
def replaced_shell() -> Callable[..., str]:
    """Returns a script after which `sh` is a program of the agent's, which says one thing whatever it is to do."""

    def script(said: str, *, after_s: int = 0) -> str:
        program = f'#!%s -IS\\nimport time\\ntime.sleep({after_s}); print("{said}")\\n'
        return f"printf '{program}' $(command -v python3) >/tmp/sh; chmod +x /tmp/sh; mv /tmp/sh /bin/sh; "

    return script


@pytest.fixture(scope="session")
def running() -> Callable[[str], list[str]]:
    """Command lines of this machine that contain a text; those in containers are among them on Linux."""

    def search(text: str) -> list[str]:
        lines = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, text=True).stdout.splitlines()
        return [line for line in lines if text in line]

    return search


@pytest.fixture(scope="session")
def engine() -> Any:
    from runbook_runner.sandbox.docker.engine import connect

    return connect()


@pytest.fixture(scope="session")
def image(engine: Any) -> str:
    """The default snapshot, built if this machine does not have it yet."""
    from runbook_runner.sandbox.images.provide import ensure
    from runbook_runner.sandbox.images.snapshots import find_snapshot

    return ensure(engine, find_snapshot("python312-uv"), [], Settings.load(), Lines()).tag


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def make_backend(request: pytest.FixtureRequest) -> Iterator[Callable[[str], MakeSandbox]]:
    """Takes a backend's name; what it returns makes unstarted sandboxes, which are stopped after the test."""
    with ExitStack() as stack:

        def of_backend(name: str) -> MakeSandbox:
            backend = BACKENDS[name]

            def make(**asked: Any) -> Sandbox:
                usual: dict[str, Any] = {"run_id": "test", "lifetime_s": 120}
                if backend.isolates:
                    usual["memory_bytes"] = 1 << 30
                if backend.uses_images:
                    usual |= {"ca_bundle": Settings.load().ca_bundle, "unpacks": "image" not in asked}
                    asked = {"image": request.getfixturevalue("image"), **asked}
                sandbox = backend.open(None).create(SandboxSpec(**(usual | asked)))
                stack.callback(sandbox.stop)
                return sandbox

            return make

        yield of_backend


@pytest.fixture(
    params=[pytest.param(row.name, marks=pytest.mark.needs(row.name)) for row in BACKENDS.values() if row.isolates]
)
def isolating_backend(request: pytest.FixtureRequest) -> str:
    """Each backend of the table that isolates, by name."""
    return str(request.param)


@pytest.fixture
def make_docker(make_backend: Callable[[str], MakeSandbox]) -> MakeSandbox:
    return make_backend("docker")


@pytest.fixture
def make_bubblewrap(make_backend: Callable[[str], MakeSandbox]) -> MakeSandbox:
    return make_backend("bubblewrap")


@pytest.fixture
def make_host(make_backend: Callable[[str], MakeSandbox]) -> MakeSandbox:
    return make_backend("host")


@pytest.fixture
def make_sandbox(backend: str, make_backend: Callable[[str], MakeSandbox]) -> MakeSandbox:
    """Of each backend of the table."""
    return make_backend(backend)


@pytest.fixture
def sandbox(make_sandbox: MakeSandbox) -> Sandbox:
    started = make_sandbox()
    started.start()
    return started


@pytest.fixture
def is_gone(request: pytest.FixtureRequest) -> Callable[[Sandbox], bool]:
    """Whether a sandbox has left nothing."""

    def check(sandbox: Sandbox) -> bool:
        if not BACKENDS[sandbox.backend].has_engine:
            return not Path(sandbox.sandbox_id).exists()
        listed = request.getfixturevalue("engine").api.containers(all=True)
        return sandbox.sandbox_id not in {item["Id"] for item in listed}

    return check


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    threads: list[threading.Thread] = []

    def start(job: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=job))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), f"{thread.name} hangs ({sys.platform})"

"""Other engines than this machine's own, and other ways to it: `podman`, `rootless`, `tls_way`, `ssh_way`."""

import asyncio
import getpass
import os
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from runbook_runner.sandbox.base import Sandbox, SandboxSpec

MakeSandbox = Callable[..., Sandbox]


@pytest.fixture(scope="session")
def base_image(engine: Any) -> str:
    """The smallest image that will do: what the snapshots stand on."""
    from runbook_runner.sandbox.images.recipe import DEFAULT_BASE, LOCAL_BASE

    return next(name for name in (LOCAL_BASE, DEFAULT_BASE) if engine.image_id(name))


@dataclass(frozen=True)
class Way:
    """To an engine: the variables that lead there."""

    env: dict[str, str]

    def connect(self) -> Any:
        from runbook_runner.sandbox.docker.engine import connect

        with pytest.MonkeyPatch.context() as patch:
            for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
                patch.delenv(name, raising=False)
            for name, value in self.env.items():
                patch.setenv(name, value)
            return connect()


@pytest.fixture(scope="session")
def podman(engine: Any, base_image: str, eventually: Callable[..., Any]) -> Iterator[Way]:
    """Podman's own service, as root, with a store of its own that has the base image."""
    folder = Path(tempfile.mkdtemp(prefix="podman-"))  # it takes no path of more than 50 characters
    limits = ", ".join(f'"{name}={_soft(which)}:{_soft(which)}"' for name, which in (("nofile", 7), ("nproc", 6)))
    # Podman asks for more than a machine without CAP_SYS_RESOURCE may give.
    (folder / "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{limits}]\n")
    sock = folder / "podman.sock"
    store = ["podman", "--root", str(folder / "store"), "--runroot", str(folder / "run")]
    service = subprocess.Popen(
        [*store, "system", "service", "--time=0", f"unix://{sock}"],
        cwd=folder,  # conmon leaves a file `oom` in it
        env={**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")},
        stderr=(folder / "log").open("wb"),
    )
    try:
        _await(eventually, lambda: socket.socket(socket.AF_UNIX), str(sock), service)
        way = Way({"DOCKER_HOST": f"unix://{sock}"})
        _bring(engine, base_image, way)
        yield way
    finally:
        service.terminate()
        service.wait(20)
        # Not `system reset`: what it removes is not all in this store.
        subprocess.run([*store, "rm", "--all", "--force"], capture_output=True)
        subprocess.run(["umount", "--recursive", folder / "store/overlay"], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rootless(
    engine: Any, base_image: str, rootless_command: list[str], eventually: Callable[..., Any]
) -> Iterator[Way]:
    """A Docker engine of an ordinary user's, in namespaces of its own, the network's among them."""
    folder = Path(tempfile.mkdtemp(prefix="rootless-"))
    os.chown(folder, int(subprocess.check_output([*rootless_command[:-1], "id", "-u"])), -1)
    service = subprocess.Popen(
        [*rootless_command, "--data-root", folder / "store"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR"), str(folder))},
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        _await(eventually, lambda: socket.socket(socket.AF_UNIX), str(folder / "docker.sock"), service)
        way = Way({"DOCKER_HOST": f"unix://{folder}/docker.sock"})
        _bring(engine, base_image, way)
        yield way
    finally:
        service.terminate()
        service.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _bring(engine: Any, image: str, way: Way) -> None:
    """From this machine's engine to the one it leads to."""
    with tempfile.TemporaryFile() as saved:
        for block in engine.api.get_image(image):
            saved.write(block)
        saved.seek(0)
        for _ in way.connect().api.load_image(saved):
            pass


def _soft(which: int) -> int:
    """RLIMIT_NPROC is 6, RLIMIT_NOFILE 7."""
    hard = resource.getrlimit(which)[1]
    return 10_000 if hard == resource.RLIM_INFINITY else min(hard, 10_000)


def _await(
    eventually: Callable[..., Any],
    make: Callable[[], socket.socket],
    address: Any,
    service: "subprocess.Popen[bytes]",
) -> None:
    """Waits until it listens."""

    def answers() -> bool:
        if service.poll() is not None:
            pytest.fail("the service has ended")
        with make() as probe:
            probe.connect(address)
        return True

    eventually(answers)


@pytest.fixture(scope="session")
def tls_way(tmp_path_factory: pytest.TempPathFactory, engine: Any) -> Iterator[Way]:
    """This machine's engine over TCP, behind a server that wants a certificate of whoever comes."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    ours = authority.issue_cert("runbook@localhost")
    ours.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in ours.cert_chain_pems))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with _relay(context, engine.endpoint.socket_path) as port:
        yield Way(
            {
                "DOCKER_HOST": f"tcp://localhost:{port}",
                "DOCKER_TLS_VERIFY": "1",
                "DOCKER_CERT_PATH": str(folder),
                # As in a company whose proxy has an authority of its own: the engine's must still count.
                "REQUESTS_CA_BUNDLE": ssl.get_default_verify_paths().cafile or "",
            }
        )


@contextmanager
def _relay(context: ssl.SSLContext, target: str) -> Iterator[int]:
    """Its port."""
    loop = asyncio.new_event_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_unix_connection(target)
        await asyncio.gather(carry(reader, to_engine), carry(from_engine, writer))

    async def end() -> None:
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(meet, "localhost", 0, ssl=context, family=socket.AF_INET))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def ssh_way(tmp_path_factory: pytest.TempPathFactory, engine: Any, eventually: Callable[..., Any]) -> Iterator[Way]:
    """This machine's engine over ssh, to a server of our own with a key of our own."""
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "StrictModes no\nPasswordAuthentication no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
    )
    # `ssh` has no variable for its configuration: the one before it on PATH is itself with ours.
    (folder / "config").write_text(
        f"IdentityFile {folder}/user\nUserKnownHostsFile {folder}/known\nStrictHostKeyChecking no\nLogLevel ERROR\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin/ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    (folder / "bin/ssh").chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it insists on it, and only as root
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=(folder / "log").open("wb"))
    try:
        _await(eventually, lambda: socket.socket(socket.AF_INET), ("127.0.0.1", port), server)
        user = getpass.getuser()
        yield Way(
            {
                "DOCKER_HOST": f"ssh://{user}@127.0.0.1:{port}{engine.endpoint.socket_path}",
                "PATH": f"{folder}/bin:{os.environ['PATH']}",
            }
        )
    finally:
        server.terminate()
        server.wait(20)


WAYS = [
    pytest.param("podman", marks=[pytest.mark.needs("podman", "docker"), pytest.mark.xdist_group("podman")]),
    pytest.param("rootless", marks=[pytest.mark.needs("rootless", "docker"), pytest.mark.xdist_group("rootless")]),
    pytest.param("tls_way", marks=[pytest.mark.needs("docker"), pytest.mark.xdist_group("tls")]),
    pytest.param("ssh_way", marks=[pytest.mark.needs("sshd", "docker"), pytest.mark.xdist_group("tls")]),
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """Each of them."""
    chosen = request.getfixturevalue(request.param)
    assert isinstance(chosen, Way)
    return chosen


@pytest.fixture(params=WAYS[:3])
def make_sandbox(request: pytest.FixtureRequest, base_image: str) -> Iterator[MakeSandbox]:
    """In the place of the one for this machine: with ssh all is as with TLS but for the way."""
    from runbook_runner.sandbox.docker.sandbox import DockerSandbox

    there = request.getfixturevalue(request.param).connect()
    with ExitStack() as stack:

        def make(**asked: Any) -> Sandbox:
            asked = {"run_id": "test", "image": base_image, "lifetime_s": 120, "memory_bytes": 1 << 30} | asked
            sandbox = DockerSandbox(there, SandboxSpec(**asked))
            stack.callback(sandbox.stop)
            engines[id(sandbox)] = there
            return sandbox

        engines: dict[int, Any] = {}
        make.engines = engines  # type: ignore[attr-defined]
        yield make


@pytest.fixture
def is_gone(make_sandbox: Any) -> Callable[[Sandbox], bool]:
    def check(sandbox: Sandbox) -> bool:
        listed = make_sandbox.engines[id(sandbox)].api.containers(all=True)
        return sandbox.sandbox_id not in {item["Id"] for item in listed}

    return check

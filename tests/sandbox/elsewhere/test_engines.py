"""Docker Engine, Podman, TCP with TLS, ssh and contexts: an engine is found as the docker command finds it, and a run
goes through, its model included, whichever way leads there."""

import hashlib
import json
import os
import shutil
import socket
import socketserver
import threading
from pathlib import Path

import pytest

from runbook_runner.errors import InputError, NotReadyError
from runbook_runner.sandbox import SandboxSpec
from runbook_runner.sandbox.docker import DockerSandbox
from runbook_runner.sandbox.endpoint import find_endpoint
from runbook_runner.sockets import listen_unix
from runbook_runner.spec import Network

EXAMPLES = Path(__file__).parents[3] / "examples"
VARIABLES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def write_context(config: Path, name: str, host: str, *, certificates: str | None = None, current: bool = False):
    """As `docker context create` does."""
    own = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts/meta" / own
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    if certificates:
        folder = config / "contexts/tls" / own
        folder.mkdir(parents=True)
        (folder / "docker").symlink_to(certificates)
    if current:
        (config / "config.json").write_text(json.dumps({"currentContext": name, "auths": {}}))


# --- a run, whichever way ------------------------------------------------------------------------------------------


def test_a_run_goes_through_and_its_results_belong_to_the_caller(way, base_image, runbook):
    ran = runbook("run", EXAMPLES / "hello", "--sandbox=docker", "--image", base_image, "--json", env=way.env)
    assert ran.code == 0, ran.err
    results = list((ran.folder / "results").iterdir())
    assert sorted(path.name for path in results) == ["greeting.md", "machine.json"]
    assert {path.stat().st_uid for path in results} == {os.getuid()}


SAY_AND_HEAR = """
import concurrent.futures, socket, sys, threading
def echo(number):
    said = bytes([number]) * number * 200_000
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
        def say():
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
        threading.Thread(target=say).start()
        heard = b"".join(iter(lambda: connection.recv(65536), b""))
    return heard == said
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(all(pool.map(echo, range(16))))
"""


class _Echo(socketserver.StreamRequestHandler):
    def handle(self):
        shutil.copyfileobj(self.rfile, self.wfile)


@pytest.mark.parametrize("policy", ["full", "model-only"])
def test_the_sandbox_reaches_a_server_of_this_machine(way, policy, base_image):
    """Many connections at once, with more on the way than any buffer holds."""
    spec = SandboxSpec(run_id="test", image=base_image, lifetime_s=120, network=Network(policy=policy))
    with DockerSandbox(way.connect(), spec) as sandbox:
        address = sandbox.gateway_host()
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo, bind_and_activate=False)
        server.daemon_threads = True
        server.socket.close()
        server.socket = (
            listen_unix(Path(address.bind.removeprefix("unix:")))
            if address.bind.startswith("unix:")
            else socket.create_server((address.bind, 0), backlog=64)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = address.port or server.socket.getsockname()[1]
        process = sandbox.exec(["python3", "-c", SAY_AND_HEAR, address.reach, str(port)], deadline_s=60)
        assert b"".join(chunk.data for chunk in process) == b"True\n"
        server.shutdown()
        server.server_close()


@pytest.mark.needs("docker", "sshd")
@pytest.mark.xdist_group("tls")
def test_ssh_leaves_nothing_when_the_command_is_over(ssh_way, base_image, runbook, tmp_path):
    env = {**ssh_way.env, "TMPDIR": str(tmp_path)}
    ran = runbook("run", EXAMPLES / "hello", "--sandbox=docker", "--image", base_image, env=env)
    assert ran.code == 0, ran.err
    assert list(tmp_path.glob("runbook-ssh-*")) == []


# --- which engine is meant -----------------------------------------------------------------------------------------


@pytest.mark.needs("docker")
@pytest.mark.xdist_group("tls")
def test_the_current_context_leads_to_its_engine_with_its_certificates(tls_way, tmp_path, monkeypatch):
    certificates = tls_way.env["DOCKER_CERT_PATH"]
    write_context(tmp_path, "far", tls_way.env["DOCKER_HOST"], certificates=certificates, current=True)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    found = find_endpoint()
    assert (found.url, found.origin) == (tls_way.env["DOCKER_HOST"], "the context far")
    from runbook_runner.sandbox.engine import connect

    assert connect().info["NCPU"] > 0


def test_variables_win_over_the_current_context(tmp_path, monkeypatch):
    write_context(tmp_path, "current", "tcp://10.0.0.1:2376", current=True)
    write_context(tmp_path, "other", "ssh://me@far")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert find_endpoint().url == "ssh://me@far"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/podman/podman.sock")
    assert find_endpoint().socket_path == "/run/podman/podman.sock"


@pytest.mark.parametrize(
    ("host", "url", "path"),
    [
        ("/run/x.sock", "unix:///run/x.sock", "/run/x.sock"),
        ("ssh://me@far:2222", "ssh://me@far:2222", "/var/run/docker.sock"),
        ("ssh://far/run/user/7/docker.sock", "ssh://far/run/user/7/docker.sock", "/run/user/7/docker.sock"),
        ("10.0.0.5:2375", "tcp://10.0.0.5:2375", ""),
    ],
)
def test_an_address_is_read_as_the_docker_command_reads_it(host, url, path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    assert (find_endpoint().url, find_endpoint().socket_path) == (url, path)


@pytest.mark.parametrize("host", ["gopher://x", "tcp://host:port", "unix:///"])
def test_what_is_no_address_is_refused(host, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(InputError, match="no address of a Docker engine"):
        find_endpoint()


def test_a_context_that_is_not_there_or_broken_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(NotReadyError, match="'gone' does not exist"):
        find_endpoint()
    monkeypatch.delenv("DOCKER_CONTEXT")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(NotReadyError, match=r"config\.json"):
        find_endpoint()


@pytest.mark.needs("docker")
@pytest.mark.xdist_group("tls")
def test_a_certificate_of_an_unknown_authority_is_refused(tls_way, tmp_path, runbook):
    env = {**tls_way.env, "DOCKER_CERT_PATH": str(tmp_path)}
    ran = runbook("run", EXAMPLES / "hello", "--sandbox=docker", env=env)
    assert ran.code == 3
    assert tls_way.env["DOCKER_HOST"] in ran.err
    assert "certificate" in ran.err.lower()


@pytest.mark.needs("sshd")
def test_ssh_that_does_not_get_there_says_what_ssh_said(runbook):
    env = {"DOCKER_HOST": "ssh://nobody@127.0.0.1:9"}
    ran = runbook("run", EXAMPLES / "hello", "--sandbox=docker", env=env)
    assert ran.code == 3
    assert "ssh://nobody@127.0.0.1:9" in ran.err
    assert "refused" in ran.err

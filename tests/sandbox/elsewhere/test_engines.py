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
from uuid import uuid4

import pytest

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.network.unix_sockets import listen_unix
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.endpoint import find_endpoint
from runbook_runner.sandbox.docker.sandbox import DockerSandbox
from runbook_runner.sandbox.images.snapshots import context_archive

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


@pytest.mark.needs("podman", "docker")
@pytest.mark.xdist_group("podman")
def test_podman_keeps_our_list_of_system_calls(podman, base_image):
    spec = SandboxSpec(run_id="test", image=base_image, lifetime_s=120, network=Network(policy="none"))
    code = """
import ctypes, socket
print("namespace", ctypes.CDLL(None).unshare(0x10000000))
socket.create_server(("127.0.0.1", 0))
print("server")
try:
    socket.socket(40, socket.SOCK_STREAM)
except PermissionError:
    print("no vsock")
"""
    with DockerSandbox(podman.connect(), spec) as sandbox:
        process = sandbox.exec(["python3", "-c", code], deadline_s=60)
        said = b"".join(chunk.data for chunk in process)
    assert said == b"namespace -1\nserver\nno vsock\n"


@pytest.mark.needs("podman", "docker")
@pytest.mark.xdist_group("podman")
def test_podman_gives_the_user_of_an_image_its_home_and_group_and_no_power_of_root(podman, base_image):
    """It gives its container's user the capabilities that were asked for."""
    there, tag = podman.connect(), f"localhost/runbook-test/user:{uuid4().hex}"
    lines = f"FROM {base_image}\nRUN useradd --create-home --groups video worker\nUSER worker\n"
    archive = context_archive({"Dockerfile": lines.encode()})
    assert "stream" in [*there.api.build(fileobj=archive, custom_context=True, tag=tag, rm=True, decode=True)][-1]
    asks = "id -Gn; echo ~; grep CapEff /proc/self/status; dd if=/dev/null of=/proc/1/mem"
    try:
        with DockerSandbox(there, SandboxSpec(run_id="test", image=tag, lifetime_s=120)) as sandbox:
            process = sandbox.exec(["sh", "-c", asks], deadline_s=60)
            said = b"".join(chunk.data for chunk in process).decode().splitlines()
    finally:
        there.api.remove_image(tag, force=True)
    assert said[:3] == ["worker", "/home/worker", "CapEff:\t0000000000000000"]
    assert said[3].endswith("Permission denied")


@pytest.mark.needs("podman", "docker", "linux", "root")
@pytest.mark.xdist_group("podman")
def test_a_podman_that_does_not_see_our_list_runs_with_its_own(podman, base_image, runbook, tmp_path):
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    runbook.under = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(unseen))
    ran = runbook(
        *("run", EXAMPLES / "hello", "--sandbox=docker", "--image", base_image, "--json"),
        env={**podman.env, "TMPDIR": str(unseen)},
    )
    assert ran.code == 0, ran.err


@pytest.mark.needs("docker", "linux", "root")
@pytest.mark.xdist_group("podman")
def test_an_engine_that_does_not_see_our_files_keeps_a_narrow_network_all_the_same(
    engine, base_image, runbook, tmp_path
):
    """As for a program that runs in a container and was given the engine's socket."""
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    runbook.under = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(unseen))
    options = ("--sandbox=docker", "--image", base_image, "--network=model-only", "--json")
    ran = runbook(
        "run", EXAMPLES / "hello", *options, env={"TMPDIR": str(unseen), "RUNBOOK_DATA": str(unseen / "data")}
    )
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/greeting.md").is_file()
    names = [name for item in engine.api.containers(all=True) for name in item["Names"]]
    assert [name for name in names if ran.json["trajectory_id"] in name] == []


@pytest.mark.needs("rootless", "docker")
@pytest.mark.xdist_group("rootless")
def test_a_rootless_engine_without_control_groups_says_which_limits_do_not_hold(rootless, base_image, runbook):
    findings = {item["check"]: item for item in runbook("doctor", "--json", env=rootless.env).json["findings"]}
    assert (findings["engine"]["facts"]["rootless"], findings["engine"]["facts"]["on_this_machine"]) == (True, True)
    assert findings["limits"]["status"] == "warn"
    assert "not limited in them (memory: of each process)" in findings["limits"]["message"]
    ran = runbook("run", EXAMPLES / "hello", "--sandbox=docker", "--image", base_image, "--json", env=rootless.env)
    assert "Not limited here, for no control group can be made: cpus, processes." in ran.err
    holds = ran.trajectory["attributes"]["params"]["sandbox"]["limits"]
    assert (holds["memory"], holds["cpus"], holds["processes"]) == ("each", "none", "none")


def test_all_images_of_a_file_are_imported(way, engine, runbook):
    names = [f"t{uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        folder = runbook.cwd / ".runbook/snapshots" / name
        folder.mkdir(parents=True)
        # No layer that another way's test, beside this one, removes.
        (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /\n# {name}\n")
    ran = runbook("snapshots", "export", *names, "-o", "images.tar", "--trust")
    for found in [image for name in names for image in engine.api.images(f"runbook-runner/{name}")]:
        engine.api.remove_image(found["Id"])
    assert ran.code == 0, ran.err
    taken = runbook("snapshots", "import", "images.tar", env=way.env)
    assert (taken.code, taken.out.count("✓ ")) == (0, 2), taken.err
    there = way.connect()
    for line in taken.out.splitlines():
        there.api.remove_image(line.removeprefix("✓ "))


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
    from runbook_runner.sandbox.docker.engine import connect

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
    with pytest.raises(InputError, match="not the address of a Docker engine"):
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


# --- a run that died on another engine -----------------------------------------------------------------------------


@pytest.mark.needs("docker", "podman", "linux", "root")
def test_a_dead_run_waits_for_the_engine_that_has_its_container(podman, base_image, runbook, shell_runbook, eventually):
    # On a host of another name no other test's start cleans it up.
    runbook.under = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', f"other-{os.getpid()}")
    path = shell_runbook("echo made > /app/results/out.txt; echo started; sleep 600")
    process = runbook.start("run", path, "--sandbox", "docker", "--image", base_image)
    logs = (runbook.cwd / ".runbook/trajectories").glob
    eventually(lambda: any("started" in log.read_text() for log in logs("*/*/*/agent/stdout.log")))
    process.kill()
    process.communicate(timeout=60)
    (folder,) = logs("*/*/*")

    elsewhere = runbook("run", EXAMPLES / "hello", "--sandbox", "host", "--collection", "other", env=podman.env)
    assert elsewhere.code == 0, elsewhere.err
    cleaned = runbook("clean", env=podman.env)
    assert cleaned.code == 3
    for told in (elsewhere.err, cleaned.err):
        assert "Its container is at another Docker engine, unix:///var/run/docker.sock." in told
    assert not (folder / "trajectory.json").exists()

    assert runbook("clean").code == 0
    assert json.loads((folder / "trajectory.json").read_text())["error"] == "interrupted"
    assert (folder / "results/out.txt").read_text() == "made\n"
    assert runbook("clean", env=podman.env).code == 0

"""Network policies, against real sandboxes: what gets out, what does not, and what is told about it."""

import socket
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.network.unix_sockets import listen_unix
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.local import abstract_sockets
from runbook_runner.sandbox.network.egress_proxy import MAX_CONNECTIONS

pytestmark = pytest.mark.needs("linux")

CONNECT = """python3 -c '
import socket, sys
try:
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
    print("connected", connection.recv(100))
except OSError as error:
    print("refused", error)
' {} {}"""

# What a tool does with HTTP_PROXY, whichever target it asks for.
ASK_PROXY = """python3 -c '
import os, socket, sys
from urllib.parse import urlsplit
proxy = urlsplit(os.environ["HTTP_PROXY"])
connection = socket.create_connection((proxy.hostname, proxy.port), timeout=20)
connection.sendall(sys.argv[1].encode().decode("unicode_escape").encode())
said = b""
while data := connection.recv(65536):
    said += data
print(said.decode("latin-1"))
' '{}'"""


@pytest.fixture
def make(isolating_backend, make_backend):
    """Started sandboxes with a policy; `.events` hears what is told."""
    make_one = make_backend(isolating_backend)

    def start(policy, *hosts, **asked):
        events = []
        sandbox = make_one(network=Network(policy=policy, allow_hosts=hosts), on_event=events.append, **asked)
        sandbox.start()
        return sandbox, events

    return start


@contextmanager
def greeter(address="127.0.0.1"):
    """A server of this machine that says `secret` to whoever connects; its port."""
    with socket.create_server((address, 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"secret")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"page of {self.headers['Host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(60)


def own_addresses():
    """Of this machine, the engine's bridge among them."""
    shown = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout
    return [line.split()[3].partition("/")[0] for line in shown.splitlines()] or ["127.0.0.1"]


@pytest.mark.parametrize("policy", ["none", "model-only", "allowlist"])
def test_nothing_is_reached_directly(make, shell, policy):
    sandbox, _ = make(policy)
    with greeter("0.0.0.0") as port:
        for address in {*own_addresses(), "127.0.0.1", "169.254.169.254", "1.1.1.1", "172.17.0.1"}:
            assert shell(sandbox, CONNECT.format(address, port)).stdout.startswith(b"refused"), address
    links = shell(sandbox, "tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route").stdout
    assert links.split() == [b"lo"]


@pytest.mark.parametrize("policy", ["none", "model-only", "allowlist"])
def test_no_name_is_looked_up(make, shell, policy):
    sandbox, _ = make(policy)
    ask = "python3 -c 'import socket; socket.getaddrinfo(\"exfiltrated-data.example.com\", 80)'"
    assert b"gaierror" in shell(sandbox, ask).stderr
    query = """python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(b"query", ("8.8.8.8", 53))
'"""
    assert b"unreachable" in shell(sandbox, query).stderr


@pytest.mark.parametrize("policy", ["model-only", "allowlist"])
def test_the_gateway_is_reached_and_its_answer_comes_whole(make, shell, policy):
    sandbox, _ = make(policy)
    address = sandbox.gateway_host()
    assert address.bind.startswith("unix:")
    said = []
    with listen_unix(Path(address.bind.removeprefix("unix:"))) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    said.append(data)
                connection.sendall(b"answer" * 100_000)

        thread = threading.Thread(target=serve)
        thread.start()
        ran = shell(
            sandbox,
            f"""python3 -c '
import socket
c = socket.create_connection(("{address.reach}", {address.port})); c.sendall(b"q" * 3000000); c.shutdown(socket.SHUT_WR)
print(sum(len(d) for d in iter(lambda: c.recv(65536), b"")))'""",
        )
        thread.join(60)
    assert ran.stdout == b"600000\n", ran.stderr
    assert sum(map(len, said)) == 3_000_000


def test_with_none_there_is_no_gateway_either(make):
    sandbox, _ = make("none")
    with pytest.raises(NotReadyError, match="model-only"):
        sandbox.gateway_host()


def test_listed_address_is_reached_through_the_proxy_and_told(make, shell, site):
    sandbox, events = make("allowlist", f"127.0.0.1:{site}")
    ran = shell(sandbox, ASK_PROXY.format(rf"GET http://127.0.0.1:{site}/a?b HTTP/1.1\r\nHost: other\r\n\r\n"))
    assert f"page of 127.0.0.1:{site} /a?b" in ran.stdout.decode(), ran
    sandbox.stop()
    (event,) = events
    assert (event.host, event.port, event.address, event.allowed) == ("127.0.0.1", site, "127.0.0.1", True)
    assert event.bytes_received > 100
    assert event.bytes_sent > 50
    assert event.reason is None


def test_tunnel_to_a_listed_address_carries_bytes_both_ways(make, shell):
    with greeter() as port:
        sandbox, events = make("allowlist", "127.0.0.0/8")
        ran = shell(sandbox, ASK_PROXY.format(rf"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"))
        sandbox.stop()
    assert ran.stdout == b"HTTP/1.1 200 Connection established\r\n\r\nsecret\n"
    assert [(event.allowed, event.bytes_received) for event in events] == [(True, 6)]


@pytest.mark.parametrize(
    ("hosts", "target", "reason"),
    [
        (["pypi.org"], "example.com", "not on the allow-list"),
        (["pypi.org"], "169.254.169.254", "private"),
        (["pypi.org"], "[::ffff:169.254.169.254]", "private"),
        (["pypi.org"], "127.0.0.1", "private"),
        (["pypi.org"], "10.0.0.1", "private"),
        (["localhost"], "localhost", "private address that is not listed itself"),
        (["pypi.org"], "2130706433", "not on the allow-list"),
        (["pypi.org"], "0x7f.1", "not on the allow-list"),
    ],
)
def test_what_is_not_listed_is_refused_with_the_reason_and_told(make, shell, hosts, target, reason):
    sandbox, events = make("allowlist", *hosts)
    with greeter() as port:
        ran = shell(sandbox, ASK_PROXY.format(rf"CONNECT {target}:{port} HTTP/1.1\r\n\r\n"))
    assert ran.stdout.startswith(b"HTTP/1.1 403 Forbidden")
    assert b"secret" not in ran.stdout
    sandbox.stop()
    assert [event.allowed for event in events] == [False]
    assert reason in events[0].reason


@pytest.mark.parametrize(
    "request_",
    [r"nonsense\r\n\r\n", r"GET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n", r"CONNECT pypi.org:0 HTTP/1.1\r\n\r\n"],
)
def test_what_is_no_request_to_a_proxy_is_an_error_not_a_connection(make, shell, request_):
    sandbox, events = make("allowlist", "pypi.org")
    assert shell(sandbox, ASK_PROXY.format(request_)).stdout.startswith(b"HTTP/1.1 400")
    sandbox.stop()
    assert events == []


MANY_TO_PROXY = """python3 -c '
import select, socket
held = []
for number in range({}):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/run/runbook/egress.sock")
    held.append(connection)
open_ones = select.poll()
for connection in held:
    open_ones.register(connection, select.POLLIN)
turned_away = 0
while turned_away < {}:
    for descriptor, _ in open_ones.poll(20000):
        open_ones.unregister(descriptor)
        turned_away += 1
print("bounded")
'"""


@pytest.mark.parametrize(
    "name", [r"1.1.1.1\0.example.com", r"1.1.1.1\r.example.com", "10.0.0.5%x.other.com", r"\xb9.example.com"]
)
@pytest.mark.parametrize("request_", [r"CONNECT {}:443 HTTP/1.1\r\n\r\n", r"GET http://{}/ HTTP/1.1\r\n\r\n"])
def test_what_a_resolver_reads_as_another_name_is_none(make, shell, name, request_):
    sandbox, events = make("allowlist", "*.example.com", "10.0.0.5")
    said = shell(sandbox, ASK_PROXY.format(request_.format(name))).stdout
    assert said.endswith(b"That is not a host.\n\n")
    sandbox.stop()
    assert events == []


def test_idle_connections_to_the_proxy_are_bounded(make, shell):
    sandbox, _ = make("allowlist", "pypi.org")
    too_many = 50
    script = MANY_TO_PROXY.format(MAX_CONNECTIONS + too_many, too_many)
    assert shell(sandbox, script).stdout == b"bounded\n"


def test_open_tunnel_is_broken_off_and_told_when_the_sandbox_stops(make, shell):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sandbox, events = make("allowlist", f"127.0.0.1:{port}")
        process = shell.start(sandbox, ASK_PROXY.format(rf"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"))
        server.settimeout(60)
        connection, _ = server.accept()
        connection.sendall(b"12345")
        process.kill()
        process.wait()
        sandbox.stop()
        connection.close()
    assert [event.allowed for event in events] == [True]


def test_sandbox_of_another_run_is_not_reached(make, shell):
    one, _ = make("model-only")
    other, _ = make("model-only")
    process = shell.start(one, "echo up; exec python3 -m http.server 9123", deadline_s=60)
    for _ in process:
        break
    assert shell(other, CONNECT.format("127.0.0.1", 9123)).stdout.startswith(b"refused")
    assert one.gateway_host().bind != other.gateway_host().bind
    process.kill()


@pytest.mark.needs("docker")
@pytest.mark.parametrize("policy", ["none", "model-only", "allowlist"])
def test_container_on_the_engines_network_is_not_reached(engine, make, make_docker, shell, policy):
    other = make_docker()
    other.start()
    process = shell.start(other, "exec python3 -u -m http.server 8000", deadline_s=60)
    networks = engine.api.inspect_container(other.sandbox_id)["NetworkSettings"]["Networks"]
    (address,) = [network["IPAddress"] for network in networks.values()]
    sandbox, events = make(policy)
    assert shell(sandbox, CONNECT.format(address, 8000)).stdout.startswith(b"refused")
    if policy == "allowlist":
        asked = ASK_PROXY.format(rf"GET http://{address}:8000/ HTTP/1.1\r\n\r\n")
        assert shell(sandbox, asked).stdout.startswith(b"HTTP/1.1 403")
        sandbox.stop()
        assert [(event.host, event.allowed) for event in events] == [(address, False)]
    process.kill()


def test_listed_name_is_reached_and_told_with_its_address_and_bytes(make, shell, site):
    sandbox, events = make("allowlist", "localhost", "127.0.0.0/8")
    ran = shell(sandbox, ASK_PROXY.format(rf"GET http://LocalHost:{site}/x HTTP/1.1\r\n\r\n"))
    assert b"page of LocalHost" in ran.stdout
    sandbox.stop()
    (event,) = events
    assert (event.host, event.address, event.port, event.allowed) == ("localhost", "127.0.0.1", site, True)
    assert event.bytes_received > len("page of")


def test_name_that_changes_its_mind_is_looked_up_once(make, shell, site, monkeypatch):
    """First to an allowed address, then to others: whoever checks one and connects to the next is led on."""
    answers, real = ["127.0.0.1", "169.254.169.254", "10.0.0.1"], socket.getaddrinfo
    asked = []

    def look_up(host, port, *args, **options):
        if host != "rebind.example":
            return real(host, port, *args, **options)
        asked.append(host)
        return real(answers[len(asked) - 1], port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    sandbox, events = make("allowlist", "rebind.example", f"127.0.0.1:{site}")
    request = ASK_PROXY.format(rf"GET http://rebind.example:{site}/ HTTP/1.1\r\n\r\n")
    assert b"page of rebind.example" in shell(sandbox, request).stdout
    assert asked == ["rebind.example"]
    assert shell(sandbox, request).stdout.startswith(b"HTTP/1.1 403"), (
        "what it stands for now is private and not listed"
    )
    sandbox.stop()
    assert [(event.host, event.address, event.allowed) for event in events] == [
        ("rebind.example", "127.0.0.1", True),
        ("rebind.example", None, False),
    ]


@pytest.mark.parametrize("policy", ["none", "model-only", "allowlist", "full"])
def test_abstract_socket_of_this_machine_is_not_reached(make, shell, policy):
    """They have no file: the network namespace keeps them apart. Bubblewrap has none of its own with `full`: there an X
    server that listens so would let its user's sandboxes type on the screen."""
    name = f"runbook-test-{id(policy):x}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        ask = f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"\\0{name}\")'"
        said = shell(make(policy)[0], ask).stderr
        assert b"ConnectionRefusedError" in said or b"PermissionError" in said


OWN_SOCKETS = """python3 -c '
import socket, sys
socket.socketpair()
server = socket.socket(socket.AF_UNIX)
server.bind(chr(0) + "own")
server.listen()
socket.socket(socket.AF_UNIX).connect(chr(0) + "own")
'"""


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("scopes", [True, False])
def test_without_landlock_there_are_no_unix_sockets_but_pairs(make_backend, shell, monkeypatch, scopes):
    if not scopes:
        monkeypatch.setattr(abstract_sockets, "_version", lambda: 5)
    elif not abstract_sockets.can_be_refused(""):
        pytest.skip("Landlock of this kernel has no scopes")
    sandbox = make_backend("bubblewrap")(network=Network(policy="full"))
    sandbox.start()
    ended = shell(sandbox, OWN_SOCKETS)
    assert (b"PermissionError" in ended.stderr, b"socketpair()" in ended.stderr) == (not scopes, False), ended.stderr


@pytest.mark.needs("docker")
@pytest.mark.parametrize("missing", ["python3", "python3 node"])
def test_image_without_python_uses_node_and_without_either_says_so(engine, image, make_docker, shell, missing):
    from runbook_runner.sandbox.images.snapshots import context_archive

    tag = f"runbook-test/no-{missing.replace(' ', '-')}:1"
    dockerfile = f"FROM {image}\nRUN for name in {missing}; do rm -f /usr/bin/$name* /usr/local/bin/$name*; done\n"
    archive = context_archive({"Dockerfile": dockerfile.encode()})
    assert list(engine.api.build(fileobj=archive, custom_context=True, tag=tag, rm=True, decode=True))
    sandbox = make_docker(image=tag, network=Network(policy="model-only"))
    try:
        if "node" in missing:
            with pytest.raises(NotReadyError, match="neither python3 nor node"):
                sandbox.start()
            return
        sandbox.start()
        address = sandbox.gateway_host()
        with listen_unix(Path(address.bind.removeprefix("unix:"))) as server:
            listen = "on('data', said => console.log(String(said)))"
            ask = f"node -e \"require('net').connect({address.port}, '127.0.0.1').{listen}\""
            process = shell.start(sandbox, ask, deadline_s=60)
            server.settimeout(60)
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"welcome")
            assert b"".join(chunk.data for chunk in process) == b"welcome\n"
    finally:
        sandbox.stop()
        engine.api.remove_image(tag)


def test_stopping_leaves_no_socket_behind(make, tmp_path):
    sandbox, _ = make("allowlist", "pypi.org")
    folder = Path(sandbox.gateway_host().bind.removeprefix("unix:")).parent
    assert folder.is_dir()
    sandbox.stop()
    assert not folder.parent.exists()


def test_the_model_is_reached_again_after_a_deadline(make, shell):
    """An agent that is started again needs it as the first one did."""
    sandbox, _ = make("model-only")
    address = sandbox.gateway_host()
    shell(sandbox, "sleep 60", deadline_s=0.5)
    with listen_unix(Path(address.bind.removeprefix("unix:"))) as server:
        process = shell.start(sandbox, CONNECT.format("127.0.0.1", address.port), deadline_s=60)
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"welcome")
        assert b"".join(chunk.data for chunk in process) == b"connected b'welcome'\n"

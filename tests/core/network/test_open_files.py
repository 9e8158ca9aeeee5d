"""What connects to the servers of a run leaves it the files that it needs."""

import subprocess
import sys

import pytest

from runbook_runner.core.network.open_files import raise_limit

SERVERS = {
    "the model gateway": """
from runbook_runner.gateway import listen
with listen(f"unix:{path}"):
    attack()
""",
    "the allow-list's proxy": """
from runbook_runner.sandbox.network.egress_proxy import EgressProxy
proxy = EgressProxy(("127.0.0.1",), print)
proxy.start(path)
attack()
""",
}
ATTACK = """
import os, resource, socket, subprocess, sys
from pathlib import Path

limits = resource.getrlimit(resource.RLIMIT_NOFILE)
path = Path("s").resolve()
clients = '''
import select, socket
held, polled = [], select.poll()
for _ in range(900):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("s")
    held.append(connection)
    polled.register(connection, select.POLLIN)
closed = 0
while closed < 700:
    for descriptor, _ in polled.poll(20000):
        polled.unregister(descriptor)
        closed += 1
'''

def attack():
    code = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, {limits})" + clients
    other = subprocess.Popen([sys.executable, "-c", code])
    while other.poll() is None:
        spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]
        for descriptor in spare:
            os.close(descriptor)
    print("done", other.returncode)
"""


@pytest.mark.parametrize("server", SERVERS)
def test_many_connections_leave_files_for_the_run(server, tmp_path):
    code = f"{ATTACK}\nresource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))\n{SERVERS[server]}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("done 0\n", "")


def test_the_limit_becomes_what_the_user_may_set():
    said = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    code = f"from {raise_limit.__module__} import raise_limit; raise_limit(); {said}"
    command = ["bash", "-c", 'ulimit -Sn 256; ulimit -Hn 3000; "$@"', "-", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "3000\n"

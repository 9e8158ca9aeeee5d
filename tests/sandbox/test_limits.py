"""Limits that hold, and are named when something ran into them. Each test provokes one."""

from uuid import uuid4

import pytest

from runbook_runner.sandbox.base import PutFile

HOG = """python3 -c '
blocks = []
while True:
    blocks.append(bytearray(16 << 20))
'"""


HOLDERS = """python3 -c '
import subprocess, sys
hold = "import sys; b = bytearray(100 << 20); print(flush=True); sys.stdin.read()"
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
held = [subprocess.Popen([sys.executable, "-c", hold], **pipes) for _ in range(4)]
for one in held:
    one.stdout.readline()
for one in held:
    one.stdin.close()
print(sum(one.wait() == 0 for one in held))
'"""
"""Four processes that have 100 MB each at the same time; how many came through."""


@pytest.fixture
def make(isolating_backend, make_backend):
    make_one = make_backend(isolating_backend)

    def start(**asked):
        sandbox = make_one(**asked)
        sandbox.start()
        return sandbox

    return start


def limits(sandbox):
    return [hit.limit for hit in sandbox.limits_hit()]


@pytest.mark.needs("root")  # a control group takes root, or a session of systemd's
def test_out_of_memory_kill_is_named_as_such(make, shell):
    sandbox = make(memory_bytes=128 << 20)
    assert limits(sandbox) == []
    assert shell(sandbox, HOG).exit.code == 137
    (hit,) = sandbox.limits_hit()
    assert (hit.limit, hit.message) == ("memory", "It ran out of memory (128 MB): the kernel killed a process.")


@pytest.mark.needs("root")
def test_memory_limit_holds_for_all_processes_together(make, shell):
    sandbox = make(memory_bytes=256 << 20)
    assert int(shell(sandbox, HOLDERS).stdout) < 4
    assert limits(sandbox) == ["memory"]


@pytest.mark.needs("root")
def test_fork_bomb_stays_within_the_processes_and_is_named(make, shell, running, eventually):
    sandbox = make(pids=64)
    mark = f"4{uuid4().int % 10**9:09}"
    bomb = f"""python3 -c '
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    except OSError:
        time.sleep(0.01)
' {mark}"""
    process = shell.start(sandbox, bomb)
    eventually(lambda: len(running(mark)) > 50)
    assert len(running(mark)) <= 64 + 2
    process.kill()
    process.wait()
    assert "processes" in limits(sandbox)
    assert running(mark) == []


def test_writing_too_much_to_disk_ends_the_writer_and_is_named(make, shell):
    sandbox = make(disk_bytes=50 << 20)
    ran = shell(sandbox, "while :; do head -c 10000000 /dev/zero >>/tmp/big; sleep 0.1; done", deadline_s=120)
    assert ran.exit.ended_by == "killed", "not at the deadline"
    (hit,) = sandbox.limits_hit()
    assert (hit.limit, hit.message) == ("disk", "It wrote more than 50 MB to disk.")


def test_little_on_disk_hits_nothing(make, shell, eventually, monkeypatch):
    sandbox = make(disk_bytes=50 << 20)
    measured, measure = [], sandbox._watch._measure
    monkeypatch.setattr(sandbox._watch, "_measure", lambda: measured.append(measure()) or measured[-1])
    process = shell.start(sandbox, "head -c 10000000 /dev/zero >x; until [ -e seen ]; do sleep 0.1; done; echo done")
    eventually(lambda: max(measured) >= 10_000_000)
    sandbox.put([PutFile("/app/work/seen", b"")])
    assert b"".join(chunk.data for chunk in process) == b"done\n"
    assert sandbox.limits_hit() == ()


def test_open_files_end_at_the_limit_with_the_usual_error(make_backend, backend, shell):
    sandbox = make_backend(backend)(open_files=100)
    sandbox.start()
    count = "python3 -c 'f = []\nwhile True: f.append(open(\"/dev/null\"))'"
    ran = shell(sandbox, f"ulimit -n; {count}")
    assert ran.stdout == b"100\n"
    assert b"Too many open files" in ran.stderr
    assert shell(sandbox, "ulimit -n 101").exit.code != 0


@pytest.mark.needs("root")
def test_processors_are_shared_out(make, shell):
    """Two loops on half a core get at most half of the time that passes, however busy the machine is."""
    sandbox = make(cpus=0.5)
    spin = "timeout 2 sh -c 'while :; do :; done'"
    ran = shell(sandbox, f"cat /proc/uptime; {spin} & {spin} & wait; cat /proc/uptime; times")
    before, after, times = ran.stdout.decode().split("\n", 2)
    passed = float(after.split()[0]) - float(before.split()[0])
    used = sum(float(part.split("m")[1].rstrip("s")) for part in times.split()[2:])
    assert 0 < used < 0.7 * passed + 0.2, ran.stdout


def test_limits_of_a_fresh_sandbox_are_not_hit(make):
    assert make().limits_hit() == ()

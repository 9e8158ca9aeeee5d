"""Limits that hold, and are named when something ran into them. Each test provokes one."""

import time

import pytest

HOG = """python3 -c '
blocks = []
while True:
    blocks.append(bytearray(16 << 20))
'"""


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
    hold = "python3 -c 'import time; b = bytearray(100 << 20); time.sleep(3); print(len(b))'"
    ran = shell(sandbox, f"for i in 1 2 3 4; do {hold} & done; wait")
    assert len(ran.stdout.split()) < 4
    assert limits(sandbox) == ["memory"]


@pytest.mark.needs("root")
def test_fork_bomb_stays_within_the_processes_and_is_named(make, shell, running):
    sandbox = make(pids=64)
    mark = f"4{time.monotonic_ns() % 10**9:09}"
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
    started = time.monotonic()
    process = shell.start(sandbox, bomb, deadline_s=3)
    time.sleep(1.5)
    assert len(running(mark)) <= 64 + 2
    process.wait()
    assert "processes" in limits(sandbox)
    assert running(mark) == []
    assert time.monotonic() - started < 30


def test_writing_too_much_to_disk_ends_the_writer_and_is_named(make, shell):
    sandbox = make(disk_bytes=50 << 20)
    started = time.monotonic()
    ran = shell(sandbox, "while :; do head -c 10000000 /dev/zero >>/tmp/big; sleep 0.1; done", deadline_s=60)
    assert ran.exit.ended_by == "killed"
    assert time.monotonic() - started < 20
    (hit,) = sandbox.limits_hit()
    assert (hit.limit, hit.message) == ("disk", "It wrote more than 50 MB to disk.")


def test_little_on_disk_hits_nothing(make, shell):
    sandbox = make(disk_bytes=50 << 20)
    assert shell(sandbox, "head -c 10000000 /dev/zero >/app/work/x; sleep 3; echo done").stdout == b"done\n"
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
    """Two loops on half a core get at most so much time."""
    sandbox = make(cpus=0.5)
    spin = "timeout 2 sh -c 'while :; do :; done'"
    ran = shell(sandbox, f"{spin} & {spin} & wait; times")
    used = sum(float(part.split("m")[1].rstrip("s")) for part in ran.stdout.decode().split()[2:])
    assert 0.3 < used < 1.7, ran.stdout


def test_limits_of_a_fresh_sandbox_are_not_hit(make):
    assert make().limits_hit() == ()

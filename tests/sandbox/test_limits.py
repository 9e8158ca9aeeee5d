"""Limits that hold, and are named when something ran into them. Each test provokes one."""

import io
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from runbook_runner.core.spec import Network
from runbook_runner.runner.environment.backends import shortcomings
from runbook_runner.sandbox import disk_use
from runbook_runner.sandbox.base import PutFile
from runbook_runner.sandbox.docker.limits import container_disk
from runbook_runner.sandbox.docker.limits.standstill import freeze
from runbook_runner.sandbox.images import inventory
from runbook_runner.sandbox.local import cgroup

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


@pytest.fixture
def often(monkeypatch):
    """It is measured although the disk may have grown by less: other tests remove as much at the same time."""
    monkeypatch.setattr(disk_use, "_ANYWAY_S", 0.0)
    monkeypatch.setattr(disk_use, "_ANYWAY_SHARE", 5)


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


FILLED = """python3 -c '
import socket
kind, held = (socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK), []
for _ in range(2000):
    held.append(socket.socket(*kind))
    held[-1].bind(("127.0.0.1", 0))
    with socket.socket(*kind) as sender:
        for _ in range(4):
            sender.sendto(bytes(50000), held[-1].getsockname())
came = 0
for one in held:
    try:
        while True:
            came += len(one.recv(50000))
    except BlockingIOError:
        pass
print(came)
'"""
"""How many bytes were in sockets at the same time."""


@pytest.mark.needs("root")
def test_sandbox_knows_whether_its_memory_limit_holds_for_sockets(make, shell):
    limit = 96 << 20
    sandbox = make(memory_bytes=limit)
    ran = shell(sandbox, FILLED)
    assert (int(ran.stdout) < limit) == sandbox.counts_sockets()
    assert sandbox.counts_sockets() or sandbox.backend == "docker"
    told = any("in sockets" in line for line in shortcomings(sandbox, Network()))
    assert told != sandbox.counts_sockets()


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


@pytest.mark.needs("docker")
@pytest.mark.parametrize("lies", [False, True])
def test_what_a_command_leaves_behind_fills_no_disk(make_docker, shell, replaced_shell, engine, eventually, lies):
    sandbox = make_docker(disk_bytes=20 << 20)
    sandbox.start()
    fills = "while :; do head -c 1000000 /dev/zero >>/tmp/big; sleep 0.1; done"
    before = replaced_shell("ended") if lies else ""
    assert shell(sandbox, f"{before}({fills}) >/dev/null 2>&1 & exit 0").exit.code == 0
    eventually(lambda: limits(sandbox) == ["disk"], 60)
    eventually(lambda: engine.api.inspect_container(sandbox.sandbox_id)["State"]["Paused"], 60)


HIDDEN = {
    "a path that is too long": """python3 -c '
import os
for _ in range(60):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
os.execlp("sh", "sh", "-c", "while :; do head -c 10000000 /dev/zero >>big; sleep 0.1; done")
'""",
    "a folder that can't be listed": """mkdir x; chmod 300 x
while :; do head -c 10000000 /dev/zero >>x/big; sleep 0.1; done""",
    "room behind the end of a file": """python3 -c '
import ctypes, os
room = ctypes.c_long(10_000_000)
file = os.open("big", os.O_RDWR | os.O_CREAT)
allocate = ctypes.CDLL(None).fallocate
while allocate(file, 1, ctypes.c_long(os.fstat(file).st_blocks * 512), room) == 0:
    pass
while True:
    os.write(file, bytes(10_000_000))
'""",
    "empty files": """python3 -c '
number = 0
while True:
    open(f"{number}", "w").close()
    number += 1
'""",
    "what moves to where was measured already": """python3 -c '
import ctypes, os, select, struct, threading, time
def write():
    with open("z/d/big", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
            time.sleep(0.004)
for name in "abcdefgh":
    os.mkdir(name)
order = [entry.name for entry in os.scandir(".")]
early, slow, late = order[0], order[4], order[-1]
for number in range(3000):
    open(f"{slow}/{number}", "w").close()
os.mkdir(f"{late}/d")
os.symlink(late, "z")
libc = ctypes.CDLL(None)
seen = libc.inotify_init1(0)
libc.inotify_add_watch(seen, slow.encode(), 0x30)
threading.Thread(target=write).start()
at = late
while True:
    data, mask = os.read(seen, 4096), 0
    while data:
        _, event, _, length = struct.unpack("iIII", data[:16])
        mask, data = mask | event, data[16 + length :]
    if mask & 0x20 and at == late:
        os.rename(f"{late}/d", f"{early}/d")
        at = early
    if mask & 0x10 and at == early:
        time.sleep(0.1)
        os.rename(f"{early}/d", f"{late}/d")
        at = late
'""",
    "folders that have had many names": """python3 -c '
import os
number = 0
while True:
    os.mkdir(f"{number}")
    folder = os.open(f"{number}", os.O_RDONLY)
    open("one", "w").close()
    for name in range(20_000):
        os.link("one", f"{name:0250}", dst_dir_fd=folder)
    for name in range(20_000):
        os.unlink(f"{name:0250}", dir_fd=folder)
    os.close(folder)
    number += 1
'""",
    "removed folders that are held": """python3 -c '
import os
held = []
while True:
    os.mkdir("d")
    held.append(os.open("d", os.O_RDONLY))
    open("one", "w").close()
    for name in range(20_000):
        os.link("one", f"{name:0250}", dst_dir_fd=held[-1])
    for name in range(20_000):
        os.unlink(f"{name:0250}", dir_fd=held[-1])
    os.rmdir("d")
'""",
    "a folder that is renamed": """mkdir x; exec 3>x/big; cd x; python3 -c '
import os
while True:
    os.rename("../x", "../y")
    os.rename("../y", "../x")
' & while :; do head -c 10000000 /dev/zero >&3; sleep 0.1; done""",
}


@pytest.mark.parametrize("script", HIDDEN.values(), ids=HIDDEN)
def test_nothing_on_disk_is_hidden(make, shell, script):
    sandbox = make(disk_bytes=50 << 20)
    ran = shell(sandbox, f"cd /app/work; {script}", deadline_s=120)
    assert limits(sandbox) == ["disk"], (ran.exit, ran.stderr[-1000:])


RESERVING = """python3 -c '
import ctypes, errno, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
file = os.open("x", os.O_RDWR | os.O_CREAT)
def error(number):
    return errno.errorcode[ctypes.get_errno()] if number else ""
def allocate(mode):
    return error(libc.fallocate(file, mode, ctypes.c_long(0), ctypes.c_long(1 << 20)))
def control(command, *more):
    room = struct.pack("hhqqi4i", 0, 0, 0, 1 << 20, 0, 0, 0, 0, 0).ljust(48, bytes(1))
    return error(libc.ioctl(file, ctypes.c_ulong(command), room))
os.truncate(file, 1 << 20)
print(*map(allocate, (0, 1, 16)), *map(control, (0x40305828, 0x4030582a, 0x140305828, 0x40305839)))
print(os.stat(file).st_blocks)
os.posix_fallocate(file, 0, 1 << 20)
print(os.stat(file).st_blocks * 512 >= 1 << 20)
print(repr(allocate(3)), os.stat(file).st_blocks)
'"""


def test_no_room_on_disk_is_taken_without_writing(make, shell):
    ran = shell(make(), f"cd /app/work; {RESERVING}")
    assert ran.stdout.decode() == f"{'ENOTSUP ' * 7}".strip() + "\n0\nTrue\n'' 0\n", ran.stderr


@pytest.mark.usefixtures("often")
@pytest.mark.needs("bubblewrap")
def test_folders_that_are_too_deep_to_be_measured_hit_the_limit(make_bubblewrap, shell):
    sandbox = make_bubblewrap(disk_bytes=50 << 20)
    sandbox.start()
    dig = 'import os\nfor _ in range(300): os.mkdir("d"); os.chdir("d")'
    assert shell(sandbox, f"python3 -c '{dig}'; sleep 100", deadline_s=100).exit.ended_by == "killed"
    assert limits(sandbox) == ["disk"]


def measured(sandbox):
    with sandbox._disk._still():
        return sandbox._disk._measure()


def test_little_on_disk_hits_nothing_and_what_stood_still_goes_on(make, shell):
    sandbox = make(disk_bytes=50 << 20)
    process = shell.start(
        sandbox, "head -c 10000000 /dev/zero >x; echo x; until [ -e seen ]; do sleep 0.1; done; echo y"
    )
    chunks = iter(process)
    assert next(chunks).data == b"x\n"
    assert 10_000_000 <= measured(sandbox) < 50 << 20
    sandbox.put([PutFile("/app/work/seen", b"")])
    assert b"".join(chunk.data for chunk in chunks) == b"y\n"
    assert sandbox.limits_hit() == ()


@pytest.mark.needs("docker")
def test_a_command_that_is_being_started_is_not_frozen(make_docker, shell):
    sandbox = make_docker()
    sandbox.start()
    for _ in range(5):
        process = shell.start(sandbox, "echo x")
        with sandbox._disk._still():
            pass
        assert b"".join(chunk.data for chunk in process) == b"x\n"


@pytest.mark.needs("docker")
def test_what_was_frozen_for_good_does_not_go_on_after_it_was_measured(make_docker, engine):
    sandbox = make_docker()
    sandbox.start()
    freeze(engine, sandbox.sandbox_id)
    assert measured(sandbox) >= 0
    assert engine.api.inspect_container(sandbox.sandbox_id)["State"]["Paused"]


@pytest.mark.needs("root", "bubblewrap")
def test_nothing_wakes_a_sandbox_that_stands_still_and_nobody_is_told(make_bubblewrap, eventually):
    sandbox = make_bubblewrap()
    sandbox.start()
    ticking = """set -m; python3 -c '
import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0)  # struct sigevent: SIGEV_SIGNAL
timer = ctypes.c_void_p()
assert libc.timer_create(1, event, ctypes.byref(timer)) == 0
spec = (ctypes.c_long * 4)(0, 1_000_000, 0, 1_000_000)
assert libc.timer_settime(timer, 0, spec, None) == 0
while not os.path.exists("seen"):
    with open("ticks", "a") as file:
        file.write(".")
    time.sleep(0.001)
'; echo $?"""
    process = sandbox.exec(["bash", "-c", ticking], deadline_s=60)
    ticks = Path(sandbox.sandbox_id, "app/work/ticks")
    eventually(ticks.exists)
    for _ in range(20):
        with sandbox._disk._still():
            before = ticks.stat().st_size
            assert sandbox._disk._measure() > 0
            assert ticks.stat().st_size == before
    sandbox.put([PutFile("/app/work/seen", b"")])
    assert b"".join(chunk.data for chunk in process if chunk.stream == "stdout") == b"0\n"


@pytest.mark.needs("docker")
def test_what_a_container_has_of_its_own_counts_as_it_is_on_disk(make_docker, shell):
    sandbox = make_docker()
    sandbox.start()
    before = measured(sandbox)
    assert before < 1 << 20
    tails = """python3 -c '
import os
for number in range(1000):
    with open(f"{number}", "wb") as file:
        file.write(b"x" * 4097)
    os.setxattr(f"{number}", "user.a", os.urandom(3900))
'"""
    assert shell(sandbox, tails).exit.code == 0
    with_tails = measured(sandbox)
    assert with_tails - before >= 1000 * 3 * 4096
    assert shell(sandbox, "rm -rf /usr/share/* /usr/lib/python3*").exit.code == 0
    assert measured(sandbox) >= with_tails, "what is removed of the image makes no room"
    copied = shell(sandbox, "find /usr/lib -type f -exec touch {} + -printf '%k\n'").stdout.split()
    assert sum(map(int, copied)) > 1000
    assert measured(sandbox) >= with_tails + (sum(map(int, copied)) << 10)


UNLINKED = """python3 -c '
import os, sys, time
os.chdir("/app/work")
held = []
for number in range(int(sys.argv[1])):
    held.append(open("big", "wb"))
    os.unlink("big")
    held[-1].write(bytes(range(1, 256)) * (int(sys.argv[2]) * 4112))
    held[-1].flush()
print("held", flush=True)
time.sleep(100)
' """
"""Holds so many files without a name, each of so many MB."""


MAPPED = """python3 -c '
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
size = 100 << 20
file = os.open("/app/work/big", os.O_RDWR | os.O_CREAT)
os.truncate(file, size)
memory = libc.mmap(None, size, 3, 1, file, 0)
os.close(file)
os.unlink("/app/work/big")
ctypes.memset(memory, 1, size)
time.sleep(100)
'"""


THREADS = """python3 -c '
import ctypes, os, threading, time
def hold():
    ctypes.CDLL(None).unshare(0x400)  # descriptors of its own, where it may
    file = open("/app/work/big", "wb")
    os.unlink("/app/work/big")
    file.write(b"x" * (100 << 20))
    file.flush()
    time.sleep(100)
threading.Thread(target=hold).start()
'"""


RUNS = """cd /app/work; for n in 1 2 3; do
    cp $(command -v sleep) big$n; head -c 40000000 /dev/zero | tr '\\0' x >>big$n
    ./big$n 100 & until [ /proc/$!/exe -ef big$n ]; do sleep 0.01; done
    rm big$n
done; wait"""


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    "script",
    [f"{UNLINKED} 1 100", f"{UNLINKED} 10 10", f"({UNLINKED} 4 25 &) ; sleep 100", MAPPED, THREADS, RUNS],
    ids=["one", "several", "orphan", "mapped", "thread", "program"],
)
def test_files_without_a_name_count_as_disk(make, shell, script):
    sandbox = make(disk_bytes=50 << 20)
    ran = shell(sandbox, script, deadline_s=120)
    assert ran.exit.ended_by == "killed", ran.stderr
    assert [hit.message for hit in sandbox.limits_hit()] == ["It wrote more than 50 MB to disk."]


RESTLESS = """python3 -c '
import os, signal, time
shared, piece = os.open("/dev/shm/f", os.O_RDWR | os.O_CREAT), b"x" * (128 << 20)
for _ in range(8):
    if os.fork() == 0:
        while True:
            os.pwrite(shared, piece, 0)
time.sleep(1)
if os.fork() == 0:
    known = {*os.listdir("/proc"), str(os.getpid())}
    while True:
        for entry in os.listdir("/proc"):
            if entry.isdigit() and entry not in known:
                os.kill(int(entry), signal.SIGSTOP)
                known.add(entry)
hidden = os.open("/app/hidden", os.O_RDWR | os.O_CREAT)
os.unlink("/app/hidden")
for _ in range(200):
    os.write(hidden, b"y" * (10 << 20))
    time.sleep(0.05)
time.sleep(100)
'"""
"""What waits for the lock of a file is frozen by no control group of version 1; what looks at the rest is stopped."""


@pytest.mark.needs("docker")
def test_what_does_not_stand_still_is_ended_by_what_the_disk_has_lost(make_docker, shell, monkeypatch):
    monkeypatch.setattr(disk_use, "_UNMEASURED", (100 << 20, 100 << 20))
    sandbox = make_docker(disk_bytes=50 << 20)
    sandbox.start()
    ran = shell(sandbox, RESTLESS, deadline_s=120)
    assert ran.exit.ended_by == "killed", ran.stderr
    assert limits(sandbox) == ["disk"]


@pytest.mark.usefixtures("often")
@pytest.mark.needs("root", "bubblewrap")
def test_what_a_control_group_does_not_freeze_is_measured_as_it_runs(make_bubblewrap, shell, monkeypatch):
    monkeypatch.setattr(cgroup, "_FREEZERS", {"freezer.state": cgroup._Orders("THAWED", "THAWED", "tasks", "never")})
    monkeypatch.setattr(cgroup, "_FREEZE_S", 0.0)
    sandbox = make_bubblewrap(disk_bytes=50 << 20)
    sandbox.start()
    ran = shell(sandbox, "head -c 40000000 /dev/zero >a; sleep 3; head -c 40000000 /dev/zero >b; sleep 100")
    assert ran.exit.ended_by == "killed"
    assert [hit.message for hit in sandbox.limits_hit()] == ["It wrote more than 50 MB to disk."]


SHARED = {
    "memfd": """python3 -c '
import os, time
held = [os.memfd_create("x") for _ in range(4)]
for one in held:
    for _ in range(100):
        os.write(one, b"x" * (1 << 20))
time.sleep(100)
'""",
    "mapped": """python3 -c '
import mmap, time
held = [mmap.mmap(-1, 100 << 20) for _ in range(4)]
for one in held:
    for at in range(0, 100 << 20, 4096):
        one[at] = 1
time.sleep(100)
'""",
    "mapped, by a process whose first thread has ended": """python3 -c '
import ctypes, mmap, threading, time
def hold():
    held = [mmap.mmap(-1, 100 << 20) for _ in range(4)]
    for one in held:
        for at in range(0, 100 << 20, 4096):
            one[at] = 1
    time.sleep(100)
threading.Thread(target=hold).start()
ctypes.CDLL(None).pthread_exit(None)
'""",
}


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("kind", SHARED)
def test_shared_memory_counts_where_no_control_group_limits_it(make_bubblewrap, shell, monkeypatch, kind):
    monkeypatch.setattr(cgroup, "make", lambda *_, **__: None)
    sandbox = make_bubblewrap(memory_bytes=256 << 20)
    sandbox.start()
    ran = shell(sandbox, SHARED[kind], deadline_s=120)
    assert ran.exit.ended_by == "killed", ran.stderr
    assert limits(sandbox) == ["memory"]


@pytest.mark.usefixtures("often")
@pytest.mark.needs("bubblewrap")
def test_shared_memory_files_of_bubblewrap_are_on_disk_and_dev_holds_nothing_else(make_bubblewrap, shell):
    sandbox = make_bubblewrap(disk_bytes=50 << 20)
    sandbox.start()
    assert shell(sandbox, "echo x >/dev/shm/x && cat /dev/shm/x; echo x 2>&1 >/dev/x; echo x >/dev/null").exit.code == 0
    ran = shell(sandbox, "head -c 100000000 /dev/zero >/dev/shm/big; sleep 100", deadline_s=120)
    assert ran.exit.ended_by == "killed"
    assert limits(sandbox) == ["disk"]


@contextmanager
def built(engine, dockerfile):
    tag = f"runbook-test-limits:{uuid4().hex[:8]}"
    # Without the cache: another test may be removing the step that it has.
    told = list(engine.api.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True, nocache=True, decode=True))
    assert not [line for line in told if "error" in line], told
    try:
        yield tag
    finally:
        engine.api.remove_image(tag, force=True)


@pytest.mark.parametrize(
    "fills",
    [
        "head -c 100000000 /dev/zero >/data/big; sleep 100",
        "mkdir /data/d; cd /data/d; seq 20000 | xargs touch; sleep 100",
    ],
    ids=["bytes", "entries"],
)
@pytest.mark.usefixtures("often")
@pytest.mark.needs("docker")
def test_volumes_of_an_image_count_as_disk_and_none_is_left(make_docker, shell, engine, image, fills):
    made = f"FROM {image}\nRUN mkdir /data && echo kept >/data/mine\nVOLUME /data /other\n"
    with built(engine, made) as tag:
        sandbox = make_docker(image=tag, disk_bytes=50 << 20)
        sandbox.start()
        assert shell(sandbox, "cat /data/mine").stdout == b"kept\n"
        ran = shell(sandbox, fills, deadline_s=120)
        assert ran.exit.ended_by == "killed"
        assert limits(sandbox) == ["disk"]
        mine = {mount["Name"] for mount in engine.api.inspect_container(sandbox.sandbox_id)["Mounts"]}
        sandbox.stop()
        assert len(mine) == 2
        assert mine.isdisjoint(volume["Name"] for volume in engine.api.volumes()["Volumes"] or [])


REPLACED = {
    "sleep": '[ "$1" = 60 ] || exec /real "$@"',
    "stat": "echo device x",
    "du": "echo -99999999",
    "sort": "while :; do echo; /bin/sleep 1; done",
}
"""A program of an image that keeps its containers from being measured."""


@pytest.mark.needs("docker")
def test_what_an_image_prints_of_its_programs_is_bounded(engine, image):
    swap = "at=$(command -v head); printf '#!/bin/sh\\nexec yes \"y\\t1.2\"' >/new; chmod 755 /new; mv /new $at"
    with built(engine, f"FROM {image}\nRUN {swap}\n") as tag:
        tracemalloc.start()
        assert inventory.versions(engine, tag) == {"python3": "1.2"}
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
        tracemalloc.stop()


@pytest.mark.usefixtures("often")
@pytest.mark.needs("docker")
@pytest.mark.parametrize("name", REPLACED)
def test_no_program_of_an_image_keeps_its_layer_from_being_measured(
    make_docker, shell, engine, image, name, monkeypatch
):
    monkeypatch.setattr(container_disk, "_STILL_S", 5)
    script = f"#!/bin/sh\\n{REPLACED[name]}\\n"
    swap = f"at=$(command -v {name}); cp $at /real; printf '{script}' >/new; chmod 755 /new; mv /new $at"
    made = f"FROM {image}\nRUN {swap}\nVOLUME /data\n"
    with built(engine, made) as tag:
        sandbox = make_docker(image=tag, disk_bytes=50 << 20)
        sandbox.start()
        ran = shell(sandbox, "head -c 100000000 /dev/zero >/big; while :; do :; done", deadline_s=120)
        assert ran.exit.ended_by == "killed"
        assert limits(sandbox) == ["disk"]
        sandbox.stop()


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

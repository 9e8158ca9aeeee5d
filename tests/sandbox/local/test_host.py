"""What only the host sandbox promises: the paths of a text, the death of its runner, its folder."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.sandbox.base import Exit, PutFile, SandboxSpec, Wanted
from runbook_runner.sandbox.local.host import HostSandbox
from runbook_runner.sandbox.paths import app_rewriter


@pytest.fixture
def sandbox(make_host):
    started = make_host()
    started.start()
    return started


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/app", "@"),
        ("Write /app/results/x.md.", "Write @/results/x.md."),
        ("Stay in /app.", "Stay in @."),
        ("`/app/work`, '/app/assets' (/app)", "`@/work`, '@/assets' (@)"),
        ("cat </app/assets/a >/app/results/b", "cat <@/assets/a >@/results/b"),
        ("PATH=/app/bin:/app/work:$PATH --dir=/app", "PATH=@/bin:@/work:$PATH --dir=@"),
        ("curl -d @/app/results/x", "curl -d @@/results/x"),
        ("file:///app/results/x", "file://@/results/x"),
        ("/application /apps /app-data /app.py /app_x", "/application /apps /app-data /app.py /app_x"),
        ("https://example.com/app/results", "https://example.com/app/results"),
        ("http://localhost:3000/app", "http://localhost:3000/app"),
        ("src/app/page.tsx ./app ../app/x ~/app", "src/app/page.tsx ./app ../app/x ~/app"),
        ("$HOME/app ${ROOT}/app $(pwd)/app {{dir}}/app", "$HOME/app ${ROOT}/app $(pwd)/app {{dir}}/app"),
        ('import x from "@/app/components"', 'import x from "@/app/components"'),
        ("/var/app/results /opt//app", "/var/app/results /opt//app"),
    ],
)
def test_app_paths_are_rewritten_and_nothing_that_only_looks_like_one(text, expected):
    assert app_rewriter("@")(text) == expected


def test_folder_is_the_one_that_was_asked_for_and_private(make_host, tmp_path):
    sandbox = make_host(folder=tmp_path / "work")
    sandbox.start()
    folder = Path(sandbox.app)
    assert folder == tmp_path / "work"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sandbox.sandbox_id == sandbox.app


def test_home_and_temporary_files_stay_in_the_folder(sandbox, shell):
    ran = shell(sandbox, 'cd && pwd -P; mktemp; echo "$TERM"')
    home, temporary, term = ran.stdout.decode().split()
    assert home.startswith(sandbox.app)
    assert temporary.startswith(sandbox.app)
    assert term == "dumb"


def test_kill_dash_nine_of_the_runner_leaves_no_process(running, tmp_path, eventually):
    mark = f"1{uuid4().int % 10**9:09}"
    program = tmp_path / "runner.py"
    program.write_text(
        f"""
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.local.host import HostSandbox
sandbox = HostSandbox(SandboxSpec(run_id="dies"))
sandbox.start()
process = sandbox.exec(["sh", "-c", "setsid sleep {mark} & echo ready; sleep {mark}"], deadline_s=600)
for chunk in process:
    print(sandbox.app, flush=True)
"""
    )
    runner = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    assert runner.stdout
    app = Path(runner.stdout.readline().strip())
    assert len(running(f"sleep {mark}")) >= 2
    runner.kill()
    runner.wait(60)
    runner.stdout.close()
    eventually(lambda: running(mark) == [])
    assert app.is_dir()
    HostSandbox(SandboxSpec(run_id="dies"), folder=app).stop()
    assert not app.exists()


@pytest.mark.needs("linux")
def test_supervisor_that_is_killed_takes_the_command_with_it(sandbox, running, eventually):
    mark = f"1{uuid4().int % 10**9:09}"
    process = sandbox.exec(["sleep", mark], deadline_s=60)
    eventually(lambda: f"sleep {mark}" in running(mark))
    os.kill(process._supervisor.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match=r"supervisor was killed \(signal 9\)"):
        process.wait()
    assert running(f"sleep {mark}") == []


LEAVING = """\
setsid sleep {mark} &
(setsid env -C / setsid sh -c 'while :; do sleep {mark}; done' &)
echo started; sleep 60
"""


@pytest.mark.needs("linux")
def test_what_a_killed_supervisor_has_left_ends_with_the_sandbox_and_nothing_else_does(make_host, shell, running):
    sandbox, mark = make_host(), f"1{uuid4().int % 10**9:09}"
    sandbox.start()
    near = {"HOME": f"{sandbox.app}/.runbook", "OLD_HOME": f"{sandbox.app}/.runbook/home"}
    others = [subprocess.Popen(["sleep", "60"], env={name: value}) for name, value in near.items()]
    process = shell.start(sandbox, LEAVING.format(mark=mark))
    assert next(iter(process)).data == b"started\n"
    os.kill(process._supervisor.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="supervisor"):
        process.wait()
    assert running(f"sleep {mark}")
    sandbox.stop()
    assert running(mark) == []
    assert [other.poll() for other in others] == [None, None]
    for other in others:
        other.kill()
        other.wait()


LATER_THREAD = """\
setsid python3 -c '
import ctypes, fcntl, threading, time
def hold():
    with open("{file}") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print("started", flush=True)
        time.sleep(60)
threading.Thread(target=hold).start()
ctypes.CDLL(None).pthread_exit(None)
' &
sleep 60
"""


@pytest.mark.needs("linux")
def test_what_a_killed_supervisor_has_left_ends_also_when_its_first_thread_has(make_host, shell, tmp_path):
    sandbox, locked = make_host(), tmp_path / "file"
    locked.touch()
    sandbox.start()
    process = shell.start(sandbox, LATER_THREAD.format(file=locked))
    assert next(iter(process)).data == b"started\n"
    os.kill(process._supervisor.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="supervisor"):
        process.wait()
    sandbox.stop()
    with locked.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.needs("linux")
def test_sandbox_that_never_started_ends_no_process():
    other = subprocess.Popen(["sleep", "60"], env={"HOME": ".runbook/home"})
    HostSandbox(SandboxSpec(run_id="x")).stop()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_leftover_folder_gives_its_results(make_host, tmp_path):
    dead = make_host(run_id="feedf00d")
    dead.start()
    dead.put([PutFile("/app/results/late", b"late")])
    leftover = HostSandbox(SandboxSpec(run_id="feedf00d"), folder=Path(dead.app))
    assert [file.path for file in leftover.get("/app/results", tmp_path, Wanted(max_bytes=9, max_files=9)).files] == [
        "late"
    ]


def test_put_does_not_follow_a_link_out_of_the_folder(sandbox, shell, tmp_path):
    shell(sandbox, f"ln -s {tmp_path} /app/work/out; ln -s {tmp_path}/file /app/work/file")
    with pytest.raises(ValueError, match="leads out of the sandbox"):
        sandbox.put([PutFile("/app/work/out/x", b"x")])
    sandbox.put([PutFile("/app/work/file", b"x")])
    assert list(tmp_path.iterdir()) == []


def test_start_without_a_place_for_the_folder_says_so(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(NotReadyError, match="temporary folder"), HostSandbox(SandboxSpec(run_id="x")):
        pass


def test_gateway_is_the_loopback_address(sandbox):
    assert sandbox.gateway_host().bind == "127.0.0.1"
    assert sandbox.gateway_host().reach == "127.0.0.1"


@pytest.mark.parametrize("name", ["two words", "two\nlines", "a&b", "it's"])
def test_folder_that_a_shell_would_not_read_as_one_word_is_refused(make_host, tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    with pytest.raises(NotReadyError, match="can't name"), make_host():
        pass
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.needs("linux")
def test_supervisor_that_the_command_stops_is_woken_for_the_end(make_host, shell):
    sandbox = make_host()
    sandbox.start()
    process = shell.start(sandbox, "kill -STOP $PPID; echo stopped; sleep 60")
    assert next(iter(process)).data == b"stopped\n"
    process.kill()
    assert process.wait().ended_by == "killed"


def test_a_command_runs_where_the_runner_has_many_descriptors(sandbox):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert sandbox.exec(["true"], deadline_s=60).wait() == Exit(0, "exit")
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

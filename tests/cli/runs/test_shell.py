"""`runbook shell` and `runbook attach`: a terminal in a sandbox, as the agent would find it."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

RUNBOOK = Path(sys.executable).with_name("runbook")


class Terminal:
    """A real one, 30 rows of 100 columns, with a command at it."""

    def __init__(self, command, eventually, *, cwd, env):
        self._eventually = eventually
        self._ours, theirs = pty.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=env
        )
        self.said = b""

    def type(self, keys):
        os.write(self._ours, keys.encode())

    def expect(self, pattern):
        """Waits for output that matches; returns the match and drops the output up to its end."""
        found = self._eventually(lambda: self._search(pattern))
        self.said = self.said[found.end() :]
        return found

    def _search(self, pattern):
        while select.select([self._ours], [], [], 0)[0]:
            self.said += os.read(self._ours, 4096)
        found = re.search(pattern.encode(), self.said)
        assert found, f"No {pattern!r} in {self.said.decode(errors='replace')!r}"
        return found

    def resize(self, rows, columns):
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def after(self):
        return termios.tcgetattr(self._theirs)

    def close(self):
        self.process.kill()
        self.process.wait(20)
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(runbook, tmp_path, eventually):
    opened = []

    def start(*arguments):
        env = {**runbook.env, "TERM": "xterm", "PS1": "$ ", "TMPDIR": str(tmp_path)}
        command = [str(RUNBOOK), *map(str, arguments)]
        opened.append(Terminal(command, eventually, cwd=runbook.cwd, env=env))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def container_of(run_id):
    from runbook_runner.sandbox.docker.engine import connect

    found = connect().api.containers(all=True, filters={"label": f"runbook.trajectory={run_id}"})
    return [item["Id"] for item in found]


# --- with a terminal -----------------------------------------------------------------------------------------------


@pytest.mark.needs("linux")
def test_keys_go_in_output_comes_out_and_nothing_is_left(terminal, backend, tmp_path, runbook):
    shell = terminal("shell", "python312-uv", "--sandbox", backend)
    shell.type("stty size; echo in=$RESULTS_DIR\r")
    shell.expect(r"30 100\r\n")
    assert shell.expect(r"in=(\S*/results)\r\n")
    shell.type("echo term=$TERM; [ -t 0 ] && echo is-a-terminal\r")
    shell.expect(r"term=xterm\r\n")
    shell.expect(r"is-a-terminal\r\n")
    shell.type("exit 7\r")
    assert shell.process.wait(60) == 7
    assert shell.after() == shell.before
    assert [*runbook.left(), *tmp_path.glob("runbook-*")] == []


@pytest.mark.needs("linux")
def test_ctrl_c_is_the_commands_and_ctrl_d_ends_the_shell(terminal, backend, eventually):
    sleeping = f"sleep 3{os.getpid()}{time.monotonic_ns() % 10000}"  # no other process of this machine is called so
    shell = terminal("shell", "python312-uv", "--sandbox", backend)
    shell.type("PS1='the ''prompt '\r")
    shell.type(f"echo $((40 + 2)); {sleeping}\r")
    shell.expect(r"42\r\n")
    eventually(lambda: sleeping in subprocess.check_output(["ps", "axww", "-o", "args"], text=True).splitlines())
    shell.type("\x03")
    shell.type("echo code=$?\r")
    shell.expect(r"code=130\r\n")
    shell.expect("the prompt ")  # it reads keys again: before, the kernel would take this one
    shell.type("\x04")
    assert shell.process.wait(60) == 0


@pytest.mark.needs("linux")
def test_the_window_may_change_its_size(terminal, backend, eventually):
    shell = terminal("shell", "python312-uv", "--sandbox", backend)
    shell.type("echo code=$?\r")
    shell.expect(r"code=0\r\n")
    shell.resize(41, 133)

    def size():
        shell.type("stty size\r")
        return shell.expect(r"(\d+ \d+)\r\n")[1]

    eventually(lambda: size() == b"41 133")
    shell.type("exit\r")
    assert shell.process.wait(60) == 0


@pytest.mark.needs("linux")
def test_a_window_that_is_closed_leaves_nothing(terminal, backend, tmp_path, runbook):
    shell = terminal("shell", "python312-uv", "--sandbox", backend)
    shell.type("echo id=$JETTY_TRAJECTORY_ID\r")
    shell.expect(r"id=\w{8}\r\n")
    os.kill(shell.process.pid, signal.SIGHUP)
    assert shell.process.wait(60) == 130
    assert list(tmp_path.glob("runbook-*")) == []
    assert runbook.left() == []


# --- without one ---------------------------------------------------------------------------------------------------


def test_a_command_gets_stdin_and_gives_its_streams_and_its_exit_code(runbook, backend):
    script = "cat; echo wrong >&2; exit 9"
    ran = runbook("shell", "python312-uv", "--sandbox", backend, "--", "sh", "-c", script, stdin="typed\n")
    assert (ran.code, ran.out) == (9, "typed\n")
    assert ran.err.endswith("wrong\n")


@pytest.mark.needs("docker")
def test_a_trajectory_is_opened_with_its_inputs_its_mission_and_its_network(runbook, shell_runbook, tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n")
    folder = shell_runbook("echo out > /app/results/out.txt")
    ran = runbook("run", folder, "-f", tmp_path / "data.csv", "--sandbox=docker", "--network=none", "--json")
    assert ran.code == 0, ran.err
    look = "cat $ASSETS_DIR/data.csv; grep '^# ' /app/RUNBOOK.md; grep -c : /proc/net/dev; echo $JETTY_TRAJECTORY_ID"
    seen = runbook("shell", ran.folder.name, "--", "sh", "-c", look)
    assert seen.code == 0, seen.err
    assert seen.out.splitlines() == ["a,b", "# Test — Agent Runbook", "1", ran.folder.name]
    assert "Not as recorded" not in seen.err
    log = ran.folder / "events.jsonl"
    log.write_text(log.read_text().replace(ran.json["image_digest"], f"sha256:{'0' * 64}"))
    seen = runbook("shell", ran.folder.name, "--", "true")
    assert "Not as recorded: image built again from the same files: 000000000000 then, " in seen.err


def test_what_is_neither_a_snapshot_nor_a_trajectory_is_said_so(runbook):
    ran = runbook("shell", "nonesuch")
    assert ran.code == 2
    assert "neither a snapshot nor a trajectory 'nonesuch'" in ran.err
    assert "python312-uv" in ran.err


# --- attach --------------------------------------------------------------------------------------------------------


@pytest.fixture
def under_way(runbook, shell_runbook, eventually):
    """Starts a run that waits for the file `go`; its id, once its sandbox is there."""
    runs = []

    def start(*options):
        folder = shell_runbook("until [ -e /app/work/go ]; do sleep 0.1; done; cp /app/work/go /app/results/out.txt")
        runs.append(runbook.start("run", folder, *options, "--json"))
        home = runbook.cwd / ".runbook"
        (log,) = eventually(lambda: list(home.glob("trajectories/*/*/*/agent/stdout.log")), within=120)
        return runs[-1], log.parents[1].name

    yield start
    for run in runs:
        run.send_signal(signal.SIGINT)  # so that it leaves nothing
        run.wait(60)


@pytest.mark.needs("linux")
def test_a_run_under_way_can_be_helped_from_inside(under_way, terminal, backend):
    run, name = under_way(f"--sandbox={backend}")
    shell = terminal("attach", name)
    shell.type("stty size; pwd; echo term=$TERM; echo in=$RESULTS_DIR\r")
    shell.expect(r"30 100\r\n")
    app = shell.expect(r"(/\S+)\r\n")[1].decode()
    assert (app == "/app") == (backend != "host")
    shell.expect(r"term=xterm\r\n")
    shell.expect(rf"in={app}/results\r\n")
    shell.type(f"while :; do date > {app}/work/when; done 2>/dev/null & echo go > {app}/work/go\r")
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, out
    assert shell.process.wait(60) != 0, "the run took it along"
    assert shell.after() == shell.before


@pytest.mark.needs("bubblewrap")
def test_a_visitor_has_the_runs_network_and_limits(under_way, runbook):
    _, name = under_way("--sandbox=bubblewrap", "--network=none", "--memory=300M")
    seen = runbook("attach", name, "--", "sh", "-c", "grep -c : /proc/net/dev; ls / | grep -c root")
    assert seen.out.split() == ["1", "0"]
    take = "import sys; bytearray(int(sys.argv[1]) << 20)"
    assert runbook("attach", name, "--", "python3", "-c", take, "100").code == 0
    assert runbook("attach", name, "--", "python3", "-c", take, "400").code != 0


@pytest.mark.needs("linux")
def test_a_kept_sandbox_can_be_entered_after_its_run_and_stays(runbook, shell_runbook, backend):
    ran = runbook("run", shell_runbook("echo kept > /app/results/out.txt"), f"--sandbox={backend}", "--keep", "--json")
    try:
        for _ in range(2):
            seen = runbook("attach", ran.folder.name, "--", "sh", "-c", "cat $RESULTS_DIR/out.txt")
            assert (seen.code, seen.out) == (0, "kept\n"), seen.err
    finally:
        from runbook_runner.sandbox.docker.engine import connect

        for container in container_of(ran.folder.name) if backend == "docker" else ():
            connect().api.remove_container(container, force=True)
        if backend != "docker":
            shutil.rmtree(next(event["sandbox_id"] for event in ran.events("sandbox.started")))


@pytest.mark.needs("linux")
def test_attaching_to_a_run_that_is_over_says_what_to_do_instead(runbook, shell_runbook, backend):
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), f"--sandbox={backend}", "--json")
    tried = runbook("attach", ran.folder.name)
    assert tried.code == 3
    assert "has ended (completed)" in tried.err
    assert f"runbook shell {ran.folder.name}" in tried.err


@pytest.mark.needs("linux")
@pytest.mark.parametrize("sandbox", ["host", pytest.param("bubblewrap", marks=pytest.mark.needs("bubblewrap"))])
def test_attaching_to_a_run_that_was_killed_is_refused(runbook, under_way, sandbox):
    run, name = under_way(f"--sandbox={sandbox}")
    run.kill()
    run.wait(60)
    tried = runbook("attach", name, "--", "true")
    assert tried.code == 3
    assert f"The process of the run {name} was killed." in tried.err

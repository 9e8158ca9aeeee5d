"""How runs end other than well: each is a recorded outcome that keeps what was made and leaves nothing running."""

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HELLO = Path(__file__).parents[2] / "examples" / "hello"

Write = Callable[[str], Path]
ENDLESS = "echo before > /app/results/out.txt\nsetsid sleep 98765 &\nprintf 'started\\nno line end'\nsleep 98765"


def processes(word: str) -> str:
    """Command lines of this machine, containers included, that hold the word."""
    lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return "\n".join(line for line in lines if word in line and "ps axww" not in line)


def containers(trajectory_id: str) -> str:
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        return ""
    command = ["docker", "ps", "-aq", "--filter", f"label=runbook.trajectory={trajectory_id}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def endless(shell_runbook: Write) -> Iterator[Path]:
    """A runbook whose agent never ends and leaves a child in a session of its own."""
    word = f"9{os.getpid()}{time.monotonic_ns() % 100000}"  # no other process of this machine has it
    yield shell_runbook(ENDLESS.replace("98765", word))
    assert processes(word) == "", "nothing of it is left running"


def assert_told(shown: str, returned: list[dict[str, Any]]) -> None:
    """What the block of ENDLESS that was cut had printed; bash may tell of its ended `sleep` after it."""
    ((output, is_error),) = [(event["output"], event["is_error"]) for event in returned]
    assert (output[:19], is_error) == ("started\nno line end", True)
    assert "\n  started\n  no line end" in shown


# --- time ----------------------------------------------------------------------------------------------------------


def test_an_agent_that_never_ends_fails_at_its_deadline(runbook: Any, endless: Path, backend: str) -> None:
    ran = runbook("run", endless, "--sandbox", backend, "--timeout", "5", "--json")
    assert (ran.code, ran.json["status"]) == (4, "failed")
    assert ran.trajectory["error"] == "Agent exceeded timeout_sec (5)."
    assert (ran.folder / "results" / "out.txt").read_text() == "before\n"
    assert ran.events("agent.finished")[0]["ended_by"] == "deadline"
    assert_told(ran.err, ran.events("tool.returned"))
    assert containers(ran.json["trajectory_id"]) == ""


@pytest.mark.needs("docker")
def test_a_model_driven_run_that_times_out_keeps_its_tokens_and_files(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text("---\nagent: claude-code\n---\n# T\n\n## Objective\n\nWork.\n")
    usage = {"input": 111, "output": 22}
    turns = [
        {"shell": "echo early > /app/results/early.txt", "usage": usage},
        {"shell": "while true; do sleep 1; done", "usage": usage},
    ]
    (runbook.cwd / "model.yaml").write_text(json.dumps(turns))
    args = ("--sandbox", "docker", "--model-script", "model.yaml", "--timeout", "15", "--json")
    ran = runbook("run", "RUNBOOK.md", *args)
    assert (ran.code, ran.json["status"]) == (4, "failed")
    assert ran.trajectory["error"] == "Agent exceeded timeout_sec (15)."
    assert (ran.json["usage"]["prompt_tokens"], ran.json["usage"]["completion_tokens"]) == (222, 44)
    assert (ran.folder / "results" / "early.txt").read_text() == "early\n"
    assert containers(ran.json["trajectory_id"]) == ""


# --- interrupts ----------------------------------------------------------------------------------------------------


Start = Callable[[Path, str], tuple[subprocess.Popen[str], Path]]


@pytest.fixture
def start(runbook: Any, eventually: Any) -> Start:
    """Starts a run in a sandbox of this backend; returns its process and its trajectory folder once the agent has
    printed `started`."""

    def start(path: Path, backend: str) -> tuple[subprocess.Popen[str], Path]:
        process = runbook.start("run", path, "--sandbox", backend, "--json")
        (log,) = eventually(lambda: logs_with(runbook, "started"))
        return process, log.parent.parent

    return start


def logs_with(runbook: Any, text: str) -> list[Path]:
    """The output of the agents of all runs, where it has this text."""
    logs = (runbook.cwd / ".runbook" / "trajectories").glob("*/*/*/agent/stdout.log")
    return [log for log in logs if text in log.read_text()]


def test_ctrl_c_once_keeps_what_is_there_and_records_it_as_cancelled(start: Start, endless: Path, backend: str) -> None:
    process, folder = start(endless, backend)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["status"] == "cancelled"
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    assert_told(err, [event for event in events if event["type"] == "tool.returned"])
    assert json.loads((folder / "trajectory.json").read_text())["status"] == "cancelled"
    assert (folder / "results" / "out.txt").read_text() == "before\n"
    assert containers(folder.name) == ""


@pytest.mark.needs("docker")
def test_what_a_block_had_printed_is_kept_when_its_container_is_lost(start: Start, endless: Path) -> None:
    process, folder = start(endless, "docker")
    subprocess.run(["docker", "rm", "--force", *containers(folder.name).split()], capture_output=True, check=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    assert [event["output"][:7] for event in events if event["type"] == "tool.returned"] == ["started"]


# Without an output: who reads it may end first, and bash, which tells of its ended `sleep`, would end by SIGPIPE.
STUBBORN = """\
exec >/dev/null 2>&1
trap 'trap "" TERM; sleep {asked} &' TERM
kill -STOP $PPID
while true; do sleep {working} || true; done"""


def test_ctrl_c_twice_leaves_at_once_and_leaves_nothing(
    runbook: Any, shell_runbook: Write, backend: str, eventually: Any
) -> None:
    """The first Ctrl-C asks the agent to end, which it does not, and the runner waits for it."""
    word = f"8{os.getpid()}{time.monotonic_ns() % 100000}"
    working, asked = f"{word}1", f"{word}2"
    path = shell_runbook(STUBBORN.format(working=working, asked=asked))
    process = runbook.start("run", path, "--sandbox", backend, "--json")
    eventually(lambda: f"sleep {working}" in processes(word).splitlines())
    process.send_signal(signal.SIGINT)
    eventually(lambda: f"sleep {asked}" in processes(word).splitlines())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (folder,) = (runbook.cwd / ".runbook" / "trajectories").glob("*/*/*")
    assert '"agent.finished"' not in (folder / "events.jsonl").read_text(), "it left without waiting for the agent"
    eventually(lambda: processes(word) == "")
    assert containers(folder.name) == ""
    again = runbook("run", HELLO, "--sandbox", "host", "--json")
    assert again.code == 0
    assert json.loads((folder / "trajectory.json").read_text())["status"] in ("cancelled", "failed")


SILENT = """\
echo before > /app/results/out.txt; echo started
(trap '' TERM; exec >/dev/null 2>&1 </dev/null; while :; do sleep 1; done) &
exec sleep {word}"""


def test_ctrl_c_twice_does_not_wait_for_a_background_process(
    start: Start, shell_runbook: Write, eventually: Any
) -> None:
    """Its output is closed, so the runner has read all of it and waits for the supervisor alone."""
    word = f"8{os.getpid()}{time.monotonic_ns() % 100000}"
    process, folder = start(shell_runbook(SILENT.format(word=word)), "host")
    process.send_signal(signal.SIGINT)
    eventually(lambda: f"sleep {word}" not in processes(word).splitlines())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert '"run.finished"' not in (folder / "events.jsonl").read_text()


@pytest.mark.needs("linux")
def test_a_terminal_that_goes_ends_the_run_in_good_order(runbook: Any, endless: Path, eventually: Any) -> None:
    ours, its = pty.openpty()
    runbook.under = ("env", "--default-signal=HUP", "setsid", "--ctty")  # CI may itself be under nohup
    process = runbook.start("run", endless, "--sandbox", "host", stdin=its, stdout=its, stderr=its)
    os.close(its)
    try:
        (log,) = eventually(lambda: logs_with(runbook, "started"))
        os.close(ours)
        process.wait(timeout=60)
    finally:
        process.kill()
    folder = log.parent.parent
    assert json.loads((folder / "trajectory.json").read_text())["status"] == "cancelled"
    assert (folder / "results" / "out.txt").read_text() == "before\n"


def test_output_that_can_not_be_written_costs_the_run_nothing(runbook: Any) -> None:
    with Path("/dev/full").open("w") as full:
        process = runbook.start("run", HELLO, "--sandbox", "host", stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (3, "error: The output can't be written: No space left on device.\n")
    (folder,) = (runbook.cwd / ".runbook/trajectories").glob("*/*/*")
    assert json.loads((folder / "trajectory.json").read_text())["status"] == "completed"


# --- the agent -----------------------------------------------------------------------------------------------------


def fake_claude(runbook: Any, script: str) -> dict[str, str]:
    """A program called `claude` that misbehaves, found first on PATH."""
    folder = runbook.programs
    (folder / "claude").write_text("#!/bin/sh\n" + script)
    (folder / "claude").chmod(0o755)
    return {"PATH": f"{folder}:{runbook.env['PATH']}"}


def run_claude(runbook: Any, env: dict[str, str], *args: str) -> Any:
    (runbook.cwd / "RUNBOOK.md").write_text("---\nagent: claude-code\n---\n# T\n\n## Objective\n\nWork.\n")
    (runbook.cwd / "model.yaml").write_text("- say: hello\n")
    return runbook("run", "RUNBOOK.md", "--sandbox", "host", "--model-script", "model.yaml", "--json", *args, env=env)


def test_an_agent_that_prints_garbage_fails_and_its_output_is_kept(runbook: Any) -> None:
    script = r"printf 'not json\n{\"type\": 7}\n[]\n{\"type\":\"assistant\"}\n\377\376\0binary\n{\"torn\": '; exit 0"
    ran = run_claude(runbook, fake_claude(runbook, script))
    assert (ran.code, ran.json["status"]) == (4, "failed")
    assert "without a final record" in ran.json["error"]
    assert "not json" in (ran.folder / "agent" / "stdout.log").read_text()
    assert [event["kind"] for event in ran.events("agent.notice")].count("unreadable") >= 3


def test_an_agent_that_crashes_fails_with_its_last_words(runbook: Any) -> None:
    ran = run_claude(runbook, fake_claude(runbook, "echo 'out of cheese' >&2; exit 7"))
    assert (ran.code, ran.json["status"]) == (4, "failed")
    assert "exit code 7" in ran.json["error"]
    assert "out of cheese" in ran.json["error"]


def test_an_agent_that_hangs_after_its_last_word_is_ended_and_passes(runbook: Any) -> None:
    final = {"type": "result", "subtype": "success", "is_error": False, "result": "Done.", "modelUsage": {}}
    ran = run_claude(runbook, fake_claude(runbook, f"echo '{json.dumps(final)}'; sleep 600"), "--timeout", "60")
    assert (ran.code, ran.json["status"]) == (0, "completed"), ran.err
    assert ran.trajectory["steps"]["run"]["outputs"]["text"] == "Done."


# --- results -------------------------------------------------------------------------------------------------------


def test_a_link_to_a_file_of_the_system_is_not_followed(runbook: Any, shell_runbook: Write, backend: str) -> None:
    code = "ln -s /etc/passwd /app/results/link.txt\nln -s / /app/results/root\necho x > /app/results/out.txt"
    ran = runbook("run", shell_runbook(code), "--sandbox", backend, "--json")
    assert ran.code == 0
    assert sorted(path.name for path in (ran.folder / "results").rglob("*")) == ["out.txt"]
    assert "link.txt: a symbolic link" in json.dumps(ran.events("log"))


def test_results_over_the_limit_are_left_out_and_told_and_what_is_required_comes(
    runbook: Any, shell_runbook: Write, backend: str
) -> None:
    code = "echo x > /app/results/out.txt\nfor i in $(seq 1 21000); do : > /app/results/z$i; done"
    ran = runbook("run", shell_runbook(code), "--sandbox", backend, "--json")
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert "more than 20000 entries" in ran.json["notes"][0]
    assert (ran.folder / "results" / "out.txt").read_text() == "x\n"
    assert containers(ran.json["trajectory_id"]) == ""


# --- the disk ------------------------------------------------------------------------------------------------------


@pytest.mark.needs("root", "linux")
def test_a_full_disk_is_said_clearly_and_earlier_events_stay(
    runbook: Any, shell_runbook: Write, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=True)
    try:
        path = shell_runbook("for i in $(seq 1 4000); do echo line $i of a long output that fills the log; done")
        ran = runbook("run", path, "--sandbox", "host", env={"RUNBOOK_HOME": str(small / "home")})
        assert ran.code == 3
        assert "No space left on device" in ran.err
        assert "RUNBOOK_HOME" in ran.err
        assert "Traceback" not in ran.err
        log = next((small / "home").glob("trajectories/*/*/*/events.jsonl")).read_text()
        assert log.endswith("\n")
        events = [json.loads(line) for line in log.splitlines()]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert "tool.called" in {event["type"] for event in events}
        for filler in (small / "home").rglob("*.log"):
            filler.unlink()
        again = runbook("run", HELLO, "--sandbox", "host", env={"RUNBOOK_HOME": str(small / "home")})
        assert again.code == 0, again.err
        folded = json.loads(next((small / "home").glob("trajectories/local/test/*/trajectory.json")).read_text())
        assert (folded["status"], folded["error"]) == ("failed", "interrupted"), "the next start folds it"
    finally:
        subprocess.run(["umount", "-l", small], check=True)


# --- the image -----------------------------------------------------------------------------------------------------


@pytest.mark.needs("docker")
def test_an_image_that_cannot_be_built_shows_the_end_of_its_log(runbook: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nnot a certificate\n-----END CERTIFICATE-----\n")
    ran = runbook("run", HELLO, "--sandbox", "docker", "--json", env={"RUNBOOK_CA_BUNDLE": str(bundle)})
    assert (ran.code, ran.json["status"]) == (3, "failed")
    assert "pip" in ran.json["error"]
    log = next(
        Path(word.rstrip(".,;:")) for word in ran.json["error"].split() if word.startswith("/") and ".log" in word
    )
    assert log.read_text()
    log.unlink()


@pytest.mark.needs("docker")
def test_an_image_that_does_not_exist_is_named(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "docker", "--json", "--image", "runbook-runner/no-such-image:1")
    assert ran.code == 3
    assert "runbook-runner/no-such-image:1" in ran.json["error"]


@pytest.mark.needs("docker")
def test_an_unknown_snapshot_in_a_runbook_is_a_warning(runbook: Any, tmp_path: Path) -> None:
    text = (HELLO / "RUNBOOK.md").read_text().replace("snapshot: python312-uv", "snapshot: python312-uv-office")
    (tmp_path / "RUNBOOK.md").write_text(text)
    ran = runbook("run", tmp_path, "--sandbox", "docker", "--json")
    assert ran.code == 0, ran.err
    assert "python312-uv-office" in json.dumps(ran.events("log"))


NAMES = r"""python3 - <<'PYTHON'
import os
for name in (b"out.txt", b"\x1b[31mred", b"two\nPASS", b"\xff"):
    open(os.path.join(b"/app/results", name), "wb").write(b"x")
os.symlink("/etc/passwd", b"/app/results/new\n2026-01-01T00:00:00Z run completed")
PYTHON"""


def test_names_of_results_can_neither_move_the_cursor_nor_forge_a_line(
    runbook: Any, shell_runbook: Write, backend: str
) -> None:
    ran = runbook("run", shell_runbook(NAMES), "--sandbox", backend)
    assert ran.code == 0, ran.err
    log = next(runbook.cwd.glob(".runbook/trajectories/*/*/*/sandbox.log")).read_text()
    assert "\x1b" not in ran.out + ran.err + log
    assert "results/\\x1b[31mred" in ran.out
    assert "results/two\\nPASS" in ran.out
    assert "2026-01-01T00:00:00Z run completed: a symbolic link" in log
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01")]

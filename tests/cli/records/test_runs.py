"""`runbook runs show`, `logs`, `files` and `open`: what a user sees of a run that is recorded, or goes on."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import termios
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]

CODE = "echo working; printf 'one\\n' > /app/results/out.txt; printf x > /app/results/zz.bin; echo '☃ and 雪'"


@pytest.fixture
def ran(runbook: Any, shell_runbook: Write) -> Path:
    done = runbook("run", shell_runbook(CODE), "--sandbox", "host", "--json")
    assert done.code == 0, done.err
    return Path(done.folder)


def on_terminal(runbook: Any, *arguments: str | Path, columns: int = 80, **env: str) -> str:
    """What the command writes to a terminal of so many columns."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = runbook.start(*arguments, stdin=its, stdout=its, stderr=its, env={"TERM": "xterm-256color", **env})
    os.close(its)
    seen = b""
    try:
        while data := os.read(mine, 1 << 16):
            seen += data
    except OSError:  # the other end is closed
        pass
    os.close(mine)
    process.wait(120)
    return seen.decode()


def test_a_run_is_shown_as_a_tree_with_times_and_its_verdict(runbook: Any, ran: Path) -> None:
    shown = runbook("runs", "show", ran.name[:6])
    assert shown.code == 0, shown.err
    lines = [re.sub(r"\d+\.\d\d?", "N", line) for line in shown.out.splitlines()]
    assert lines[0].endswith(f"{ran.name} · shell · host")
    assert lines[1].startswith("PASS · N s · ")
    assert "✓ agent · N s" in lines
    assert any(line.startswith("  1 $ shell (N s): echo working") for line in lines)
    assert "    working" in lines
    assert lines[-4:] == [
        "verdict: pass", "  ✓ out.txt: 1 file, 4 bytes", "results/out.txt  4 bytes", "results/zz.bin  1 byte"
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_it_fits_terminals_with_and_without_colour(runbook: Any, ran: Path, columns: int, colour: bool) -> None:
    seen = on_terminal(runbook, "runs", "show", ran.name, columns=columns, **({} if colour else {"NO_COLOR": "1"}))
    assert ("\x1b[3" in seen) == colour
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in seen.splitlines()]
    assert max(map(len, lines)) <= columns
    (step,) = (line for line in lines if "$ shell" in line)
    assert (len(step) > 80) == (columns == 200)


def test_a_step_is_shown_in_full_and_one_that_is_not_there_is_told(runbook: Any, ran: Path) -> None:
    shown = runbook("runs", "show", ran, "--step", "1")
    assert "☃ and 雪" in shown.out
    assert runbook("runs", "show", ran, "--step", "1", "--json").json["output"].startswith("working")
    raw = runbook("runs", "show", ran, "--step", "1", "--raw").out.splitlines()
    assert [json.loads(line)["type"] for line in raw] == ["tool.called", "tool.returned"]
    for number in ("9", "0", "-1"):
        missing = runbook("runs", "show", ran, f"--step={number}")
        assert missing.code == 2
        assert f"no step {number}: it has 2 steps" in missing.err


def test_events_are_shown_on_lines_or_as_recorded(runbook: Any, ran: Path) -> None:
    recorded = [json.loads(line) for line in (ran / "events.jsonl").read_text().splitlines()]
    events = runbook("runs", "show", ran, "--events").out.splitlines()
    assert [line.split()[2] for line in events] == [event["type"] for event in recorded]
    raw = runbook("runs", "show", ran, "--raw").out.splitlines()
    assert [json.loads(line)["seq"] for line in raw] == [event["seq"] for event in recorded]
    assert runbook("runs", "show", ran, "--raw", "--json").code == 2


def test_the_tree_is_json_for_programs(runbook: Any, ran: Path) -> None:
    body = runbook("runs", "show", ran, "--json").json
    assert (body["status"], body["verdict"], body["agent"]) == ("completed", "pass", "shell")
    assert [node["title"] for node in body["nodes"] if node["kind"] == "phase"][2:3] == ["agent"]
    assert body["left_out"] == {}


def test_labels_and_a_status_that_were_set_later_are_shown(runbook: Any, ran: Path) -> None:
    assert runbook("runs", "label", ran, "quality=high").code == 0
    assert "labels: quality=high" in runbook("runs", "show", ran).out.splitlines()
    assert runbook("runs", "show", "@last", "--json").json["labels"] == {"quality": "high"}


def test_a_run_ends_with_what_to_type_next(runbook: Any, shell_runbook: Write) -> None:
    path = shell_runbook(CODE)
    shown = runbook("run", path, "--sandbox", "host").out.splitlines()
    name = Path(shown[-2].strip()).name
    told = [f"runbook runs show {name}", f"runbook runs open {name}", f"runbook replay {name}"]
    assert shown[-1] == f"  Next: {' · '.join(told)}"
    for command in told[:2]:
        assert runbook(*command.split()[1:]).code == 0
    for option in ("--quiet", "--json"):
        quiet = runbook("run", path, "--sandbox", "host", option)
        assert "Next:" not in quiet.out + quiet.err


def test_a_damaged_log_is_shown_as_far_as_it_goes(runbook: Any, ran: Path) -> None:
    log = ran / "events.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    strange = b'{"seq":3,"ts":"t","type":"dream.began","of":"sheep"}\n'
    log.write_bytes(lines[0] + b"\0\0\0\n" + strange + b"".join(lines[3:-1]) + lines[-1][:20])
    shown = runbook("runs", "show", ran)
    assert shown.code == 0, shown.err
    assert "RUNNING, or its process is dead" in shown.out
    assert "! events that this version does not know: dream.began (1)" in shown.out
    assert "! the event log is damaged: 1 event missing" in shown.out
    logs = runbook("runs", "logs", ran, "-f")
    assert logs.code == 1
    assert "no process of yours runs it" in logs.err
    log.write_bytes(b"\0" * 100)
    assert "beginning of the event log is damaged" in runbook("runs", "show", ran).out
    log.unlink()
    assert runbook("runs", "show", ran).code == 2


def test_hostile_text_does_not_reach_the_terminal(runbook: Any, ran: Path) -> None:
    log = ran / "events.jsonl"
    evil = "\x1b]52;c;x\x07\x1b[2J\u202e[red]x[/red]"
    named = json.dumps({"seq": 99, "ts": evil, "type": evil, "x": evil})
    said = json.dumps({"seq": 100, "ts": evil, "type": "agent.message", "text": evil})
    ended = json.dumps(
        {"seq": 101, "ts": evil, "type": "run.finished", "status": "failed", "seconds": 1, "error": evil}
    )
    log.write_text(log.read_text() + f"{named}\n{said}\n{ended}\n")
    for more in ((), ("--events",), ("--raw",), ("--step=3",)):
        seen = on_terminal(runbook, "runs", "show", ran, *more)
        assert not re.search("\x1b(?!\\[[0-9;]*m)|\u202e|\x07", seen)
        assert "[red]x" in seen


def test_a_live_run_of_another_process_is_followed_to_its_end(
    runbook: Any, shell_runbook: Write, eventually: Any
) -> None:
    path = shell_runbook("echo first; until [ -e /app/work/go ]; do sleep 0.1; done; echo x > /app/results/out.txt")
    process = runbook.start("run", path, "--sandbox", "host", "--quiet")
    logs = lambda: list((runbook.cwd / ".runbook").glob("trajectories/*/*/*/agent/stdout.log"))  # noqa: E731
    (folder,) = (log.parent.parent for log in eventually(logs))
    eventually(lambda: "tool.called" in (folder / "events.jsonl").read_text())
    assert runbook("runs", "logs", folder.name).code == 1
    follower = runbook.start("runs", "logs", "-f", folder.name)
    assert follower.stdout.readline().startswith("local/")
    left = runbook.start("runs", "logs", "-f", folder.name)
    assert left.stdout.readline()
    left.send_signal(signal.SIGINT)
    left.communicate(timeout=60)
    assert left.returncode == 130
    assert process.poll() is None
    (work,) = runbook.data.glob("work/*")
    (work / "work" / "go").touch()
    out, err = follower.communicate(timeout=120)
    assert process.wait(120) == 0
    assert follower.returncode == 0, err
    assert "✓ agent" in out
    assert out.splitlines()[-1].startswith("PASS · ")


def test_a_run_whose_process_was_killed_is_not_waited_for(runbook: Any, shell_runbook: Write, eventually: Any) -> None:
    process = runbook.start("run", shell_runbook("echo started; sleep 600"), "--sandbox", "host")
    logs = lambda: list((runbook.cwd / ".runbook").glob("trajectories/*/*/*/agent/stdout.log"))  # noqa: E731
    (folder,) = (log.parent.parent for log in eventually(logs))
    follower = runbook.start("runs", "logs", "-f", folder.name)
    assert follower.stdout.readline()
    process.kill()
    process.communicate(timeout=60)
    _, err = follower.communicate(timeout=60)
    assert follower.returncode == 1
    assert "no process of yours runs it" in err
    runbook("clean")


def test_files_are_listed_with_sizes_and_types(runbook: Any, ran: Path) -> None:
    done = runbook("runs", "files", ran)
    assert [line.split() for line in done.out.splitlines()[:2]] == [
        ["results/out.txt", "4", "bytes", "text/plain"], ["results/zz.bin", "1", "byte", "application/octet-stream"]
    ]  # fmt: skip
    (ran / "results" / "zz.bin").unlink()
    first, second = runbook("runs", "files", ran, "--json").json["files"]
    assert (first["path"], first["size"], second["size"]) == ("results/out.txt", 4, None)


def test_ten_thousand_files_are_listed(runbook: Any, ran: Path) -> None:
    for number in range(10_000):
        (ran / "results" / f"{number}.txt").touch()
    assert len(runbook("runs", "files", ran).out.splitlines()) == 10_003


def test_a_result_is_printed_byte_for_byte_where_stdout_is_no_terminal(runbook: Any, ran: Path) -> None:
    assert runbook("runs", "open", ran).out == "one\n"
    assert runbook("runs", "open", ran, "zz.bin").out == "x"
    assert runbook("runs", "open", ran, "results/zz.bin").out == "x"
    missing = runbook("runs", "open", ran, "zz.bim")
    assert missing.code == 2
    assert "Did you mean 'zz.bin'?" in missing.err
    assert runbook("runs", "open", ran, "../spec.json").code == 2


def test_no_other_file_is_opened_in_the_place_of_a_primary_output_that_is_missing(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    file = shell_runbook("cd /app/results; echo one > out.txt; echo two > other.txt") / "RUNBOOK.md"
    text = file.read_text().replace("agent: shell\n", "agent: shell\nprimary_outputs: [out.txt]\n")
    file.write_text(text)
    folder = runbook("run", file, "--sandbox", "host", "--json").folder
    assert runbook("runs", "open", folder).out == "one\n"
    (folder / "results" / "out.txt").unlink()
    missing = runbook("runs", "open", folder)
    assert (missing.code, missing.out) == (2, "")
    assert "The primary output 'out.txt' is missing." in missing.err
    assert "There are: " in missing.err
    assert "other.txt" in missing.err
    assert runbook("runs", "open", folder, "other.txt").out == "two\n"


def test_on_a_terminal_text_goes_to_the_pager_and_nothing_is_executed(runbook: Any, ran: Path) -> None:
    program = runbook.programs / "xdg-open"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$1" >> "$OPENED"\n')
    pager = runbook.programs / "pager"
    pager.write_text("#!/bin/sh\nsed 's/^/paged: /'\n")
    for file in (program, pager):
        file.chmod(0o755)
    opened = runbook.cwd / "opened"
    path = f"{runbook.programs}:{os.environ['PATH']}"
    env = {"PATH": path, "DISPLAY": ":0", "PAGER": "pager", "OPENED": str(opened)}
    results = ran / "results"
    assert "paged: one" in on_terminal(runbook, "runs", "open", ran, **env)
    (results / "evil.desktop").write_text("[Desktop Entry]\nExec=sh\n")
    (results / "run.sh").write_text("#!/bin/sh\n\x1b[2J\n")
    (results / "tool").write_bytes(b"\x7fELF\0")
    (results / "tool.png").write_bytes(b"\x7fELF\0")
    (results / "page.html").write_text("<script>1</script>")
    (results / "good.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    shutil.copy(results / "good.png", results / "bits.png")
    (results / "bits.png").chmod(0o755)
    for name in ("evil.desktop", "run.sh"):
        seen = on_terminal(runbook, "runs", "open", ran, name, **env)
        assert "paged: " in seen
        assert "\x1b[2J" not in seen
    for name in ("tool", "tool.png", "bits.png"):
        assert "It is not opened" in on_terminal(runbook, "runs", "open", ran, name, **env)
    assert not opened.exists()
    for name in ("good.png", "page.html"):
        on_terminal(runbook, "runs", "open", ran, name, **env)
    assert opened.read_text().splitlines() == [str(results / "good.png"), str(results / "page.html")]
    (results / "link").symlink_to("/etc/passwd")
    assert runbook("runs", "open", ran, "out.txt").code == 2


def test_a_terminal_shows_which_file_of_a_bundle_is_searched_and_packed(runbook: Any, ran: Path) -> None:
    (ran / "results" / "zz.bin").write_bytes(bytes(60 << 20))
    shown = on_terminal(runbook, "runs", "bundle", ran, "-o", "x.zip")
    assert "searching results/zz.bin" in shown
    assert "packing results/zz.bin" in shown
    assert runbook("runs", "bundle", ran, "-o", "y.zip").err == ""


def test_a_run_is_found_by_a_file_in_its_folder(runbook: Any, ran: Path) -> None:
    for name in ("trajectory.json", "events.jsonl", "spec.json"):
        assert runbook("runs", "path", ran / name).out == f"{ran}\n"


def test_logs_tell_every_reason_once(runbook: Any, shell_runbook: Write) -> None:
    done = runbook("run", shell_runbook("exit 3"), "--sandbox", "host", "--json")
    assert done.code == 4
    for command in ("logs", "show"):
        out = runbook("runs", command, done.folder).out
        assert "out.txt" in out.partition("ERROR · ")[2], "the file that is missing"
        assert out.count("The agent did not end well") == 0, "the error says it"


def test_a_reason_is_read_to_its_end_on_a_narrow_terminal(runbook: Any, shell_runbook: Write) -> None:
    done = runbook("run", shell_runbook("exit 3"), "--sandbox", "host", "--json")
    for command in (("runs", "show", done.folder), ("diff", done.folder, done.folder)):
        seen = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(runbook, *command, columns=40))
        assert max(map(len, seen.splitlines())) <= 40
        if command[0] == "runs":
            assert "ended with exit code 3." in " ".join(seen.partition("✗ evaluate")[2].split())


DEEP = "[" * 400 + "]" * 400
HALF = r"\ud800"
HOSTILE = [
    f'{{"ts":"yesterday","type":"of.tomorrow","value":{DEEP},"{HALF}":"{HALF}"}}',
    '{"ts":"9999-12-31T23:59:59Z","type":"model.called","number":1,"dialect":"d","model":"m","source":"provider",'
    '"status":18446744073709551616,"seconds":1e308}',
    f'{{"ts":"0001-01-01T00:00:00Z","type":"agent.started","agent":"{HALF}"}}',
    f'{{"ts":1e308,"type":"artifact.collected","kind":"result","path":"results/{HALF}","sandbox_path":"/x","key":"k",'
    '"size":' + "9" * 400 + ',"sha256":"","content_type":"a/b"}',
    f'{{"ts":null,"type":"tool.called","call_id":"c","name":"n","input":{{"a":{DEEP}}}}}',
    f'{{"ts":{DEEP},"type":"run.finished","status":"failed","error":"{HALF}","seconds":1e400}}',
]
READERS = [
    *("runs show", "runs logs", "runs files", "runs show --events", "runs show --json", "runs show --raw"),
    *("runs show --step 1", "runs label a=b", "diff", "runs bundle -o run.zip"),
    *(f"export --format {form} -o out" for form in ("atif", "html", "jetty", "otel", "zip")),
]


def test_no_log_of_a_stranger_is_more_than_its_readers_can_read(runbook: Any) -> None:
    folder = runbook.cwd / ".runbook/trajectories/c/t/0badcafe"
    for name in ("results", "agent", "model"):
        (folder / name).mkdir(parents=True)
    first = {"type": "run.started", "trajectory_id": "0badcafe", "collection": "c", "task": "t", "author": "a"}
    more = f'"spec_digest":"","init_params":{{"x":{DEEP}}},"step_config":{{}},"engine":"e","ts":"2026-11-30T09:00:00Z"'
    lines = [f"{json.dumps(first)[:-1]},{more}}}", *HOSTILE]
    numbered = [f'{{"seq":{number},{line[1:]}\n' for number, line in enumerate(lines, 1)]
    (folder / "events.jsonl").write_text("".join(numbered))
    with zipfile.ZipFile(runbook.cwd / "folder.zip", "w") as archive:
        archive.write(folder / "events.jsonl", "events.jsonl")
    for reader in READERS:
        words = reader.split()
        depth = 2 if words[0] == "runs" else 1
        runs = ["0badcafe"] * (2 if words == ["diff"] else 1)
        ran = runbook(*words[:depth], *runs, *words[depth:], *(["--force"] if "-o" in words else []))
        assert ran.code in (0, 2, 3), (reader, ran.err)
    for command in (("import", "folder.zip", "--id", "0badcaf1"), ("import", "run.zip", "--id", "0badcaf2")):
        assert runbook(*command).code == 0
    raw = [json.loads(line) for line in runbook("runs", "show", "0badcafe", "--raw").out.splitlines()]
    assert [event["seq"] for event in raw] == [1, 2, 3, 4, 5, 6, 7]
    assert {event["ts"] for event in raw[1:]} == {"1970-01-01T00:00:00.000000Z"}
    assert (raw[2]["seconds"], raw[6]["seconds"], raw[6]["error"]) == (1e9, 0.0, "\ufffd")

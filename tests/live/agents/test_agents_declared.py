"""Agents of one's own, and agents that fail: real processes on this machine, started by the command."""

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest

RUNBOOK = """\
---
agent: mine
---
# Mine — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Step 1: Work

Work.
"""

pytestmark = pytest.mark.needs("linux")


def declare(runbook: Any, script: str, more: str = "") -> None:
    """The agent is a shell script; it finds how often it was started in $STARTS."""
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    (runbook.cwd / "agent.sh").write_text(
        f'starts={runbook.cwd}/starts; echo start >> "$starts"; STARTS=$(wc -l < "$starts")\n{script}\n'
    )
    agents = runbook.cwd / ".runbook" / "agents"
    agents.mkdir(parents=True)
    (agents / "mine.toml").write_text(f'argv = ["sh", "{runbook.cwd}/agent.sh"]\n{more}')


def run(runbook: Any, *more: str) -> Any:
    return runbook("run", "RUNBOOK.md", "--trust", "--sandbox", "host", "--json", *more)


JSONL = '[events]\nformat = "jsonl"\n'
CALL = '[[events.records]]\nwhen = "call"\nis = "tool_call"\nid = "id"\nname = "name"\n'


def test_an_agent_declared_beside_the_runbook_does_the_work(runbook: Any) -> None:
    declare(runbook, 'cat > prompt; echo "It says:"; grep "^# " prompt; cp prompt "$RESULTS_DIR/out.txt"')
    ran = run(runbook)
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert [event["text"] for event in ran.events("agent.message")] == ["It says:\n# Mine — Agent Runbook"]
    assert "## Step 1: Work" in (ran.folder / "results" / "out.txt").read_text()
    spec = json.loads((ran.folder / "spec.json").read_text())
    assert (spec["agent"], spec["near"][0]) == ("mine", str(runbook.cwd))


def test_a_mistake_in_its_file_is_bad_input_with_the_line(runbook: Any) -> None:
    declare(runbook, "true", 'promt = "arg"\n')
    ran = run(runbook)
    assert ran.code == 2
    assert "mine.toml:2: Unknown key 'promt'." in ran.err
    assert "Did you mean 'prompt'?" in ran.err


def test_its_session_files_come_home_and_its_other_files_do_not(runbook: Any) -> None:
    script = 'mkdir -p "$MINE/sessions"; echo s > "$MINE/sessions/one.jsonl"; echo x > "$RESULTS_DIR/out.txt"'
    more = 'sessions = "sessions"\nenv = {MINE = "{home}"}\n[files]\n"config.ini" = "a = {app}"\n'
    declare(runbook, script, more)
    ran = run(runbook)
    assert ran.code == 0, ran.err
    collected = [event["path"] for event in ran.events("artifact.collected") if event["kind"] == "agent"]
    assert collected == ["agent/sessions/one.jsonl"]


def test_an_agent_that_crashed_before_it_began_is_started_again(runbook: Any) -> None:
    script = '[ "$STARTS" -gt 1 ] || { echo "no luck" >&2; exit 7; }\necho x > "$RESULTS_DIR/out.txt"; echo "{}"'
    declare(runbook, script, JSONL)
    ran = run(runbook)
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    (retried,) = ran.events("agent.retried")
    assert (retried["retry"], retried["error_kind"]) == (1, "crashed")
    assert "no luck" in retried["error"]
    assert 1 <= retried["delay_s"] <= 2
    assert len(ran.events("agent.finished")) == 1


def test_an_agent_that_crashes_again_and_again_fails_the_run_at_last(runbook: Any) -> None:
    declare(runbook, "exit 7", JSONL)
    ran = run(runbook)
    assert (ran.code, ran.json["status"]) == (4, "failed")
    assert (runbook.cwd / "starts").read_text().count("start") == 2
    assert [event["error_kind"] for event in ran.events("agent.finished")] == ["crashed"]


def test_an_agent_that_had_begun_to_work_is_not_started_again(runbook: Any) -> None:
    script = """echo '{"type": "call", "id": "1", "name": "deploy"}'; exit 7"""
    declare(runbook, script, JSONL + CALL)
    ran = run(runbook)
    assert ran.code == 4
    assert (runbook.cwd / "starts").read_text().count("start") == 1
    assert ran.events("agent.retried") == []


@pytest.mark.parametrize(("said", "kind"), [
    ("the tank ran dry", "usage_limit"),
    ("Not logged in", "authentication"),
    ("model claude-9 not found", "model_not_found"),
])  # fmt: skip
def test_a_failure_that_stays_is_told_by_its_kind_and_not_tried_again(runbook: Any, said: str, kind: str) -> None:
    declare(runbook, f"echo '{said}' >&2; exit 1", '[[errors]]\npattern = "ran dry"\nkind = "usage_limit"\n')
    ran = run(runbook)
    (end,) = ran.events("agent.finished")
    assert (ran.code, end["error_kind"]) == (4, kind)
    assert said in end["error"]
    assert ran.events("agent.retried") == []


def test_no_start_is_waited_for_beyond_the_time_limit(runbook: Any) -> None:
    declare(runbook, "echo 'connection refused' >&2; exit 1", '[[errors]]\npattern = "zzz"\nkind = "refusal"\n')
    ran = run(runbook, "--timeout", "1")
    (end,) = ran.events("agent.finished")
    assert (ran.code, end["error_kind"], end["ended_by"]) == (4, "network", "exit")
    assert ran.events("agent.retried") == []


def test_ctrl_c_while_it_waits_ends_the_run_in_good_order(runbook: Any, eventually: Any) -> None:
    script = 'echo x > "$RESULTS_DIR/out.txt"; echo "HTTP 503: overloaded" >&2; exit 1'
    declare(runbook, script, '[[errors]]\npattern = "zzz"\nkind = "refusal"\n')
    process = runbook.start("run", "RUNBOOK.md", "--trust", "--sandbox", "host", "--json")
    eventually(lambda: '"agent.retried"' in next((runbook.cwd / ".runbook").rglob("events.jsonl")).read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (runbook.cwd / "starts").read_text().count("start") == 1, "it did not wait for the next start"
    body = json.loads(out)
    assert body["status"] == "cancelled"
    assert [Path(path).name for path in body["results_files"]] == ["out.txt"]


SECRET = "canary-Ll3/Qq+71xB9-database"
DATABASE = """\
import os, sqlite3
database = sqlite3.connect(os.environ["MINE"] + "/mine.db")
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE said (id INTEGER PRIMARY KEY, text TEXT, raw BLOB)")
database.execute("CREATE VIRTUAL TABLE found USING fts5(text)")
secret = os.environ["SERVICE_TOKEN"]
database.execute("INSERT INTO said VALUES (1, ?, ?)", ("it is " + secret, bytes([255, 0]) + secret.encode()))
database.execute("INSERT INTO found VALUES (?)", (secret,))
database.commit()
open(os.environ["RESULTS_DIR"] + "/out.txt", "w").write("x")
os._exit(0)  # as one that was killed: all of it is in the write-ahead log
"""


def test_its_session_database_comes_home_as_text_without_secrets(runbook: Any) -> None:
    declare(runbook, f"python3 - <<'END'\n{DATABASE}END", 'session_db = "mine.db"\nenv = {MINE = "{home}"}\n')
    declared = RUNBOOK.replace("agent: mine", "agent: mine\nsecrets:\n  SERVICE_TOKEN:\n    env: SERVICE_TOKEN")
    (runbook.cwd / "RUNBOOK.md").write_text(declared)
    (runbook.cwd / ".runbook" / "agents" / "mine.toml").open("a").write('[files]\n"made" = ""\n')
    ran = runbook("run", "RUNBOOK.md", "--trust", "--sandbox", "host", "--json", env={"SERVICE_TOKEN": SECRET})
    assert ran.code == 0, ran.err
    (path,) = (event["path"] for event in ran.events("artifact.collected") if event["kind"] == "agent")
    (line,) = map(json.loads, (ran.folder / path).read_text().splitlines())
    assert (path, line["table"]) == ("agent/sessions/mine.jsonl", "said")
    assert (line["row"]["id"], line["row"]["text"]) == (1, "it is ***REDACTED:SERVICE_TOKEN***")
    assert "***REDACTED:SERVICE_TOKEN***" in line["row"]["raw"]
    assert sum(event["count"] for event in ran.events("redacted") if event["where"] == path) == 2


def test_a_session_database_that_is_none_costs_the_run_a_warning(runbook: Any) -> None:
    script = 'echo "no database, though it is long enough" > "$MINE/mine.db"; echo x > "$RESULTS_DIR/out.txt"'
    declare(runbook, script, 'session_db = "mine.db"\nenv = {MINE = "{home}"}\n[files]\n"made" = ""\n')
    ran = run(runbook)
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert any("Not all collected: agent/sessions/mine.jsonl: file is not a database" in text for text in ran.warnings)


@pytest.mark.parametrize("taken", ["echo x > {}", "mkdir {} && echo x > {}/x"], ids=["file", "folder"])
def test_a_session_file_with_the_name_of_the_collected_database_stays(runbook: Any, taken: str) -> None:
    make = taken.replace("{}", '"$MINE/s/mine.jsonl"')
    script = f'python3 -c "import sqlite3; sqlite3.connect(\'$MINE/mine.db\')"; {make}; echo x > "$RESULTS_DIR/out.txt"'
    files = '[files]\n"s/made" = ""\n'
    declare(runbook, script, f'sessions = "s"\nsession_db = "mine.db"\nenv = {{MINE = "{{home}}"}}\n{files}')
    ran = run(runbook)
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    for event in ran.events("artifact.collected"):
        content = (ran.folder / event["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == event["sha256"]
    messages = [event["message"] for event in ran.events("log")]
    assert "Not collected: agent/sessions/mine.jsonl: a session file has the same name." in messages

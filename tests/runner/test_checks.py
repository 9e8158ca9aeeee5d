"""The checks of a runbook, run by the engine in the run's own sandbox: a claim counts only as far as they go."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

RUNBOOK = """\
---
version: "1.0.0"
agent: shell
{front}
---
# Checked — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
{outputs}

## Step 1: Work

```bash
{code}
```

{rest}
"""
REPORT = "/app/results/validation_report.json"
GOOD = (
    """\
echo '{"version": 2, "checks": [{"kind": "step", "id": "work", "status": "pass"}]}' > """
    + REPORT
)
LIE = 'echo \'{"version": "1.0.0", "overall_passed": true}\' > ' + REPORT
SCRIPT = """\
## Final Checklist

### Verification Script

```bash
echo "=== FINAL OUTPUT VERIFICATION ==="
for name in there.txt gone.txt; do
  if [ -s "$RESULTS_DIR/$name" ]; then echo "PASS: $name"; else echo "FAIL: $name is missing or empty"; fi
done
```
"""


def run(
    runbook: Any, code: str, rest: str, *args: str, outputs: str = "out.txt", front: str = "", env: Any = None
) -> Any:
    rows = "\n".join(f"| `/app/results/{name}` | x |" for name in outputs.split())
    text = RUNBOOK.format(front=front, outputs=rows, code=code, rest=rest)
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    return runbook("run", "RUNBOOK.md", "--json", *args, env=env)


def checks(*bodies: tuple[str, str], fence: str = "bash") -> str:
    return "## Code Checks\n\n" + "\n".join(f"### {name} — X\n\n```{fence}\n{code}\n```\n" for name, code in bodies)


def results_of(ran: Any) -> dict[str, tuple[str, int | None]]:
    return {event["id"]: (event["status"], event["exit_code"]) for event in ran.events("check.finished")}


def test_a_lying_agent_is_contradicted_three_times(runbook: Any, backend: str) -> None:
    """It claims that all is well; a file is missing, a check fails, and the script of the runbook says otherwise."""
    code = f"echo TODO > /app/results/there.txt\n{LIE}"
    rest = checks(("no-todo", "! grep -q TODO /app/results/there.txt")) + "\n" + SCRIPT
    ran = run(runbook, code, rest, "--sandbox", backend, outputs="there.txt gone.txt")
    assert (ran.code, ran.json["status"], ran.json["verdict"]) == (1, "completed", "fail")
    assert ran.json["reasons"] == [
        "gone.txt is missing.",
        "validation_report.json says overall_passed: true, and the verification script contradicts it.",
        "no-todo (X): exit code 1",
        "Verification script: gone.txt is missing or empty",
    ]
    told = runbook("run", "RUNBOOK.md", "--sandbox", backend).out
    assert all(reason in told for reason in ran.json["reasons"])


def test_each_command_gets_what_it_is_promised(runbook: Any, backend: str) -> None:
    rest = checks(
        ("passes", 'test -s "$RESULTS_DIR/out.txt" && test -d "$ASSETS_DIR" && test -n "$CHECKS_DIR"'),
        ("fails", "exit 3"),
        ("stops", "false\ntrue"),
        ("pipe", "false | true"),
        ("unknown", "nosuchprogram"),
        ("value", 'test {{who}} = "O\'Brien"'),
        ("folder", 'test "$PWD" = "$(dirname "$RESULTS_DIR")"'),
        ("no-input", "! read -r line"),
    )
    rest += "\n## Parameters\n\n| Parameter | Default |\n|---|---|\n| `who` | `Ada` |\n"
    code = f"echo one > /app/results/out.txt\n{GOOD}"
    ran = run(runbook, code, rest, "--sandbox", backend, "-p", "who=O'Brien")
    assert results_of(ran) == {
        "passes": ("pass", 0),
        "fails": ("fail", 3),
        "stops": ("fail", 1),
        "pipe": ("fail", 1),
        "unknown": ("error", 127),
        "value": ("pass", 0),
        "folder": ("pass", 0),
        "no-input": ("pass", 0),
    }
    assert ran.code == 1


def test_the_merged_report_takes_the_place_of_the_agent_s_own(runbook: Any) -> None:
    rest = checks(("ours", "true"))
    ran = run(runbook, f"echo one > /app/results/out.txt\n{GOOD}", rest, "--sandbox", "host")
    assert (ran.code, ran.json["verdict"]) == (0, "pass")
    merged = json.loads((ran.folder / "results" / "validation_report.json").read_text())
    own = json.loads((ran.folder / "agent" / "validation_report.json").read_text())
    assert [check["id"] for check in own["checks"]] == ["work"]
    assert [check["id"] for check in merged["checks"]] == ["work", "ours"]
    assert merged["checks"][1]["details"] == {"runner": "jetty", "command": "true\n", "exit_code": 0, "stdout_tail": ""}
    outputs = ran.trajectory["steps"]["run"]["outputs"]
    assert outputs["validation_report"] == merged
    assert (outputs["verdict"], outputs["overall_passed"]) == ("pass", True)
    last = {event["path"]: event["size"] for event in ran.events("artifact.collected")}
    assert last["results/validation_report.json"] == (ran.folder / "results" / "validation_report.json").stat().st_size
    assert len(outputs["results_files"]) == 2


def test_a_runbook_with_checks_and_no_report_fails_and_gets_one(runbook: Any) -> None:
    ran = run(runbook, "echo one > /app/results/out.txt", checks(("ours", "true")), "--sandbox", "host")
    assert (ran.code, ran.json["reasons"]) == (1, ["report: it is missing."])
    merged = json.loads((ran.folder / "results" / "validation_report.json").read_text())
    assert [(check["id"], check["status"]) for check in merged["checks"]] == [("report", "error"), ("ours", "pass")]


def test_no_check_changes_a_result_and_what_it_changed_is_told(runbook: Any, backend: str) -> None:
    rest = checks(("vandal", "echo changed > /app/results/out.txt; echo x > /app/results/new.txt"))
    ran = run(runbook, f"echo one > /app/results/out.txt\n{GOOD}", rest, "--sandbox", backend)
    assert (ran.folder / "results" / "out.txt").read_text() == "one\n"
    assert not (ran.folder / "results" / "new.txt").exists()
    said = "Changed after the results were collected, so not in them (by a check?): /app/results/new.txt"
    assert [note for note in ran.json["notes"] if note.startswith(said)]
    assert ran.code == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sleep 300 & sleep 300", "it took longer than 1 s."),
        ("(while :; do :; done) & yes | head -c 3000000000 > /dev/null; wait", "it took longer than 1 s."),
        ("yes 0123456789012345678901234567890123456789", "it took longer than 1 s."),
    ],
    ids=["never ends", "works on", "prints for ever"],
)
def test_a_check_that_does_not_end_is_an_error_and_is_ended(runbook: Any, backend: str, code: str, said: str) -> None:
    rest = checks(("endless", code), ("next", "true"))
    front = "code_checks:\n  timeout_sec: 1"
    ran = run(runbook, f"echo one > /app/results/out.txt\n{GOOD}", rest, "--sandbox", backend, front=front)
    assert results_of(ran) == {"endless": ("error", None), "next": ("pass", 0)}
    assert ran.json["reasons"] == [f"endless (X): {said}"]
    assert all(len(event["output"]) <= 70_000 for event in ran.events("check.finished"))


def test_a_secret_that_a_check_prints_is_nowhere(runbook: Any, backend: str) -> None:
    front = "secrets:\n  CHECK_TOKEN: {expose_to_agent: false, expose_to_checks: true}\n  AGENT_TOKEN: {}"
    rest = checks(("prints", "echo got $CHECK_TOKEN and $AGENT_TOKEN; exit 1"))
    code = f"echo ${{CHECK_TOKEN:-none}} > /app/results/out.txt\n{GOOD}"
    secrets = {"CHECK_TOKEN": "canary-check-4711-4711", "AGENT_TOKEN": "canary-agent-4712-4712"}
    (runbook.cwd / "secrets.env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
    ran = run(runbook, code, rest, "--sandbox", backend, "--env-file", "secrets.env", front=front)
    assert (ran.folder / "results" / "out.txt").read_text() == "none\n"
    assert ran.json["reasons"] == [
        "prints (X): exit code 1: got ***REDACTED:CHECK_TOKEN*** and ***REDACTED:AGENT_TOKEN***"
    ]
    kept = [path.read_bytes() for path in ran.folder.rglob("*") if path.is_file()]
    assert not [data for data in kept if b"canary" in data]


def test_the_agent_is_told_which_checks_are_its_own(runbook: Any) -> None:
    rest = checks(("ours", "true")) + "\n### look — X\n\n```agent\nLook at it.\n```\n"
    ran = run(runbook, f"echo one > /app/results/out.txt\n{GOOD}", rest, "--sandbox", "host")
    mission = (ran.folder / "RUNBOOK.md").read_text()
    assert "The code checks `ours` are run for you, once you have finished" in mission
    assert "You carry out the code checks `look` yourself" in mission
    report = json.loads((ran.folder / "results" / "validation_report.json").read_text())
    assert report["checks"][-1]["status"] == "skipped"
    assert ran.code == 0
    strict = run(
        runbook, GOOD + "; echo 1 > /app/results/out.txt", rest, "--sandbox", "host", front="strict_evaluation: true"
    )
    assert (strict.code, strict.json["reasons"]) == (1, ["look (X): the agent did not report it."])


def test_what_the_checks_say_is_shown_and_is_in_json(runbook: Any) -> None:
    rest = checks(("ours", "echo all is well"), ("theirs", "echo it is not; exit 1"))
    ran = run(runbook, f"echo one > /app/results/out.txt\n{GOOD}", rest, "--sandbox", "host")
    assert "  ✓ ours: all is well\n" in ran.err
    assert "  ✗ theirs: exit code 1: it is not\n" in ran.err
    (found,) = ran.json["required_outputs"]
    assert found == {"path": "out.txt", "lack": None, "files": 1, "bytes": 4}


@pytest.mark.parametrize("report", ["[1, 2", '{"version": 2, "checks": ' + "[" * 10_000, "NaN", "7", ""])
def test_a_report_that_can_not_be_read_loses_nothing(runbook: Any, report: str) -> None:
    (runbook.cwd / "report.json").write_text(report)
    code = f"echo one > /app/results/out.txt; cp /app/assets/report.json {REPORT}"
    ran = run(runbook, code, checks(("ours", "true")), "--sandbox", "host", "-f", "report.json")
    assert (ran.code, len(ran.json["reasons"])) == (1, 1), ran.err
    assert ran.json["reasons"][0].startswith("report: it ")
    assert (ran.folder / "agent" / "validation_report.json").read_text() == report
    merged = json.loads((ran.folder / "results" / "validation_report.json").read_text())
    assert [check["id"] for check in merged["checks"]] == ["report", "ours"]


def test_a_report_of_many_levels_does_not_grow_as_it_is_merged(runbook: Any) -> None:
    values = "[" * 90 + "1," * 150_000 + "1" + "]" * 90
    report = f'{{"version": 2, "checks": [{{"kind": "step", "id": "a", "status": "pass"}}], "x": {values}}}'
    (runbook.cwd / "report.json").write_text(report)
    code = f"echo one > /app/results/out.txt; cp /app/assets/report.json {REPORT}"
    ran = run(runbook, code, checks(("ours", "true")), "--sandbox", "host", "-f", "report.json")
    assert ran.code == 0, ran.err
    merged = ran.folder / "results" / "validation_report.json"
    assert json.loads(merged.read_text())["x"] == json.loads(values)
    assert merged.stat().st_size < 2 * len(report)


def test_a_cancelled_run_runs_no_checks(runbook: Any, eventually: Any) -> None:
    rest = checks(("ours", "touch ran"))
    text = RUNBOOK.format(
        front="", outputs="| `out.txt` | x |", code="echo go > /app/results/out.txt; sleep 300", rest=rest
    )
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    process = runbook.start("run", "RUNBOOK.md", "--sandbox", "host", "--json")
    home = Path(runbook.cwd) / ".runbook"
    eventually(lambda: any("tool.called" in log.read_text() for log in home.rglob("events.jsonl")))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    events = (Path(json.loads(out)["path"]) / "events.jsonl").read_text()
    assert "check.finished" not in events
    assert "run.finished" in events


def test_what_the_agent_has_left_behind_is_ended_before_the_checks(runbook: Any, backend: str) -> None:
    """It could put another content in the place of a result while a check looks at it."""
    left = "(while :; do echo swapped > /app/results/out.txt; sleep 0.01; done) </dev/null >/dev/null 2>&1 &"
    rest = checks(("quiet", "echo one > /app/work/mine; sleep 0.3; cp /app/results/out.txt /app/work/a; "
                            "rm /app/results/out.txt; sleep 0.5; test ! -e /app/results/out.txt"))  # fmt: skip
    code = f"echo one > /app/results/out.txt\n{GOOD}\nsetsid sh -c '{left}' &\nsleep 0.2"
    ran = run(runbook, code, rest, "--sandbox", backend)
    assert results_of(ran) == {"quiet": ("pass", 0)}, ran.err


def test_what_a_check_has_left_behind_is_ended_before_the_next(runbook: Any, backend: str) -> None:
    """A check may run the agent's own program, which could write into the scripts of later ones."""
    code = f"""\
cat > /app/results/out.txt <<'TOOL'
setsid bash -c 'while :; do touch /app/work/alive
for script in /app/.runbook/checks-*/*; do chmod u+w "$script"; echo "exit 0" > "$script"; done; done' \\
  </dev/null >/dev/null 2>&1 &
until [ -e /app/work/alive ]; do :; done
echo 42
TOOL
{GOOD}"""
    rest = checks(
        ("runs", "output=$(bash /app/results/out.txt); echo mine > /app/work/mine"),
        ("quiet", "grep mine /app/work/mine\nrm -f /app/work/alive; sleep 0.5; test ! -e /app/work/alive"),
        ("fails", "sleep 0.5\nexit 3"),
    )
    script = "\n## Final Checklist\n\n### Verification Script\n\n```bash\nsleep 0.5\necho FAIL: all\n```\n"
    ran = run(runbook, code, rest + script, "--sandbox", backend)
    found = results_of(ran)
    found.pop("runs")  # its own script is the program's to change
    assert found == {"quiet": ("pass", 0), "fails": ("fail", 3), "verification-script": ("fail", 0)}, ran.err


def test_an_agent_that_takes_the_place_of_the_checks_escapes_nothing(runbook: Any, backend: str) -> None:
    """The folder for their scripts has a name that it can't know; where it can't be made they are errors."""
    rest = checks(("ours", "true"))
    code = f"echo one > /app/results/out.txt\n{GOOD}\nmv /app/.runbook /app/gone\ntouch /app/.runbook"
    ran = run(runbook, code, rest, "--sandbox", backend)
    put_back = backend == "docker"  # a tar replaces the file by the folder
    assert (ran.json["status"], ran.json["verdict"]) == ("completed", "pass" if put_back else "fail"), ran.err
    assert results_of(ran) == {"ours": ("pass", 0) if put_back else ("error", None)}
    assert (ran.folder / "results" / "out.txt").read_text() == "one\n"


def test_a_script_that_does_not_end_decides_as_far_as_it_came(runbook: Any) -> None:
    script = SCRIPT.replace("done\n", "done\nsleep 300\n")
    front = "code_checks:\n  timeout_sec: 1"
    ran = run(
        runbook,
        f"echo x > /app/results/there.txt\n{LIE}",
        script,
        "--sandbox",
        "host",
        outputs="there.txt",
        front=front,
    )
    assert ran.json["reasons"] == [
        "validation_report.json says overall_passed: true, and the verification script contradicts it.",
        "The verification script was not run to its end: it took longer than 1 s.",
        "Verification script: gone.txt is missing or empty",
    ]


def test_a_run_that_is_killed_while_it_checks_keeps_the_results_that_it_has(
    runbook: Any, backend: str, eventually: Any
) -> None:
    rest = checks(("vandal", "echo changed > /app/results/out.txt; touch /app/work/changed; sleep 300"))
    text = RUNBOOK.format(
        front="", outputs="| `out.txt` | x |", code=f"echo one > /app/results/out.txt\n{GOOD}", rest=rest
    )
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    process = runbook.start("run", "RUNBOOK.md", "--sandbox", backend)
    home = runbook.cwd / ".runbook"
    eventually(lambda: any('"evaluate"' in log.read_text() for log in home.rglob("events.jsonl")))
    (results,) = home.rglob("results")
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: runbook("clean").code == 0 and not runbook.left())
    assert (results / "out.txt").read_text() == "one\n"
    assert '"run.finished"' in (results.parent / "events.jsonl").read_text()


CLAIM = {"kind": "code_check", "id": "verification-script", "status": "pass", "details": {"runner": "jetty"}}


def test_no_entry_of_a_report_takes_the_place_of_the_script(runbook: Any) -> None:
    """What evaluations, attempts and reports for builds are made of is as bad as the verdict."""
    report = json.dumps({"version": 2, "checks": [CLAIM], "overall_passed": True, "verdict": "pass"})
    code = f"echo x > /app/results/there.txt\necho '{report}' > {REPORT}"
    ran = run(runbook, code, SCRIPT, "--sandbox", "host", "--attempts", "2", "--junit", "j.xml", outputs="there.txt")
    assert (ran.code, ran.json["verdict"]) == (1, "fail")
    assert [attempt["passed"] for attempt in ran.json["attempts"]["made"]] == [False, False]
    assert (
        '<testcase classname="checked" name="verification-script: verification-script"'
        in (runbook.cwd / "j.xml").read_text()
    )
    assert ' failures="1"' in (runbook.cwd / "j.xml").read_text()
    evaluated = runbook("eval", "RUNBOOK.md", "--sandbox", "host", "--json")
    assert (evaluated.code, evaluated.json["total"]["passed"]) == (1, 0)


@pytest.mark.parametrize(("lines", "unfinished"), [(100_000, False), (400_000, True)])
def test_what_the_agent_has_made_pushes_no_line_of_the_script_away(runbook: Any, lines: int, unfinished: bool) -> None:
    script = SCRIPT.replace("done\n", 'done\ncat "$RESULTS_DIR/there.txt"\n')
    code = f"seq 1 {lines} > /app/results/there.txt\n{LIE}"
    ran = run(runbook, code, script, "--sandbox", "host", outputs="there.txt")
    assert (ran.code, ran.json["verdict"]) == (1, "fail")
    (event,) = ran.events("check.finished")
    assert len(event["output"]) == 64 << 10
    told = "The verification script was not run to its end: it printed so much that its first lines are not known."
    assert (told in ran.json["reasons"]) is unfinished
    assert ("Verification script: gone.txt is missing or empty" in ran.json["reasons"]) is not unfinished


KEY = "echo '-----{} PRIVATE KEY-----' > /app/results/{}.txt; "
SHOWS = 'cat "$RESULTS_DIR/there.txt"; test -s "$RESULTS_DIR/gone.txt" || echo "FAIL: gone.txt"; '
HIDES = {
    "between the marks of a key": (
        KEY.format("BEGIN", "there") + KEY.format("END", "last"),
        SHOWS + 'cat "$RESULTS_DIR/last.txt"',
        "Verification script: 1 line with or between secrets",
    ),
    "behind marks that are longer than their secrets": (
        "printf 'xoxb-0123456789%.0s\\n' $(seq 50000) > /app/results/there.txt",
        'echo "FAIL: gone.txt"; cat "$RESULTS_DIR/there.txt"',
        "Verification script: 1 line with or between secrets",
    ),
    "in a line that it began": ("printf 'all done' > /app/results/there.txt", SHOWS, "Verification script: gone.txt"),
    "with the script": (
        "echo x > /app/results/there.txt",
        "kill -9 $$",
        "The verification script was not run to its end: it ended with exit code 137.",
    ),
    "with a traceback": (
        "echo x > /app/results/there.txt",
        """python3 -c 'import json; json.load(open("/app/results/there.txt"))'""",
        "The verification script was not run to its end: it ended with exit code 1.",
    ),
}


@pytest.mark.parametrize("how", HIDES)
def test_what_the_agent_has_made_hides_no_line_of_the_script(runbook: Any, how: str) -> None:
    code, script, reason = HIDES[how]
    rest = f"## Final Checklist\n\n### Verification Script\n\n```bash\necho verify\n{script}\n```\n"
    ran = run(runbook, f"{code}\n{LIE}", rest, "--sandbox", "bubblewrap", outputs="there.txt")
    assert (ran.code, ran.json["verdict"]) == (1, "fail")
    assert reason in ran.json["reasons"]
    assert "BEGIN PRIVATE" not in (ran.folder / "events.jsonl").read_text()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("echo 'PASS: there.txt, none failed'", 0),
        ("echo 'FAIL: 0 rows in rows.csv'", 1),
        ('cd /app/results && for f in 0*; do echo "FAIL: $f"; done', 1),
        ('cd /app/results && cat there.txt && [ -s gone ] && echo "PASS: $f, FAIL: none" || echo FAIL: 0', 1),
    ],
)
def test_a_fail_counts_whatever_stands_around_it(runbook: Any, script: str, code: int) -> None:
    rest = f"## Final Checklist\n\n### Verification Script\n\n```bash\n{script}\n```\n"
    made = f"printf 'PASS: 2, ' > /app/results/there.txt; echo x > /app/results/0\n{LIE}"
    assert run(runbook, made, rest, "--sandbox", "host", outputs="there.txt").code == code


def test_where_the_secret_of_a_check_goes_is_said(runbook: Any) -> None:
    front = "secrets:\n  CHECK_TOKEN: {expose_to_agent: false, expose_to_checks: true}"
    (runbook.cwd / "secrets.env").write_text("CHECK_TOKEN=canary-check-4711-4711\n")
    ran = run(runbook, "true", checks(("ours", "true")), "--sandbox", "host", "--env-file", "secrets.env", front=front)
    assert "! CHECK_TOKEN goes to the checks, in the agent's sandbox" in ran.err
    assert "stays on this machine" not in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="a search is found in /proc")
def test_ctrl_c_ends_a_search_at_once(runbook: Any, eventually: Any) -> None:
    text = RUNBOOK.format(
        front="code_checks:\n  timeout_sec: 600",
        outputs="| `out.txt` | x |",
        code="printf '%05000d!' 0 | tr 0 a > /app/results/out.txt",
        rest=checks(("endless", "use: regex_present\npath: out.txt\npattern: '^(a+)+$'"), fence="yaml"),
    )
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    process = runbook.start("run", "RUNBOOK.md", "--sandbox", "host")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    searcher = eventually(lambda: next(c for c in children.read_text().split() if is_search(c)))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not Path("/proc", searcher).exists()
    (log,) = runbook.cwd.rglob("events.jsonl")
    assert "check.finished" not in log.read_text()
    assert (log.parent / "results/out.txt").is_file()


def is_search(process: str) -> bool:
    return "regular expression" in Path("/proc", process, "cmdline").read_text()

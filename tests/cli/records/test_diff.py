"""`runbook diff`: what differs between two real runs, and between a run and what was expected."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EXAMPLES

Write = Callable[[str], Path]

BOOK = """\
---
version: "1.0.0"
evaluation: programmatic
agent: shell
---
# Test

## Parameters

| Parameter | Template Variable | Default | Description |
|---|---|---|---|
| Word | `{{word}}` | `one` | Word |

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.json` | The output |

## Step 1: Work

```bash
echo begin
```

```bash
%s
```

```bash
echo end
```
"""

Run = Callable[..., str]


@pytest.fixture
def run(runbook: Any) -> Run:
    def run(code: str, *more: str) -> str:
        folder = runbook.cwd / "book"
        folder.mkdir(exist_ok=True)
        (folder / "RUNBOOK.md").write_text(BOOK % code)
        return str(runbook("run", folder, "--sandbox", "host", "--json", *more).folder.name)

    return run


WRITES = """echo '{"a": 1, "b": "{{word}}"}' > /app/results/out.json"""


def test_two_runs_of_the_same_are_the_same_although_their_sandboxes_lie_elsewhere(runbook: Any, run: Run) -> None:
    code = f"{WRITES}; echo $RESULTS_DIR > /app/results/where.txt"
    done = runbook("diff", run(code), run(code))
    assert done.code == 0, done.out
    lines = done.out.splitlines()
    assert [line for line in lines if line[0] in "✓✗"] == [
        "✓ mission",
        "✓ what was asked for",
        "✓ outcome",
        "✓ 3 tool calls, the same",
        "✓ results: 2 files the same",
        "✓ The two are the same.",
    ]


def test_another_parameter_is_shown_in_the_mission_the_calls_and_the_results(runbook: Any, run: Run) -> None:
    one, two = run(WRITES), run(WRITES, "-p", "word=two")
    done = runbook("diff", one, two)
    assert done.code == 1
    for line in (
        "  + two",
        "✗ tool call 2 is the first that differs (3 and 3 calls)",
        "    1 call before, the same",
        """  - 2 shell: echo '{"a": 1, "b": "one"}' > /app/results/out.json""",
        """  + 2 shell: echo '{"a": 1, "b": "two"}' > /app/results/out.json""",
        "    3 shell: echo end",
        "  out.json differs",
        """  +{"a": 1, "b": "two"}""",
    ):
        assert line in done.out.splitlines(), done.out
    assert done.out.splitlines()[-1].startswith("✗ The two differ: parameter word")
    body = runbook("diff", one, two, "--json").json
    assert (body["same"], body["tool_calls"]["first_difference"]) == (False, 2)
    assert body["results"]["by_type"] == {"out.json": ['/b: expected "one", found "two".']}
    assert [pair["kind"] for pair in body["tool_calls"]["aligned"]] == ["changed", "same"]


def test_files_that_only_differ_in_their_bytes_are_the_same_by_their_type(runbook: Any, run: Run) -> None:
    one = run(WRITES)
    expected = runbook.cwd / "expected"
    expected.mkdir()
    (expected / "out.json").write_text('{\n"b": "one", "a": 1.0}')
    done = runbook("diff", expected, one)
    assert (done.code, "out.json: only its bytes differ" in done.out) == (0, True), done.out
    assert runbook("diff", one, expected).code == 0
    (expected / "more.txt").touch()
    assert "more.txt is expected and was not made" in runbook("diff", one, expected).out
    assert runbook("diff", one, expected).code == runbook("diff", expected, one).code == 1
    (expected / "more.txt").unlink()
    (runbook.cwd / ".runbook/trajectories/local/test" / one / "results" / "zz.txt").touch()
    assert runbook("diff", one, expected).code == 0, "what is not expected does not matter"


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_it_fits_terminals_with_and_without_colour(runbook: Any, run: Run, columns: int, colour: bool) -> None:
    one, two = run(WRITES), run(f"{WRITES}; echo {'long ' * 30}", "-p", "word=two")
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {"TERM": "xterm-256color", **({} if colour else {"NO_COLOR": "1"})}
    process = runbook.start("diff", one, two, stdout=its, stderr=its, env=env)
    os.close(its)
    seen = b""
    with suppress(OSError):  # the other end is closed
        while data := os.read(mine, 1 << 16):
            seen += data
    os.close(mine)
    assert process.wait(60) == 1
    assert (b"\x1b[3" in seen) == colour
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in seen.decode().splitlines()]
    assert max(map(len, lines)) == columns, "a long call is cut there"
    assert lines[:2] == [f"- {one}", f"+ {two}"]


def test_a_failure_is_a_difference(runbook: Any, run: Run) -> None:
    one, two = run(WRITES), run("exit 3")
    done = runbook("diff", one, two, "--json")
    assert done.code == 1
    assert {change["what"] for change in done.json["outcome"]} >= {"verdict"}
    assert done.json["results"]["missing"] == ["out.json"]


def test_what_can_not_be_compared_is_told(runbook: Any, run: Run) -> None:
    one = run(WRITES)
    assert runbook("diff", one, "nonesuch").code == 2
    folder = runbook.cwd / "a"
    folder.mkdir()
    (folder / "out.txt").touch()
    done = runbook("diff", folder, folder)
    assert (done.code, "None of the two is a run" in done.err) == (2, True)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags = set[str]()
        self.attributes = list[tuple[str, str | None]]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def test_the_page_needs_nothing_and_escapes_what_a_hostile_run_has_said(runbook: Any, run: Run) -> None:
    one = run(WRITES)
    first = next((runbook.cwd / ".runbook").glob(f"trajectories/*/*/{one}"))
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e"
    two = runbook.cwd / evil.replace("/", "_").replace("\x1b", "e")
    shutil.copytree(first, two)
    (two / "results" / evil.replace("/", "_")).write_text(evil)
    (two / "results" / "out.json").write_text(evil)
    log = (two / "events.jsonl").read_text()
    (two / "events.jsonl").write_text(
        log.replace('"echo begin', json.dumps(evil)[:-1]).replace(f'"{one}"', json.dumps(evil))
    )
    spec = json.loads((two / "spec.json").read_text())
    (two / "spec.json").write_text(json.dumps({**spec, "mission": evil, "parameters": {evil: evil}, "model": [evil]}))
    page = runbook.cwd / "diff.html"
    done = runbook("diff", one, two, "--html", page)
    assert done.code == 1, done.err
    assert f"Wrote the diff as a page: {page} (" in done.out
    assert not re.search("\x1b|\u202e", done.out)
    again = runbook("diff", one, two, "--html", page)
    assert (again.code, "it stays as it is" in again.err) == (2, True)
    assert runbook("diff", one, two, "--html", page, "--force", "--json").json["html"] == str(page)
    text = page.read_text()
    parsed = Page()
    parsed.feed(text)
    assert not parsed.tags & {"script", "img", "link", "iframe", "a"}
    assert [name for name, _ in parsed.attributes if name.startswith("on") or name in ("src", "href")] == []
    assert "default-src 'none'" in text
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search("\x1b|\u202e", text)


def test_an_app_folder_of_a_hostile_run_is_not_replaced_in_texts(runbook: Any, run: Run) -> None:
    one = run(WRITES)
    (log,) = (runbook.cwd / ".runbook").glob(f"trajectories/*/*/{one}/events.jsonl")
    log.write_text(re.sub(r'"app":"[^"]*"', '"app":""', log.read_text()))
    assert runbook("diff", one, run(WRITES)).code == 1


def test_an_empty_folder_is_no_expected_result(runbook: Any, shell_runbook: Write) -> None:
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--json")
    (runbook.cwd / "empty").mkdir()
    for pair in ((ran.folder, "empty"), ("empty", ran.folder)):
        done = runbook("diff", *pair)
        assert (done.code, "There is no file in this folder" in done.err) == (2, True)


def test_what_an_import_does_not_tell_is_no_difference(runbook: Any, shell_runbook: Write) -> None:
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--json")
    file = runbook.cwd / "run.json"
    step = [{"step_id": 1, "source": "agent", "message": "done"}]
    body = {"schema_version": "ATIF-v1.6", "session_id": "abc", "agent": {"name": "a", "version": "1"}, "steps": step}
    file.write_text(json.dumps(body))
    assert runbook("import", file).code == 0
    done = runbook("diff", ran.folder, "abc")
    assert "mission: not recorded of abc" in done.out
    assert "what was asked for: not recorded of abc" in done.out
    assert "✓ outcome" in done.out
    assert not {"verdict", "status"} & set(runbook("diff", ran.folder, "abc", "--json").json["differences"])


def test_values_and_lists_are_told_line_by_line_and_a_default_as_such(runbook: Any) -> None:
    source = EXAMPLES / "hello" / "RUNBOOK.md"
    other = runbook.cwd / "other" / "RUNBOOK.md"
    other.parent.mkdir()
    other.write_text(source.read_text().replace("| Where it was written ", "| The machine          "))
    one = runbook("run", source, "--sandbox", "host", "--json")
    two = runbook("run", other, "--sandbox", "host", "--json", "-p", "name=Ada")
    assert (one.code, two.code) == (0, 0), two.err
    lines = runbook("diff", one.folder, two.folder).out.splitlines()
    assert "  - machine.json description: Where it was written" in lines
    assert "  + machine.json description: The machine" in lines
    at = lines.index("  parameter name")
    assert lines[at + 1 : at + 3] == ["  - not given: the runbook's default", "  + Ada"]


def test_a_folder_of_expected_results_is_told_in_its_own_words(runbook: Any, shell_runbook: Write) -> None:
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--json")
    expected = runbook.cwd / "expected"
    expected.mkdir()
    (expected / "other.txt").write_text("y")
    done = runbook("diff", ran.folder, expected)
    assert "results: 0 files the same, 1 not expected, 1 missing" in done.out
    assert "other.txt is expected and was not made" in done.out


def test_lines_of_the_runbook_that_an_edit_above_has_moved_are_no_difference(
    runbook: Any, shell_runbook: Write
) -> None:
    folder = shell_runbook("echo x > /app/results/out.txt")
    file = folder / "RUNBOOK.md"
    checks = "\n## Final Checklist\n\n- [ ] It is there.\n"
    file.write_text(file.read_text() + checks)
    first = runbook("run", folder, "--sandbox", "host", "--json")
    file.write_text(file.read_text().replace("## Step 1", "More to read.\n\n## Step 1", 1))
    second = runbook("run", folder, "--sandbox", "host", "--json")
    lines = [json.dumps(json.loads((ran.folder / "spec.json").read_text())["criteria"]) for ran in (first, second)]
    assert lines[0] != lines[1]  # the lines
    found = runbook("diff", first.folder, second.folder, "--json").json
    assert found["differences"] == ["mission"]


@pytest.mark.needs("bubblewrap")
def test_a_replay_and_a_rerun_do_not_differ_by_where_an_input_lies_or_how_they_are_confined(
    runbook: Any, shell_runbook: Write
) -> None:
    (runbook.cwd / "data.csv").write_text("a,b\n")
    folder = shell_runbook("cp /app/assets/data.csv /app/results/out.txt")
    first = runbook("run", folder, "-f", "data.csv", "--sandbox", "bubblewrap", "--json")
    bundle = runbook.cwd / "run.zip"
    assert runbook("runs", "bundle", first.json["trajectory_id"], "-o", bundle).code == 0
    replayed = runbook("replay", bundle, "--sandbox", "bubblewrap", "--json")
    again = runbook("rerun", first.folder, "--sandbox", "bubblewrap", "--json")
    for other in (replayed, again):
        found = runbook("diff", first.folder, other.folder, "--json")
        assert (found.code, found.json["differences"]) == (0, []), found.out

"""What was written elsewhere never reaches the terminal as a control character, whichever command shows it."""

import json
import os
import pty
import re
from pathlib import Path
from typing import Any

import pytest

import runbook_runner

OSC = "\x1b]52;c;Y3VybA==\x07"
"""Sets the clipboard of the terminal that shows it."""
HOSTILE = f"{OSC}\x1b[2J\x9b2J\x08\r\x7f\u202e[red]x[/red]"
NOT_PRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def book(folder: Path, *, front: str = "", agent: str = "shell", code: str = "true", title: str = "Test") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "RUNBOOK.md").write_text(
        f'---\nversion: "1.0.0"\nevaluation: programmatic\nagent: {agent}\n{front}---\n# {title}\n\n'
        "## REQUIRED OUTPUT FILES (MANDATORY)\n\n| File | Description |\n|---|---|\n| `/app/results/a.txt` | x |\n\n"
        f"## Step 1: Work\n\n```bash\n{code}\n```\n"
    )
    return folder


def check(ran: Any, *, shows: str = "") -> None:
    for said in (ran.out, ran.err):
        assert not NOT_PRINTABLE.search(said), said
    assert shows in ran.out + ran.err


SECRET = f"secrets: {{MISSING: {{description: {json.dumps(HOSTILE)}}}}}\n"


def test_the_description_of_a_missing_secret(runbook: Any) -> None:
    check(runbook("run", book(runbook.cwd / "a", front=SECRET), "--sandbox", "host"), shows="MISSING")


@pytest.mark.parametrize("quiet", [("--quiet",), ()], ids=["quiet", "shown"])
@pytest.mark.parametrize("stream", ["1", "2"])
def test_what_an_agent_prints(runbook: Any, quiet: tuple[str, ...], stream: str) -> None:
    agents = runbook.cwd / ".runbook" / "agents"
    agents.mkdir(parents=True)
    command = json.dumps(["sh", "-c", f"printf '%s\\n\\n' {json.dumps(HOSTILE)} >&{stream}; exit 1"])
    (agents / "esc.toml").write_text(f"argv = {command}\n")
    ran = runbook("run", book(runbook.cwd / "a", agent="esc"), "--sandbox", "host", "--trust", *quiet)
    assert ran.code == 4
    check(ran, shows="52;c;Y3VybA==")


@pytest.mark.parametrize("command", ["show", "check", "fmt", "run"])
def test_a_title_and_the_path_of_a_runbook(runbook: Any, command: str) -> None:
    more = {"run": ("--sandbox", "host"), "fmt": ("--check",)}.get(command, ())
    folder = book(runbook.cwd / HOSTILE.replace("/", "."), title=HOSTILE, code=f"printf x > $'/app/results/{OSC}'")
    check(runbook(command, folder, *more))


@pytest.mark.parametrize("arguments", [(HOSTILE,), ("run", HOSTILE), ("run", ".", f"--{HOSTILE}")])
def test_a_bad_command_line(runbook: Any, arguments: tuple[str, ...]) -> None:
    check(runbook(*arguments), shows="52;c;Y3VybA")


def test_json_has_escapes(runbook: Any) -> None:
    folder = book(runbook.cwd / "a", title="\x7f\x9b\u202e é", code=f"printf x > $'/app/results/{OSC}\x7f'; exit 1")
    ran = runbook("run", folder, "--sandbox", "host", "--json")
    assert json.loads(ran.out)
    check(ran)
    shown = runbook("show", folder, "--json")
    assert json.loads(shown.out)["title"] == "\x7f\x9b\u202e é"
    assert "é" in shown.out
    check(shown)


def on_terminal(runbook: Any, *arguments: str | Path) -> str:
    """What the command writes to a terminal that is its standard output and standard error."""
    mine, its = pty.openpty()
    process = runbook.start(*arguments, stdout=its, stderr=its, env={"TERM": "xterm-256color"})
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


def test_on_a_terminal_styles_stay_and_nothing_else_gets_through(runbook: Any) -> None:
    code = f"printf '%s' {json.dumps(HOSTILE)}; printf '%s' {json.dumps(HOSTILE)} >&2; echo x > /app/results/a.txt"
    optional = SECRET.replace("}}", ", required: false}}")
    seen = on_terminal(
        runbook,
        "run",
        book(runbook.cwd / "a", front=optional, code=code),
        "--sandbox",
        "host",
    )
    assert "\x1b[1;32mPASS" in seen
    assert "\x1b]" not in seen
    assert "\x1b[2J" not in seen
    assert "\u202e" not in seen


def test_colours_that_are_asked_for_on_a_pipe_come_without_what_moves(runbook: Any) -> None:
    ran = runbook("run", book(runbook.cwd / "a"), "--sandbox", "host", env={"FORCE_COLOR": "1"})
    assert "\x1b[1m" in ran.out
    assert "\x1b[2K" not in ran.out
    assert "\x1b[?25l" not in ran.out


def test_help_has_styles_on_a_terminal_and_none_on_a_pipe(runbook: Any) -> None:
    assert "\x1b[" in on_terminal(runbook, "run", "--help")
    check(runbook("run", "--help"))


def test_a_document_is_shown_as_far_as_it_is_printable_and_piped_byte_for_byte(runbook: Any) -> None:
    file = book(runbook.cwd / "a", title=OSC) / "RUNBOOK.md"
    assert "\x1b]" not in on_terminal(runbook, "check", "--diff", file)
    assert OSC in runbook("fmt", "-", stdin=file.read_text()).out


def test_consoles_and_the_raw_streams_are_used_in_the_one_module_that_filters() -> None:
    package = Path(runbook_runner.__file__).parent
    users = [
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"(?<![\w.])Console\(|std(out|err)\.buffer|__std(out|err)__|os\.write\([12],", file.read_text())
    ]
    own = {"cli/ui/output.py"}
    in_sandboxes = {"agents/built_in/hermes_plugin.py", "agents/built_in/shell_driver.py"}
    assert {name for name in users if not name.startswith("sandbox/")} == own | in_sandboxes

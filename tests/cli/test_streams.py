"""Standard streams as a shell can leave them: closed, or with a reader that goes away. Neither costs a run anything."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

HELLO = str(Path(__file__).parents[2] / "examples" / "hello")
BLOCKS = "for i in $(seq 200); do echo line $i; done; sleep 1; echo late; echo made > /app/results/out.txt"


def recorded(runbook):
    """The one trajectory of this home."""
    (file,) = (runbook.cwd / ".runbook").rglob("trajectory.json")
    return json.loads(file.read_text()), file.parent


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["stdout", "stderr"])
def test_a_run_goes_on_when_its_reader_goes_away(runbook, shell_runbook, arguments):
    command = ("run", shell_runbook(BLOCKS), "--sandbox", "host", *arguments)
    shown = "stderr" if arguments else "stdout"
    with (runbook.cwd / "other").open("w") as other:
        streams = {"stdout": other, "stderr": other} | {shown: subprocess.PIPE}
        process = runbook.start(*command, **streams)
        reader = getattr(process, shown)
        reader.readline()
        reader.close()
        assert process.wait(120) == 0
    trajectory, folder = recorded(runbook)
    assert trajectory["status"] == "completed"
    assert (folder / "results" / "out.txt").read_text() == "made\n"
    if arguments:
        assert json.loads((runbook.cwd / "other").read_text())["verdict"] == "pass"


def test_the_exit_code_is_the_verdict_when_no_one_reads(runbook, shell_runbook):
    process = runbook.start("run", shell_runbook("echo nothing is made"), "--sandbox", "host")
    process.stdout.close()
    assert process.wait(120) == 1
    assert process.stderr.read() == ""


@pytest.mark.parametrize("buffered", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "command", [("run", HELLO, "--sandbox", "host"), ("run", HELLO, "--sandbox", "host", "--json"), ("show", HELLO),
                ("check", HELLO), ("doctor",), ("schema",), ("--help",), ("--version",)], ids=" ".join
)  # fmt: skip
def test_an_output_without_room_is_told(runbook, command, buffered):
    with Path("/dev/full").open("w") as full:
        process = runbook.start(*command, env=buffered, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err.endswith("error: The output can't be written: No space left on device.\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("--version",),
        ("check", HELLO),
        ("check", "-"),
        ("show", HELLO),
        ("show", "-"),
        ("show", "absent"),
        ("fmt", "-"),
        ("migrate", "-"),
        ("schema", "spec"),
        ("doctor",),
        ("new",),
        ("attach", "1234"),
        ("run", "-"),
        ("run", "absent"),
        ("run", HELLO, "--sandbox", "host"),
        ("run", HELLO, "--sandbox", "host", "--json"),
    ],
    ids=" ".join,
)
def test_a_closed_stream_is_an_empty_one(runbook, command, closed):
    expected = runbook(*command)
    runbook.under = ("sh", "-c", f'exec "$@" {closed}', "sh")
    ran = runbook(*command)
    assert ran.code == expected.code
    assert "bug" not in ran.err
    assert "Traceback" not in ran.err
    if ">&-" not in closed:
        assert (ran.out == "") == (expected.out == "")
    if "2>&-" not in closed:
        assert (ran.err == "") == (expected.err == "")


def test_no_file_gets_the_descriptor_of_a_closed_stream(runbook, shell_runbook):
    """Else what a program prints lands in the record."""
    runbook.under = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    assert runbook("run", shell_runbook("echo made > /app/results/out.txt"), "--sandbox", "host").code == 0
    _, folder = recorded(runbook)
    assert all(json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines())


def test_a_host_whose_locale_is_not_utf8_keeps_results_and_names(runbook, shell_runbook, tmp_path):
    made = subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", tmp_path / "en_US.ISO-8859-1"])
    if made.returncode > 1:  # 1: with warnings
        pytest.skip("no source of locales")
    document = shell_runbook(
        "printf '\\360\\237\\230\\200'; echo '…' > /app/results/ü.txt; echo made > /app/results/out.txt"
    )
    latin = {"LOCPATH": str(tmp_path), "LC_ALL": "en_US.ISO-8859-1"}
    with (runbook.cwd / "shown").open("w") as shown:
        assert runbook.start("run", document, "--sandbox", "host", env=latin, stdout=shown).wait(120) == 0
    assert b" \xb7 shell" in (runbook.cwd / "shown").read_bytes()  # as the terminal reads it
    _, folder = recorded(runbook)
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["out.txt", "ü.txt"]
    assert "😀" in (folder / "agent" / "stdout.log").read_text("utf-8")


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--quiet",)], ids=["shown", "json", "quiet"])
def test_nothing_that_a_run_prints_is_a_command_to_the_workflow_around_it(runbook, shell_runbook, arguments):
    code = "printf '::add-mask::e\\n \\t::error::x\\nfine ##[error]y\\na::b\\n'; echo made > '/app/results/##[x].txt'"
    ran = runbook(
        "run", shell_runbook(f"{code}; exit 3"), "--sandbox", "host", *arguments, env={"GITHUB_ACTIONS": "true"}
    )
    assert ran.code == 4
    said = ran.out + ran.err
    assert not re.search(r"^\s*::|##\[", said, re.MULTILINE)
    if arguments == ("--json",):
        assert "results/##[x].txt" in json.dumps(json.loads(ran.out))
    elif not arguments:
        assert "a::b" in said


def test_findings_are_commands_to_the_workflow_when_asked_for(runbook):
    file = runbook.cwd / "::add-mask::e" / "RUNBOOK.md"
    file.parent.mkdir()
    file.write_text("---\nversion: 1\n---\n")
    ran = runbook("check", "--format", "github", env={"GITHUB_ACTIONS": "true"})
    assert re.match(r"::(error|warning) file=%3A%3Aadd-mask%3A%3Ae/RUNBOOK.md,line=", ran.out)
    ran = runbook("check", env={"GITHUB_ACTIONS": "true"})
    assert not re.search(r"^\s*::|##\[", ran.out, re.MULTILINE)


@pytest.mark.parametrize("place", ["pipe", "link"])
def test_a_device_or_a_pipe_is_never_replaced(runbook, shell_runbook, place):
    """As root, `-o /dev/null` would replace that of the machine."""
    book = shell_runbook("echo x > /app/results/out.txt")
    run = runbook("run", book, "--sandbox", "host", "--json").folder
    os.mkfifo(runbook.cwd / "pipe")
    (runbook.cwd / "link").symlink_to("/dev/null")
    for command in (
        ("export", run, "--format", "jetty", "--force", "-o", place),
        ("runs", "bundle", run, "--force", "-o", place),
        ("script", "from", run, "--force", "-o", place),
        ("diff", run, run, "--force", "--html", place),
        ("run", book, "--sandbox", "host", "--junit", place),
        ("snapshots", "export", "minimal", "--force", "-o", place),
    ):
        ran = runbook(*command)
        assert (ran.code, "This is not a regular file" in ran.err) == (2, True), (command, ran.err)
    assert (runbook.cwd / "pipe").is_fifo()
    assert (runbook.cwd / "link").is_symlink()

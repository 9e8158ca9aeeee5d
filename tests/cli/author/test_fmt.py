"""`runbook fmt` as authors and hooks use it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CROOKED = "---\nagent: shell\nversion: 1.0.0\n---\n# T\n\n| a | b |\n|-|-|\n| cc | d |\n"
STRAIGHT = "---\nversion: 1.0.0\nagent: shell\n---\n# T\n\n| a   | b   |\n|-----|-----|\n| cc  | d   |\n"


@pytest.fixture
def crooked(runbook):
    (runbook.cwd / "RUNBOOK.md").write_text(CROOKED)
    return runbook.cwd / "RUNBOOK.md"


def test_file_is_written_in_normal_form_and_then_left_alone(runbook, crooked):
    first = runbook("fmt", "RUNBOOK.md")
    assert (first.code, first.err) == (0, "1 of 1 file formatted\n")
    assert crooked.read_text() == STRAIGHT
    assert runbook("fmt", "RUNBOOK.md").err == "0 of 1 file formatted\n"


def test_check_names_the_file_and_writes_nothing(runbook, crooked):
    checked = runbook("fmt", "--check", ".")
    assert (checked.code, checked.out) == (1, "RUNBOOK.md\n")
    assert crooked.read_text() == CROOKED


def test_the_examples_are_formatted_and_have_no_findings(runbook):
    examples = Path(__file__).parents[3] / "examples"
    checked = runbook("fmt", "--check", examples)
    assert checked.code == 0, checked.out
    assert runbook("check", examples).out == "4 files: no findings.\n"


def test_a_folder_without_a_runbook(runbook):
    ran = runbook("fmt", ".")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: .: There is no runbook here.")


def test_diff_can_be_applied_by_patch(runbook, crooked):
    shown = runbook("fmt", "--diff", "RUNBOOK.md")
    assert shown.code == 1
    if shutil.which("git"):
        subprocess.run(["git", "apply", "-"], cwd=runbook.cwd, input=shown.out, text=True, check=True)
        assert crooked.read_text() == STRAIGHT
    assert runbook("fmt", "--diff", "-", stdin=STRAIGHT).code == 0


def test_stdin_goes_to_stdout(runbook):
    assert runbook("fmt", "-", stdin=CROOKED).out == STRAIGHT


def test_bytes_stay_whatever_the_terminal_can_show(runbook):
    def fmt(*args, stdin=""):
        argv = [Path(sys.executable).with_name("runbook"), "fmt", *args]
        environ = {**runbook.env, "PYTHONIOENCODING": "ascii:strict"}
        return subprocess.run(argv, cwd=runbook.cwd, env=environ, input=stdin.encode(), capture_output=True)

    text = CROOKED.replace("# T", "# Tôt")
    assert fmt("-", stdin=text).stdout.decode() == STRAIGHT.replace("# T", "# Tôt")
    (runbook.cwd / os.fsdecode(b"caf\xe9.md")).write_text(text)
    shown = fmt("--diff", b"caf\xe9.md")
    assert shown.returncode == 1
    assert shown.stdout.startswith(b"--- a/caf\xe9.md\n")
    assert fmt("--check", b"caf\xe9.md").stdout == b"caf\\udce9.md\n"


def test_windows_file_with_a_byte_order_mark_keeps_both(runbook):
    file = runbook.cwd / "RUNBOOK.md"
    file.write_bytes(("\ufeff" + CROOKED.replace("\n", "\r\n")).encode())
    assert runbook("fmt", ".").code == 0
    assert file.read_bytes() == ("\ufeff" + STRAIGHT.replace("\n", "\r\n")).encode()
    assert runbook("fmt", "-", stdin="\ufeff" + CROOKED).out == "\ufeff" + STRAIGHT


def test_link_stays_a_link_and_permissions_stay(runbook, crooked):
    link = runbook.cwd / "link.md"
    link.symlink_to("RUNBOOK.md")
    crooked.chmod(0o640)
    assert runbook("fmt", "link.md").code == 0
    assert link.is_symlink()
    assert crooked.read_text() == STRAIGHT
    assert crooked.stat().st_mode & 0o777 == 0o640


def test_file_that_is_no_runbook_is_named_and_the_others_are_done(runbook, crooked):
    (runbook.cwd / "notes.md").write_text("# Notes\n")
    done = runbook("fmt", "notes.md", "RUNBOOK.md")
    assert done.code == 2
    assert "notes.md:1: There is no YAML frontmatter." in done.err
    assert crooked.read_text() == STRAIGHT
    assert (runbook.cwd / "notes.md").read_text() == "# Notes\n"


def test_missing_file_is_a_message(runbook):
    missing = runbook("fmt", "nowhere.md")
    assert missing.code == 2
    assert "There is no such file" in missing.err
    assert not list(runbook.cwd.iterdir())


def test_the_shipped_examples_are_formatted(runbook):
    ran = runbook("fmt", "--check", Path(__file__).parents[3] / "examples")
    assert ran.code == 0, ran.out
    assert "0 of" in ran.out + ran.err

"""`--fix` and `--diff`: what is safe is mended, everything else stays byte for byte."""

import subprocess

import pytest

FIXES = [
    ("---\nversion", "\ufeff---\nversion", "---\nversion"),
    ("---\nversion", "\n \n---\nversion", "---\nversion"),
    ("evaluation: programmatic", "evaluation: Programmatic", "evaluation: programmatic"),
    ("evaluation: programmatic", "evaluation: 'RUBRIC'  # no", "evaluation: 'rubric'  # no"),
    ("agent: claude-code", "agent: Claude-Code", "agent: claude-code"),
    (
        "snapshot: python312-uv",
        "model_provider: openrouter",
        "model_provider: openrouter",
    ),
    ("  - report.md", "  - /app/results/report.md", "  - report.md"),
    ("  - report.md", '  - "./results/report.md"', '  - "report.md"'),
    ("- [ ] `report.md`", "- [] `report.md`", "- [ ] `report.md`"),
]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(("old", "broken", "mended"), FIXES)
def test_fix_touches_only_what_is_wrong(old, broken, mended, ends, v1, write, runbook):
    before = v1.replace(old, broken, 1)
    after = v1.replace(old, mended, 1)
    if "openrouter" in broken:
        after = after.replace("model: claude-sonnet-4-6", "model: anthropic/claude-sonnet-4.6")
    path = write(before.replace("\n", ends))
    runbook("check", "--fix", "RUNBOOK.md")
    assert path.read_bytes().decode() == after.replace("\n", ends)
    again = path.stat().st_mtime_ns, path.read_bytes()
    runbook("check", "--fix", "RUNBOOK.md")
    assert (path.stat().st_mtime_ns, path.read_bytes()) == again


def test_fix_reports_what_is_left(v1, write, runbook):
    text = v1.replace("agent: claude-code", "agent: Claude-Code")
    write(text)
    done = runbook("check", "--fix", "RUNBOOK.md")
    assert (done.code, done.out) == (0, "1 file: no findings.\n")
    write(text.replace("## Tips", "## Hints"))
    done = runbook("check", "--fix", "--format", "json")
    assert done.code == 1
    assert [finding["rule"] for finding in done.json["findings"]] == ["RB815"]


def test_file_without_a_last_line_end_stays_without_one(v1, write, runbook):
    path = write(v1.replace("agent: claude-code", "agent: Claude-Code").rstrip("\n"))
    runbook("check", "--fix")
    assert path.read_bytes().decode() == v1.rstrip("\n")


def test_several_faults_are_mended_at_once(v1, write, runbook):
    broken = "\ufeff\n" + v1.replace("agent: claude-code", "agent: Claude-Code").replace("- [ ]", "- []")
    path = write(broken)
    done = runbook("check", "--fix")
    assert done.code == 0
    assert path.read_bytes().decode() == v1


def test_rules_that_are_ignored_mend_nothing(v1, write, runbook):
    text = v1.replace("agent: claude-code", "agent: Claude-Code  # noqa: RB108").replace("- [ ]", "- []")
    path = write(text)
    assert runbook("check", "--fix", "--ignore", "RB505").code == 0
    assert path.read_text() == text


def test_diff_shows_the_fix_changes_nothing_and_can_be_applied(v1, write, runbook):
    text = v1.replace("agent: claude-code", "agent: Claude-Code").rstrip("\n").replace("- The shop", "- The\x0cshop")
    path = write(text)
    done = runbook("check", "--diff", "RUNBOOK.md")
    assert (done.code, path.read_text()) == (1, text)
    assert "-agent: Claude-Code\n+agent: claude-code\n" in done.out
    subprocess.run(["patch", "-p1", "-s"], cwd=runbook.cwd, input=done.out.encode(), check=True)
    assert path.read_text() == v1.rstrip("\n").replace("- The shop", "- The\x0cshop")
    assert runbook("check", "--diff", "RUNBOOK.md").code == 0


def test_stdin_is_mended_to_stdout(v1, runbook):
    done = runbook("check", "--fix", "-", stdin=v1.replace("agent: claude-code", "agent: Claude-Code"))
    assert (done.code, done.out) == (0, v1)
    done = runbook("check", "--fix", "-", stdin=v1)
    assert (done.code, done.out) == (0, v1)


def test_mode_and_link_of_a_mended_file_stay(v1, write, runbook):
    path = write(v1.replace("agent: claude-code", "agent: Claude-Code"), "real/a.md")
    path.chmod(0o640)
    link = runbook.cwd / "RUNBOOK.md"
    link.symlink_to(path)
    assert runbook("check", "--fix", "RUNBOOK.md").code == 0
    assert link.is_symlink()
    assert path.read_text() == v1
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in path.parent.iterdir()] == ["a.md"]

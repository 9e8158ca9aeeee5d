"""`runbook migrate`: v1 → v2, with a diff, and a word on what could not be moved."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import migrate
from runbook_runner.runbook.migration.sections import is_covered

V1 = Path(__file__).parent / "v1"
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def full():
    return migrate(parse((V1 / "full.md").read_text(), "full.md"))


@pytest.fixture(scope="module")
def new(full):
    return parse(full.text)


# --- the command ---------------------------------------------------------------------------------------------------


def copied(runbook, name="full"):
    file = runbook.cwd / "RUNBOOK.md"
    file.write_text((V1 / f"{name}.md").read_text())
    return file


def test_diff_is_shown_and_nothing_written(runbook):
    file = copied(runbook)
    shown = runbook("migrate", ".")
    assert shown.code == 0
    assert file.read_text() == (V1 / "full.md").read_text()
    subprocess.run(["git", "apply", "-"], cwd=runbook.cwd, input=shown.out, text=True, check=True)
    assert parse(file.read_text()).generation == 2


def test_written_file_checks_clean_as_v2_and_is_left_alone_the_second_time(runbook):
    file = copied(runbook)
    assert runbook("migrate", "--write", ".").code == 0
    text = file.read_text()
    checked = runbook("check", "--profile", "v2", ".")
    assert checked.code == 0, checked.out
    again = runbook("migrate", "--write", ".")
    assert (again.code, again.out) == (0, "")
    assert "a v2 runbook already" in again.err
    assert file.read_text() == text


def test_what_changed_and_what_needs_a_look_is_said_with_its_line(runbook):
    copied(runbook)
    said = runbook("migrate", ".").err
    for part in (
        "RUNBOOK.md:64: it says Step 6, which is Step 5 now",
        "line 120: an item less, code checks or the report cover it: `report.md` exists and is non-empty",
        "the report step moved behind the checklist",
        "set `runbook_evals_version` to 2",
    ):
        assert part in said


def test_findings_that_the_old_file_did_not_have_are_said(runbook):
    file = runbook.cwd / "RUNBOOK.md"
    file.write_text((EXAMPLES / "hello/RUNBOOK.md").read_text())
    assert runbook("check", ".").code == 0
    said = runbook("migrate", "--write", ".").err
    found = json.loads(runbook("check", ".", "--format", "json").out)["findings"]
    assert found
    for one in found:
        assert f"RUNBOOK.md:{one['line']}: {one['severity']}: {one['message']} [{one['rule']}]" in said
    assert "Findings of" not in runbook("migrate", "-", stdin=(V1 / "full.md").read_text()).err


def test_what_only_bears_a_v1_mark_gets_no_second_section_and_passes_the_v2_validator(runbook, full):
    file = runbook.cwd / "RUNBOOK.md"
    marked = full.text.replace("## Tips\n", "## Tips\n\n- None says FINAL OUTPUT VERIFICATION.\n")
    file.write_text(marked)
    assert "[RB903]" in runbook("check", ".", "--profile", "v2").out
    said = runbook("migrate", "--write", ".").err
    assert ": FINAL OUTPUT VERIFICATION, which marks a v1 file, became OUTPUT VERIFICATION" in said
    assert file.read_text() == marked.replace("FINAL OUTPUT", "OUTPUT")
    assert runbook("check", ".", "--profile", "v2").code == 0
    assert "nothing to do" in runbook("migrate", ".").err


def test_a_v1_section_beside_code_checks_is_left_to_its_author(runbook, full):
    file = runbook.cwd / "RUNBOOK.md"
    file.write_text(full.text + "\n## Final Checklist\n\n- [ ] it is nice\n")
    line = full.text.count("\n") + 2
    said = runbook("migrate", "--write", ".").err
    assert "nothing of it can be moved without you" in said
    assert f"RUNBOOK.md:{line}: a v1 mark beside Code Checks: move what is below it" in said
    assert f"RUNBOOK.md:{line}: error: A v1 Final Checklist section [RB903]" in said
    assert file.read_text().count("Code Checks\n") == 1


def test_report_step_of_a_shell_runbook_is_a_block_that_the_shell_agent_runs(runbook):
    file = runbook.cwd / "RUNBOOK.md"
    hello = (EXAMPLES / "hello/RUNBOOK.md").read_text()
    file.write_text(hello + "\n## Step 9: Have a Look\n\nBy eye.\n")
    runbook("migrate", "--write", ".")
    ran = runbook("run", ".", "--sandbox", "host", "--json")
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    report = json.loads((ran.folder / "results" / "validation_report.json").read_text())
    assert {check["id"]: check["status"] for check in report["checks"]} == {
        "write-the-greeting": "pass",
        "describe-the-machine": "pass",
        "have-a-look": "skipped",
        "outputs-exist": "pass",
    }


def test_stdin_cannot_be_written(runbook):
    refused = runbook("migrate", "--write", "-", stdin=(V1 / "full.md").read_text())
    assert refused.code == 2
    assert "Only a file can be written" in refused.err


# --- what moves ----------------------------------------------------------------------------------------------------


def test_all_else_stays_byte_for_byte(full):
    old = (V1 / "full.md").read_text().split("## Step 5: Write Validation Report")[0]
    added = "strict_evaluation: false\ncode_checks:\n  timeout_sec: 120\n"
    assert full.text.startswith(old.replace("---\n# Harbour", added + "---\n# Harbour"))
    assert full.text.endswith("## Tips\n\n- Call signs are unique.\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## Step 7: Final", "## Step 7 — Final"),
        ("## Step 7: Final", "## ✅ Step 7: Final"),
        ("## Step 7: Final Checklist (MANDATORY — do not skip)", "Step 7: Final Checklist\n---"),
        ("- [ ] ", "1. [ ] "),
        ("```", "~~~~"),
    ],
)
def test_other_ways_to_write_the_same_come_out_alike(old, new, full):
    again = migrate(parse((V1 / "full.md").read_text().replace(old, new)))
    sections = ("## Step 6: Code Checks", "## Step 7: Checklist", "- [ ] The summary names the busiest day")
    assert [section in again.text for section in sections] == [True, True, True]
    assert again.text.count("\n## ") == full.text.count("\n## ")


def test_windows_line_ends_stay():
    text = (V1 / "full.md").read_text().replace("\n", "\r\n")
    migrated = migrate(parse(text)).text
    assert migrated.count("\n") == migrated.count("\r\n")


def test_steps_are_counted_again(new):
    assert [(step.number, step.name) for step in new.steps][3:] == [
        (4, "Iterate on Errors (max 3 rounds)"),
        (5, "Write Executive Summary"),
        (6, "Code Checks"),
        (7, "Checklist"),
        (8, "Write Validation Report"),
    ]


def test_numbers_with_repeats_stay_and_new_steps_come_after_the_highest():
    migrated = migrate(parse((V1 / "plain.md").read_text()))
    assert [step.number for step in parse(migrated.text).steps] == [1, 2, 3, 4, 5, 6]
    assert any("gaps or repeats" in line for line in migrated.done)


def test_script_becomes_one_check_beside_that_of_the_manifest(new):
    assert [check.id for check in new.code_checks] == ["outputs-exist", "former-script"]
    assert all(check.counts and not check.problem for check in new.code_checks)
    assert not any("validation_report.json" in check.code for check in new.code_checks)


def test_items_that_checks_cover_are_gone_and_the_others_stay_as_written(full, new):
    assert [item.text for item in new.checklist] == [
        "Every ship of the log is in `ships.json`, with its call sign",
        "The summary names the busiest day",
    ]
    assert "`ships.json`,\n      with its call sign\n" in full.text
    assert "If any item fails, go back and mend it.\n" in full.text


def test_report_step_shows_the_report_of_v2(full):
    last = full.text.split("## Step 8: Write Validation Report")[1]
    assert '"version": 2,' in last
    assert '"checks": [' in last
    assert "Be honest in it." in last
    assert '"1.0.0", "stages"' not in full.text


def test_rubric_runbook_gains_the_average_item_and_its_judges():
    migrated = migrate(parse((V1 / "plain.md").read_text()))
    items = [item.text for item in parse(migrated.text).checklist]
    assert items == ["The essay has a title", "Overall rubric average is at least 4.5"]
    assert '"kind": "judge", "id": "style"' in migrated.text
    assert '"pass_threshold": 4.5' in migrated.text
    assert (43, "this block shows the report of v1") in migrated.left


def test_file_without_a_final_checklist_gets_the_sections_behind_its_steps():
    text = "---\na: 1\n---\n# T\n\n## Step 1: Work\n\nDo it.\n\n## Tips\n\n- x\n"
    titles = [section.title for section in parse(migrate(parse(text)).text).sections if section.level == 2]
    assert titles == [
        "Step 1: Work",
        "Step 2: Code Checks",
        "Step 3: Checklist",
        "Step 4: Write Validation Report",
        "Tips",
    ]


def test_many_items_take_time_that_grows_with_them_alone():
    items = "".join(f"- [ ] item {n} is good\n" for n in range(16_000))
    old = parse(f"---\na: 1\n---\n# T\n\n## Final Checklist\n\n### Checklist\n\n{items}")
    began = time.process_time()
    assert "item 15999 is good" in migrate(old).text
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "text",
    [
        "---\n---\n",
        "---\na: 1\n...\n---\n# T\n",
        "---\na: 1\n---",
        "---\na: 1\n---\n## Final Checklist",
        "---\n{a: 1}\n---\nx",
    ],
)
def test_tiny_files_become_v2_as_well(text):
    migrated = migrate(parse(text))
    assert parse(migrated.text).generation == 2
    assert migrate(parse(migrated.text)) is None


# --- the checks really check ---------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    (folder / "charts").mkdir(parents=True)
    for name in ("ships.json", "summary.md", "charts/monday.png", "extra.txt"):
        (folder / name).write_text("[1]")
    (folder / "report.md").write_text("## a\n## b\n")
    return folder


def exit_codes(runbook, results):
    """As the platform runs a check (contract §3.11)."""
    return [
        subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", check.code.replace("{{results_dir}}", str(results))],
            env={"PATH": "/usr/bin:/bin", "RESULTS_DIR": str(results)},
            capture_output=True,
        ).returncode
        for check in runbook.code_checks
    ]


def without_jq(runbook):
    """jq need not be there: what it would say is said by grep."""
    text = runbook.text.replace("jq -e 'length > 0' \"$RESULTS_DIR/ships.json\"", 'grep -q 1 "$RESULTS_DIR/ships.json"')
    return parse(text)


def test_good_results_pass(new, results):
    assert exit_codes(without_jq(new), results) == [0, 0]


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda folder: (folder / "summary.md").write_text(""), [1, 1]),
        (lambda folder: (folder / "charts/monday.png").unlink(), [1, 0]),
        (lambda folder: (folder / "ships.json").write_text("[]"), [0, 1]),
        (lambda folder: (folder / "report.md").write_text("## a\n"), [0, 1]),
        (lambda folder: (folder / "extra.txt").unlink(), [0, 1]),
    ],
)
def test_each_fault_fails_its_own_check(new, results, spoil, codes):
    spoil(results)
    assert exit_codes(without_jq(new), results) == codes


# --- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "`a.md` exists",
        "`/app/results/a.md` exists and is non-empty",
        "The file `a.md` is present",
        "All required output files exist in `/app/results`",
        "`validation_report.json` has `stages`",
        "Verification script printed PASS for every line",
    ],
)
def test_items_that_checks_cover(text):
    assert is_covered(text, ["a.md"])


@pytest.mark.parametrize(
    "text", ["`b.md` exists", "`a.md` exists and names three ports", "All figures are right", "a.md"]
)
def test_items_that_only_an_agent_can_judge(text):
    assert not is_covered(text, ["a.md"])


def former(script: str):
    section = f"### Verification Script\n\nRun it.\n\n```bash\n{script}\n```\n\nRead it.\n"
    return migrate(parse(f"---\na: 1\n---\n## Final Checklist\n\n{section}"))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("echo 'PASS: a'", 0),
        ("echo 'FAIL: a'", 1),
        ("echo '  a.md: FAILED'; exit 0", 1),
        ("echo 'FAIL: a' >&2", 1),
        ("echo 'PASS: 3, FAIL: 0'; echo '0 FAILED'", 0),
        ("echo 'FAIL: 10'", 1),
        ("echo 'FAIL: a (0 bytes)'", 1),
        ("echo nothing; exit 3", 1),
        ("set -e; false; echo 'PASS: a'", 1),
        ("grep -c x /dev/null", 0),
        ("case a in\n  a) echo 'FAIL: a' ;;\nesac", 1),
        ("cat <<'EOF'\nPASS: a\nEOF", 0),
        ("if true; then", 1),
    ],
)
def test_script_fails_as_a_check_when_it_says_fail_or_exits_with_an_error(script, code, tmp_path):
    _, check = parse(former(script).text).code_checks
    command = ["bash", "-e", "-o", "pipefail", "-c", check.code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert bool(ran.returncode) is bool(code)


def test_words_around_the_script_stay_around_it():
    assert "### former-script — What the script of v1 tested\n\nRun it.\n" in former("x").text
    assert "```\n\nRead it.\n" in former("x").text


def test_script_that_looks_into_the_report_is_named():
    migrated = former("grep -q stages $RESULTS_DIR/validation_report.json || echo FAIL")
    assert [(line, "another shape in v2" in why) for line, why in migrated.left] == [(11, True)]


def test_items_behind_the_script_stay_in_the_checklist() -> None:
    """An author may write them below the heading of the script, without one of their own."""
    text = """---
version: 1.0.0
---
# Orders

## Final Checklist

### Verification Script

```bash
echo "=== FINAL OUTPUT VERIFICATION ==="
test -s /app/results/a.md || echo "FAIL: a.md"
```

- [ ] The figures add up
- [ ] No person is named
"""
    migration = migrate(parse(text))
    assert migration
    new = parse(migration.text)
    assert [item.text for item in new.checklist] == ["The figures add up", "No person is named"]
    assert "FAIL: a.md" in new.code_checks[-1].code


def test_what_the_v2_validator_would_say_is_told_line_by_line(runbook):
    file = copied(runbook, "plain")
    said = runbook("migrate", "--write", ".").err
    left = [line for line in runbook("check", "--profile", "v2", ".").out.splitlines() if "[RB9" in line]
    assert left
    for line in left:
        assert line.rpartition(": ")[2] in said
    assert "{{results_dir}}" not in file.read_text(), "it has no row for it"

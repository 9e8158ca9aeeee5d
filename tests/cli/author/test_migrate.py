"""`runbook migrate`: v1 → v2, with a diff, and a word on what could not be moved."""

import re
import subprocess
from pathlib import Path

import pytest

from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import migrate
from runbook_runner.runbook.migration.script import split
from runbook_runner.runbook.migration.sections import is_covered

V1 = Path(__file__).parent / "v1"


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


def test_what_could_not_be_moved_is_said_with_its_line(runbook):
    copied(runbook)
    said = runbook("migrate", ".").err
    for part in (
        "RUNBOOK.md:64: it says Step 6, which is Step 5 now",
        "RUNBOOK.md:112: it tests extra.txt, which the manifest does not name",
        "RUNBOOK.md:114: it sums up the other tests",
        'RUNBOOK.md:115: it tests nothing: ls -la "$RESULTS_DIR"',
        "runbook_evals_version: 2",
    ):
        assert part in said


def test_stdin_cannot_be_written(runbook):
    refused = runbook("migrate", "--write", "-", stdin=(V1 / "full.md").read_text())
    assert refused.code == 2
    assert "Only a file can be written" in refused.err


# --- what moves ----------------------------------------------------------------------------------------------------


def test_all_else_stays_byte_for_byte(full):
    old = (V1 / "full.md").read_text().split("## Step 5: Write Validation Report")[0]
    added = "strict_evaluation: false\ncode_checks:\n  timeout_sec: 120\n"
    assert full.text.startswith(old.replace("# where it came from", added + "# where it came from"))
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


def test_script_becomes_checks(new):
    assert [check.id for check in new.code_checks] == [
        "outputs-exist",
        "ships-json-holds-at-least-one-ship",
        "report-md-has-its-sections",
    ]
    assert all(check.counts and not check.problem for check in new.code_checks)
    assert "validation_report.json" not in new.code_checks[0].code


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
    for name in ("ships.json", "summary.md", "charts/monday.png"):
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
    assert exit_codes(without_jq(new), results) == [0, 0, 0]


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda folder: (folder / "summary.md").write_text(""), [1, 0, 0]),
        (lambda folder: (folder / "charts/monday.png").unlink(), [1, 0, 0]),
        (lambda folder: (folder / "ships.json").write_text("[]"), [0, 1, 0]),
        (lambda folder: (folder / "report.md").write_text("## a\n"), [0, 0, 1]),
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


@pytest.mark.parametrize(
    "command",
    [
        "if a; then\n  b\nfi",
        "for f in a b; do if c; then d; fi\ndone",
        "case $x in\n  a) b ;;\n  *) c ;;\nesac",
        "FILES=(\n  a\n  b\n)",
        "cat <<'EOF'\nif fi done\n'\nEOF",
        "cat <<-EOF\n\tx\n\tEOF",
        "python3 -c '\nimport x\nprint(\"a # b\")\n'",
        "a && \\\nb ||\nc",
        "f() {\n  x\n}",
        "[ -s a ] \\\n  && echo 'it'\"'\"'s'",
        "x=$(\n  y\n)",
        "while read -r l; do\n  echo ${l#x}\ndone < f",
    ],
)
def test_a_command_of_many_lines_is_one_unit(command):
    assert [unit.code for unit in split(f"before\n{command}\nafter\n")] == ["before\n", f"{command}\n", "after\n"]
    assert subprocess.run(["bash", "-n"], input=command, text=True).returncode == 0


def test_comment_right_above_belongs_to_a_command():
    units = split("# far\n\n# --- near ---\n# by\nx\n")
    assert [(unit.comment, unit.line) for unit in units] == [("near by", 4)]


def test_script_that_never_closes_is_one_unit():
    assert len(split("if a\nb\nc\n")) == 1


def test_ids_are_unique_and_well_formed():
    script = "".join(f"grep -q {n} x.md || echo 'FAIL'\n" for n in range(3))
    text = f"---\na: 1\n---\n## Final Checklist\n\n### Verification Script\n\n```bash\n{script}```\n"
    ids = [check.id for check in parse(migrate(parse(text)).text).code_checks]
    assert len(set(ids)) == len(ids) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in ids)

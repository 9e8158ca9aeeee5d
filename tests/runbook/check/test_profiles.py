"""The two published validators (contract §3.12, §3.13): each row with a file that triggers it and one that does not."""

import re

import pytest

from runbook_runner.cli.author.check import HERE
from runbook_runner.runbook.check.engine import findings_of, job
from runbook_runner.runbook.check.rules import Selection, every_rule


def verdict(text, profile):
    """(rule, severity) in the order in which they are said."""
    (findings,) = findings_of([job(text.encode(), "RUNBOOK.md", None, Selection(profile=profile), HERE)])
    return [(finding.rule, finding.severity) for finding in findings]


def rules(text, profile):
    return [rule for rule, _ in verdict(text, profile)]


V1_ROWS = [
    ("RB801", "error", "---\n", "***\n", 0),
    ("RB802", "error", "version: 1.0.0\n", "", 1),
    ("RB802", "error", "version: 1.0.0", "version:", 1),
    ("RB802", "error", "evaluation: programmatic\n", "", 1),
    ("RB803", "error", "evaluation: programmatic", "evaluation: visual", 1),
    ("RB804", "error", "## Objective", "## objective", 1),
    ("RB804", "error", "## Objective", "### Objective", 1),
    ("RB805", "error", "## REQUIRED OUTPUT FILES", "## Required Output Files", 1),
    ("RB806", "error", "## Final Checklist", "## Step 6 — Final Checklist", 1),
    ("RB807", "error", "validation_report.json", "report.json", 0),
    ("RB808", "warning", "summary.md", "short.md", 0),
    ("RB809", "warning", "primary_outputs:", "primary:", 1),
    ("RB810", "error", "## Step 3: Evaluate", "## Step 3: Judge", 1),
    ("RB811", "error", "(max 3 rounds)", "(three rounds)", 1),
    ("RB814", "warning", "## Dependencies", "## Tools", 1),
    ("RB815", "warning", "## Tips", "## Hints", 1),
    ("RB816", "warning", "The shop is slow", "{TODO: say how the shop is}", 1),
]


@pytest.mark.parametrize(("rule", "severity", "old", "new", "count"), V1_ROWS)
def test_v1_row_is_broken_by_one_change(rule, severity, old, new, count, v1):
    assert verdict(v1.replace(old, new, count or -1), "v1") == [(rule, severity)]


def test_v1_accepts_a_good_runbook(v1):
    assert verdict(v1, "v1") == []


def test_v1_wants_one_of_two_marks_of_a_script(v1):
    without_banner = v1.replace("FINAL OUTPUT VERIFICATION", "CHECK")
    assert rules(without_banner, "v1") == []
    assert rules(v1.replace("### Verification Script", "### Script"), "v1") == []
    assert rules(without_banner.replace("### Verification Script", "### Script"), "v1") == ["RB812"]


def test_v1_wants_parameters_only_when_variables_are_used(v1):
    text = v1.replace("## Parameters", "## Values")
    assert rules(text, "v1") == ["RB813"]
    assert rules(text.replace("{{shop}}", "{{ shop }}"), "v1") == []  # its pattern knows no blanks
    assert rules(text.replace("## Values", "About ## Parameters"), "v1") == []  # grep finds it anywhere


def test_v1_looks_for_the_dashes_in_the_first_five_lines(v1):
    assert rules("\n\n\n\n" + v1, "v1") == []
    assert rules("\n\n\n\n\n" + v1, "v1") == ["RB801"]


def test_v1_bound_may_be_in_any_case_and_any_of_three_forms(v1):
    for bound in ("MAX 3 ROUNDs", "iterate, at the max, twice", "up to 4"):
        assert rules(v1.replace("(max 3 rounds)", bound), "v1") == []
    for no_bound in ("three rounds", "iterate\nmax", "up to four"):
        assert rules(v1.replace("(max 3 rounds)", no_bound), "v1") == ["RB811"]


def test_v1_speaks_in_its_own_order(v1):
    text = v1.replace("## Tips", "## Hints").replace("## Dependencies", "## Tools").replace("version: 1.0.0\n", "")
    text = text.replace("summary.md", "short.md").replace("## Objective", "## Aim")
    assert verdict(text, "v1") == [
        ("RB802", "error"),
        ("RB804", "error"),
        ("RB808", "warning"),
        ("RB814", "warning"),
        ("RB815", "warning"),
    ]


def test_v1_does_not_mind_a_yaml_that_cannot_be_read(v1):
    assert rules(v1.replace("agent: claude-code", "agent: [claude"), "v1") == []


def test_valid_and_invalid_can_be_counted_from_the_json(runbook, write, v1, v2):
    good = write(v1, "a/RUNBOOK.md")
    write(v1.replace("## Step 3: Evaluate", "## Step 3: Judge"), "b/RUNBOOK.md")
    write(v2, "c/RUNBOOK.md")
    write(v1.replace("summary.md", "short.md"), "d/RUNBOOK.md")
    body = runbook("check", "--profile", "v1", "--format", "json").json
    invalid = {finding["file"] for finding in body["findings"] if finding["severity"] == "error"}
    assert body["files"] == 4
    assert invalid == {"b/RUNBOOK.md", "c/RUNBOOK.md"}
    assert good.exists()


V2_ROWS = [
    ("RB902", "error", "version: 1.0.0\n", ""),
    ("RB929", "error", "evaluation: programmatic", "evaluation: visual"),
    ("RB903", "error", "None but curl.", "None. FINAL OUTPUT VERIFICATION"),
    ("RB903", "error", "## Tips", "## Final Checklist\n\n## Tips"),
    ("RB904", "error", "## Objective", "## Aim"),
    ("RB904", "error", "## REQUIRED OUTPUT FILES", "## Files"),
    ("RB904", "error", "## Step 6: Write Validation Report", "## Step 6: Report"),
    ("RB904", "error", "## Step 5: Checklist", "## Step 5: Checklist (MANDATORY)"),
    ("RB921", "warning", "summary.md", "short.md"),
    ("RB922", "warning", "primary_outputs:", "primary:"),
    ("RB923", "error", "## Step 2: Evaluate", "## Step 2: Judge"),
    ("RB924", "error", "(max 3 rounds)", ""),
    ("RB906", "error", "### outputs-exist —", "### outputs —"),
    ("RB908", "error", "## Step 4: Code Checks\n", "## Step 4: Code Checks\n\n{TODO: write them}\n"),
    ("RB909", "error", "### report-counts — The report", "### report-counts — {The report}"),
    ("RB910", "error", 'test -s "{{results_dir}}/report.md"', 'test -s "{primary_output}"'),
    ("RB910", "error", 'test -s "{{results_dir}}/report.md"', "{TODO: test it}"),
    ("RB925", "warning", 'test -s "{{results_dir}}/report.md"', "test -s {the report}"),
    ("RB911", "error", "### report-counts — The report", "### The report"),
    ("RB912", "error", "```yaml", "```python"),
    ("RB913", "error", "```yaml", "```yaml executor=me"),
    ("RB913", "error", "```yaml", "```agent executor=jetty"),
    ("RB914", "error", "### report-counts —", "### outputs-exist —"),
    ("RB915", "warning", 'summary.md"\n', 'summary.md"\ntest -s {{results_dir}}/other.csv\n'),
    ("RB917", "error", "- [ ] The summary", "- The summary"),
    ("RB917", "error", "- [ ] The summary", "- [ ] The {name} summary"),
    ("RB918", "error", '"version": 2', '"version": "2"'),
    ("RB918", "error", '"checks": [', '"results": ['),
    ("RB919", "warning", "| Shop | `{{shop}}` | `north` | Which shop |\n", ""),
    ("RB926", "error", "## Parameters", "## Values"),
    ("RB920", "warning", "## Dependencies", "## Tools"),
    ("RB927", "warning", "## Tips", "## Hints"),
    ("RB928", "warning", "None but curl.", "{TODO: say it}"),
]


@pytest.mark.parametrize(("rule", "severity", "old", "new"), V2_ROWS)
def test_v2_row_is_broken_by_one_change(rule, severity, old, new, v2):
    assert old in v2
    hits = verdict(v2.replace(old, new), "v2")
    assert (rule, severity) in hits
    followers = {"RB910": {"RB928"}, "RB908": {"RB928"}, "RB904": {"RB915"}}.get(rule, set())
    assert {code for code, _ in hits} - followers == {rule}


def test_v2_accepts_a_good_runbook(v2):
    assert verdict(v2, "v2") == []


def test_v2_wants_the_report_named(v2):
    assert rules(v2.replace("validation_report.json", "report.json"), "v2") == ["RB905"]


def test_v2_finds_an_open_fence(v2):
    assert "RB907" in rules(v2.replace("- [ ] The", "~~~\n```\n- [ ] The"), "v2")
    assert rules(v2.replace("- [ ] The", "~~~\n```\n~~~\n- [ ] The"), "v2") == []


def test_v2_wants_two_checks(v2):
    start, end = v2.index("### report-counts"), v2.index("## Step 5")
    assert verdict(v2[:start] + v2[end:], "v2") == [("RB916", "warning")]


def test_v2_check_without_a_block_is_found(v2):
    start, end = v2.index("```yaml"), v2.index("## Step 5")
    assert verdict(v2[:start] + v2[end:], "v2") == [("RB912", "error")]


def test_v2_reads_sections_in_any_case_and_outside_fences_only(v2):
    assert rules(v2.replace("## Step 4: Code Checks", "## STEP 4. CODE CHECKS"), "v2") == []
    fenced = v2.replace("## Step 5: Checklist\n\n- [ ] The", "```\n## Step 5: Checklist\n```\n\n- [ ] The")
    assert "RB904" in rules(fenced, "v2")


def test_v2_skips_python_f_strings_when_it_looks_for_placeholders(v2):
    line = "python -c 'print(f\"{some name}\")'"
    assert rules(v2.replace('test -s "{{results_dir}}/report.md"', line), "v2") == []
    assert rules(v2.replace('test -s "{{results_dir}}/report.md"', "echo ${name}"), "v2") == []


def test_v2_refuses_a_v1_runbook(v1):
    codes = rules(v1, "v2")
    assert codes.count("RB903") == 2
    assert codes.count("RB904") == 2


def test_every_row_of_both_validators_has_a_test():
    tested = {row[0] for row in (*V1_ROWS, *V2_ROWS)} | {"RB812", "RB813", "RB905", "RB907", "RB916"}
    assert {rule.id for rule in every_rule() if rule.id >= "RB8"} == tested


def test_auto_takes_the_validator_whose_marks_the_file_bears(v1, v2):
    assert rules(v1.replace("## Tips", "## Hints"), "auto") == ["RB815"]
    assert rules(v2.replace("## Tips", "## Hints"), "auto") == ["RB927"]
    for unseen in ("## 🔧 Code Checks", "## Step 4 — Code Checks"):
        assert "RB904" in rules(re.sub("## .*Code Checks", unseen, v2), "auto")
    neither = "---\nagent: codex\n---\n# T\n\n## The job\n\nWrite `results/a.md`.\n"
    assert rules(neither, "auto") == ["RB202"]


def test_auto_leaves_out_what_the_validators_say_of_most_good_files(v1):
    text = v1.replace("## Step 3: Evaluate Outputs", "## Step 3: Verify").replace(
        "primary_outputs:\n  - report.md\n", ""
    )
    assert rules(text, "v1") == ["RB809", "RB810"]
    assert rules(text, "auto") == []


def test_v1_marks_in_a_v2_file_are_found(v2):
    hits = rules(v2.replace("## Tips", "## Step 7: Final Checklist\n\nAs above.\n\n## Tips"), "auto")
    assert hits == ["RB903"]

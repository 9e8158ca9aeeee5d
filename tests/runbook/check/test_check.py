"""`runbook check` as a user runs it."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from runbook_runner.runbook.check.rules import every_rule

KEY = "sk-ant-api03-" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8"
SCHEMA = json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_text())  # OASIS, as published


def test_clean_file_is_silent_success(runbook, write, v1):
    write(v1)
    done = runbook("check", "RUNBOOK.md")
    assert (done.code, done.out, done.err) == (0, "1 file: no findings.\n", "")


def test_finding_is_shown_with_its_line_and_a_caret(runbook, write, v1):
    write(v1.replace("Count the orders of {{shop}}", "Count {{shop}} by {{day}}"))
    done = runbook("check", "RUNBOOK.md")
    assert done.code == 1
    assert done.out.splitlines() == [
        "RUNBOOK.md:18:21: error: `{{day}}` is not declared: it stays as it is. [RB301]",
        "   18 | Count {{shop}} by {{day}} and write them up.",
        "      |                     ^",
        "      = Add a row for it to the Parameters table.",
        "1 file: 1 error, 0 warnings.",
    ]


@pytest.mark.parametrize(
    ("before", "cells"),
    [("日本語", 6), ("e\u0301e\u0301", 2), ("\U0001f468\u200d", 2), ("a\tb", 3), ("\u202eabc", 4), ("\ufeff", 0)],
)
def test_caret_stands_under_its_place_whatever_the_letters_width(before, cells, runbook, write, v1):
    write(v1.replace("Count the", f"{before}{{{{day}}}} Count the"))
    _, shown, caret, *_ = runbook("check").out.splitlines()
    assert caret == "      | " + " " * (cells + 2) + "^"
    assert "\u202e" not in shown, "what follows would be read backwards"


def test_warning_alone_is_a_finding_too(runbook, write, v1):
    write(v1.replace("## Tips", "## Hints"))
    assert runbook("check").code == 1


def test_credential_is_never_printed(runbook, write, v1):
    write(v1.replace("The shop is slow at night.", f"{KEY} in /home/ada"))
    for name in ("text", "json", "github", "sarif", "junit"):
        done = runbook("check", "--format", name)
        assert done.code == 1
        assert "RB601" in done.out
        assert KEY not in done.out + done.err


def test_terminal_control_in_a_runbook_does_not_reach_the_terminal(runbook, write, v1):
    write(v1.replace("# Orders", "\x1b[31m{{x\x1b}} {{day}}\n\n# Orders"))
    assert "\x1b" not in runbook("check").out


# --- which files -----------------------------------------------------------------------------------------------------


def test_folder_is_searched_for_runbooks_but_not_where_others_live(runbook, write, v1):
    for name in ("RUNBOOK.md", "a/RUNBOOK.md", "a/b/weekly.runbook.md"):
        write(v1, name)
    for name in (".git/RUNBOOK.md", "node_modules/x/RUNBOOK.md", ".runbook/RUNBOOK.md", "README.md", "a/other.md"):
        write("not looked at", name)
    assert runbook("check", "--format", "json").json == {"files": 3, "findings": []}
    assert runbook("check", "a", "RUNBOOK.md", "a/RUNBOOK.md", "--format", "json").json["files"] == 3


def test_recorded_run_is_no_source_unless_it_is_named(runbook, write, v1):
    write(v1)
    for name in ("recording/events.jsonl", "recording/RUNBOOK.md", "recording/results/RUNBOOK.md"):
        write("not looked at", name)
    assert runbook("check", "--format", "json").json == {"files": 1, "findings": []}
    assert runbook("check", "recording", "--format", "json").json["files"] == 2


def test_the_lines_of_a_hint_can_be_copied(runbook, write):
    write("# Title\n")
    shown = runbook("check", ".").out
    example = "---\nversion: 1.0.0\nevaluation: programmatic\nagent: claude-code\n---\n"
    assert f"      = Begin the file with:\n{example}" in shown
    write(example + "# Title\n")
    assert "RB101" not in runbook("check", ".").out


def test_glob_and_named_file_of_any_name_are_checked(runbook, write, v1):
    write("no runbook", "docs/a.md")
    write(v1, "docs/b.md")
    assert {f["file"] for f in runbook("check", "docs/*.md", "--format", "json").json["findings"]} == {"docs/a.md"}
    assert runbook("check", "docs/b.md").code == 0


def test_stdin_is_checked_by_a_dash(runbook, v1):
    done = runbook("check", "-", stdin=v1.replace("## Tips", "## Hints"))
    assert done.code == 1
    assert done.out.startswith("<stdin>:1:1: warning: No Tips section [RB815]\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing.md",),
        ("no*thing.md",),
        ("empty",),
        ("--select", "XY1", "RUNBOOK.md"),
        ("--select", "RB79", "RUNBOOK.md"),
        ("--profile", "v3", "RUNBOOK.md"),
        ("--format", "yaml", "RUNBOOK.md"),
        ("--nonsense",),
        ("--format",),
    ],
)
def test_wrong_arguments_end_with_two_and_a_sentence(arguments, runbook, write, v1):
    write(v1)
    (runbook.cwd / "empty").mkdir()
    done = runbook("check", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert "Traceback" not in done.err


def test_file_that_is_no_runbook_is_a_finding_and_the_others_are_still_checked(runbook, write, v1):
    write(b"\xff\xfe\x00", "a/RUNBOOK.md")
    write("# No frontmatter\n", "b/RUNBOOK.md")
    write(v1.replace("## Tips", "## Hints"), "c/RUNBOOK.md")
    write("x" * 5_000_001, "d/RUNBOOK.md")
    done = runbook("check", "--format", "json")
    assert done.code == 1
    assert [(f["file"], f["rule"]) for f in done.json["findings"]] == [
        ("a/RUNBOOK.md", "RB101"),
        ("b/RUNBOOK.md", "RB101"),
        ("c/RUNBOOK.md", "RB815"),
        ("d/RUNBOOK.md", "RB101"),
    ]


def test_many_files_are_checked_in_the_order_of_their_names(runbook, write, v1):
    for number in range(120):
        write(v1.replace("## Tips", "## Hints") if number % 3 == 0 else v1, f"r{number:03d}/RUNBOOK.md")
    body = runbook("check", "--format", "json").json
    assert body["files"] == 120
    assert [f["file"] for f in body["findings"]] == [f"r{number:03d}/RUNBOOK.md" for number in range(0, 120, 3)]


def test_failure_of_the_checker_itself_is_three(runbook, write, v1):
    write(v1)
    options = "class Options:\n    ENABLE_TABLES = ENABLE_TASKLISTS = 0\n"
    broken = write(options + "def events_with_range(*a, **k): raise TypeError('broken')\n", "broken/pyromark.py")
    done = runbook("check", env={"PYTHONPATH": str(broken.parent)})
    assert done.code == 3
    assert "This is a bug in runbook: TypeError." in done.err
    assert "Traceback" not in done.err


def test_worker_that_fails_is_a_failure_of_the_checker_too(runbook, write, v1):
    for number in range(100):
        write(v1, f"r{number}/RUNBOOK.md")
    options = "class Options:\n    ENABLE_TABLES = ENABLE_TASKLISTS = 0\n"
    fails = "import os\nPARENT = os.getpid()\n"
    fails += "def events_with_range(*a, **k):\n    if os.getpid() != PARENT: raise TypeError\n    return iter(())\n"
    broken = write(options + fails, "broken/pyromark.py")
    done = runbook("check", env={"PYTHONPATH": str(broken.parent)})
    assert done.code == (3 if len(os.sched_getaffinity(0)) > 1 else 1)


def test_machine_without_bash_says_so_and_checks_the_rest(runbook, write, v1):
    write(v1.replace("wc -l", "if wc -l").replace("## Tips", "## Hints"))
    done = runbook("check", "--format", "json", env={"PATH": "/nowhere"})
    assert [f["rule"] for f in done.json["findings"]] == ["RB815"]
    assert done.err == "note: there is no bash here, so shell blocks were not parsed (RB401).\n"


# --- which rules -----------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(v1):
    """RB301, RB302, RB602 and RB815."""
    return v1.replace("Count the orders of {{shop}}", "Count {{day}} in /home/ada").replace("## Tips", "## Hints")


def rules(done):
    return [finding["rule"] for finding in done.json["findings"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["RB815", "RB301", "RB602", "RB302"]),
        (("--select", "RB3"), ["RB301", "RB302"]),
        (("--select", "RB301,RB8"), ["RB815", "RB301"]),
        (("--select", "RB301", "--select", "rb602"), ["RB301", "RB602"]),
        (("--ignore", "RB3"), ["RB815", "RB602"]),
        (("--select", "RB301", "--ignore", "RB3"), ["RB301"]),
        (("--select", "RB3", "--ignore", "RB302"), ["RB301"]),
        (("--ignore", "RB"), []),
        (("--select=RB602",), ["RB602"]),
    ],
)
def test_select_and_ignore_take_ids_and_their_beginnings(arguments, expected, faulty, runbook, write):
    write(faulty)
    assert rules(runbook("check", "--format", "json", *arguments)) == expected


def test_rule_that_is_not_default_runs_when_it_is_named(runbook, write, v1):
    write(v1.replace("primary_outputs:\n  - report.md\n", ""))
    assert rules(runbook("check", "--format", "json")) == []
    assert rules(runbook("check", "--format", "json", "--select", "RB809")) == ["RB809"]


def test_noqa_covers_its_line_the_block_below_it_or_the_file(faulty, runbook, write, v1):
    inline = faulty.replace("/home/ada", "/home/ada <!-- noqa: RB301, RB602 -->")
    write(inline)
    assert rules(runbook("check", "--format", "json")) == ["RB815", "RB302"]
    above = faulty.replace("Count {{day}}", "<!-- noqa -->\n\nCount {{day}}")
    write(above)
    assert rules(runbook("check", "--format", "json")) == ["RB815", "RB302"]
    write(above.replace("<!-- noqa -->", "<!-- noqa: RB4 -->"))
    assert len(rules(runbook("check", "--format", "json"))) == 4
    write(faulty + "<!-- noqa-file: RB8, RB301 -->\n")
    assert rules(runbook("check", "--format", "json")) == ["RB602", "RB302"]
    write(v1.replace("```bash\nwc -l", "<!-- noqa: RB401 -->\n```bash\n\n\nif wc -l"))
    assert rules(runbook("check", "--format", "json")) == []
    write(v1.replace("snapshot: python312-uv", "snapshoot: python312-uv  # noqa: RB104"))
    assert rules(runbook("check", "--format", "json")) == []


def test_settings_are_taken_from_the_nearest_project_upwards(faulty, runbook, write):
    write(faulty, "a/b/RUNBOOK.md")
    write('[tool.runbook.check]\nselect = ["RB3"]\n', "pyproject.toml")
    assert rules(runbook("check", "--format", "json")) == ["RB301", "RB302"]
    write('[check]\nignore = ["RB3", "RB8"]\n', "a/.runbook/config.toml")
    assert rules(runbook("check", "--format", "json")) == ["RB602"]
    assert rules(runbook("check", "--format", "json", "--ignore", "RB602")) == ["RB815", "RB301", "RB302"]
    write("[tool.black]\nline-length = 1\n", "a/b/pyproject.toml")
    assert rules(runbook("check", "--format", "json")) == ["RB602"]


def test_settings_may_ignore_rules_file_by_file_and_choose_the_profile(faulty, runbook, write):
    write(faulty, "a/RUNBOOK.md")
    write(faulty, "b/RUNBOOK.md")
    write('[tool.runbook.check.per-file-ignores]\n"a/*" = ["RB"]\n"*.md" = ["RB3"]\n', "pyproject.toml")
    found = runbook("check", "--format", "json").json["findings"]
    assert [(f["file"], f["rule"]) for f in found] == [("b/RUNBOOK.md", "RB815"), ("b/RUNBOOK.md", "RB602")]
    write('[tool.runbook.check]\nprofile = "v1"\n', "pyproject.toml")
    assert rules(runbook("check", "--format", "json")) == ["RB815", "RB815"]


@pytest.mark.parametrize(
    "settings",
    [
        "select = 3",
        'select = ["RB79"]',
        'profile = "v9"',
        "selekt = []",
        "per-file-ignores = []",
        "[tool.runbook.check.per-file-ignores]\n" + "\n".join(f"a{number} = []" for number in range(1001)),
        "select = [",
        '"" = 1',
    ],
)
def test_wrong_settings_end_with_two_and_the_file(settings, runbook, write, v1):
    write(v1)
    write(f"[tool.runbook.check]\n{settings}\n", "pyproject.toml")
    done = runbook("check")
    assert done.code == 2
    assert "pyproject.toml" in done.err


# --- formats ---------------------------------------------------------------------------------------------------------

AWKWARD = "we,ird: 100% <&> é"


@pytest.fixture
def awkward(write, faulty):
    write(faulty, f"{AWKWARD}/RUNBOOK.md")
    return f"{AWKWARD}/RUNBOOK.md"


def test_json_has_exactly_the_promised_shape(runbook, awkward):
    body = runbook("check", "--format", "json").json
    assert list(body) == ["files", "findings"]
    assert list(body["findings"][1]) == ["file", "line", "column", "rule", "severity", "message", "hint", "fixable"]
    assert body["findings"][1] == {
        "file": awkward,
        "line": 18,
        "column": 9,
        "rule": "RB301",
        "severity": "error",
        "message": "`{{day}}` is not declared: it stays as it is.",
        "hint": "Add a row for it to the Parameters table.",
        "fixable": False,
    }


def test_github_annotations_are_escaped(runbook, awkward):
    lines = runbook("check", "--format", "github").out.splitlines()
    assert lines[1] == (
        "::error file=we%2Cird%3A 100%25 <&> é/RUNBOOK.md,line=18,col=9,title=RB301::"
        "`{{day}}` is not declared: it stays as it is. Add a row for it to the Parameters table."
    )
    assert len(lines) == 4


def test_sarif_is_valid_by_the_official_schema(runbook, awkward):
    body = runbook("check", "--format", "sarif").json
    jsonschema.Draft7Validator(SCHEMA).validate(body)
    (run,) = body["runs"]
    result = run["results"][1]
    assert result["ruleId"] == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "RB301"
    place = result["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 18, "startColumn": 9}
    assert place["artifactLocation"]["uri"] == "we%2Cird%3A%20100%25%20%3C%26%3E%20%C3%A9/RUNBOOK.md"


def test_file_whose_name_is_no_utf8_is_told_in_every_format(runbook, write, faulty):
    folder = os.fsdecode(b"caf\xe9")
    write(faulty, f"{folder}/RUNBOOK.md")
    argv = [Path(sys.executable).with_name("runbook"), "check", "--format"]
    names = ("text", "json", "github", "sarif", "junit")
    ran = {name: subprocess.run([*argv, name], cwd=runbook.cwd, env=runbook.env, capture_output=True) for name in names}
    assert {name: done.returncode for name, done in ran.items()} == dict.fromkeys(names, 1)
    assert ran["text"].stdout.startswith(b"caf\xe9/RUNBOOK.md:")
    assert ran["github"].stdout.startswith(b"::")
    assert json.loads(ran["json"].stdout)["findings"][0]["file"] == f"{folder}/RUNBOOK.md"
    assert b'"uri": "caf%E9/RUNBOOK.md"' in ran["sarif"].stdout
    assert ET.fromstring(ran["junit"].stdout).get("failures") == "1"


def test_sarif_without_findings_is_valid_too(runbook, write, v1):
    write(v1)
    done = runbook("check", "--format", "sarif")
    assert done.code == 0
    jsonschema.Draft7Validator(SCHEMA).validate(done.json)


def test_junit_has_one_case_per_file(runbook, awkward, write, v1):
    write(v1, "good/RUNBOOK.md")
    root = ET.fromstring(runbook("check", "--format", "junit").out)
    cases = {case.get("name"): case.find("failure") for case in root.iter("testcase")}
    assert root.get("tests") == "2"
    assert root.get("failures") == "1"
    assert cases["good/RUNBOOK.md"] is None
    assert f"{awkward}:18:9: error: `{{{{day}}}}` is not declared" in (cases[awkward].text or "")


def test_rules_are_listed(runbook):
    done = runbook("check", "--rules")
    assert done.code == 0
    assert re.search(r"^RB301  error    undeclared-variable +Every `\{\{variable\}\}` is a parameter$", done.out, re.M)
    assert len(done.out.splitlines()) == len(set(done.out.splitlines())) > 80


def test_help_explains_the_exit_codes(runbook):
    done = runbook("check", "--help")
    assert done.code == 0
    assert "3 the checker itself failed" in " ".join(done.out.split())
    assert "--format" in done.out


def test_check_imports_nothing_heavy(write, v1):
    path = write(v1)
    code = (
        "import os, sys\nfrom runbook_runner.cli.__main__ import main\nos._exit = sys.exit\n"
        f"sys.argv = ['runbook', 'check', {str(path)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = done.stdout.split()
    heavy = ("pydantic", "rich", "docker", "httpx", "jinja2", "ssl", "subprocess", "asyncio", "difflib")
    assert words[:2] == ["1", "file:"]
    assert [name for name in heavy if name in words] == []


def test_the_documentation_has_every_rule_with_its_severity_and_its_marks():
    text = (Path(__file__).parents[3] / "runbook_runner" / "runbook" / "check" / "RULES.md").read_text()
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if "| RB" in line
    ]
    assert [row[0] for row in rows] == [rule.id for rule in every_rule()]
    for rule, row in zip(every_rule(), rows, strict=True):
        marks = " ".join(["fix"] * rule.fixable + ["†"] * (not rule.default))
        assert (row[1], row[2], row[4]) == (rule.name, rule.severity, marks)


def test_the_short_form_needs_no_tables(runbook):
    """What it calls done is a checklist, and the paths in it are required files."""
    text = (Path(__file__).parents[1] / "corpus" / "short_form.md").read_text()
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    done = runbook("check", "--select", "RB202,RB503", "RUNBOOK.md")
    assert (done.code, done.out) == (0, "1 file: no findings.\n")
    (runbook.cwd / "RUNBOOK.md").write_text(text.replace("looks like", "is like"))
    assert runbook("check", "--select", "RB202,RB503", "RUNBOOK.md").out.count("warning:") == 2

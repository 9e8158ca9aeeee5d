"""`run --junit`, `--sarif`, `--format github`: what a run was judged by, for the programs around a build."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import pytest

RUNBOOK = """\
---
version: "1.0.0"
agent: shell
---
# Published — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | x |
| `/app/results/gone.txt` | x |

## Step 1: Work

```bash
echo one > /app/results/out.txt
{code}
```

## Code Checks

### good — Has one

```yaml
use: regex_present
path: out.txt
pattern: one
```

### bad — Has two

```bash
printf '::error::mine\\n</failure>| ` <b>\\n'; exit 3
```

### untold — The agent's

```agent
Look at it.
```
"""
REPORT = (
    'echo \'{"version": 2, "checks": [{"kind": "step", "id": "work", "status": "pass"}]}\''
    " > /app/results/validation_report.json"
)
SARIF = json.loads((Path(__file__).parents[2] / "runbook/check/sarif-schema-2.1.0.json").read_text())


@pytest.fixture
def published(runbook: Any) -> Any:
    def run(*options: str, code: str = REPORT, env: dict[str, str] | None = None) -> Any:
        (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK.format(code=code))
        return runbook("run", "RUNBOOK.md", "--sandbox", "host", *options, env=env)

    return run


def cases(file: Path) -> dict[str, ET.Element | None]:
    """Each test case with what is wrong with it."""
    root = ET.parse(file).getroot()
    found = {str(case.get("name")): next(iter(case), None) for case in root.iter("testcase")}
    for number, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert root.get(number) == str(sum(wrong is not None and wrong.tag == tag for wrong in found.values()))
    assert root.get("tests") == str(len(found))
    return found


def test_junit_has_a_case_for_all_that_a_run_was_judged_by(runbook: Any, published: Any) -> None:
    ran = published("--junit", "made/report.xml", "--gate", "verdict", "--gate", "calls==0")
    assert ran.code == 1, ran.err
    found = cases(runbook.cwd / "made/report.xml")
    assert {name: None if wrong is None else wrong.tag for name, wrong in found.items()} == {
        "run: run": None,
        "required-output: out.txt": None,
        "required-output: gone.txt": "failure",
        "step: work": None,
        "code-check: good": None,
        "code-check: bad": "failure",
        "code-check: untold": "skipped",
        "gate: verdict": "failure",
        "gate: calls==0": None,
    }
    bad = found["code-check: bad"]
    assert bad is not None
    assert bad.get("message") == "exit code 3: </failure>| ` <b>"
    assert bad.text == "::error::mine\n</failure>| ` <b>\n"


def test_sarif_has_what_is_wrong_at_the_lines_of_the_runbook(runbook: Any, published: Any) -> None:
    published("--sarif", "report.sarif")
    body = json.loads((runbook.cwd / "report.sarif").read_text())
    jsonschema.Draft7Validator(SARIF).validate(body)
    (run,) = body["runs"]
    assert [(one["ruleId"], one["level"], one["message"]["text"]) for one in run["results"]] == [
        ("required-output", "error", "gone.txt: gone.txt is missing."),
        ("code-check", "error", "bad: exit code 3: </failure>| ` <b>"),
    ]
    places = [one["locations"][0]["physicalLocation"] for one in run["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} == {"RUNBOOK.md"}
    lines = RUNBOOK.splitlines()
    assert lines[places[1]["region"]["startLine"] - 1] == "### bad — Has two"
    assert "region" not in places[0]


def test_a_pull_request_gets_annotations_and_the_job_a_summary(runbook: Any, published: Any) -> None:
    """Nothing that an agent or a check has written is a command to the workflow, or Markdown."""
    summary = runbook.cwd / "summary.md"
    summary.write_text("before\n")
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    ran = published("--format", "github", env=environ)
    line = RUNBOOK.splitlines().index("### bad — Has two") + 1
    assert [told for told in ran.out.splitlines() if told.lstrip().startswith("::") and "\u200b" not in told] == [
        "::error file=RUNBOOK.md,title=required-output::gone.txt: gone.txt is missing.",
        f"::error file=RUNBOOK.md,line={line},title=code-check::bad: exit code 3: </failure>| ` <b>",
    ]
    told = summary.read_text()
    assert told.startswith("before\n### ❌ ` published `: FAIL · ")
    assert "| ❌ | code-check ` bad ` | ` exit code 3: </failure>\\| ' <b> ` |\n" in told
    assert "7 points: 4 pass, 2 fail, 1 skipped." in told


def test_what_no_gate_asks_for_does_not_fail_the_build(runbook: Any, published: Any) -> None:
    ran = published("--gate", "outputs", "--junit", "j.xml", "--sarif", "s.sarif")
    assert ran.code == 1
    found = cases(runbook.cwd / "j.xml")
    bad, gone = found["code-check: bad"], found["required-output: gone.txt"]
    assert bad is not None
    assert gone is not None
    assert (bad.tag, gone.tag) == ("skipped", "failure")
    assert str(bad.get("message")).startswith("fail, and no gate asks for it: exit code 3")
    body = json.loads((runbook.cwd / "s.sarif").read_text())
    assert {one["ruleId"]: one["level"] for one in body["runs"][0]["results"]} == {
        "required-output": "error",
        "code-check": "warning",
        "gate": "error",
    }


def test_what_ends_a_run_early_is_a_case(runbook: Any, published: Any) -> None:
    assert published("--junit", "j.xml", code="exit 9").code == 4
    wrong = cases(runbook.cwd / "j.xml")["run: run"]
    assert wrong is not None
    assert wrong.tag == "error"
    assert "exit code 9" in str(wrong.get("message"))


def test_what_is_wrong_before_a_run_is_a_case_too(runbook: Any, published: Any) -> None:
    """A report of an earlier run would pass for this one's."""
    summary = runbook.cwd / "summary.md"
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    options = ("--junit", "j.xml", "--sarif", "s.sarif", "--format", "github", "-p", "nobody=1")
    for file in ("j.xml", "s.sarif"):
        (runbook.cwd / file).write_text("of an earlier run")
    refused = published(*options, env=environ)
    assert refused.code == 2
    wrong = cases(runbook.cwd / "j.xml")["run: run"]
    assert wrong is not None
    assert "nobody" in str(wrong.get("message"))
    (found,) = json.loads((runbook.cwd / "s.sarif").read_text())["runs"][0]["results"]
    assert "nobody" in found["message"]["text"]
    assert refused.out.startswith("::error file=RUNBOOK.md,title=run::")
    assert summary.read_text().startswith("### ❌ ` RUNBOOK.md `: error\n")
    (runbook.cwd / "j.xml").unlink()
    assert published(*options, "--dry-run", env=environ).code == 2
    assert not (runbook.cwd / "j.xml").exists()


@pytest.mark.parametrize(
    ("command", "wrong"), [("run", "secret: NONE"), ("run", "ref: nothing"), ("eval", "secret: NONE")]
)
def test_what_is_wrong_before_a_run_is_told_at_its_line(runbook: Any, command: str, wrong: str) -> None:
    """Of a folder, the runbook in it. A `ref` is looked for when the run has begun."""
    folder = runbook.cwd / "folder"
    (folder / "checks.git/objects").mkdir(parents=True)
    (folder / "checks.git/refs").mkdir()
    (folder / "checks.git/HEAD").write_text("ref: refs/heads/main\n")
    front = f"agent: shell\ncode_checks: {{sources: [{{name: a, url: checks.git, {wrong}}}]}}\n"
    (folder / "RUNBOOK.md").write_text(RUNBOOK.format(code="true").replace("agent: shell\n", front, 1))
    ran = runbook(command, "folder", "--sandbox", "host", "--format", "github")
    told = "::error file=folder/RUNBOOK.md,line=4,title=run::"
    assert (ran.code, told in ran.out) == (2, True), ran.out + ran.err


def test_what_the_agent_itself_says_is_a_case(runbook: Any, shell_runbook: Any) -> None:
    says = "echo '{\"overall_passed\": false}' > /app/results/validation_report.json; echo 1 > /app/results/out.txt"
    ran = runbook("run", shell_runbook(says), "--sandbox", "host", "--junit", "j.xml")
    assert ran.code == 1
    wrong = cases(runbook.cwd / "j.xml")["report: validation_report.json"]
    assert wrong is not None
    assert wrong.get("message") == "validation_report.json says overall_passed: false."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--junit", "."], "This is a folder, and the report is a file."),
        (["--junit", "x.xml", "--sarif", "./x.xml"], "--junit and --sarif name one file."),
        (["--sarif", "RUNBOOK.md/x.sarif"], "The report can't be written there: "),
        (["--format", "github", "--json"], "--format github and --json both print on stdout."),
    ],
)
def test_reports_that_cannot_be_written_are_refused_before_anything_runs(
    runbook: Any, published: Any, options: list[str], message: str
) -> None:
    ran = published(*options)
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
    assert not (runbook.cwd / ".runbook").exists()

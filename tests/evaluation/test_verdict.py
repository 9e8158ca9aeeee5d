"""The verdict: what is missing, what the report says, and how the agent ended."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.criteria import Criteria
from runbook_runner.core.events import AgentFinished, CheckFinished, Evaluated, Recorded
from runbook_runner.core.spec import RequiredOutput
from runbook_runner.evaluation.checks.run import Ran, RunCommand
from runbook_runner.evaluation.entries import MOST
from runbook_runner.evaluation.points import points_of
from runbook_runner.evaluation.verdict import evaluate
from runbook_runner.runbook.document import parse


def judge(
    results: Path,
    *required: str,
    error: str | None = None,
    report: Any = None,
    criteria: Criteria = Criteria(),  # noqa: B008 - it is frozen
    command: RunCommand = lambda *_: pytest.fail("no command is to be run"),
) -> Evaluated:
    if report is not None:
        text = report if isinstance(report, str) else json.dumps(report)
        (results / "validation_report.json").write_text(text)
    end = AgentFinished(exit_code=1 if error else 0, ended_by="exit", error=error)
    outputs = [RequiredOutput(path=path) for path in required]
    return evaluate(results, outputs, criteria, end, command, lambda _: nullcontext(), lambda _: None).event


def step(name: str, status: str = "pass") -> dict[str, Any]:
    return {"kind": "step", "id": name, "status": status}


def put(results: Path, *names: str) -> None:
    for name in names:
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("x")


def test_all_there_and_no_report_passes(tmp_path: Path) -> None:
    put(tmp_path, "a.md", "deep/b.csv")
    found = judge(tmp_path, "a.md", "deep/b.csv")
    assert (found.verdict, found.success, found.overall_passed) == ("pass", True, None)


def test_output_that_can_not_be_delivered_fails_and_says_why(tmp_path: Path) -> None:
    put(tmp_path, "report.md")
    found = judge(tmp_path, "/app/output/report.md", "report.md")
    assert (found.verdict, found.missing_outputs) == ("fail", ("/app/output/report.md",))
    assert found.reasons == ("/app/output/report.md is not in /app/results, so it can't be delivered.",)


def test_missing_and_empty_outputs_are_listed_in_order(tmp_path: Path) -> None:
    (tmp_path / "empty.md").touch()
    put(tmp_path, "there.md")
    found = judge(tmp_path, "z.md", "there.md", "empty.md")
    assert found.missing_outputs == ("z.md", "empty.md")
    assert found.reasons == ("z.md is missing.", "empty.md is empty.")
    assert (found.verdict, found.success) == ("fail", False)


@pytest.mark.parametrize(("required", "there", "met"), [
    ("slides/*.png", "slides/1.png", True),
    ("slides/*.png", "slides/1.jpg", False),
    ("<slug>-report.md", "acme-report.md", True),
    ("{company}.json", "acme.json", True),
    ("charts/", "charts/a.png", True),
    ("charts/", "other/a.png", False),
    ("**/a.md", "a.md", True),
    ("**/a.md", "x/y/a.md", True),
    ("x/**/a.md", "x/a.md", True),
    ("x/**/a.md", "y/a.md", False),
    ("**.md", "a.md", True),
    ("**.md", "x/a.md", False),
    ("?.md", "a.md", True),
    ("?.md", "ab.md", False),
    ("a[1]*.md", "a[1]b.md", True),
    ("a[1]*.md", "a1b.md", False),
    ("run*/", "run1/a.md", True),
    ("*.md", "line\nend.md", True),
    ("n" * 300, "n", False),
    ("n" * 300 + "/*", "n/n", False),
    ("a\0b", "ab", False),
    ("../outside", "x", False),
    ("/etc/passwd", "x", False),
])  # fmt: skip
def test_patterns_and_folders_count_as_outputs(tmp_path: Path, required: str, there: str, met: bool) -> None:
    put(tmp_path, there)
    assert (judge(tmp_path, required).missing_outputs == ()) is met


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ('"score": NaN', {"score": None}),
        ('"score": [1e999, -Infinity, 1.5]', {"score": [None, None, 1.5]}),
        (r'"said": "a\ud800", "\udfff": 1', {"said": "a\ufffd", "\ufffd": 1}),
        ('"said": "\\ud83d\\ude00"', {"said": "😀"}),
    ],
)
def test_what_json_can_not_spell_costs_a_report_no_more_than_that(tmp_path: Path, told: str, kept: Any) -> None:
    found = judge(tmp_path, report=f'{{"overall_passed": true, {told}}}')
    assert (found.verdict, found.validation_report) == ("pass", {"overall_passed": True, **kept})
    Recorded(seq=1, ts="", event=found).line().encode()


def test_a_report_nested_without_end_is_cut_and_counts(tmp_path: Path) -> None:
    found = judge(tmp_path, report='{"overall_passed": true, "d": ' + "[" * 700 + "]" * 700 + "}")
    assert found.overall_passed is True
    assert "nested too deeply" in Recorded(seq=1, ts="", event=found).line()


@pytest.mark.parametrize(("report", "verdict", "passed"), [
    ({"overall_passed": True}, "pass", True),
    ({"version": "1.0.0", "overall_passed": True, "stages": []}, "pass", True),
    ({"overall_passed": False}, "fail", False),
    ({"overall_passed": "yes"}, "fail", None),
    ({}, "fail", None),
    ({"version": 2, "checks": [step("a"), step("b", "skipped")]}, "pass", True),
    ({"version": 2, "checks": [step("a"), {**step("a"), "kind": "checklist"}]}, "pass", True),
    ({"version": 2, "checks": [step("a", "fail")], "overall_passed": True}, "fail", False),
    ({"version": 2, "checks": [step("a", "error")]}, "fail", False),
    ({"version": 2, "checks": [{**step("a"), "kind": "judge", "score": 2, "threshold": 3}]}, "fail", False),
    ({"version": 2, "checks": [{**step("a"), "kind": "judge", "score": 3, "threshold": 3}]}, "pass", True),
    ({"version": 2, "checks": [step("a"), step("a")]}, "fail", False),
    ({"version": 2, "checks": [{"id": "a", "status": "pass"}]}, "fail", False),
    ({"version": 2, "checks": [step("")]}, "fail", False),
    ({"version": 2, "checks": [step("a", "passed")]}, "fail", False),
    ({"version": 2, "checks": ["x"]}, "fail", False),
    ({"version": 2, "checks": "x"}, "fail", False),
    ({"version": 2}, "fail", False),
    ({"version": True, "checks": [], "overall_passed": True}, "pass", True),
    ("[1, 2]", "fail", None),
    ("not json", "fail", None),
    ("[" * 100_000, "fail", None),
])  # fmt: skip
def test_the_report_decides(tmp_path: Path, report: Any, verdict: str, passed: bool | None) -> None:
    found = judge(tmp_path, report=report)
    assert (found.verdict, found.overall_passed) == (verdict, passed)
    assert bool(found.reasons) is (verdict == "fail")


def test_a_report_of_very_many_failures_is_told_in_short(tmp_path: Path) -> None:
    checks = [step("x" * 100_000, "fail"), *[0] * 150_000]
    found = judge(tmp_path, report={"version": 2, "checks": checks})
    assert found.verdict == "fail"
    assert len(found.reasons) < 100
    assert max(map(len, found.reasons)) <= 1000
    assert found.reasons[-1] == f"{MOST + 1 - 50:,} more checks did not pass."
    found = judge(
        tmp_path, report={"overall_passed": False, "stages": [{"stage": "x" * 10_000, "status": "FAIL"}] * 51}
    )
    assert (len(found.reasons), max(map(len, found.reasons))) == (52, 1000)
    assert found.reasons[-1] == "1 more stage did not pass."


def test_as_many_entries_as_are_read_do_not_hide_a_check_of_the_engine(tmp_path: Path) -> None:
    """The merged report has more entries than the agent's may have."""
    criteria = parse("---\nversion: 2\n---\n# T\n\n## Code Checks\n\n### own — Ours\n\n```bash\ntrue\n```\n").criteria
    report = {"version": 2, "checks": [step(f"s{number}") for number in range(MOST)]}
    found = judge(tmp_path, report=report, criteria=criteria, command=lambda *_: Ran(0, ""))
    points = points_of(found, (), criteria, None)
    assert (found.verdict, [point for point in points if point.is_bad]) == ("pass", [])
    assert [point.id for point in points][-1] == "own"


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("values", ["[" * 95 + "1," * 200_000 + "1" + "]" * 95, '{"a": [' + "{}," * 200_000 + "{}]}"])
def test_a_report_of_very_many_values_is_not_read(tmp_path: Path, version: str, values: str) -> None:
    found = judge(tmp_path, report=f'{{"version": {version}, "overall_passed": true, "checks": [], "x": {values}}}')
    assert found.verdict == "fail"
    assert "it has more than 200,000 values." in found.reasons[0]


def test_a_v1_report_tells_what_failed(tmp_path: Path) -> None:
    stages = [
        {"name": "read", "passed": True, "message": "3 files"},
        {"name": "sum", "passed": False, "message": "no total in b"},
        {"stage": 2, "status": "Failed", "details": ["no chart"]},
        {"name": "odd", "result": "error"},
        {"passed": False},
        "not a stage",
    ]
    found = judge(tmp_path, report={"version": "1.0.0", "overall_passed": False, "stages": stages})
    first, *told = found.reasons
    assert first == "validation_report.json says overall_passed: false."
    assert told == ["sum: no total in b", "2: ['no chart']", "odd: failed.", "?: failed."]
    assert judge(tmp_path, report={"overall_passed": True, "stages": stages}).verdict == "pass"


def test_many_patterns_and_many_results_end(tmp_path: Path) -> None:
    """Each by itself is within its limit; as many as names times patterns are not compared."""
    put(tmp_path, *(f"{'ab' * 40}{n}" for n in range(1000)))
    found = judge(tmp_path, "*9", *(f"*a*b*{n}*.txt" for n in range(9000)))
    assert len(found.missing_outputs) == 9000


def test_many_folders_in_one_another_are_looked_through_once(tmp_path: Path) -> None:
    chain = tmp_path.joinpath(*["d"] * 80)
    chain.mkdir(parents=True)
    for number in range(1000):
        chain.joinpath(str(number)).mkdir()
    began = time.process_time()
    found = judge(tmp_path, *("**/d" + "/" * number for number in range(100)))
    assert len(found.missing_outputs) == 100
    assert time.process_time() - began < 20


@pytest.mark.parametrize("pattern", ["**/" * 60_000 + "x", "**/d*/" * 120 + "x", "**/*/" * 40 + "x", "*/" * 60_000])
def test_a_pattern_of_many_parts_ends(tmp_path: Path, pattern: str) -> None:
    chain = tmp_path.joinpath(*["d"] * 80)
    chain.mkdir(parents=True)
    put(chain, *map(str, range(3000)))
    began = time.process_time()
    found = judge(tmp_path, *(pattern + str(number) for number in range(10)))
    assert len(found.missing_outputs) == 10
    assert time.process_time() - began < 20


ENTRIES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["code_check", "checklist", "judge", "step", "script", "report"]),
        "id": st.sampled_from(["verification-script", "ours", "report", "run", "validation_report.json", "mine"]),
        "status": st.sampled_from(["pass", "pass", "fail", "error", "skipped"]),
    },
    optional={"score": st.integers(0, 5), "threshold": st.just(3), "details": st.just({"runner": "jetty"})},
)
CHECKED = "\n## Code Checks\n\n### ours — X\n\n```bash\nfalse\n```\n"
VERIFIED = "\n## Final Checklist\n\n### Verification Script\n\n```bash\necho verify\n```\n"


@given(
    report=st.none() | st.fixed_dictionaries(
        {"checks": st.lists(ENTRIES, max_size=4)},
        optional={"version": st.sampled_from([1, 2, "2"]), "overall_passed": st.booleans(), "verdict": st.just("pass")},
    ),
    body=st.sampled_from(["", CHECKED, VERIFIED, CHECKED + VERIFIED]),
    version=st.sampled_from(["1.0.0", "2.0.0"]),
    said=st.sampled_from(["PASS: a", "FAIL: a", ""]),
    code=st.sampled_from([0, 1, None]),
)  # fmt: skip
def test_whatever_the_agent_reports_the_points_are_as_bad_as_the_verdict(
    tmp_path_factory: pytest.TempPathFactory, report: Any, body: str, version: str, said: str, code: int | None
) -> None:
    """Evaluations, attempts and reports for builds are made of the points."""
    criteria = parse(f'---\nversion: "{version}"\n---\n# T\n{body}').criteria
    assert (bool(criteria.code_checks), bool(criteria.verification)) == (CHECKED in body, VERIFIED in body)
    folder = tmp_path_factory.mktemp("results")
    if report is not None:
        (folder / "validation_report.json").write_text(json.dumps(report))
    seen = list[Any]()
    end = AgentFinished(exit_code=0, ended_by="exit")
    ran = Ran(code, said, "" if code is not None else "it was ended.")
    event = evaluate(folder, (), criteria, end, lambda *_: ran, lambda _: nullcontext(), seen.append).event
    finished = [one for one in seen if isinstance(one, CheckFinished)]
    bad = [point for point in points_of(event, finished, criteria, None) if point.is_bad]
    assert bool(bad) == (event.verdict == "fail")
    assert [point.id for point in bad if point.kind == "run"] == []
    shown = {(point.kind, point.id): point.status for point in points_of(event, finished, criteria, None)}
    assert all(shown[one.kind, one.id] == one.status for one in finished)


def test_a_failed_agent_never_passes(tmp_path: Path) -> None:
    put(tmp_path, "a.md")
    found = judge(tmp_path, "a.md", error="No key.", report={"overall_passed": True})
    assert (found.verdict, found.success) == ("fail", False)
    assert found.reasons == ("The agent did not end well: No key.",)

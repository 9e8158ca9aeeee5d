"""`runbook eval`: a matrix of runs, resumed after a kill, within one budget, until the pass rate is known."""

import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

RUNBOOK = """\
---
version: "1.0.0"
agent: shell
---
# {title} — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | x |

## Parameters

| Parameter | Template variable | Default | Description |
|---|---|---|---|
| Word | `{{{{word}}}}` | one | x |

## Step 1: Work

```bash
{code}
```
"""
WRITES = "echo {{word}} > /app/results/out.txt"


@pytest.fixture
def suite(runbook: Any) -> Any:
    """Writes runbooks, agents and a suite; returns a function that evaluates it."""

    def write(text: str = "", code: str = WRITES, names: str = "words", agents: dict[str, str] | None = None) -> Any:
        for name in names.split():
            folder = runbook.cwd / name
            folder.mkdir(exist_ok=True)
            (folder / "RUNBOOK.md").write_text(RUNBOOK.format(title=name.title(), code=code))
        for name, script in (agents or {}).items():
            file = runbook.cwd / f".runbook/agents/{name}.toml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f'argv = {json.dumps(["bash", "-c", script])}\nprompt = "stdin"\n')
        (runbook.cwd / "suite.yaml").write_text(f"runbooks: [{', '.join(names.split())}]\n{text}")
        return evaluate

    def evaluate(*options: str, start: bool = False) -> Any:
        args = ("eval", "suite.yaml", "--sandbox", "host", "--trust", "--json", *options)
        return (runbook.start if start else runbook)(*args)

    return write


def case(runbook: Any, name: str, word: str, expected: str | None = None) -> None:
    folder = runbook.cwd / "words/examples" / name
    folder.mkdir(parents=True)
    (folder / "input.json").write_text(json.dumps({"params": {"vars": {"word": word}}}))
    if expected is not None:
        (folder / "expected").mkdir()
        (folder / "expected/out.txt").write_text(expected)


def asking(runbook: Any, suite: Any, calls: int = 1) -> Any:
    """Evaluates an agent that calls its model, a script, so often in a run."""
    asks = (
        "curl -sf $URL/v1/chat/completions -H 'Authorization: Bearer '$TOKEN -H 'Content-Type: application/json' "
        '-d \'{"model":"m","messages":[{"role":"user","content":"hello @"}]}\' > results/out.txt || exit 1; '
    )
    script = "".join(asks.replace("@", str(number)) for number in range(calls))
    file = runbook.cwd / ".runbook/agents/asker.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'argv = {json.dumps(["bash", "-c", script])}\nprompt = "stdin"\ndialect = "openai-chat"\ndefault_model = "m"\n'
        'env = { TOKEN = "{token}", URL = "{gateway_url}" }\n'
    )
    (runbook.cwd / "m.yaml").write_text("- say: Hello.\n" * calls)
    return suite("agents: [{agent: asker, model_script: m.yaml}]\n")


def made_calls(runbook: Any) -> int:
    """By all runs, without those that were refused."""
    logs = (runbook.cwd / ".runbook/trajectories").rglob("events.jsonl")
    events = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return sum(event["type"] == "model.called" and not event.get("error") for event in events)


def rows(ran: Any) -> dict[str, str]:
    assert len({cell["cell"] for cell in ran.json["cells"]}) == len(ran.json["cells"])
    return {cell["cell"]: cell["status"] for cell in ran.json["cells"]}


def table(body: Any) -> Any:
    """What does not depend on the time."""
    return [{name: value for name, value in group.items() if name != "seconds"} for group in body["groups"]]


def test_each_case_is_held_against_what_it_expects(runbook: Any, suite: Any) -> None:
    case(runbook, "right", "two", "two\n")
    case(runbook, "wrong", "two", "three\n")
    case(runbook, "free", "two")
    ran = suite()()
    assert ran.code == 1, ran.err
    assert rows(ran) == {
        "words/free/default#1": "pass",
        "words/right/default#1": "pass",
        "words/wrong/default#1": "fail",
    }
    (failing,) = ran.json["cells"][2]["failing"]
    assert (failing["kind"], failing["id"]) == ("expected", "out.txt")
    assert "✗ words/wrong/default#1: fail" in ran.err
    assert "FAIL · 2 of 3 runs passed." in ran.err
    assert "Nothing is expected of 1 case: words/free\n" in ran.err
    quiet = suite()("-q")
    assert (quiet.code, quiet.err) == (1, "error: 2 of 3 runs passed.\n")


def test_rules_say_how_results_are_compared(runbook: Any, suite: Any) -> None:
    case(runbook, "ignored", "two", "three\n")
    ran = suite("compare:\n  - {files: out.txt, how: text, ignore: ['t[a-z]+']}\n")()
    assert ran.code == 0, ran.err


AGENTS = {
    "good": "echo 1 > results/out.txt",
    "empty": ": > results/out.txt",
    "lazy": "sleep 0.2",
    "broken": "exit 3",
}


def test_a_killed_evaluation_goes_on_where_it_was(runbook: Any, suite: Any, eventually: Any) -> None:
    """3 runbooks × 4 agents × 2: each run exactly once, and the same table as of one that nothing has ended."""
    evaluate = suite(f"agents: [{', '.join(AGENTS)}]\nrepeats: 2\n", names="a b c", agents=AGENTS)
    process = evaluate(start=True)
    least = random.SystemRandom().randrange(1, 20)

    def lines() -> list[dict[str, Any]]:
        found = [file.read_text() for file in runbook.data.glob("evals/*.jsonl")]
        return [json.loads(line) for text in found for line in text.splitlines(keepends=True) if line.endswith("\n")]

    eventually(lambda: sum("row" in line for line in lines()) >= least)
    process.kill()
    process.communicate(timeout=60)
    done = {line["row"]["cell"]: line["row"]["trajectory_id"] for line in lines() if "row" in line}
    assert len(done) >= least
    resumed = evaluate()
    assert resumed.json["resumed"] >= len(done), resumed.err
    now = {cell["cell"]: cell["trajectory_id"] for cell in resumed.json["cells"]}
    assert len(now) == len(resumed.json["cells"]) == 24
    assert done.items() <= now.items()
    assert not list(runbook.data.glob("evals/*"))
    undisturbed = evaluate()
    assert undisturbed.json["resumed"] == 0
    assert table(resumed.json) == table(undisturbed.json)
    assert rows(undisturbed) == {
        f"{name}/-/{agent}#{repeat}": {"good": "pass", "broken": "error"}.get(agent, "fail")
        for name in "abc"
        for agent in AGENTS
        for repeat in (1, 2)
    }


def test_ctrl_c_ends_all_runs_and_keeps_what_is_done(runbook: Any, suite: Any, eventually: Any) -> None:
    begun, first, go = (runbook.cwd / name for name in ("begun", "first", "go"))
    code = f"[ -e {first} ] || {{ touch {first}; {WRITES}; exit; }}; touch {begun}; [ -e {go} ] || sleep 60; {WRITES}"
    evaluate = suite("concurrency: 1\nrepeats: 3\n", code)
    process = evaluate(start=True)
    eventually(begun.exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    body = json.loads(out)
    assert (len(body["cells"]), body["ended"], body["groups"][0]["verdict"]) == (1, "it was cancelled", "unknown")
    assert "CANCELLED · 1 of 1 run passed. Not all was run: it was cancelled. Evaluated again, it goes on" in err

    # As after a kill just behind the end of that run: the ledger says that it has begun, and not that it is done.
    (file,) = runbook.data.glob("evals/*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if "row" not in json.loads(line)) + '{"row": {"cell"')
    go.touch()
    ran = evaluate()
    assert (ran.code, ran.json["resumed"], ran.json["total"]["passed"]) == (0, 1, 3), ran.err
    assert ran.json["cells"][0]["trajectory_id"] == body["cells"][0]["trajectory_id"]


def test_ctrl_c_ends_a_comparison_and_its_run_is_compared_another_time(
    runbook: Any, suite: Any, eventually: Any
) -> None:
    """Each of many lines differs in what does not count, which takes long."""
    many = 15_000_000
    case(runbook, "slow", "two", "a \n" * many)
    rule = "compare: [{files: out.txt, how: text, ignore: [b]}]\n"
    process = suite(rule, f"yes a | head -n {many} > /app/results/out.txt || true")(start=True)

    def is_evaluated() -> bool:
        logs = [*(runbook.cwd / ".runbook/trajectories").rglob("events.jsonl")]
        return bool(logs) and '"run.finished"' in logs[0].read_text()

    eventually(is_evaluated, 120)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, json.loads(out)["cells"]) == (130, []), err
    (file,) = runbook.data.glob("evals/*.jsonl")
    (begun,) = map(json.loads, file.read_text().splitlines())
    assert begun["cell"] == "words/slow/default#1"


def test_what_gives_rise_to_doubt_is_told_of_each_run_and_in_each_report(runbook: Any, suite: Any) -> None:
    reports = [option for ending in ("md", "html", "json") for option in ("--report", f"report.{ending}")]
    ran = suite("repeats: 2\n", "echo '{{titel}} <b>' > /app/results/out.txt")(*reports)
    assert ran.code == 0, ran.err
    assert [len(cell["notes"]) for cell in ran.json["cells"]] == [1, 1]
    (note,) = ran.json["groups"][0]["notes"]
    assert note.startswith("2× ")
    assert "titel" in note
    assert f"! words/-/default: {note}" in ran.err
    for ending in ("md", "html", "json"):
        assert "titel" in (runbook.cwd / f"report.{ending}").read_text()
    quiet = suite("repeats: 2\n", "echo '{{titel}}' > /app/results/out.txt")("-q")
    assert quiet.err == f"warning: words/-/default: {note}\n"


def test_fewer_repeats_lose_no_runs_that_had_been_made(runbook: Any, suite: Any, eventually: Any) -> None:
    """An evaluation that was ended in its fourth run, then with 2 repeats, then with all."""
    waits = f"echo x >> {runbook.cwd}/count; [ $(wc -l < {runbook.cwd}/count) = 4 ] && sleep 60; true; "
    evaluate = suite("concurrency: 1\n", waits + WRITES)
    process = evaluate("--repeats", "5", start=True)
    count = runbook.cwd / "count"
    eventually(lambda: count.exists() and count.read_text() == "x\n" * 4)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    ran = evaluate("--repeats", "2")
    assert (ran.code, ran.json["total"]["runs"], ran.json["resumed"], ran.json["kept"]) == (0, 2, 2, 1), ran.err
    assert "1 run more had been made" in ran.err
    ran = evaluate("--repeats", "5")
    assert (ran.code, ran.json["total"]["runs"], ran.json["resumed"], ran.json["kept"]) == (0, 5, 3, 0), ran.err
    assert count.read_text() == "x\n" * 6
    assert evaluate("--repeats", "1").json["resumed"] == 0


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", ("--margin", "0.1"), "--margin has no effect without `until`."),
        ("margin: 0.1\n", (), "suite.yaml:2: margin: has no effect without `until`."),
        ("", ("--until", "0.9", "--pass-rate", "0.5"), "Of `pass_rate` and `until`, one alone decides"),
        ("pass_rate: 1.0\nuntil: 0.9\n", (), "suite.yaml:3: Of `pass_rate` and `until`, one alone decides"),
        ("until: 0.9\n", ("--pass-rate", "0.5"), "Of `pass_rate` and `until`, one alone decides"),
    ],
)
def test_what_would_have_no_effect_is_refused(suite: Any, text: str, options: tuple[str, ...], told: str) -> None:
    ran = suite(text)(*options)
    assert (ran.code, told in ran.err) == (2, True), ran.err


def test_until_takes_the_place_of_the_suites_pass_rate(suite: Any) -> None:
    ran = suite("pass_rate: 0.5\n")("--until", "0.9", "--margin", "0.04", "--dry-run")
    assert (ran.code, ran.json["repeats"]) == (0, 100), ran.err


@pytest.mark.needs("linux")
def test_a_signal_that_wakes_no_wait_ends_all_runs_too(runbook: Any, suite: Any, eventually: Any) -> None:
    """The system hands it to another thread than the one that waits, as it may come just before a wait begins."""
    begun = runbook.cwd / "begun"
    process = suite("concurrency: 1\n", f"touch {begun}; sleep 100")(start=True)
    eventually(begun.exists)
    other = next(
        int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir() if int(task.name) != process.pid
    )
    assert ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGINT) == 0
    out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["ended"]) == (130, "it was cancelled"), err


def test_one_budget_holds_for_all_runs(runbook: Any, suite: Any) -> None:
    ran = asking(runbook, suite)("--repeats", "5", "--concurrency", "1", "--max-calls", "2")
    assert ran.code == 1, ran.err
    assert ran.json["ended"] == "the budget of all runs of 2 model calls is used up"
    assert list(rows(ran).values()) == ["pass", "pass"]
    ran = asking(runbook, suite)("--repeats", "2", "--concurrency", "1", "--max-calls", "2", "--fresh")
    assert (ran.code, ran.json["ended"]) == (0, None)


def test_runs_at_once_share_the_budget_and_one_that_it_ends_is_made_again(runbook: Any, suite: Any) -> None:
    evaluate = asking(runbook, suite, calls=2)
    ran = evaluate("--repeats", "4", "--concurrency", "4", "--max-calls", "5")
    assert ran.json["ended"] == "the budget of all runs of 5 model calls is used up"
    assert ran.err.endswith("is used up. Evaluated again, it goes on from there, and what was used counts.\n")
    assert set(rows(ran).values()) <= {"pass"}
    made = len(ran.json["cells"])
    assert made_calls(runbook) == 5
    again = evaluate("--repeats", "4", "--max-calls", "5")
    assert (again.json["resumed"], made_calls(runbook)) == (made, 5)
    larger = evaluate("--repeats", "4", "--max-calls", str(5 + 2 * (4 - made)))
    assert (larger.code, larger.json["resumed"], larger.json["total"]["passed"]) == (0, made, 4), larger.err


def test_the_judges_calls_count_in_the_budget_and_its_scores_in_the_table(runbook: Any, suite: Any) -> None:
    evaluate = suite("repeats: 4\nconcurrency: 1\n")
    document = runbook.cwd / "words/RUNBOOK.md"
    table = "| # | Criterion | 5 (Good) | 3 (Fair) | 1 (Poor) |\n|---|---|---|---|---|\n| 1 | Clarity | a | b | c |\n"
    document.write_text(f"{document.read_text()}\n## Evaluate (rubric)\n\n{table}")
    (runbook.cwd / "judge.yaml").write_text(json.dumps([{"say": '{"c1": {"score": 4}}', "usage": {"cost": 0.4}}]))
    ran = evaluate("--judge-script", "judge.yaml", "--max-cost", "0.7")
    assert ran.json["ended"] == "the budget of all runs of $0.70 is used up: $0.8000 were spent", ran.err
    (group,) = ran.json["groups"]
    assert (group["runs"], group["score"], group["cost_usd"]) == (2, 4.0, pytest.approx(0.8))


@pytest.mark.parametrize(
    ("code", "verdict", "runs"), [(WRITES, "pass", 27), ("true", "fail", 3)], ids=["always", "never"]
)
def test_easy_verdicts_take_few_runs(suite: Any, code: str, verdict: str, runs: int) -> None:
    ran = suite("repeats: 60\n", code)("--until", "0.9")
    (group,) = ran.json["groups"]
    assert (group["verdict"], group["runs"]) == (verdict, runs)
    assert ran.code == (verdict == "fail")
    assert len(ran.json["cells"]) < runs + 4


def test_a_pass_rate_that_is_not_known_in_time_is_not_reached(suite: Any) -> None:
    ran = suite()("--until", "0.9", "--repeats", "5")
    assert (ran.code, ran.json["groups"][0]["verdict"]) == (1, "unknown")
    assert "words/-/default: not known after 5 runs: give more repeats" in ran.err


def test_without_a_number_of_repeats_it_is_known(suite: Any) -> None:
    assert suite("until: 0.9\n")().json["groups"][0]["runs"] == 27


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("until: 0.9999999999999999", "until: must be less than or equal to 0.999."),
        ("until: 1.0e-300", "until: must be greater than or equal to 0.001."),
        ("until: .nan", "until: "),
        ("until: 0.9\nmargin: 1.0e-17", "margin: must be greater than or equal to 0.001."),
    ],
)
def test_a_rate_that_no_number_of_runs_tells_apart_is_refused(suite: Any, text: str, message: str) -> None:
    ran = suite(text)("--dry-run")
    assert ran.code == 2, ran.err
    assert message in ran.err


@pytest.mark.parametrize("until", ["0.001", "0.999"])
def test_a_rate_near_the_end_is_computed(suite: Any, until: str) -> None:
    ran = suite(f"until: {until}\nrepeats: 2")()
    assert (ran.code, ran.json["groups"][0]["verdict"]) == (1, "unknown")


@pytest.mark.parametrize(
    ("options", "code"), [(("--pass-rate", "0"), 0), (("--repeats", "0"), 2), (("--concurrency", "0"), 2)]
)
def test_a_zero_is_a_number(suite: Any, options: tuple[str, str], code: int) -> None:
    assert suite("pass_rate: 1\n", "true")(*options).code == code


def test_groups_that_only_the_baseline_has_are_told_and_fail(runbook: Any, suite: Any) -> None:
    case(runbook, "a", "two")
    case(runbook, "b", "two")
    evaluate = suite()
    assert evaluate("--report", "before.json").code == 0
    shutil.rmtree(runbook.cwd / "words/examples/b")
    ran = evaluate("--baseline", "before.json", "--report", "r.md", "--report", "r.html")
    assert (ran.code, ran.json["gone"]) == (1, ["words/b/default"])
    assert "words/b/default: only in the baseline" in ran.err
    assert "FAIL · 1 of 1 run passed. Against the baseline: 1 group of it is missing." in ran.err
    assert "only in the baseline" in (runbook.cwd / "r.md").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(runbook: Any, suite: Any) -> None:
    folder = runbook.cwd / "closed"
    folder.mkdir(0o500)
    assert suite()("--report", "closed/r.md").code == 2
    assert not (runbook.cwd / ".runbook/trajectories").exists()


def test_a_report_that_cannot_be_written_any_more_loses_no_table(runbook: Any, suite: Any) -> None:
    code = f"{WRITES}; rm -rf {runbook.cwd}/made; touch {runbook.cwd}/made"
    ran = suite("", code)("--report", "made/r.md")
    assert ran.code == 2
    assert ran.json["total"]["passed"] == 1
    assert "PASS · 1 of 1 run passed." in ran.err


def test_runs_whose_report_could_not_be_written_are_not_made_again(runbook: Any, suite: Any) -> None:
    code = f"{WRITES}; echo run >> {runbook.cwd}/runs; rm -rf {runbook.cwd}/made; touch {runbook.cwd}/made"
    evaluate = suite("repeats: 2\nconcurrency: 1\n", code)
    assert evaluate("--report", "made/r.json").code == 2
    (runbook.cwd / "made").unlink()
    again = evaluate("--report", "made/r.json")
    assert (again.code, again.json["resumed"]) == (0, 2)
    assert (runbook.cwd / "runs").read_text().split() == ["run"] * 2
    assert json.loads((runbook.cwd / "made/r.json").read_text())["total"]["passed"] == 2
    assert evaluate().json["resumed"] == 0


def test_a_pass_rate_may_be_less_than_all(runbook: Any, suite: Any) -> None:
    flaky = f"[ -e {runbook.cwd}/seen ] && {WRITES} || touch {runbook.cwd}/seen"
    evaluate = suite("repeats: 4\nconcurrency: 1\n", flaky)
    ran = evaluate("--pass-rate", "0.7")
    assert (ran.code, ran.json["total"]["passed"]) == (0, 3)
    (runbook.cwd / "seen").unlink()
    assert evaluate("--pass-rate", "0.8").code == 1


def test_what_is_worse_than_the_baseline_fails(runbook: Any, suite: Any) -> None:
    assert suite("repeats: 3\n")("--report", "before.json", "--report", "r.html", "--report", "r.md").code == 0
    evaluate = suite("repeats: 3\npass_rate: 0\n", "true")
    ran = evaluate("--baseline", "before.json")
    assert ran.code == 1
    (compared,) = ran.json["baseline"]
    assert (compared["is_worse"], compared["is_significant"], compared["p"]) == (True, False, pytest.approx(0.1))
    assert "worse, not significant (p = 0.100)" in ran.err
    assert "FAIL · 0 of 3 runs passed. Against the baseline: 1 group is worse." in ran.err
    assert evaluate("--report", "after.json").code == 0
    assert suite("repeats: 3\n")("--baseline", "after.json").code == 0
    page = (runbook.cwd / "r.html").read_text()
    assert "<code>words/<wbr>-/<wbr>default</code>" in page
    assert "Agents and models: shell." in page
    made = json.loads((runbook.cwd / "after.json").read_text())["made"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", made)
    assert re.search(r"Of \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "| ✅ | ` words/-/default ` | 100 % (44–100 %) | 3/3 |" in (runbook.cwd / "r.md").read_text()


def earlier(runs: int, passed: int, pass_rate: float = 1) -> str:
    """The report of an evaluation with one group."""
    rest = dict.fromkeys(("score", "cost_usd", "tokens", "seconds"))
    name = {"group": "words/-/default", "verdict": "pass"}
    group = {**name, "runs": runs, "passed": passed, "pass_rate": pass_rate, "low": 0, "high": 9, **rest}
    return json.dumps({"groups": [group]})


def test_what_a_baseline_says_follows_from_its_runs(runbook: Any, suite: Any) -> None:
    (runbook.cwd / "before.json").write_text(earlier(runs=1_000_000, passed=500_000, pass_rate=-1e308))
    ran = suite("", "true")("--baseline", "before.json")
    (compared,) = ran.json["baseline"]
    assert (compared["before"]["pass_rate"], compared["is_worse"], compared["p"]) == (0.5, True, pytest.approx(1))
    assert (compared["before"]["low"], compared["before"]["high"]) == pytest.approx((0.499, 0.501), abs=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "before.json: The baseline can't be read: No such file or directory."),
        ("{", "before.json: This is no JSON."),
        ("[]", "before.json: Must be "),
        ('{"groups": [{"group": "x"}]}', "before.json: groups.0."),
        (
            '{"groups": [{"group": "x", "verdict": "pass", "runs": 1, "passed": 1, "pass_rate": NaN, "low": 0}]}',
            "before.json: groups.0.pass_rate",
        ),
        ('{"groups": [' * 5000, "before.json: This is no JSON."),
        (earlier(runs=1, passed=5), "before.json: groups.0: more runs have passed than were made."),
        (earlier(runs=0, passed=1), "before.json: groups.0: more runs have passed than were made."),
        (earlier(runs=10**6 + 1, passed=1), "before.json: groups.0.runs: must be less than or equal to 1000000."),
    ],
)
def test_a_baseline_that_is_none_is_refused(runbook: Any, suite: Any, content: str | None, message: str) -> None:
    if content is not None:
        (runbook.cwd / "before.json").write_text(content)
    ran = suite()("--baseline", "before.json")
    assert ran.code == 2
    assert message in ran.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("repeat: 3", "suite.yaml:2: Unknown key 'repeat'. Did you mean 'repeats'?"),
        ("runbooks: ['a\\0b']", "suite.yaml:2: The key 'runbooks' is given twice"),
        ("repeats: true", "suite.yaml:2: repeats: "),
        ("repeats: many", "suite.yaml:2: repeats: must be a valid integer"),
        ("repeats: 1001", "suite.yaml:2: repeats: must be less than or equal to 1000"),
        ("cases: examples/*/inputs.json", "suite.yaml:2: No case fits 'examples/*/inputs.json'."),
        ("agents:\n  - {agnet: shell}", "suite.yaml:3: Unknown key 'agnet'. Did you mean 'agent'?"),
        (
            "agents: [{agent: shell, model_script: ../../x.yaml}]",
            "suite.yaml:2: A suite names files of its own project",
        ),
        (
            "compare:\n  - {files: a.txt, tolerence: 1}",
            "suite.yaml:3: Unknown key 'tolerence'. Did you mean 'tolerance'?",
        ),
        ("compare:\n  - {files: ../a.txt}", "suite.yaml:3: compare.0: files is a path or pattern below the folder"),
        ("compare:\n  - {files: a.jsn}", "suite.yaml:3: No expected file of a case fits 'a.jsn', which compare names."),
        ("agents: [shell, shell]", "suite.yaml:2: Two groups of the suite are words/-/shell."),
        ("gates: [verdict, verdit]", "suite.yaml:2: 'verdit' is not a gate."),
        ("agents: [nobody]", "words/-/nobody: "),
    ],
)
def test_a_suite_with_a_mistake_is_refused_at_its_line(runbook: Any, suite: Any, text: str, message: str) -> None:
    ran = suite(text + "\n")()
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
    assert not (runbook.cwd / ".runbook/trajectories").exists()


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("files: out.json, ignore: [created]", "out.json is compared as json: ignore has JSON pointers"),
        (
            "files: '*.txt', tolerance: 0.1",
            "The tolerance of the rule for '*.txt' has no effect: out.txt is compared as text",
        ),
        ("files: '*', how: bytes, ignore: [x]", "The ignore of the rule for '*' has no effect: "),
        ("files: '*.txt', ignore: ['(']", "out.txt is compared as text: This is not a regular expression"),
        ("files: out.json, ignore: [/created], tolerance: 0.1", None),
        ("files: '*', ignore: [created], tolerance: 0.1", None),
    ],
)
def test_rules_of_which_a_part_has_no_effect_are_refused(runbook: Any, suite: Any, rule: str, told: str | None) -> None:
    case(runbook, "a", "two", "two\n")
    (runbook.cwd / "words/examples/a/expected/out.json").write_text("{}")
    ran = suite(f"compare:\n  - {{{rule}}}\n")("--dry-run")
    assert (ran.code, "suite.yaml:3: " in ran.err) == ((2, True) if told else (0, False)), ran.err
    assert (told or "") in " ".join(ran.err.split())


def test_a_runbook_that_is_named_twice_is_refused_at_its_line(suite: Any) -> None:
    ran = suite(names="words ./words")()
    assert (ran.code, "suite.yaml:1: The suite names a runbook twice." in ran.err) == (2, True), ran.err


def test_runbooks_outside_of_the_project_are_refused(runbook: Any, suite: Any) -> None:
    evaluate = suite()
    (runbook.cwd / "suite.yaml").write_text("runbooks: [words, ../..]\n")
    ran = evaluate()
    assert ran.code == 2
    assert "suite.yaml:1: A suite names files of its own project only.\n../.. is outside of it." in ran.err


@pytest.mark.parametrize("option", ["-f", "--params", "--judge-script"])
def test_results_of_other_inputs_are_not_taken_over(runbook: Any, suite: Any, eventually: Any, option: str) -> None:
    aux, begun = runbook.cwd / "aux.yaml", runbook.cwd / "begun"
    first = '- say: \'{"c1": {"score": 4}}\'\n' if option == "--judge-script" else "word: one\n"
    aux.write_text(first)
    code = f"if [ -e {begun} ]; then sleep 60; fi; {WRITES}; touch {begun}"
    evaluate = suite("concurrency: 1\nrepeats: 2\n", code)
    process = evaluate(option, "aux.yaml", start=True)
    eventually(lambda: len(list(runbook.cwd.glob(".runbook/trajectories/*/*/*/trajectory.json"))) == 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    begun.unlink()
    aux.write_text(first.replace("4", "5").replace("one", "two"))
    assert evaluate(option, "aux.yaml", "--repeats", "1").json["resumed"] == 0
    aux.write_text(first)
    same = evaluate(option, "aux.yaml", "--repeats", "1", "--concurrency", "2", "--pass-rate", "0.5")
    assert same.json["resumed"] == 1, same.err


SECRET = "Zq7-hunter2-Kx9w-0123456789"
MARK = "***REDACTED:DB_PASSWORD***"


@pytest.fixture
def packs(runbook: Any, suite: Any, packed_pdf: Any) -> Any:
    """A runbook with a secret, whose runs have it in a PDF file, where another text is expected. Returns a function
    that writes it and returns one that evaluates it."""

    def write(text: str = "", before: str = ":") -> Any:
        code = f"{before}; {WRITES}; cp {packed_pdf(f'It is {SECRET}')} /app/results/r.pdf"
        evaluate = suite(text, code)
        document = runbook.cwd / "words/RUNBOOK.md"
        secrets = "secrets:\n  DB: {env: DB_PASSWORD}\n"
        document.write_text(document.read_text().replace("agent: shell\n", f"agent: shell\n{secrets}"))
        (runbook.cwd / "words/.env").write_text(f"DB_PASSWORD={SECRET}\n")
        case(runbook, "one", "two", "two\n")
        shutil.copy(packed_pdf("It is another"), runbook.cwd / "words/examples/one/expected/r.pdf")
        return evaluate

    return write


@pytest.mark.needs("pdfium")
def test_what_is_unpacked_of_results_is_told_without_secrets(runbook: Any, packs: Any) -> None:
    ran = packs()("--report", "r.md", "--report", "r.html")
    assert (ran.code, f'found \\"It is {MARK}\\"' in ran.out, MARK in ran.err) == (1, True, True), ran.err
    files = [path for path in runbook.cwd.rglob("*") if path.is_file() and path.name != ".env"]
    assert SECRET not in ran.out + ran.err
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.needs("pdfium")
@pytest.mark.parametrize("value", [SECRET, "another-value-of-the-secret"])
def test_what_a_killed_evaluation_left_is_told_without_secrets(
    runbook: Any, packs: Any, eventually: Any, value: str
) -> None:
    """With another secret its runs are made again: nobody could tell the old one in what they have made."""
    begun, first, go = (runbook.cwd / name for name in ("begun", "first", "go"))
    waits = f"if [ -e {first} ] && [ ! -e {go} ]; then touch {begun}; sleep 60; fi; touch {first}"
    evaluate = packs("concurrency: 1\nrepeats: 2\n", waits)
    process = evaluate(start=True)
    eventually(begun.exists)
    process.send_signal(signal.SIGINT)
    body = json.loads(process.communicate(timeout=120)[0])
    (file,) = runbook.data.glob("evals/*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    assert SECRET not in "".join(lines)
    file.write_text("".join(line for line in lines if "row" not in json.loads(line)))
    (runbook.cwd / "words/.env").write_text(f"DB_PASSWORD={value}\n")
    go.touch()
    ran = evaluate()
    assert ran.json["resumed"] == (value == SECRET), ran.err
    ids = [cell["trajectory_id"] for cell in ran.json["cells"]]
    assert (body["cells"][0]["trajectory_id"] in ids) == (value == SECRET)
    if value == SECRET:
        assert MARK in ran.out
        assert SECRET not in ran.out + ran.err


def test_a_report_of_many_groups_takes_little_time() -> None:
    from runbook_runner.runner.suite.report import html
    from runbook_runner.runner.suite.row import Row
    from runbook_runner.runner.suite.suite_file import Suite
    from runbook_runner.runner.suite.summary import GroupSummary, Summary, Totals

    total = Totals(runs=1, passed=1, pass_rate=1, low=0, high=1, score=None, cost_usd=None, tokens=1, seconds=1)
    names = [f"g{number}" for number in range(10_000)]
    groups = tuple(GroupSummary(**total.model_dump(), group=name, verdict="pass") for name in names)
    cells = tuple(Row(cell=f"{name}#1", group=name, repeat=1, status="pass", seconds=1) for name in names)
    summary = Summary(name="x", passed=True, ended=None, resumed=0, total=total, groups=groups, cells=cells)
    began = time.process_time()
    page = html(summary, Suite(runbooks=("x",)))
    assert time.process_time() - began < 10  # with a look at each run for each group it took 40 s
    assert (page.count("<circle"), 'cy="239992" r="5"' in page) == (10_000, True)


def git(folder: Path, *args: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *args], cwd=folder, check=True)


def clone(runbook: Any) -> None:
    """What is there now is a clone."""
    git(runbook.cwd, "init", "-q")
    git(runbook.cwd, "add", "-A")
    git(runbook.cwd, "commit", "-qm", "x")


def test_a_suite_runs_no_runbook_of_another_project(runbook: Any, suite: Any, tmp_path: Path) -> None:
    """The other one's `.env` would be beside it, and the suite's script would say what the agent does with it."""
    evaluate = suite("", names="words private")
    (runbook.cwd / "private/.env").write_text("PRIVATE=secret\n")
    git(runbook.cwd / "private", "init", "-q")
    for where in ("as it is", "as a clone in one"):
        ran = evaluate()
        assert ran.code == 2, where
        assert (
            "suite.yaml:1: A suite names files of its own project only.\nprivate is in a clone of its own." in ran.err
        )
        if where == "as it is":
            git(runbook.cwd, "init", "-q")
    inner = runbook.cwd / "words"
    (inner / "suite.yaml").write_text("runbooks: [../private]\n")
    (runbook.cwd / ".runbook").mkdir(exist_ok=True)
    git(inner, "init", "-q")
    ran = runbook("eval", "words/suite.yaml", "--sandbox", "host")
    assert ran.code == 2
    assert "../private is outside of it." in ran.err
    assert not (runbook.cwd / ".runbook/trajectories").exists()


def test_a_runbook_that_is_a_link_to_another_projects_is_refused(runbook: Any, suite: Any) -> None:
    evaluate = suite("", names="words private")
    git(runbook.cwd / "private", "init", "-q")
    (runbook.cwd / "words/RUNBOOK.md").unlink()
    (runbook.cwd / "words/RUNBOOK.md").symlink_to("../private/RUNBOOK.md")
    (runbook.cwd / "suite.yaml").write_text("runbooks: [words]\n")
    ran = evaluate()
    assert (ran.code, "is in a clone of its own." in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("target", ["../../../.git", "../../../secrets", "/proc"])
def test_expected_files_behind_a_link_are_not_read(runbook: Any, suite: Any, target: str) -> None:
    case(runbook, "a", "two")
    (runbook.cwd / "secrets").mkdir()
    (runbook.cwd / "secrets/out.txt").write_text("hidden words\n")
    (runbook.cwd / "words/examples/a/expected").symlink_to(target)
    evaluate = suite()
    clone(runbook)
    ran = evaluate("--report", "r.md")
    assert ran.code == 2
    assert "A case and what it expects are no links." in ran.err
    assert "hidden words" not in ran.err


def test_expected_files_in_very_many_folders_are_refused(runbook: Any, suite: Any, nested: Any) -> None:
    case(runbook, "a", "two", "two\n")
    nested(runbook.cwd / "words/examples/a/expected", 1000)
    ran = suite()()
    assert (ran.code, "more than 200 folders in each other" in ran.err) == (2, True), ran.err


def test_cases_that_are_not_of_the_clone_are_not_read(runbook: Any, suite: Any) -> None:
    case(runbook, "a", "two", "two\n")
    evaluate = suite()
    clone(runbook)
    (runbook.cwd / "words/examples/a/expected/mine.txt").write_text("mine\n")
    ran = evaluate()
    assert ran.code == 2
    assert "This file of a case is no file of its repository." in ran.err
    git(runbook.cwd, "add", "-A")
    assert "mine.txt: The file is missing." in evaluate().err


@pytest.mark.parametrize(
    "pattern", ["../**/input.json", "/etc/*", "**/input.json", "a/../b", "x" * 300, "*/" * 30 + "input.json", "a\0b"]
)
def test_patterns_that_would_lead_anywhere_are_refused(runbook: Any, suite: Any, pattern: str) -> None:
    case(runbook, "a", "two")
    ran = suite(f"cases: {json.dumps(pattern)}\n")()
    assert ran.code == 2
    assert "error: " in ran.err


@pytest.mark.parametrize("target", [".", "/", "examples"])
def test_no_pattern_leads_through_a_link(runbook: Any, suite: Any, target: str) -> None:
    """Eight of them that lead to their own folder make 8⁹ paths, and one that leads to / the whole machine."""
    case(runbook, "a", "two")
    evaluate = suite(f"cases: '{'*/' * 9}input.json'\n")
    for number in range(8):
        (runbook.cwd / f"words/l{number}").symlink_to(target)
    ran = evaluate("--dry-run")
    assert (ran.code, "words/l0: A case and what it expects are no links." in ran.err) == (2, True), ran.err
    for pattern in ("examples/*/input.json", "[!l]*/?/input.json"):
        assert evaluate("--dry-run", "--cases", pattern).json["groups"] == ["words/a/default"]


def test_a_wildcard_stands_for_no_hidden_file(runbook: Any, suite: Any) -> None:
    case(runbook, "a", "two")
    case(runbook, ".b", "two")
    evaluate = suite()
    assert evaluate("--dry-run").json["groups"] == ["words/a/default"]
    ran = evaluate("--dry-run", "--cases", "examples/.b/*")
    assert (ran.code, "This file of a case is hidden." in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"models: {json.dumps(list(map(str, range(1001))))}", "suite.yaml:2: models: "),
        (f"agents: {json.dumps([{'name': str(n)} for n in range(900)])}\nmodels: {json.dumps(list('abcdefghijkl'))}",
         "The suite has 10,800 runs; 10,000 are the most."),
        ("concurrency: 9", "suite.yaml:2: More than 8 runs at once are the command line's to ask for."),
        ('agents: [{name: "x\\nPASS", agent: shell}]', "suite.yaml:2: agents.0.name: "),
    ],
    ids=["models", "product", "at once", "name of two lines"],
)  # fmt: skip
def test_a_suite_is_bounded(runbook: Any, suite: Any, text: str, message: str) -> None:
    ran = suite(text + "\n")()
    assert ran.code == 2
    assert message in ran.err


def test_a_name_of_two_lines_is_one_line(runbook: Any, suite: Any) -> None:
    case(runbook, "a\nPASS · 9 of 9 runs passed.\n::warning::x", "two")
    ran = suite()()
    assert ran.code == 0, ran.err
    lines = ran.err.splitlines()
    assert not [line for line in lines if line.startswith(("PASS · 9", "::"))]
    assert "✓ words/a\\nPASS · 9 of 9 runs passed.\\n::warning::x/default#1: pass" in ran.err


def test_a_dry_run_starts_nothing(runbook: Any, suite: Any) -> None:
    ran = suite("repeats: 3\nagents: [good, lazy]\n", agents=AGENTS)("--dry-run")
    assert (ran.code, ran.json) == (0, {"groups": ["words/-/good", "words/-/lazy"], "repeats": 3})
    assert not (runbook.cwd / ".runbook/trajectories").exists()


def test_a_runbook_is_a_suite_of_one(runbook: Any, suite: Any) -> None:
    suite()
    ran = runbook("eval", "words", "--sandbox", "host", "--repeats", "2", "-p", "word=x")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == "PASS · 2 of 2 runs passed."


def test_what_a_clone_says_of_earlier_runs_is_not_believed(runbook: Any, suite: Any) -> None:
    """The ledger is the user's own, not below the project."""
    suite()()
    assert not [file for file in (runbook.cwd / ".runbook").rglob("*.jsonl") if file.name != "events.jsonl"]
    assert Path(runbook.data / "evals").is_dir()

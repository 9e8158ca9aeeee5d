"""`runbook judge`: what finished runs have made, scored again or compared with each other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Cassette

KEY = "sk-test-canary-8f3a71c9d2"


@pytest.fixture
def finished(runbook: Any, rubric: Callable[..., Path]) -> Callable[..., str]:
    """Runs the rubric runbook, not judged, and returns the id of the run."""

    def run(code: str = "echo '# Once' > /app/results/story.md", secrets: str = "") -> str:
        ran = runbook("run", rubric(code, secrets=secrets), "--sandbox", "host", "--json")
        assert ran.json["judge"] is None, ran.err
        return str(ran.json["trajectory_id"])

    return run


@pytest.fixture
def ask(runbook: Any) -> Callable[..., Any]:
    """`runbook judge` with a judge that answers with these turns."""

    def run(turns: list[Any], *args: str) -> Any:
        written = [turn if isinstance(turn, dict) and "say" in turn else {"say": json.dumps(turn)} for turn in turns]
        (runbook.cwd / "judge.yaml").write_text(json.dumps(written))
        return runbook("judge", *args, "--judge-script", "judge.yaml")

    return run


def scores(clarity: float, wit: float) -> dict[str, Any]:
    return {"c1": {"reason": "It is.", "score": clarity}, "c2": {"reason": "It has.", "score": wit}}


def better(clarity: str, wit: str, overall: str) -> dict[str, Any]:
    said = {"c1": clarity, "c2": wit, "overall": overall}
    return {key: {"reason": f"It is {word}.", "better": word} for key, word in said.items()}


def test_a_finished_run_is_scored_and_its_record_stays(
    runbook: Any, finished: Callable[..., str], ask: Callable[..., Any]
) -> None:
    name = finished()
    (folder,) = runbook.cwd.glob(f".runbook/trajectories/*/*/{name}")
    before = (folder / "trajectory.json").read_bytes()
    ran = ask([scores(5, 3)], name, "--json")
    assert (ran.code, ran.json["score"], ran.json["path"]) == (0, 4, str(folder / "judge" / "1")), ran.err
    assert (ran.json["model_calls"], ran.json["usage"]["api_calls"]) == ({"script": 1}, 1)
    assert (folder / "trajectory.json").read_bytes() == before
    assert "script (judge)" not in runbook("cost", "--json").json["groups"]
    again = ask([scores(5, 1)], name)
    assert again.code == 1
    assert "✗ wit: 1 of 5. score 1 is below 3. It has." in again.out
    assert json.loads((folder / "judge" / "2" / "judged.json").read_text())["score"] == 3


def test_two_runs_are_compared_in_both_orders(finished: Callable[..., str], ask: Callable[..., Any]) -> None:
    """Clarity is what was shown first, in both orders: a tie."""
    one, two = finished(), finished("echo '# Twice' > /app/results/story.md")
    turns = [better("first", "second", "second"), better("first", "first", "first")]
    ran = ask(turns, one, two, "--json")
    found = {criterion["id"]: criterion["winner"] for criterion in ran.json["criteria"]}
    assert (ran.code, found) == (0, {"clarity": "tie", "wit": "second", "overall": "second"}), ran.err
    assert ran.json["winner"] == "second"
    shown = ask(turns, one, two).out
    assert f"overall: {two}. It is second. / It is first." in shown
    assert "clarity: tie." in shown


def test_what_made_the_tasks_differ_is_told(runbook: Any, rubric: Callable[..., Path], ask: Callable[..., Any]) -> None:
    code = "echo '{{word}}' > /app/results/story.md; printf '\\0\\1' > /app/results/a.bin"
    path = rubric(code)
    path.write_text(path.read_text().replace("agent: shell", "agent: shell\nparameters: {word: Once}"))
    ids = [
        runbook("run", path, "--sandbox", "host", "--json", "-p", f"word={word}").json["trajectory_id"]
        for word in ("a", "b")
    ]
    turns = [better("first", "second", "second"), better("first", "first", "first")]
    shown = ask(turns, *ids)
    assert "different tasks (other values of word): both are judged" in shown.err
    assert " · it was not shown all of a.bin · " in shown.out
    path.write_text(path.read_text().replace("Write a story", "Write a tale"))
    third = runbook("run", path, "--sandbox", "host", "--json", "-p", "word=a").json["trajectory_id"]
    assert "(the text of the runbook has changed)" in ask(turns, ids[0], third).err


def test_the_scripts_of_the_example_answer_all_that_is_asked(runbook: Any) -> None:
    example = Path(__file__).parents[3] / "examples/limerick"
    ran = [
        runbook("run", example, "--sandbox", "host", "--json", "--judge-script", example / "judge.yaml")
        for _ in range(2)
    ]
    assert [(one.code, one.json["judge"]["score"], one.json["judge"]["errors"]) for one in ran] == [(0, 4.5, 0)] * 2
    ids = [one.json["trajectory_id"] for one in ran]
    compared = runbook("judge", *ids, "--json", "--judge-script", example / "compare.yaml")
    assert (compared.code, compared.json["winner"], compared.json["errors"]) == (0, "second", 0), compared.err


def test_a_winner_has_more_than_half_of_the_samples(finished: Callable[..., str], ask: Callable[..., Any]) -> None:
    one, two = finished(), finished("echo '# Twice' > /app/results/story.md")
    wins, ties = (better(*["first"] * 3), better(*["second"] * 3)), (better(*["equal"] * 3),) * 2
    ran = ask([*wins, *ties], one, two, "--judge-samples", "2", "--json")
    assert (ran.json["winner"], ran.json["criteria"][0]["votes"]) == ("tie", [1, 0])
    ran = ask([*wins, *ties, *wins], one, two, "--judge-samples", "3", "--json")
    assert ran.json["winner"] == "first"


@pytest.mark.parametrize("said", ["", "The first one.", '{"c1": {"better": "both"}, "c2": 1, "c3": {"better": null}}'])
def test_no_usable_answer_is_no_winner(finished: Callable[..., str], ask: Callable[..., Any], said: str) -> None:
    one = finished()
    ran = ask([{"say": said}] * 4, one, one, "--json")
    assert (ran.code, ran.json["winner"], ran.json["errors"]) == (1, None, 3), ran.err
    assert all(criterion["message"] for criterion in ran.json["criteria"])


def test_the_price_is_in_what_all_runs_have_cost(runbook: Any, finished: Callable[..., str], provider: Any) -> None:
    name = finished()
    provider.answers = [json.dumps(scores(5, 5))]
    (runbook.cwd / "prices.yaml").write_text("gpt-5-mini: {input: 1, output: 10}\n")
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url, "RUNBOOK_PRICES": "prices.yaml"}
    ran = runbook("judge", name, "--judge-model", "gpt-5-mini", "--json", env=environ)
    assert (ran.code, ran.json["usage"]["cost_usd"]) == (0, 0.002), ran.err
    assert f"The results go to the judge, gpt-5-mini at {provider.url}." in ran.err
    assert runbook("cost", "--json").json["groups"]["gpt-5-mini (judge)"]["known_cost_usd"] == 0.002
    files = [path for path in Path(ran.json["path"]).rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_the_judge_that_a_recording_names_is_asked_only_when_its_user_names_it(
    runbook: Any, finished: Callable[..., str], provider: Any
) -> None:
    name = finished()
    (folder,) = runbook.cwd.glob(f".runbook/trajectories/*/*/{name}")
    spec = json.loads((folder / "spec.json").read_text())
    spec["judge"] = {"model": "gpt-5-mini", "provider": "openai", "samples": 25}
    (folder / "spec.json").write_text(json.dumps(spec))
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url}
    refused = runbook("judge", folder, env=environ)
    said = "--judge-model gpt-5-mini (the recording's, asked 25 times), or set RUNBOOK_JUDGE_MODEL"
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert not provider.requests
    provider.answers = [json.dumps(scores(5, 5))]
    named = runbook("judge", folder, "--judge-model", "gpt-5-mini", "--json", env=environ)
    assert (named.code, named.json["samples"], len(provider.requests)) == (0, 1, 1), named.err


@pytest.mark.parametrize(("args", "code", "said"), [
    (["ID"], 2, "No judge is named."),
    (["ID", "--judge-model", "gpt-5-mini"], 3, "OPENAI_API_KEY is not set"),
    (["0badcafe"], 2, "There is no trajectory '0badcafe'"),
    (["ID", "--judge-samples", "0"], 2, "--judge-samples must be from 1 to 25."),
    (["ID", "--max-cost", "-1"], 2, "--max-cost must be more than 0"),
    (["ID", "--max-cost", "nan"], 2, "--max-cost"),
    (["ID", "ID", "--judge-script", "none.yaml"], 2, "none.yaml"),
])  # fmt: skip
def test_what_is_wrong_is_told_before_the_judge_is_asked(
    runbook: Any, finished: Callable[..., str], args: list[str], code: int, said: str
) -> None:
    name = finished()
    ran = runbook("judge", *(name if arg == "ID" else arg for arg in args))
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert not [*runbook.cwd.glob(".runbook/trajectories/*/*/*/judge")]


def test_a_run_without_a_rubric_can_only_be_compared(
    runbook: Any, shell_runbook: Callable[[str], Path], ask: Callable[..., Any]
) -> None:
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--json")
    name = ran.json["trajectory_id"]
    alone = ask([{"c1": 5}], name)
    assert (alone.code, "has no rubric" in alone.err) == (2, True)
    compared = ask([{"overall": {"reason": "r", "better": "equal"}}] * 2, name, name, "--json")
    assert (compared.code, compared.json["winner"]) == (0, "tie"), compared.err


@pytest.mark.needs("pdfium")
@pytest.mark.parametrize("is_given", [True, False])
def test_a_pdf_is_unpacked_only_with_the_secrets_of_the_run(
    runbook: Any, finished: Callable[..., str], ask: Callable[..., Any], packed_pdf: Any, is_given: bool
) -> None:
    secret = "Zq7-hunter2-Kx9w-0123456789"
    (runbook.cwd / ".env").write_text(f"DB_PASSWORD={secret}\n")
    code = f"echo '# Once' > /app/results/story.md; cp {packed_pdf(f'It is {secret}')} /app/results/a.pdf"
    name = finished(code, "secrets: {DB: {env: DB_PASSWORD}}")
    given = ("--env-file", ".env") if is_given else ()
    for names, turns in ([name], [scores(5, 5)]), ([name, name], [better(*["first"] * 3), better(*["second"] * 3)]):
        ran = ask(turns, *names, "--json", *given)
        assert ran.code == 0, ran.err
        asked = str(Cassette(Path(ran.json["path"]), Redactor({})).read(1).request)
        assert ("It is ***REDACTED:DB_PASSWORD***" in asked) == is_given
        assert secret not in asked
        said = (
            f"is shown no PDF file of {name}: secrets that it had may be in them, and are not known here: DB_PASSWORD."
        )
        assert (said in ran.err) != is_given
        assert bool(ran.json["left_out"]) != is_given or len(names) == 2

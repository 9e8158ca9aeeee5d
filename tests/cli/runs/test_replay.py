"""`runbook replay`, where no model is needed: the same blocks again, and what the user is told."""

import json
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from runbook_runner.core.events import ToolCalled
from runbook_runner.trajectory.diff.calls import compare_calls

Write = Callable[[str], Path]


def recorded(runbook: Any, path: Path, *args: str | Path, **options: Any) -> Any:
    ran = runbook("run", path, "--sandbox", "host", "--json", *args, **options)
    assert ran.code == 0, ran.err
    return ran


def test_a_shell_run_replays_to_the_same_results(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(
        runbook, shell_runbook("mkdir -p /app/results/a && echo x | tee /app/results/out.txt /app/results/a/b")
    )
    ran = runbook("replay", first.json["trajectory_id"], "--sandbox", "host")
    assert ran.code == 0, ran.err
    assert "✓ results: 2 files, all the same" in ran.out
    assert "✓ 1 tool call, the same" in ran.out
    assert ran.out.endswith(f"\n✓ The replay is the same as {first.folder.name}.\n")


def test_results_that_differ_are_named_and_shown(runbook: Any, shell_runbook: Write) -> None:
    code = 'cd /app/results; echo same > out.txt; echo "took $(date +%N) ns" > time.txt; : > "only-$(date +%N)"'
    first = recorded(runbook, shell_runbook(code))
    ran = runbook("replay", first.folder, "--sandbox", "host", "--json")
    assert ran.code == 1
    results = ran.json["results"]
    assert (results["identical"], results["same"], results["changed"]) == (False, ["out.txt"], ["time.txt"])
    assert len(results["missing"]) == len(results["extra"]) == 1
    assert "-took " in results["diffs"]["time.txt"]
    assert "✗ results/time.txt differs" in ran.err


def test_results_that_name_the_sandboxs_own_folder_are_the_same(
    runbook: Any, shell_runbook: Write, backend: str
) -> None:
    paths = r"pwd > out.txt; printf 'in \377 /app/assets/data.csv\n' > binary; date +%N > time.txt"
    first = recorded(runbook, shell_runbook(f"cd /app/results; {paths}; ls -d /app/assets >> time.txt"))
    ran = runbook("replay", first.folder, "--sandbox", backend, "--json")
    assert ran.code == 1, ran.err
    assert (ran.json["results"]["same"], ran.json["results"]["changed"]) == (["binary", "out.txt"], ["time.txt"])
    assert "assets" in ran.json["results"]["diffs"]["time.txt"]
    assert "\n-/" not in ran.json["results"]["diffs"]["time.txt"]


def test_quiet_tells_in_one_line_what_differs_and_where_the_replay_is(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("for n in 1 2 3 4 5 out; do date +%N > /app/results/$n.txt; done"))
    ran = runbook("replay", first.folder, "--sandbox", "host", "--quiet")
    (folder,) = set(first.folder.parent.iterdir()) - {first.folder}
    files = "results/1.txt differs; results/2.txt differs; results/3.txt differs; 3 more."
    said = f"The replay is not the same as {first.folder.name}: {files}"
    assert (ran.code, ran.out, ran.err) == (1, "", f"error: {folder}: {said}\n")


def test_a_run_that_failed_replays_to_the_same_failure(runbook: Any, shell_runbook: Write) -> None:
    first = runbook("run", shell_runbook("echo x > /app/results/out.txt; exit 3"), "--sandbox", "host", "--json")
    assert first.code == 4
    again = runbook("replay", first.folder, "--sandbox", "host", "--json")
    assert (again.code, again.json["status"], again.json["results"]["identical"]) == (0, "failed", True)
    quiet = runbook("replay", first.folder, "--sandbox", "host", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_an_agent_that_fails_otherwise_than_recorded_is_a_failure_and_both_are_named(
    runbook: Any, shell_runbook: Write
) -> None:
    (runbook.cwd / "code").write_text("3")
    path = shell_runbook(f"echo x > /app/results/out.txt; exit $(cat {runbook.cwd}/code)")
    first = runbook("run", path, "--sandbox", "host", "--json")
    (runbook.cwd / "code").write_text("4")
    again = runbook("replay", first.folder, "--sandbox", "host")
    assert again.code == 4
    assert "failed (block_failed, exit code 3) then, failed (block_failed, exit code 4) now" in again.out


@pytest.mark.needs("docker")
def test_a_replay_that_cannot_take_place_is_never_the_same_and_ends_with_its_own_code(
    runbook: Any, shell_runbook: Write
) -> None:
    asked = ("--sandbox", "docker", "--image", "localhost:1/there-is-none:1")
    first = runbook("run", shell_runbook("true"), *asked, "--json")
    assert first.code == 3
    again = runbook("replay", first.folder)
    assert again.code == 3
    assert f"Not compared with {first.json['trajectory_id']}." in again.out
    assert "the same" not in again.out
    as_json = runbook("replay", first.folder, "--json")
    quiet = runbook("replay", first.folder, "--quiet")
    assert quiet.code == 3
    assert "localhost:1/there-is-none:1" in quiet.err
    assert (as_json.code, as_json.json["results"], as_json.json["tool_calls"]) == (3, None, None)


def test_an_interrupted_replay_is_the_last_of_several(
    runbook: Any, shell_runbook: Write, eventually: Callable[..., Any]
) -> None:
    code = f"while [ -e {runbook.cwd}/wait ]; do sleep 0.1; done; echo x > /app/results/out.txt"
    first = recorded(runbook, shell_runbook(code))
    (runbook.cwd / "wait").touch()
    replays = runbook.start("replay", first.folder, first.folder, "--sandbox", "host", "--json")
    eventually(lambda: len(list(first.folder.parent.glob("*/agent/stdout.log"))) == 2)
    replays.send_signal(signal.SIGINT)
    out, _ = replays.communicate(timeout=60)
    assert replays.returncode == 130
    assert [json.loads(line)["results"] for line in out.splitlines()] == [None]


def test_several_runs_are_replayed_one_by_one_and_the_worst_counts(runbook: Any, shell_runbook: Write) -> None:
    same = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    other = recorded(runbook, shell_runbook("date +%N > /app/results/out.txt"))
    ran = runbook("replay", same.folder, other.folder, "--sandbox", "host", "--json")
    assert ran.code == 1
    assert [json.loads(line)["results"]["identical"] for line in ran.out.splitlines()] == [True, False]


def test_a_recording_whose_spec_has_no_blocks_takes_them_from_its_mission(runbook: Any, shell_runbook: Write) -> None:
    first = runbook("run", shell_runbook("echo one > /app/results/out.txt"), "--sandbox", "host", "--json")
    spec = json.loads((first.folder / "spec.json").read_text())
    assert [block["code"] for block in spec.pop("blocks")] == ["echo one > /app/results/out.txt\n"]
    (first.folder / "spec.json").write_text(json.dumps(spec))
    again = runbook("replay", first.folder, "--sandbox", "host", "--json")
    assert again.code == 0, again.err
    assert again.json


@pytest.mark.parametrize(("recorded", "repeated", "first"), [
    ("abc", "abc", None), ("abcd", "bacd", None), ("abcd", "cabd", None), ("", "", None),
    ("abc", "abx", 3), ("abc", "ab", 3), ("ab", "abc", 3), ("abc", "bax", 3), ("abc", "cax", 1),
])  # fmt: skip
def test_calls_that_ran_side_by_side_may_be_told_in_any_order(recorded: str, repeated: str, first: int | None) -> None:
    one, two = ([ToolCalled(call_id="1", name=name, input={}) for name in names] for names in (recorded, repeated))
    assert compare_calls(one, two, str).first_difference == first


# --- a runbook with its recording ----------------------------------------------------------------------------------


def test_a_runbook_is_held_against_the_recording_beside_it(runbook: Any, shell_runbook: Write) -> None:
    folder = shell_runbook("wc -l < /app/assets/data.csv > /app/results/out.txt")
    (runbook.cwd / "data.csv").write_text("a,b\nc,d\n")
    first = recorded(runbook, folder, "-f", "data.csv", "--task", "lines")
    shutil.move(first.folder, folder / "recording")
    (runbook.cwd / "data.csv").unlink()
    document = folder / "RUNBOOK.md"
    ran = runbook("replay", document, "--sandbox", "host", "--json")
    assert (ran.code, ran.json["task"]) == (0, "lines"), ran.err
    document.write_text(document.read_text().replace("wc -l", "wc -c"))
    ran = runbook("replay", document, "--sandbox", "host", "--json")
    assert (ran.code, ran.json["results"]["changed"]) == (1, ["out.txt"]), ran.err
    assert "+8" in ran.json["results"]["diffs"]["out.txt"]


def test_a_runbook_without_a_recording_is_passed_over_aloud(runbook: Any, shell_runbook: Write) -> None:
    folder = shell_runbook("true")
    for name in (folder / "RUNBOOK.md", folder):
        ran = runbook("replay", name)
        assert ran.code == 0
        assert f"{name}: no recording/ beside it, nothing to replay" in ran.err


def test_a_verdict_that_was_not_recorded_is_a_difference(runbook: Any, shell_runbook: Write) -> None:
    document = shell_runbook("echo x > /app/results/out.txt") / "RUNBOOK.md"
    first = recorded(runbook, document)
    recording = Path(shutil.copytree(first.folder, document.parent / "recording"))
    row = "| `/app/results/out.txt` | The output |\n"
    assert row in document.read_text()
    document.write_text(document.read_text().replace(row, row + row.replace("out.txt", "more.txt")))
    ran = runbook("replay", document, "--sandbox", "host")
    assert ran.code == 1, ran.err
    assert "✗ The replay is not the same as" in ran.out
    assert "verdict pass then, fail now; failed now, but not then: more.txt." in ran.out
    assert "The replay is the same" not in ran.out

    failed = runbook("run", document, "--sandbox", "host", "--json")
    assert (failed.code, runbook("replay", failed.folder, "--sandbox", "host").code) == (1, 0), "fails as recorded"
    document.write_text(document.read_text().replace("more.txt", "other.txt"))
    shutil.rmtree(recording)
    shutil.copytree(failed.folder, recording)
    ran = runbook("replay", document, "--sandbox", "host", "--json")
    assert ran.code == 1, ran.err
    told = ["failed now, but not then: other.txt", "failed then, but not now: more.txt"]
    assert ran.json["environment"] == told


def test_a_recording_without_a_verdict_is_none_of_a_failure(runbook: Any, shell_runbook: Write) -> None:
    first = runbook("run", shell_runbook("true"), "--sandbox", "host", "--json")
    log = first.folder / "events.jsonl"
    log.write_text(
        "".join(line for line in log.open() if '"run.evaluated"' not in line and '"run.finished"' not in line)
    )
    ran = runbook("replay", first.folder, "--sandbox", "host")
    assert (ran.code, "✓ The replay" in ran.out) == (1, False)
    assert "verdict none then, fail now." in ran.out


def test_a_difference_is_told_of_a_folder_at_the_top_of_the_file_system(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("date +%N > /app/results/out.txt"))
    with TemporaryDirectory(dir="/tmp") as top:
        shutil.copytree(first.folder, top, dirs_exist_ok=True)
        ran = runbook("replay", top, "--sandbox", "host")
        assert (ran.code, f"Next: runbook diff {top} " in ran.out) == (1, True), ran.err


def test_a_check_that_fails_now_is_named(runbook: Any, shell_runbook: Write) -> None:
    document = shell_runbook("echo x > /app/results/out.txt") / "RUNBOOK.md"
    check = "\n## Code Checks\n\n### small — A\n\n```yaml\nuse: file_exists\npath: out.txt\n```\n"
    document.write_text(document.read_text() + check)
    first = runbook("run", document, "--sandbox", "host", "--json")
    shutil.copytree(first.folder, document.parent / "recording")
    document.write_text(document.read_text().replace("path: out.txt", "path: none.txt"))
    ran = runbook("replay", document, "--sandbox", "host")
    assert ran.code == 1
    assert "; failed now, but not then: small." in ran.out


def test_calls_that_differ_but_do_not_decide_are_told_as_such(runbook: Any, shell_runbook: Write) -> None:
    document = shell_runbook("echo x > /app/results/out.txt") / "RUNBOOK.md"
    first = recorded(runbook, document)
    shutil.copytree(first.folder, document.parent / "recording")
    document.write_text(document.read_text().replace("echo x", "printf 'x\\n'"))
    ran = runbook("replay", document, "--sandbox", "host")
    assert (ran.code, "✗" in ran.out) == (0, False), ran.out
    assert "! tool call 1 differs (1 recorded, 1 now)" in ran.out


# --- inputs --------------------------------------------------------------------------------------------------------


def test_inputs_travel_with_the_run(runbook: Any, shell_runbook: Write) -> None:
    (runbook.cwd / "data.csv").write_text("a,b\n")
    first = recorded(runbook, shell_runbook("cp /app/assets/data.csv /app/results/out.txt"), "-f", "data.csv")
    (runbook.cwd / "data.csv").unlink()
    moved = runbook.cwd / "moved"
    shutil.move(first.folder, moved)
    ran = runbook("replay", moved, "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert (ran.folder / "results" / "out.txt").read_text() == "a,b\n"
    assert runbook("replay", ran.folder, "--sandbox", "host").code == 0, "a replay is a run like any other"


def test_an_input_that_is_gone_is_named(runbook: Any, shell_runbook: Write) -> None:
    (runbook.cwd / "data.csv").write_text("a,b\n")
    first = recorded(runbook, shell_runbook("cp /app/assets/data.csv /app/results/out.txt"), "-f", "data.csv")
    shutil.rmtree(first.folder / "inputs")
    assert runbook("replay", first.folder, "--sandbox", "host").code == 0, "it is still where the first run found it"
    (runbook.cwd / "data.csv").write_text("changed\n")
    ran = runbook("replay", first.folder, "--sandbox", "host")
    assert ran.code == 2
    assert "1 input is neither with the recording nor" in ran.err
    assert "data.csv" in ran.err


def test_an_input_that_holds_a_secret_is_not_kept_and_the_user_knows(runbook: Any, shell_runbook: Write) -> None:
    (runbook.cwd / "data.csv").write_text("token,canary-Zz9-12345\n")
    code = "wc -c < /app/assets/data.csv > /app/results/out.txt"
    first = recorded(runbook, shell_runbook(code), "-f", "data.csv", env={"CRM_TOKEN": "canary-Zz9-12345"})
    assert not (first.folder / "inputs").exists()
    assert "The input data.csv is not kept with the run: it holds CRM_TOKEN." in json.dumps(first.events("log"))
    assert runbook("replay", first.folder, "--sandbox", "host").code == 0


# --- what can't be replayed ----------------------------------------------------------------------------------------


def test_an_unknown_trajectory_is_an_input_error(runbook: Any) -> None:
    ran = runbook("replay", "deadbeef")
    assert ran.code == 2
    assert "There is no trajectory 'deadbeef'" in ran.err
    assert "RUNBOOK_HOME" in ran.err
    assert "at least 3 characters" not in ran.err
    assert "The beginning of an id has at least 3 characters." in runbook("replay", "de").err


def test_an_id_that_two_runs_have_asks_for_the_folder(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    assert runbook("replay", first.folder.name[:4], "--sandbox", "host").code == 0
    shutil.rmtree(next(folder for folder in first.folder.parent.iterdir() if folder != first.folder))
    shutil.copytree(first.folder, first.folder.parents[1] / "other" / first.folder.name)
    ran = runbook("replay", first.folder.name)
    assert ran.code == 2
    assert f"2 trajectories have the id {first.folder.name}; give the folder:" in ran.err
    ran = runbook("replay", first.folder.name[:4])
    assert f"2 trajectories have ids that begin with {first.folder.name[:4]}; give the folder:" in ran.err
    assert f"other/{first.folder.name}" in ran.err


def test_a_spec_of_another_version_is_refused_with_its_place(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    spec = json.loads((first.folder / "spec.json").read_text())
    (first.folder / "spec.json").write_text(json.dumps({**spec, "schema_version": 9}))
    ran = runbook("replay", first.folder)
    assert ran.code == 2
    assert "spec.json: schema_version: This is not the spec of a run of this version" in ran.err


@pytest.mark.parametrize(("place", "value"), [
    ("code_checks.0.builtin.use", "nope"),
    ("code_checks.0.builtin.bytes", -1),
    ("code_checks.0.builtin.bytes", 10**400),
    ("code_checks.0.id", ""),
    ("code_checks.0.id", "x" * 201),
    ("code_checks.0.id", "two\nlines"),
    ("code_checks.0.is_repeat", True),
    ("checks.timeout_s", 0),
    ("checks.timeout_s", -5),
    ("checks.timeout_s", 10**30),
])  # fmt: skip
def test_a_spec_with_criteria_that_no_runbook_can_have_is_refused(
    runbook: Any, shell_runbook: Write, place: str, value: Any
) -> None:
    path = shell_runbook("echo x > /app/results/out.txt") / "RUNBOOK.md"
    path.write_text(
        f"{path.read_text()}\n## Code Checks\n\n### a — A\n\n```yaml\nuse: file_exists\npath: out.txt\n```\n"
    )
    first = runbook("run", path, "--sandbox", "host", "--json")
    spec = json.loads((first.folder / "spec.json").read_text())
    *above, key = [int(word) if word.isdigit() else word for word in place.split(".")]
    inner = spec["criteria"]
    for word in above:
        inner = inner[word]
    inner[key] = value
    (first.folder / "spec.json").write_text(json.dumps(spec))
    ran = runbook("replay", first.folder)
    assert ran.code == 2
    assert "This is not the spec of a run of this version" in ran.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--until", "3"], "both --until and --then"),
        (["--then", "live"], "both --until and --then"),
        (["--until", "1", "--then", "script"], "--then script needs a model script"),
        (["--network", "wide"], "Unknown network policy 'wide'"),
        (["--until", "1", "--then", "dead"], "Unknown --then 'dead'"),
        (["--on-miss", "guess"], "Unknown --on-miss 'guess'"),
        (["--until", "1", "--then", "live"], "The agent of this run made no model calls."),
        (["--until", "1", "--then", "live", "--strict"], "--strict has no meaning for a fork"),
        (["--update"], "--update renews the recording/ beside a RUNBOOK.md"),
    ],
)
def test_options_that_do_not_fit_together_are_explained(
    runbook: Any, shell_runbook: Write, args: list[str], said: str
) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    ran = runbook("replay", first.folder, *args)
    assert ran.code == 2
    assert said in ran.err


def test_an_unknown_record_mode_is_refused(runbook: Any, shell_runbook: Write) -> None:
    path = shell_runbook("echo x > /app/results/out.txt")
    for args, env in ((["--record-mode", "some"], {}), ([], {"RUNBOOK_RECORD_MODE": "some"})):
        ran = runbook("run", path, "--sandbox", "host", *args, env=env)
        assert ran.code == 2
        assert "There is no record mode 'some'" in ran.err


@pytest.mark.parametrize("args", [("script", "from"), ("run", "r", "--agent", "claude-code", "--replay")])
def test_a_run_without_a_model_has_no_answers_to_make_use_of(
    runbook: Any, shell_runbook: Write, args: tuple[str, ...]
) -> None:
    path = shell_runbook("echo x > /app/results/out.txt").rename(runbook.cwd / "r")
    first = recorded(runbook, path)
    ran = runbook(*args, first.folder)
    assert ran.code == 2
    assert ran.err == f"error: {first.folder}: The agent of this run made no model calls.\n"


ASKING = """\
argv = ["sh", "{script}"]
dialect = "openai-chat"
[env]
MODEL_URL = "{gateway_url}"
MODEL_TOKEN = "{token}"
"""
SCRIPT = """\
echo done > $RESULTS_DIR/out.txt
for n in $(cat {times}); do
  curl -sS -o /dev/null -d @{body} -H "authorization: Bearer $MODEL_TOKEN" $MODEL_URL/v1/chat/completions
done
"""


@pytest.mark.parametrize(("now", "told"), [("1 2 3", 3), ("1", 1)])
def test_calls_that_are_repeated_or_left_over_are_told_and_strict_fails(
    runbook: Any, shell_runbook: Write, now: str, told: int
) -> None:
    path, agents = shell_runbook("true"), runbook.cwd / ".runbook" / "agents"
    times, body = runbook.cwd / "times", runbook.cwd / "body.json"
    times.write_text("1 2")
    body.write_text('{"model": "m", "messages": [{"role": "user", "content": "work"}]}')
    (runbook.cwd / "model.yaml").write_text("- say: done\n" * 2)
    agents.mkdir(parents=True)
    script = runbook.cwd / "ask.sh"
    script.write_text(SCRIPT.format(times=times, body=body))
    (agents / "asking.toml").write_text(ASKING.replace("{script}", str(script)))
    arguments = ("--agent", "asking", "--trust", "--model-script", "model.yaml")
    first = recorded(runbook, path, *arguments)
    times.write_text(now)
    ran = runbook("replay", first.folder, "--sandbox", "host", "--trust", "--json")
    assert (ran.code, ran.json["environment"]) == (0, [f"2 model calls then, {told} now"])
    assert f"! 2 model calls then, {told} now" in ran.err
    assert runbook("replay", first.folder, "--sandbox", "host", "--trust", "--strict").code == 1


TELLING = """\
{python} -c 'import json, sys
body = {{"model": "m", "messages": [{{"role": "user", "content": sys.argv[1]}}]}}
json.dump(body, open("body.json", "w"))' "$1"
echo done > $RESULTS_DIR/out.txt
curl -sS -o /dev/null -d @body.json -H "authorization: Bearer $MODEL_TOKEN" $MODEL_URL/v1/chat/completions
"""
PROSE = """
|a|b|
|-|-|
|a long cell|c|

Some prose.
"""


@pytest.fixture
def telling(runbook: Any, shell_runbook: Write) -> Path:
    """A runbook whose whole prompt the agent `asking` tells the model."""
    agents, script = runbook.cwd / ".runbook" / "agents", runbook.cwd / "tell.sh"
    agents.mkdir(parents=True)
    (agents / "asking.toml").write_text(ASKING.replace('"{script}"', f'"{script}", "{{prompt}}"'))
    script.write_text(TELLING.format(python=sys.executable))
    (runbook.cwd / "model.yaml").write_text("- say: done\n")
    return shell_runbook("true") / "RUNBOOK.md"


TELLS = ("--agent", "asking", "--trust")
AN_ID = "8c3f9d52-1111-4222-8333-0123456789ab"


@pytest.mark.parametrize(("before", "after"), [
    (AN_ID, AN_ID.replace("8c", "9c")),
    (str(date.today()), str(date.today() - timedelta(days=1))),
    ("/tmp/a.csv", "/tmp/b.csv"),
    ("http://localhost:8000/x", "http://127.0.0.1:9000/x"),
], ids=["uuid", "date", "temp", "address"])  # fmt: skip
def test_an_edit_of_what_is_volatile_in_a_request_makes_the_replay_another_one(
    runbook: Any, telling: Path, before: str, after: str
) -> None:
    a_key = "sk-ant-api03-" + "Ab1" * 31 + "-AA"
    telling.write_text(f"{telling.read_text()}\nUse {before} and never {a_key}.\n")
    first = recorded(runbook, telling, *TELLS, "--model-script", "model.yaml")
    assert a_key not in (first.folder / "spec.json").read_text()
    shutil.copytree(first.folder, telling.parent / "recording")
    assert runbook("replay", telling, "--sandbox", "host", "--trust", "--json").json["divergences"]["major"] == 0

    telling.write_text(telling.read_text().replace(before, after))
    ran = runbook("replay", telling, "--sandbox", "host", "--trust")
    assert (ran.code, ran.out.splitlines()[-1]) == (
        1,
        f"✗ The replay is not the same as {first.folder.name}: requests that are not as recorded: 1 major.",
    )
    assert f"+ Use {after} and never <secret>." in ran.out
    changed = recorded(runbook, telling, *TELLS, "--replay", first.folder)
    assert changed.json["divergences"]["major"] == 1
    assert "Requests that are not as recorded: 1 major, so" in changed.json["notes"][0]


def test_another_date_among_the_parameters_or_the_names_of_inputs_is_told(runbook: Any, telling: Path) -> None:
    today, other = (f"{date.today() - timedelta(days=days)}" for days in (0, 1))
    telling.write_text(
        f"{telling.read_text()}\n## Parameters\n\n| Parameter | Description |\n|---|---|\n| due | When |\n"
    )
    for day in (today, other):
        (runbook.cwd / f"{day}.csv").write_text("a\n")

    def run(due: str, file: str, *args: str | Path) -> Any:
        return recorded(runbook, telling, *TELLS, "-p", f"due={due}", "-f", f"{file}.csv", *args)

    first = run(today, today, "--model-script", "model.yaml")
    for due, file, major in ((today, today, 0), (other, today, 1), (today, other, 1)):
        assert run(due, file, "--replay", first.folder).json["divergences"]["major"] == major


def test_a_run_that_takes_its_answers_from_a_recording_tells_what_differs(runbook: Any, telling: Path) -> None:
    first = recorded(runbook, telling, *TELLS, "--model-script", "model.yaml")
    assert "divergences" not in first.json
    again = recorded(runbook, telling, *TELLS, "--replay", first.folder)
    assert (again.json["divergences"], again.json["notes"]) == ({"minor": 0, "major": 0, "miss": 0}, [])

    telling.write_text(telling.read_text().replace("The output", "Another thing"))
    changed = recorded(runbook, telling, *TELLS, "--replay", first.folder)
    assert changed.json["divergences"] == {"minor": 0, "major": 1, "miss": 0}
    note, provisional = changed.json["notes"]
    assert note.startswith("Requests that are not as recorded: 1 major, so")
    assert "`runbook replay` is the command that fails" in note
    assert changed.json["provisional"] is True
    assert provisional.startswith("The verdict is provisional: some answers")
    assert note in changed.err.splitlines()[-3], "the summary has it"
    shutil.copytree(first.folder, telling.parent / "recording")
    replayed = runbook("replay", telling, "--sandbox", "host", "--trust", "--json")
    assert (replayed.code, replayed.json["divergences"]["major"], replayed.json["notes"]) == (1, 1, [provisional])


def test_a_change_that_only_formats_replays_as_the_same_and_update_renews_after_any_other(
    runbook: Any, telling: Path
) -> None:
    telling.write_text(telling.read_text() + PROSE)
    first = recorded(runbook, telling, *TELLS, "--model-script", "model.yaml")
    recording = Path(shutil.copytree(first.folder, telling.parent / "recording"))

    def replay(*args: str) -> Any:
        return runbook("replay", telling, "--sandbox", "host", "--trust", *args)

    assert runbook("fmt", telling).code == 0
    assert "| a long cell | c   |" in telling.read_text()
    ran = replay()
    assert (ran.code, ran.out.splitlines()[-1]) == (0, f"✓ The replay is the same as {first.folder.name}."), ran.out
    assert "not as recorded" not in ran.out
    assert replay("--update", "--json").json["renewed"] is False

    telling.write_text(telling.read_text().replace("Some", "Other"))
    ran = replay()
    differs = "requests that are not as recorded: 1 major"
    assert (ran.code, ran.out.splitlines()[-1]) == (
        1,
        f"✗ The replay is not the same as {first.folder.name}: {differs}.",
    )
    ran = replay("--update")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, f"✓ The replay is the new {recording}.")
    assert replay("--strict").code == 0

    telling.write_text(telling.read_text().replace("Other", "More"))
    of_folder = ("replay", telling.parent, "--sandbox", "host", "--trust")
    assert runbook(*of_folder).code == 1
    assert runbook(*of_folder, "--update").out.splitlines()[-1] == f"✓ The replay is the new {recording}."
    assert sorted(path.name for path in telling.parent.iterdir()) == ["RUNBOOK.md", "recording"]

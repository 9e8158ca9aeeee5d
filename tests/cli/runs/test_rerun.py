"""`runbook rerun`: the spec of a recorded run, live; what changes is shown, and what is missing is named first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[[str], Path]


def recorded(runbook: Any, path: Path, *args: str | Path, **options: Any) -> Any:
    ran = runbook("run", path, "--sandbox", "host", "--json", *args, **options)
    assert ran.code == 0, ran.err
    return ran


def test_a_run_is_run_again_as_it_was_recorded(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("date +%N > /app/results/out.txt"))
    ran = runbook("rerun", "@last", "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["rerun_of"], ran.json["changes"]) == (first.json["trajectory_id"], [])
    assert "as it was recorded" in ran.err
    before, now = ((one.folder / "results/out.txt").read_text() for one in (first, ran))
    assert before != now
    assert first.trajectory["init_params"] == ran.trajectory["init_params"]
    last = runbook("rerun", first.folder, "--sandbox", "host").out.splitlines()[-1]
    assert f"Next: runbook runs show {last[-8:]}" in last
    assert last.endswith(f"runbook diff {first.json['trajectory_id']} {last[-8:]}")


def test_each_override_is_shown_with_what_was_recorded(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"), "--timeout", "60")
    changed = ("--timeout", "50", "--memory", "2G")
    ran = runbook("rerun", first.folder, "--sandbox", "host", *changed, "--dry-run")
    assert ran.code == 0, ran.err
    assert "limit timeout_s: recorded 60.0, now 50.0" in ran.err
    assert f"limit memory_bytes: recorded {8 << 30}, now {2 << 30}" in ran.err
    assert "this would run" in ran.out


def test_another_agent_gets_its_own_model(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    options = ("--agent", "codex", "--sandbox", "host", "--dry-run", "--json")
    ran = runbook("rerun", first.folder, *options, env={"OPENAI_API_KEY": "sk-0123456789abcdef"})
    assert "agent: recorded shell, now codex" in ran.err
    assert ran.json["spec"]["agent"] == "codex"
    assert ran.json["spec"]["model"]
    assert ran.json["spec"]["blocks"] == []


def test_all_missing_inputs_and_secrets_are_named_before_anything_starts(
    runbook: Any, shell_runbook: Write, tmp_path: Path
) -> None:
    folder = shell_runbook('cp /app/assets/data.csv /app/results/out.txt; test -n "$DEMO_PASS"')
    text = (folder / "RUNBOOK.md").read_text()
    text = text.replace("agent: shell", "agent: shell\nsecrets:\n  demo: {env: DEMO_PASS}")
    (folder / "RUNBOOK.md").write_text(text)
    (tmp_path / "data.csv").write_text("a,b\n")
    secret = {"DEMO_PASS": "correct-horse"}
    first = recorded(runbook, folder, "-f", tmp_path / "data.csv", "--secret", "DEMO_PASS", env=secret)
    kept = next((first.folder / "inputs").iterdir())
    kept.rename(tmp_path / "moved")
    (tmp_path / "data.csv").unlink()
    ran = runbook("rerun", first.folder, "--sandbox", "host")
    assert ran.code == 2
    assert "2 things are missing" in ran.err
    assert "data.csv" in ran.err
    assert "DEMO_PASS" in ran.err
    assert len(list(first.folder.parent.iterdir())) == 1
    (tmp_path / "moved").rename(kept)
    ran = runbook("rerun", first.folder, "--sandbox", "host", "--secret", "DEMO_PASS", "--json", env=secret)
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "a,b\n"


def test_values_can_not_be_given_anew_where_the_recorded_text_has_them(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    ran = runbook("rerun", first.folder, "-p", "region=north")
    assert ran.code == 2
    assert "runbook run RUNBOOK.md -p NAME=VALUE" in ran.err


def test_a_recorded_spec_gets_no_secret_that_was_not_named(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook('echo "${STOLEN:-nothing}" > /app/results/out.txt'))
    spec = json.loads((first.folder / "spec.json").read_text())
    spec["secrets"] = [{"name": "STOLEN", "env": "STOLEN", "required": False}]
    (first.folder / "spec.json").write_text(json.dumps(spec))
    ran = runbook("rerun", first.folder, "--sandbox", "host", "--json", env={"STOLEN": "my-own-password"})
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "nothing\n"


def test_what_means_nothing_for_the_agent_is_refused_as_run_does(runbook: Any, shell_runbook: Write) -> None:
    first = recorded(runbook, shell_runbook("echo x > /app/results/out.txt"))
    for option in ("--model", "--max-calls"):
        ran = runbook("rerun", first.folder, option, "7")
        assert (ran.code, f"{option} has no meaning with the agent shell" in ran.err) == (2, True), ran.err

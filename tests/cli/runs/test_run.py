"""`runbook run` on the host: what a user types and sees. No Docker, no key, no network."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[3] / "README.md"
HELLO = Path(__file__).parents[3] / "examples" / "hello"
CONTRACT_KEYS = {"status", "trajectory_id", "collection", "task", "primary_output", "results_files", "trajectory_url"}
OWN_KEYS = {
    "path",
    "verdict",
    "success",
    "missing_outputs",
    "required_outputs",
    "reasons",
    "gates",
    "judge",
    "provisional",
    "notes",
    "error",
    "usage",
    "duration_seconds",
    "sandbox",
    "image_digest",
}


def test_hello_makes_its_two_files_and_a_trajectory(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json) == CONTRACT_KEYS | OWN_KEYS
    assert [Path(path).name for path in ran.json["results_files"]] == ["greeting.md", "machine.json"]
    assert Path(ran.json["primary_output"]).read_text() == "# Hello, world!\n"
    assert json.loads((ran.folder / "results" / "machine.json").read_text())["system"] == os.uname().sysname
    assert (ran.json["status"], ran.json["verdict"], ran.json["success"]) == ("completed", "pass", True)
    assert ran.folder.parent == runbook.cwd / ".runbook" / "trajectories" / "local" / "hello"


def test_output_on_a_pipe_is_plain_lines(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "# Hello, world!" in ran.out
    assert "PASS" in ran.out
    assert ran.out.index("greeting.md  ") < ran.out.index("machine.json  "), "the primary output comes first"
    assert "isolates nothing" in ran.out


def test_document_beyond_what_is_read_runs_with_a_warning_that_names_the_line(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    document = shell_runbook("echo > /app/results/out.txt") / "RUNBOOK.md"
    with document.open("a") as file:
        file.write("\n## Data\n\n" + "### Row\n" * 10_001)
    warning = f"{document}:10016: The document has more pieces than any runbook"
    assert runbook("run", document, "--sandbox", "host", "--dry-run").err.count(warning) == 1
    ran = runbook("run", document, "--sandbox", "host", "--json")
    assert (ran.code, ran.err.count(warning)) == (0, 2)  # as it happens, and in the summary
    assert [event["message"].startswith(warning) for event in ran.events("log")].count(True) == 1


def test_output_outside_of_the_results_is_warned_of_and_fails(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    document = shell_runbook("mkdir -p /app/output; echo x > /app/output/out.txt") / "RUNBOOK.md"
    document.write_text(document.read_text().replace("/app/results/out.txt", "/app/output/out.txt", 1))
    ran = runbook("run", document, "--sandbox", "host", "--json")
    assert ran.code == 1
    assert ran.json["reasons"] == ["/app/output/out.txt is not in /app/results, so it can't be delivered."]
    assert f"{document}:12: `/app/output/out.txt` is outside the results directory." in ran.err
    document.write_text(document.read_text().replace("`/app/output/out.txt`", "`{{where}}/out.txt`", 1))
    dry = runbook("run", document, "--sandbox", "host", "--dry-run", "-p", "where=/app/output")
    moved = "warning: A value puts the required output /app/output/out.txt outside of /app/results: it can't be"
    assert [line[: len(moved)] for line in dry.err.splitlines()].count(moved) == 1


def test_json_is_one_object_on_stdout_and_the_rest_on_stderr(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--json")
    assert len(ran.out.strip().splitlines()) == 1
    assert "PASS" in ran.err


def test_quiet_says_nothing(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(("code", "exit_code", "said"), [
    ("true", 1, "The verdict is fail: out.txt is missing."),
    (": > /app/results/out.txt", 1, "The verdict is fail: out.txt is empty."),
    ("exit 3", 4, "Step 1: Work: the bash block at line 16 ended with exit code 3."),
])  # fmt: skip
def test_quiet_tells_in_one_line_why_a_run_did_not_pass_and_where_it_is(
    runbook: Any, shell_runbook: Callable[[str], Path], code: str, exit_code: int, said: str
) -> None:
    ran = runbook("run", shell_runbook(code), "--sandbox", "host", "--quiet")
    (folder,) = (runbook.cwd / ".runbook" / "trajectories" / "local" / "test").iterdir()
    assert (ran.code, ran.out, ran.err) == (exit_code, "", f"error: {folder}: {said}\n")


REPORT = """{"version": 2, "checks": [{"kind": "step", "id": "1", "status": "pass"}]}"""
CHANGES = "\n## Code Checks\n\n### late — Writes a result\n\n```bash\ntouch /app/results/late.txt\n```\n"


@pytest.mark.parametrize("command", ["run", "replay"])
def test_quiet_tells_what_is_to_be_known_of_a_run_that_passed(
    runbook: Any, shell_runbook: Callable[[str], Path], command: str
) -> None:
    code = f"cd /app/results; echo x > out.txt; echo '{REPORT}' > validation_report.json"
    path = shell_runbook(code) / "RUNBOOK.md"
    path.write_text(path.read_text() + CHANGES)
    first = runbook("run", path, "--sandbox", "host", "--json")
    (note,) = first.json["notes"]
    ran = runbook(command, path if command == "run" else first.folder, "--sandbox", "host", "--quiet")
    (folder,) = {*first.folder.parent.iterdir()} - {first.folder}
    assert (ran.code, ran.out, ran.err) == (0, "", f"warning: {folder}: {note}\n")


def test_the_summary_tells_why_a_run_did_not_pass(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    report = """echo '{"overall_passed": false}' > /app/results/validation_report.json"""
    ran = runbook("run", shell_runbook(f": > /app/results/out.txt; {report}"), "--sandbox", "host", "--json")
    assert ran.code == 1
    said = ["out.txt is empty.", "validation_report.json says overall_passed: false."]
    assert [line for line in ran.err.splitlines() if line.strip() in said] == [f"  {line}" for line in said]
    assert ran.json["reasons"] == said
    assert [note["message"] for note in ran.trajectory["events"] if note["level"] == "warning"][-2:] == said
    assert "\nFAIL · " in ran.err
    assert "\n✗ evaluate " in ran.err


INSTALLS = "for i in $(seq 40); do echo installing $i of 40; done; echo E: no package y; echo; exit 1"
NO_PACKAGE = "Step 1: Work: the bash block at line 16 ended with exit code 1: E: no package y"


def test_the_end_of_what_failed_is_shown_and_its_last_line_is_the_reason(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    ran = runbook("run", shell_runbook(INSTALLS), "--sandbox", "host", "--json")
    assert "\n  … 29 lines before, see agent/stdout.log\n  installing 30 of 40\n" in ran.err
    assert "\n  E: no package y\n" in ran.err
    assert (ran.json["error"], ran.trajectory["error"]) == (NO_PACKAGE, NO_PACKAGE)
    assert ran.json["reasons"] == [f"The agent did not end well: {NO_PACKAGE}", "out.txt is missing."]
    assert ran.err.count(f"\n  {NO_PACKAGE}\n") == 1
    assert "installing 1 of 40" in (ran.folder / "agent" / "stdout.log").read_text()
    quiet = runbook("run", shell_runbook(INSTALLS), "--sandbox", "host", "--quiet")
    assert quiet.err.endswith(f": {NO_PACKAGE}\n")


def test_the_reason_is_one_printable_line_without_secrets(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    """A secret that the end of a long line would cut in two is no part of it, either."""
    path = shell_runbook("printf '\\033[31m%0190d %s, and\\tmore\\r\\n' 0 $TOKEN; exit 1")
    document = (path / "RUNBOOK.md").read_text()
    (path / "RUNBOOK.md").write_text(document.replace("agent: shell", "agent: shell\nsecrets: {TOKEN: {env: TOKEN}}"))
    ran = runbook("run", path, "--sandbox", "host", "--secret", "TOKEN", "--json", env={"TOKEN": "Gx7kQ2mVb9"})
    assert ran.json["error"] == f"{NO_PACKAGE[:-17].replace('16', '17')}: {'0' * 190} ***REDACT…"
    assert ran.json["reasons"][0].endswith(ran.json["error"])


def test_an_agent_that_failed_is_no_verdict(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    failed = runbook("run", shell_runbook("exit 3"), "--sandbox", "host")
    assert "● 1 of 1 block ran. Step 1: Work: the bash block at line 16 ended with exit code 3." in failed.out
    assert failed.out.count("  out.txt is missing.") == 1
    assert "\n✗ agent " in failed.out
    assert "\nERROR · " in failed.out


ABSENT = {"DOCKER_HOST": "unix:///absent"}


@pytest.mark.parametrize(("code", "options", "env", "word", "exit_code"), [
    ("echo x > /app/results/out.txt", ("--sandbox", "host"), {}, "PASS", 0),
    ("true", ("--sandbox", "host"), {}, "FAIL", 1),
    ("false", ("--sandbox", "host"), {}, "ERROR", 4),
    pytest.param("true", ("--image", "localhost:1/none:1"), {}, "ERROR", 3, marks=pytest.mark.needs("docker")),
    ("true", ("--sandbox", "host", "-p", "odd=1"), {}, "error:", 2),
    ("true", ("--sandbox", "docker"), ABSENT, "error:", 3),
    ("kill -INT $(ps -o ppid= $(ps -o ppid= $PPID))", ("--sandbox", "host"), {}, "CANCELLED", 130),
])  # fmt: skip
def test_words_and_exit_codes_are_those_of_the_readme(
    runbook: Any, shell_runbook: Callable[[str], Path], code: str, options: Any, env: Any, word: str, exit_code: int
) -> None:
    ran = runbook("run", shell_runbook(code), *options, env=env)
    assert ran.code == exit_code
    assert [line for line in (ran.out + ran.err).splitlines() if line.startswith(word)]
    rows = re.findall(r"^\| (`[^|]+) \| (\d+) \|", README.read_text(), re.MULTILINE)
    assert (word, str(exit_code)) in [(each, number) for words, number in rows for each in re.findall("`(.*?)`", words)]


def test_the_first_line_names_the_agent_and_the_model(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    ran = runbook("run", shell_runbook("true"), "--sandbox", "host")
    assert re.match(r"local/test \w{8} · shell\n", ran.out)


def test_a_file_a_folder_and_stdin_are_the_same_runbook(runbook: Any) -> None:
    text = (HELLO / "RUNBOOK.md").read_text()
    digests = set()
    for path, stdin in ((HELLO, ""), (HELLO / "RUNBOOK.md", ""), ("-", text)):
        ran = runbook("run", path, "--sandbox", "host", "--json", stdin=stdin)
        assert ran.code == 0, ran.err
        digests.add(ran.trajectory["attributes"]["params"]["spec_digest"])
    assert len(digests) == 1


def test_a_parameter_on_the_command_line_beats_the_file(runbook: Any) -> None:
    (runbook.cwd / "p.yaml").write_text("name: Grace\n")
    from_file = runbook("run", HELLO, "--sandbox", "host", "--json", "--params", "p.yaml")
    assert Path(from_file.json["primary_output"]).read_text() == "# Hello, Grace!\n"
    both = runbook("run", HELLO, "--sandbox", "host", "--json", "--params", "p.yaml", "-p", "name=Ada")
    assert Path(both.json["primary_output"]).read_text() == "# Hello, Ada!\n"
    assert both.trajectory["init_params"]["vars"] == {"name": "Ada"}


def test_the_names_asked_for_are_recorded(runbook: Any) -> None:
    args = ("--collection", "acme", "--task", "greet", "--label", "quality=high", "--label", "run=1")
    ran = runbook("run", HELLO, "--sandbox", "host", "--json", *args)
    assert (ran.json["collection"], ran.json["task"]) == ("acme", "greet")
    assert ran.trajectory["name"] == "acme/greet"
    assert {label["key"]: label["value"] for label in ran.trajectory["labels"]} == {"quality": "high", "run": "1"}


def test_out_gets_a_copy_of_the_results(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--out", "made/here")
    assert ran.code == 0
    assert (runbook.cwd / "made" / "here" / "greeting.md").read_text() == "# Hello, world!\n"


def test_runbook_home_moves_everything_we_write(runbook: Any, tmp_path: Path) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--json", env={"RUNBOOK_HOME": str(tmp_path / "elsewhere")})
    assert ran.folder.is_relative_to(tmp_path / "elsewhere")
    assert not (runbook.cwd / ".runbook").exists()
    assert (tmp_path / "elsewhere" / "trajectories" / ".gitignore").read_text() == "*\n"


def test_runs_are_kept_in_the_repository_or_a_nearer_runbook_folder_and_found_from_below(
    runbook: Any, tmp_path: Path
) -> None:
    (tmp_path / ".git").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for kept in (tmp_path, tmp_path / "a"):
        (kept / ".runbook").mkdir(exist_ok=True)
        runbook.cwd = deep
        first, second = (runbook("run", HELLO, "--sandbox", "host", "--json") for _ in range(2))
        assert first.folder.parents[3] == second.folder.parents[3] == kept / ".runbook"
        assert f"Runs are kept in {kept}/.runbook/trajectories." in first.err
        assert "Runs are kept in" not in second.err
        runbook.cwd = deep.parent
        assert runbook("replay", first.folder.name, "--json").code == 0
        assert sorted(path.name for path in (kept / ".runbook").iterdir()) == [
            "trajectories"
        ]  # nothing else is ignored


def test_inputs_are_under_assets_by_their_name(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    (runbook.cwd / "data").mkdir()
    (runbook.cwd / "data" / "a b.txt").write_text("content of a")
    path = shell_runbook("cat '/app/assets/a b.txt' > /app/results/out.txt")
    ran = runbook("run", path, "--sandbox", "host", "--json", "-f", "data/a b.txt")
    assert Path(ran.json["primary_output"]).read_text() == "content of a"
    assert ran.trajectory["init_params"]["file_paths"] == ["a b.txt"]


def test_a_fixture_gives_parameters_and_files(runbook: Any) -> None:
    example = runbook.cwd / "examples" / "one"
    example.mkdir(parents=True)
    (example / "in.txt").write_text("x")
    fixture = {"title": "One", "params": {"vars": {"name": "Fixture"}}, "files": [{"path": "in.txt", "role": "input"}]}
    (example / "input.json").write_text(json.dumps(fixture))
    ran = runbook("run", HELLO, "--sandbox", "host", "--json", "--input", example / "input.json")
    assert ran.code == 0, ran.err
    assert Path(ran.json["primary_output"]).read_text() == "# Hello, Fixture!\n"
    assert ran.trajectory["init_params"]["file_paths"] == ["in.txt"]


def test_the_saved_input_of_the_example(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--json", "--input", HELLO / "examples" / "ada" / "input.json")
    assert ran.code == 0, ran.err
    assert Path(ran.json["primary_output"]).read_text() == "# Hello, Ada!\n"


def test_what_the_files_beside_a_runbook_have_wrong_is_a_warning(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    path = shell_runbook('echo "$GOOD_TOKEN" > /app/results/out.txt')
    (path / ".env").write_text("GOOD_TOKEN=abc\nit's not set\n")
    (path / "input.json").write_text('{"demo": true}')
    ran = runbook("run", path, "--sandbox", "host", "--json", "--input", path / "input.json")
    assert ran.code == 0, ran.err
    assert any(f"{path / '.env'}:2: This line sets no variable." in warning for warning in ran.warnings)
    assert any("The key 'demo' is unknown and ignored." in warning for warning in ran.warnings)


def test_the_log_of_the_shell_agent_is_what_its_blocks_printed(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    path = shell_runbook("echo 1; echo x > /app/results/out.txt; printf 'no line end'")
    ran = runbook("run", path, "--sandbox", "host", "--json")
    log = (ran.folder / "agent" / "stdout.log").read_text()
    assert log == "--- block 1\n1\nno line end\n--- block 1 ended with exit code 0\n"


def test_keep_leaves_the_work_folder(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--json", "--keep")
    folder = Path(ran.events("sandbox.started")[0]["sandbox_id"])
    assert (folder / "results" / "greeting.md").is_file()
    (kept,) = [event["message"] for event in ran.events("log") if event["message"].startswith("Kept the sandbox")]
    assert f"`runbook attach {ran.json['trajectory_id']}`" in kept
    assert "`runbook clean --kept`" in kept
    again = runbook("run", HELLO, "--sandbox", "host", "--json")
    assert again.code == 0
    assert folder.is_dir(), "a later start does not sweep what was kept"
    subprocess.run(["rm", "-r", folder], check=True)


def test_nothing_stays_in_the_temporary_folder(runbook: Any, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ran = runbook("run", HELLO, "--sandbox", "host", env={"TMPDIR": str(temporary)})
    assert ran.code == 0
    assert list(temporary.iterdir()) == []
    assert runbook.left() == []


def test_dry_run_shows_the_spec_and_starts_nothing(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", "--dry-run", "--json", "-p", "name=Ada", "--timeout", "7")
    assert ran.code == 0
    assert ran.json["spec"]["parameters"] == {"name": "Ada"}
    assert ran.json["spec"]["limits"]["timeout_s"] == 7
    assert "run shell for at most 7 s" in ran.json["plan"]
    assert not (runbook.cwd / ".runbook").exists()


def test_dry_run_tells_people_what_would_run_where_and_with_what(runbook: Any, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n")
    asked = ("-p", "name=Ada", "-f", "data.csv", "--secret", "CRM_TOKEN", "--pids", "70", "--memory", "512M")
    ran = runbook("run", HELLO, "--sandbox", "host", "--dry-run", *asked, env={"CRM_TOKEN": "canary-Zz9-12345"})
    assert (ran.code, ran.err) == (0, "")
    assert "canary" not in ran.out
    told = [" ".join(line.split()) for line in ran.out.splitlines()]
    for line in ("Agent shell", "Network full", "Parameters name = Ada", "Inputs data.csv, 4 bytes"):
        assert line in told
    for line in ("Secrets CRM_TOKEN", "Outputs greeting.md (primary)", "machine.json", "Recorded in local/hello"):
        assert line in told
    said = " ".join(told)
    assert "Sandbox host: run /" in said
    assert "1200 s (600 s without output)" in said
    assert "512M memory" in said
    assert said.count("70 processes") == 1


WANTING = """\
---
version: "1.0.0"
evaluation: programmatic
agent: claude-code
secrets:
  CRM_TOKEN: {description: reads the CRM}
---
# Wanting

## Parameters

| Parameter | Template Variable | Default |
|---|---|---|
| Shop | `{{shop}}` | *(required)* |

## Step 1: Ask {{shop}}
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_dry_run_shows_the_plan_and_all_that_is_missing_at_once(runbook: Any, as_json: bool) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(WANTING)
    asked = ("--sandbox", "docker", "-f", "nowhere.csv", "-f", "gone.csv", *(["--json"] if as_json else []))
    limits = ("--cpus", "1", "--max-cost", "0.5", "--max-calls", "1")
    ran = runbook("run", ".", *asked, *limits, "--dry-run", env={"DOCKER_HOST": "unix:///absent"})
    assert ran.code == 2
    missing = [
        "RUNBOOK.md: 1 required parameter has no value:\n  shop (line 14): Shop",
        "nowhere.csv: The input does not exist.",
        "gone.csv: The input does not exist.",
        "1 required secret is not set:\n  CRM_TOKEN: reads the CRM",
        "There is no key for the model provider: ANTHROPIC_API_KEY is not set.",
        "No Docker engine answers at unix:///absent",
    ]
    assert ran.err.startswith("error: 6 things are missing:\n- RUNBOOK.md: ")
    for said in missing:
        assert "- " + said.replace("\n", "\n  ") in ran.err
    assert "[Errno" not in ran.err
    if as_json:
        assert ran.json["spec"]["agent"] == "claude-code"
        assert [line for line in ran.json["plan"] if "container" in line] == []
        assert [told.startswith(said) for told, said in zip(ran.json["missing"], missing, strict=True)] == [True] * 6
    else:
        said = " ".join(ran.out.split())
        assert ", at most 1 core, " in said
        assert ", $0.50, 1 model call " in said
        assert "Agent claude-code Model claude-" in said
        assert "CRM_TOKEN: not set" in said
        assert "Sandbox none" in said
    assert not (runbook.cwd / ".runbook").exists()


def test_dry_run_without_the_providers_key_shows_the_plan_and_then_names_the_key(
    runbook: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fake = tmp_path_factory.mktemp("programs") / "claude"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    env = {"PATH": f"{fake.parent}:{runbook.env['PATH']}"}
    ran = runbook("run", HELLO, "--agent", "claude-code", "--sandbox", "host", "--dry-run", env=env)
    assert ran.code == 3
    assert "answered by anthropic" in ran.out
    assert f"host: run {fake} in a temporary folder" in ran.out
    assert "ANTHROPIC_API_KEY is not set" in ran.err
    assert not (runbook.cwd / ".runbook").exists()
    asked = ("run", HELLO, "--agent", "claude-code", "--provider", "anthropic", "--sandbox", "host", "--dry-run")
    assert (
        "OPENAI_API_KEY is set: --agent codex takes it." in runbook(*asked, env={**env, "OPENAI_API_KEY": "sk-x"}).err
    )


def test_the_host_sandbox_hands_on_no_variable_of_ours(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    path = shell_runbook("env > /app/results/out.txt")
    ran = runbook(
        "run", path, "--sandbox", "host", "--json", env={"MY_PLAIN": "plain-value", "OPENAI_API_KEY": "sk-x1y2"}
    )
    seen = Path(ran.json["primary_output"]).read_text()
    assert "MY_PLAIN" not in seen
    assert "OPENAI_API_KEY" not in seen
    assert "RESULTS_DIR=" in seen


def test_a_secret_reaches_the_agent_and_no_file(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    path = shell_runbook('echo "it is $MY_SECRET, ${#MY_SECRET} long" > /app/results/out.txt; cat /app/results/out.txt')
    (runbook.cwd / "keys").write_text("MY_SECRET=hunter2-from-file\n")
    ran = runbook("run", path, "--sandbox", "host", "--json", "--secret", "MY_SECRET", "--env-file", "keys")
    assert Path(ran.json["primary_output"]).read_text() == "it is ***REDACTED:MY_SECRET***, 17 long\n"
    found = [p for p in ran.folder.rglob("*") if p.is_file() and b"hunter2-from-file" in p.read_bytes()]
    assert found == []
    assert "hunter2-from-file" not in ran.out + ran.err
    assert {event["where"] for event in ran.events("redacted")} == {"results/out.txt"}


def test_an_env_file_beside_the_runbook_is_read(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    path = shell_runbook("echo ${#MY_SECRET} > /app/results/out.txt")
    (path / ".env").write_text("MY_SECRET=123456\n")
    ran = runbook("run", path, "--sandbox", "host", "--json", "--secret", "MY_SECRET")
    assert Path(ran.json["primary_output"]).read_text() == "6\n"


def test_a_required_parameter_is_asked_for_on_a_terminal(runbook: Any, tmp_path: Path) -> None:
    text = (HELLO / "RUNBOOK.md").read_text().replace("| `world` |", "| *(required)* |")
    (tmp_path / "RUNBOOK.md").write_text(text)
    leader, follower = pty.openpty()
    from_terminal = subprocess.Popen(
        [*_command(), "run", tmp_path, "--sandbox", "host", "--out", "out"],
        cwd=runbook.cwd,
        env=runbook.env,
        stdin=follower,
        stdout=subprocess.DEVNULL,
        stderr=follower,
    )
    os.write(leader, b"Terminal\n")
    assert from_terminal.wait(60) == 0
    assert (runbook.cwd / "out" / "greeting.md").read_text() == "# Hello, Terminal!\n"


def test_a_question_in_a_runbooks_words_is_one_short_line(runbook: Any, tmp_path: Path) -> None:
    said = "A token\\n\\n[sudo] password for you" + " " * 5_000 + "x" * 5_000
    text = (HELLO / "RUNBOOK.md").read_text()
    text = text.replace("---\n", f'---\nsecrets: {{CRM_TOKEN: {{required: true, description: "{said}"}}}}\n', 1)
    (tmp_path / "RUNBOOK.md").write_text(text)
    leader, follower = pty.openpty()
    asking = subprocess.Popen(
        [*_command(), "run", tmp_path, "--sandbox", "host"],
        cwd=runbook.cwd,
        env=runbook.env,
        stdin=follower,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        start_new_session=True,
    )
    seen = b""
    while b": " not in seen.partition(b"CRM_TOKEN")[2]:
        seen += os.read(leader, 1 << 16)
    asking.kill()
    asking.wait()
    lines = [line for line in seen.decode().splitlines() if "sudo" in line]
    assert (len(lines), len(lines[0]) < 300) == (1, True)
    assert lines[0].startswith("CRM_TOKEN (A token [sudo] password for you x")


def test_what_an_agent_prints_cannot_steer_the_terminal(runbook: Any, shell_runbook: Callable[[str], Path]) -> None:
    ran = runbook(
        "run", shell_runbook(r"printf 'a\033[2Jb\a c\rd\033]0;x' | tee /app/results/out.txt"), "--sandbox", "host"
    )
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert "  ab\ufffd c\n  d\ufffd]0;x\n" in ran.out


def _command() -> list[str]:
    import sys

    return [str(Path(sys.executable).with_name("runbook"))]


@pytest.mark.parametrize(("code", "status", "exit_code", "verdict"), [
    ("echo x > /app/results/out.txt", "completed", 0, "pass"),
    ("echo x", "completed", 1, "fail"),
    (": > /app/results/out.txt", "completed", 1, "fail"),
    ("echo x > /app/results/out.txt; exit 3", "failed", 4, "fail"),
])  # fmt: skip
def test_exit_codes_tell_passed_from_missing_from_failed(
    runbook: Any, shell_runbook: Callable[[str], Path], code: str, status: str, exit_code: int, verdict: str
) -> None:
    ran = runbook("run", shell_runbook(code), "--sandbox", "host", "--json")
    assert (ran.code, ran.json["status"], ran.json["verdict"]) == (exit_code, status, verdict)
    assert ran.json["missing_outputs"] == ([] if exit_code in (0, 4) else ["out.txt"])
    assert ran.json["success"] is (exit_code == 0)


def test_a_failing_block_stops_the_run_and_is_named(runbook: Any, tmp_path: Path) -> None:
    steps = "## Step 2: Breaks\n\n```bash\nfalse\necho not reached\n```\n\n## Step 3: Later\n\n```sh\necho later\n```\n"
    (tmp_path / "RUNBOOK.md").write_text((HELLO / "RUNBOOK.md").read_text().split("## Step 2")[0] + steps)
    ran = runbook("run", tmp_path, "--sandbox", "host", "--json")
    assert ran.code == 4
    assert "Step 2: Breaks" in ran.json["error"]
    assert "exit code 1" in ran.json["error"]
    assert len(ran.events("tool.called")) == 2
    assert "not reached" not in json.dumps(ran.events("tool.returned"))
    assert (ran.folder / "results" / "greeting.md").is_file(), "what was made before is kept"


def test_python_blocks_run_too(runbook: Any, tmp_path: Path) -> None:
    block = (
        "## Step 1: Work\n\n```python\nfrom pathlib import Path\nPath('/app/results/out.txt').write_text('py')\n```\n"
    )
    (tmp_path / "RUNBOOK.md").write_text("---\nagent: shell\n---\n# T\n\n" + block)
    ran = runbook("run", tmp_path, "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert Path(ran.json["primary_output"]).read_text() == "py"


@pytest.mark.needs("bubblewrap")
def test_auto_says_why_it_does_not_take_the_first(runbook: Any) -> None:
    ran = runbook("run", HELLO, env={"DOCKER_HOST": "unix:///absent"})
    assert ran.code == 0
    assert "The run takes bubblewrap, not docker: No Docker engine answers at unix:///absent" in ran.out


def test_an_image_that_the_runbook_names_and_the_sandbox_does_not_use_is_told(runbook: Any) -> None:
    text = (HELLO / "RUNBOOK.md").read_text().replace("agent: shell\n", "agent: shell\nimage: debian:12\n")
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host")
    assert ran.code == 0
    assert "debian:12 is not used: host runs with the programs of this machine." in ran.out


def test_a_value_of_a_parameter_is_data_in_the_blocks_of_the_shell_agent(runbook: Any, tmp_path: Path) -> None:
    """It closes no block and opens none, runs nothing, and needs no quotes that its author has to know of."""
    (tmp_path / "RUNBOOK.md").write_text(
        "---\nversion: 1.0.0\nagent: shell\n---\n# T\n\n## Parameters\n\n| Parameter | Default | Description |\n"
        "|---|---|---|\n| `a` | `d` | Any |\n\n{{a}}\n\n## Step 1: Go\n\n```bash\n"
        "cat > /app/results/a.txt <<'EOF'\n{{a}}\nEOF\nprintf %s {{a}} > /app/results/b.txt\n```\n"
    )
    value = "O'Brien $(exit 3)\n```\n\n## Step 0: Other\n\n```bash\nexit 4\n```\n"
    ran = runbook("run", tmp_path, "-p", f"a={value}", "--sandbox", "host", "--json")
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/a.txt").read_text() == f"{value}\n"
    assert (ran.folder / "results/b.txt").read_text() == value


def test_a_value_that_can_not_be_quoted_is_refused_with_its_place(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    path = shell_runbook("echo $(({{a}} + 1)) > /app/results/out.txt")
    refused = runbook("run", path, "-p", "a=1 2", "--sandbox", "host")
    assert refused.code == 2
    line = (path / "RUNBOOK.md").read_text().splitlines().index("echo $(({{a}} + 1)) > /app/results/out.txt") + 1
    assert (
        f"RUNBOOK.md:{line}: The value of {{{{a}}}} can't be quoted: the placeholder stands in arithmetic."
        in refused.err
    )
    assert runbook("run", path, "-p", "a=1", "--sandbox", "host").code == 0

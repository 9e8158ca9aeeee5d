"""A recording is data: whoever made it decides nothing about this machine by it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], Path]
SECRETS = "secrets:\n  AWS_SECRET_ACCESS_KEY: {required: false}\n  ANTHROPIC_API_KEY: {required: false}\n"
CANARY = "wJalr-canary-of-aws-4711"
BUBBLEWRAP = pytest.mark.needs("bubblewrap")


@pytest.fixture
def recorded(runbook: Any, shell_runbook: Write) -> Callable[..., Path]:
    def record(code: str, *options: str, more: str = "", env: dict[str, str] | None = None) -> Path:
        """Runs the code; returns the folder of its runbook, with the recording beside it."""
        folder = shell_runbook(code)
        file = folder / "RUNBOOK.md"
        file.write_text(file.read_text().replace("agent: shell\n", f"agent: shell\n{more}"))
        made = runbook("run", folder, *(options or ("--sandbox", "bubblewrap")), "--json", env=env)
        assert made.code == 0, made.err
        shutil.rmtree(folder / "recording", ignore_errors=True)
        shutil.copytree(made.folder, folder / "recording")
        return folder

    return record


def change(folder: Path, **fields: Any) -> None:
    spec = folder / "recording" / "spec.json"
    spec.write_text(json.dumps(json.loads(spec.read_text()) | fields))


@BUBBLEWRAP
@pytest.mark.parametrize("what", ["RUNBOOK.md", "recording"])
def test_it_never_runs_without_a_sandbox_unless_that_is_typed(
    runbook: Any, recorded: Callable[..., Path], tmp_path: Path, what: str
) -> None:
    mark = tmp_path / "ran-on-the-host"
    path = recorded(f"echo hi > /app/results/out.txt; echo x > {mark} || true", "--sandbox", "host")
    mark.unlink()
    again = runbook("replay", path / what, "--json")
    assert not mark.exists()
    assert "used only when you type --sandbox host" in again.err
    typed = runbook("replay", path / what, "--sandbox", "host", "--json")
    assert (typed.code, mark.exists()) == (0, True)


@BUBBLEWRAP
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"collection": "/tmp/outside", "task": "t"}, "is not a valid collection name"),
        ({"collection": "../../outside"}, "is not a valid collection name"),
        ({"task": "../t"}, "is not a valid task name"),
        ({"image": "/"}, "'/' is not the name of an image"),
        ({"image": "../images/x"}, "is not the name of an image"),
        ({"apt_packages": ["jq; touch /pwned"]}, "is not a Debian package"),
        ({"apt_packages": ["-oAPT::Update::Pre-Invoke::=id"]}, "is not a Debian package"),
        ({"secrets": [{"name": "x", "env": "LD_PRELOAD"}]}, "No secret can be named LD_PRELOAD"),
        ({"secrets": [{"name": "x", "env": "A=B"}]}, "is not the name of a variable"),
        (
            {"inputs": [{"name": "../x", "sha256": "0" * 64, "size": 1, "source": "/etc/passwd"}]},
            "an input that can't be",
        ),
        ({"inputs": [{"name": "x", "sha256": "../../x", "size": 1, "source": "/x"}]}, "an input that can't be"),
    ],
)
def test_what_no_run_could_have_is_refused(
    runbook: Any, recorded: Callable[..., Path], fields: dict[str, Any], says: str
) -> None:
    path = recorded("echo hi > /app/results/out.txt")
    change(path, **fields)
    for command in (
        ("replay", path / "recording"),
        ("shell", path / "recording"),
        ("script", "from", path / "recording"),
    ):
        ran = runbook(*command)
        assert (ran.code, says in ran.err) == (2, True), ran.err


PRINTS = "{ echo x; for n in AWS_SECRET_ACCESS_KEY ANTHROPIC_API_KEY; do printenv $n | rev || true; done; }"
ENV = {"AWS_SECRET_ACCESS_KEY": CANARY, "ANTHROPIC_API_KEY": CANARY}


@BUBBLEWRAP
@pytest.mark.parametrize("what", ["RUNBOOK.md", "recording"])
def test_it_gets_stand_ins_for_the_secrets_that_it_had(runbook: Any, recorded: Callable[..., Path], what: str) -> None:
    code, options = f"{PRINTS} > /app/results/out.txt", ("--sandbox", "bubblewrap")
    path = recorded(code, *options, more=SECRETS)
    without = runbook("replay", path / what, "--json", env=ENV)
    assert (without.folder / "results" / "out.txt").read_text() == "x\n", "it had none"
    path = recorded(code, *options, "--trust", more=SECRETS, env=ENV)
    again = runbook("replay", path / what, "--json", env=ENV)
    mark = "***REDACTED:AWS_SECRET_ACCESS_KEY***"
    assert (again.folder / "results" / "out.txt").read_text() == f"x\n{mark[::-1]}\n"
    shown = runbook("shell", path / "recording", "env", env=ENV)
    assert (shown.code, CANARY in shown.out) == (0, False)
    (runbook.cwd / "typed.env").write_text(f"AWS_SECRET_ACCESS_KEY={CANARY}\n")
    for typed in (("--env-file", "typed.env"), ("--secret", "AWS_SECRET_ACCESS_KEY")):
        given = runbook("replay", path / what, *typed, "--json", env=ENV)
        assert CANARY[::-1] in (given.folder / "results" / "out.txt").read_text()


@BUBBLEWRAP
@pytest.mark.parametrize("what", ["RUNBOOK.md", "recording"])
def test_the_bounds_of_the_project_in_which_one_stands_hold(
    runbook: Any, recorded: Callable[..., Path], what: str
) -> None:
    path = recorded("grep -c . /proc/net/route > /app/results/out.txt || true")
    (runbook.cwd / ".runbook").mkdir(exist_ok=True)
    (runbook.cwd / ".runbook" / "config.toml").write_text('[run]\nnetwork = "none"\n')
    again = runbook("replay", path / what, "--json")
    assert json.loads((again.folder / "spec.json").read_text())["network"]["policy"] == "none"
    typed = runbook("replay", path / what, "--network", "full", "--json")
    assert json.loads((typed.folder / "spec.json").read_text())["network"]["policy"] == "full"


@BUBBLEWRAP
@pytest.mark.parametrize(
    "place", ["results/out.txt", "results/new", "events.jsonl", "spec.json", "model", "inputs", "RUNBOOK.md"]
)
@pytest.mark.parametrize("command", ["replay", "shell", "script"])
def test_no_link_in_it_is_followed(runbook: Any, recorded: Callable[..., Path], place: str, command: str) -> None:
    path = recorded("echo hi > /app/results/out.txt")
    outside = runbook.cwd / "outside"
    file = path / "recording" / place
    if file.is_dir():
        shutil.copytree(file, outside)
        shutil.rmtree(file)
    else:
        outside.write_text(file.read_text() if file.exists() else f"AUTHORIZATION: {CANARY}")
        file.unlink(missing_ok=True)
    file.symlink_to(outside)
    ran = runbook(*(("script", "from") if command == "script" else (command,)), path / "recording")
    assert ran.code == 2
    assert "link" in ran.err
    assert CANARY not in ran.err + ran.out


@BUBBLEWRAP
@pytest.mark.parametrize("place", ["", "results"])
def test_one_that_is_deeper_than_any_run_makes_is_refused(
    runbook: Any, recorded: Callable[..., Path], place: str
) -> None:
    path = recorded("echo hi > /app/results/out.txt")
    (path / "recording" / place).joinpath(*["a"] * 250).mkdir(parents=True)
    ran = runbook("replay", "--update", path / "RUNBOOK.md")
    assert (ran.code, "more than 200 folders" in ran.err) == (2, True)


@BUBBLEWRAP
def test_its_agents_are_looked_for_where_one_stands(
    runbook: Any, recorded: Callable[..., Path], tmp_path: Path
) -> None:
    path = recorded("echo hi > /app/results/out.txt")
    elsewhere = tmp_path / "elsewhere" / ".runbook" / "agents"
    elsewhere.mkdir(parents=True)
    (elsewhere / "nice.toml").write_text('argv = ["sh", "-c", "echo evil > /app/results/out.txt"]\n')
    change(path, agent="nice", near=[str(tmp_path / "elsewhere")])
    ran = runbook("replay", path / "recording")
    assert (ran.code, "Unknown agent 'nice'" in ran.err) == (2, True)


@BUBBLEWRAP
@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", ["key", "/proc/kmsg", "/proc/kcore", "a\0b", "\ud800"])
def test_its_inputs_are_no_files_of_this_machine(
    runbook: Any, recorded: Callable[..., Path], tmp_path: Path, source: str
) -> None:
    key = tmp_path.parent / f"{tmp_path.name}-key"
    key.write_text(CANARY)
    path = recorded("cat /app/assets/x > /app/results/out.txt || echo none > /app/results/out.txt")
    digest = hashlib.sha256(key.read_bytes()).hexdigest()
    where = str(key) if source == "key" else source
    change(path, inputs=[{"name": "x", "sha256": digest, "size": key.stat().st_size, "source": where}])
    for command in ("replay", "shell"):
        ran = runbook(command, path / "recording")
        assert ran.code == 2, ran.err
        assert CANARY not in ran.out + ran.err


@BUBBLEWRAP
def test_a_spec_of_any_length_is_not_read(runbook: Any, recorded: Callable[..., Path]) -> None:
    path = recorded("echo hi > /app/results/out.txt")
    os.truncate(path / "recording" / "spec.json", 64_000_001)
    for command in ("replay", "shell"):
        ran = runbook(command, path / "recording")
        assert (ran.code, "spec.json: The spec has more than 64 MB" in ran.err) == (2, True), ran.err


@BUBBLEWRAP
def test_an_input_that_it_has_not_is_found_in_the_project(runbook: Any, recorded: Callable[..., Path]) -> None:
    (runbook.cwd / "x").write_text("mine")
    path = recorded("cat /app/assets/x > /app/results/out.txt", "--sandbox", "bubblewrap", "-f", "x")
    shutil.rmtree(path / "recording" / "inputs")
    assert runbook("replay", path / "RUNBOOK.md").code == 0


@BUBBLEWRAP
def test_its_folder_and_its_id_can_be(runbook: Any, recorded: Callable[..., Path]) -> None:
    path = recorded("echo hi > /app/results/out.txt")
    log = path / "recording" / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    for field, values, says in (
        ("app", ("", "relative", "/x" * 1000), "a folder that can't be"),
        ("trajectory_id", ("", "../x", "a\nb", "a\0b", "\ud800", "a" * 3_000_000), "an id that can't be"),
    ):
        for value in values:
            changed = (event | {field: value} if field in event else event for event in events)
            log.write_text("".join(f"{json.dumps(event)}\n" for event in changed))
            for command in ("replay", "shell"):
                refused = runbook(command, path / "recording")
                assert (refused.code, says in refused.err) == (2, True), refused.err


@BUBBLEWRAP
def test_comparing_its_results_takes_no_cubic_time(runbook: Any, recorded: Callable[..., Path]) -> None:
    lines = "i=0; while [ $i -lt 60000 ]; do echo $((i * 7919 % 150)); i=$((i + 1)); done > /app/results/out.txt"
    path = recorded(lines)
    text = "first\n" + "".join(f"{(n * 7919 + n // 150) % 150}\n" for n in range(60_000))
    (path / "recording" / "results" / "out.txt").write_text(text)
    again = runbook("replay", path / "recording")
    assert again.code == 1
    assert "from line 1" in again.out
    assert "-first" in again.out

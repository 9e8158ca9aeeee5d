"""`runbook trust`: what a project offers is used only after its user has trusted that very content."""

import json
import os
import pty
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RUNBOOK

Write = Callable[[str], Path]
DOCKERFILE = "ARG BASE_IMAGE=snapshot:python312-uv\nFROM ${BASE_IMAGE}\nRUN echo built > /built\n"
AGENT = 'argv = ["sh", "-c", "echo hi > {app}/results/out.txt"]\n'


@pytest.fixture
def snapshot(runbook: Any) -> Path:
    """A project that offers a snapshot."""
    folder: Path = runbook.cwd / ".runbook" / "snapshots" / "mine"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


@pytest.fixture
def agent(runbook: Any) -> Path:
    """A project that offers an agent."""
    file: Path = runbook.cwd / ".runbook" / "agents" / "nice.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(AGENT)
    return file


@pytest.mark.needs("docker")
def test_a_projects_snapshot_is_built_once_its_content_is_trusted(
    runbook: Any, snapshot: Path, shell_runbook: Write
) -> None:
    run = (
        "run",
        shell_runbook("cp /built /app/results/out.txt"),
        "--sandbox",
        "docker",
        "--snapshot",
        "mine",
        "--json",
    )
    refused = runbook(*run)
    assert refused.code == 3
    assert f"type `runbook trust {snapshot}`" in refused.err
    assert not list((runbook.cwd / ".runbook").glob("trajectories/*/*/*")), "nothing is recorded, nothing was built"
    assert runbook(*run, "--trust").code == 0
    assert runbook(*run).code == 3, "--trust is for one command"
    assert runbook("trust", snapshot).out == f"trusted: snapshot mine in {snapshot}\n"
    assert runbook(*run).code == 0
    (snapshot / "more").write_text("x")
    assert runbook(*run).code == 3, "a changed content is another one"
    assert runbook("trust").code == 0
    assert runbook(*run).code == 0


@pytest.mark.needs("docker")
@pytest.mark.parametrize("command", ["build", "export"])
def test_commands_that_build_ask_for_trust_too(runbook: Any, snapshot: Path, command: str) -> None:
    arguments = ("snapshots", command, "mine", *(("-o", "images.tar") if command == "export" else ()))
    refused = runbook(*arguments)
    assert (refused.code, f"runbook trust {snapshot}" in refused.err) == (3, True)
    assert runbook(*arguments, "--trust").code == 0


@pytest.mark.needs("docker")
def test_what_it_builds_on_needs_trust_as_well(runbook: Any, snapshot: Path, shell_runbook: Write) -> None:
    above = snapshot.with_name("above")
    above.mkdir()
    (above / "Dockerfile").write_text(DOCKERFILE.replace("python312-uv", "mine"))
    run = ("run", shell_runbook("cp /built /app/results/out.txt"), "--sandbox", "docker", "--snapshot", "above")
    assert runbook("trust", above).code == 0
    refused = runbook(*run)
    assert (refused.code, f"runbook trust {snapshot}" in refused.err) == (3, True)
    assert runbook("trust", snapshot).code == 0
    assert runbook(*run).code == 0


def test_an_agent_of_the_project_runs_without_a_sandbox_only_when_trusted(
    runbook: Any, agent: Path, shell_runbook: Write
) -> None:
    run = ("run", shell_runbook("true"), "--agent", "nice", "--sandbox", "host")
    refused = runbook(*run)
    assert (refused.code, f"runbook trust {agent}" in refused.err) == (3, True)
    planned = runbook(*run, "--dry-run")
    assert (planned.code, "You have not trusted the agent nice" in planned.err) == (3, True)
    assert runbook("trust", agent).code == 0
    assert runbook(*run).code == 0
    agent.write_text(AGENT + "# changed\n")
    assert runbook(*run).code == 3


@pytest.mark.needs("bubblewrap")
def test_an_agent_of_the_project_that_stays_in_a_sandbox_needs_no_trust(
    runbook: Any, agent: Path, shell_runbook: Write
) -> None:
    assert runbook("run", shell_runbook("true"), "--agent", "nice", "--sandbox", "bubblewrap").code == 0


@pytest.mark.needs("docker")
def test_what_installs_an_agent_is_built_only_when_trusted(runbook: Any, agent: Path, shell_runbook: Write) -> None:
    agent.write_text(AGENT + 'install = ["touch /installed"]\n')
    run = ("run", shell_runbook("true"), "--agent", "nice", "--sandbox", "docker")
    assert runbook(*run).code == 3
    assert runbook(*run, "--trust").code == 0


def test_trust_is_by_content_and_is_kept_for_its_user_alone(runbook: Any, agent: Path, snapshot: Path) -> None:
    shown = runbook("trust", "--show")
    assert (shown.code, shown.out) == (
        1,
        f"not trusted: agent nice in {agent}\nnot trusted: snapshot mine in {snapshot}\n",
    )
    assert runbook("trust").out == shown.out.replace("not trusted", "trusted")
    assert runbook("trust", "--show").code == 0
    kept = [runbook.data / "trust", *(runbook.data / "trust").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o700, 0o600}
    copy = runbook.cwd / "elsewhere"
    shutil.copytree(runbook.cwd / ".runbook", copy / ".runbook")
    assert runbook("trust", "--show", copy).code == 0, "a copy has the same content"
    (copy / ".runbook" / "agents" / "nice.toml").rename(copy / ".runbook" / "agents" / "other.toml")
    assert runbook("trust", "--show", copy).code == 1, "under another name it is another agent"
    assert runbook("trust", "--revoke").code == 0
    assert runbook("trust", "--show").code == 1


def test_it_is_asked_for_on_a_terminal_and_a_yes_is_kept(runbook: Any, agent: Path, shell_runbook: Write) -> None:
    run = ("run", str(shell_runbook("true")), "--agent", "nice", "--sandbox", "host")

    def answer(text: bytes) -> int:
        leader, follower = pty.openpty()
        streams: dict[str, Any] = {"stdin": follower, "stdout": subprocess.DEVNULL, "stderr": follower}
        process = subprocess.Popen([RUNBOOK, *run], cwd=runbook.cwd, env=runbook.env, **streams)
        os.write(leader, text + b"\n")
        return process.wait(60)

    assert answer(b"") == 3
    assert answer(b"sure") == 3
    assert answer(b"yes") == 0
    assert runbook(*run).code == 0


@pytest.mark.parametrize(("path", "says"), [("absent", "There is no such file or folder."), (".", "nothing here")])
def test_a_path_without_anything_to_trust(runbook: Any, path: str, says: str) -> None:
    ran = runbook("trust", path)
    assert (ran.code, says in ran.out + ran.err) == (2 if path == "absent" else 0, True)


@pytest.mark.parametrize("name", ["ca-bundle.crt", "sub/ca-bundle.crt", ".dockerignore"])
def test_every_file_of_a_snapshot_counts(runbook: Any, snapshot: Path, name: str) -> None:
    file = snapshot / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("echo good")
    runbook("trust", ".")
    assert runbook("trust", "--show").code == 0
    file.write_text("echo evil")
    shown = runbook("trust", "--show")
    assert (shown.code, shown.out) == (1, f"not trusted: snapshot mine in {snapshot}\n")


def test_an_agent_is_trusted_whatever_the_case_of_its_name(runbook: Any, agent: Path, shell_runbook: Write) -> None:
    agent = agent.rename(agent.with_name("Nice.toml"))
    assert runbook("trust", agent).out == f"trusted: agent Nice in {agent}\n"
    run = ("run", shell_runbook("true"), "--agent", "nice", "--sandbox", "host")
    assert "not trusted" not in runbook(*run).err


def test_a_name_adds_no_line_to_what_is_shown_and_asked(runbook: Any, agent: Path) -> None:
    shutil.copy(agent, agent.with_name("x\nnot trusted: agent y.toml"))
    within = runbook.cwd / "a\ntrusted: agent z" / ".runbook" / "agents" / "nice.toml"
    within.parent.mkdir(parents=True)
    shutil.copy(agent, within)
    assert runbook("trust", ".").out == f"trusted: agent nice in {agent}\n"
    shown = runbook("trust", "--show", within.parents[2]).out
    assert shown == f"trusted: agent nice in {within}\n".replace("a\n", "a\\n")


def test_who_names_one_offer_trusts_that_one_or_nothing(runbook: Any, agent: Path, snapshot: Path) -> None:
    """A name in capital letters, a project in the folder of the offer and a built-in name put another in its place."""
    bad = agent.with_name("Nice.toml")  # comes first, and counts for `nice`
    bad.write_text(AGENT + 'install = ["touch /attacked"]\n')
    inner = snapshot / ".runbook" / "snapshots" / "mine"
    built_in = snapshot.with_name("python312-uv")
    for folder in (inner, built_in):
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text("FROM scratch\n")
    for path in (agent, built_in, built_in / "Dockerfile", agent.parent, snapshot.parent):
        refused = runbook("trust", path)
        assert (refused.code, "does not offer this" in refused.err) == (2, True), path
    assert runbook("trust", snapshot).out == f"trusted: snapshot mine in {snapshot}\n"
    assert runbook("trust", "--show").out.count("not trusted: ") == 1, "the agent"
    assert runbook("trust", "--revoke", snapshot).out == f"not trusted: snapshot mine in {snapshot}\n"
    (runbook.cwd / "linked").symlink_to(snapshot)
    assert runbook("trust", "linked").out == f"trusted: snapshot mine in {snapshot}\n"
    assert runbook("trust", inner).out == f"trusted: snapshot mine in {inner}\n"
    assert runbook("trust", "--show").out.count("not trusted: ") == 1, "the agent"


def test_snapshots_that_are_too_large_together_are_named_one_by_one(runbook: Any) -> None:
    folders = [runbook.cwd / ".runbook" / "snapshots" / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(DOCKERFILE)
        (folder / "data").touch()
        os.truncate(folder / "data", 140 << 20)
    shown = runbook("trust", "--show")
    assert (shown.code, "with those before it, has more than 256 MB" in shown.err) == (2, True), shown.err
    for folder in folders:
        assert runbook("trust", folder).out == f"trusted: snapshot {folder.name} in {folder}\n"


def test_of_a_flood_of_offers_a_hundred_of_each_kind_count(runbook: Any) -> None:
    inner = runbook.cwd / "inner"
    for number in range(60):
        for project in (runbook.cwd, inner):
            folder = project / ".runbook" / "snapshots" / f"{project.name}{number}"
            folder.mkdir(parents=True)
            (folder / "Dockerfile").write_text(DOCKERFILE)
            (project / ".runbook" / "agents").mkdir(exist_ok=True)
            (project / ".runbook" / "agents" / f"{project.name}{number}.toml").write_text(AGENT)
    for number in range(120):
        (inner / "examples" / str(number)).mkdir(parents=True)
        (inner / "examples" / str(number) / "input.json").write_text(f'{{"title": "{number}"}}')
    (inner / "RUNBOOK.md").write_text("---\nversion: 1.0.0\nsecrets: {CRM_TOKEN: {}}\n---\n# n\n")
    shown = runbook("trust", "--show", inner).out
    assert [shown.count(f"not trusted: {what} ") for what in ("agent", "snapshot", "variable")] == [100, 100, 101]
    assert shown.count("agent inner") == 60  # the nearest first


def test_what_a_runbook_has_too_much_of_is_not_named_file_by_file(runbook: Any) -> None:
    folder = runbook.cwd / "examples" / "1"
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"{number}.txt").touch()
    files = [{"path": f"{number}.txt"} for number in range(300)]
    (folder / "input.json").write_text(json.dumps({"files": files}))
    secrets = {f"NAME_{number}": {} for number in range(2000)}
    document = "---\nversion: 1.0.0\nsecrets: {}\n---\n# n\n"
    (runbook.cwd / "RUNBOOK.md").write_text(document.format(json.dumps(secrets)))
    shown = runbook("trust", "--show").out
    assert len(shown) < 4000 * 1000
    named = [f"{folder}/{name}" for name in ("0.txt", "1.txt", "2.txt")]
    assert f"{', '.join(named)}, 296 more, {folder}/299.txt, {folder}/input.json\n" in shown
    for number in range(2, 10):
        (runbook.cwd / "examples" / str(number)).mkdir()
        (runbook.cwd / "examples" / str(number) / "input.json").write_text(f'{{"title": "{number}"}}')
    shown = runbook("trust", "--show")
    assert (shown.code, "are more than 10,000 pairs to trust" in shown.err) == (2, True)

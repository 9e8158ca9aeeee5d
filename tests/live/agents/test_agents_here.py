"""The real CLIs without a container: installed once below the user's data folder, for bubblewrap and the host."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.agents.registry import find_agent

EXAMPLE = Path(__file__).parents[3] / "examples" / "sales-report"
SCRIPT = EXAMPLE / "model.yaml"
RUNBOOK = """\
---
agent: codex
---
# Make — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | Anything |

## Step 1: Make

Make it.
"""
AGENTS = ("claude-code", "codex", "gemini-cli", "hermes", "opencode")

pytestmark = [pytest.mark.needs("npm", "node"), pytest.mark.xdist_group("agents-here"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's data folder, empty at first."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def bare(runbook: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The command for a user who has Node and npm and no agent's CLI. Programs in its working folder do not count."""
    programs = tmp_path_factory.mktemp("bin")
    for folder in map(Path, runbook.env["PATH"].split(":")):
        for program in folder.iterdir() if folder.is_dir() else ():
            if program.name not in {find_agent(name).binary for name in AGENTS}:
                (programs / program.name).exists() or (programs / program.name).symlink_to(program)
    runbook.env |= {"RUNBOOK_DATA": str(data), "PATH": str(programs)}
    return runbook


def run(command: Any, agent: str, *options: str) -> Any:
    return command("run", EXAMPLE, "--agent", agent, "--model-script", SCRIPT, "--json", *options, timeout=500)


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("agent", AGENTS)
def test_every_cli_is_installed_once_and_works_in_bubblewrap(bare: Any, data: Path, agent: str) -> None:
    planned = run(bare, agent, "--sandbox", "bubblewrap", "--dry-run").json["plan"]
    version = find_agent(agent).version
    assert any(f"installed first into {data}/agents/{agent}-{version}" in step for step in planned)
    ran = run(bare, agent, "--sandbox", "bubblewrap", "--network", "model-only")
    assert ran.code == 0, ran.err
    assert (ran.json["sandbox"], ran.json["verdict"], ran.json["missing_outputs"]) == ("bubblewrap", "pass", [])
    assert "Revenue was 41223.50 EUR" in (ran.folder / "results" / "summary.md").read_text()
    assert ran.json["usage"]["api_calls"] == 4
    told = [event["message"] for event in ran.events("log") if event["source"] == "image"]
    assert told[0] == f"installing {agent} {version} into {data}/agents/{agent}-{version}, once"
    assert told[-1].startswith(f"installed {agent} {version} in ")


def test_the_host_takes_what_is_installed_and_installs_it_but_once(bare: Any) -> None:
    (bare.cwd / "model.yaml").write_text("- shell: echo made >/app/results/out.txt\n- say: Done.\n")
    (bare.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    for _ in range(2):
        ran = bare("run", "RUNBOOK.md", "--model-script", "model.yaml", "--sandbox", "host", "--json")
        assert ran.code == 0, ran.err
    assert (ran.folder / "results" / "out.txt").read_text() == "made\n"
    assert not Path("/app/results/out.txt").exists(), "a script is told the paths of its sandbox, as a model is"
    assert [event for event in ran.events("log") if "install" in event["message"]] == []


def test_own_cli_on_path_comes_first_and_its_version_is_told(bare: Any) -> None:
    (bare.cwd / "model.yaml").write_text("- say: Done.\n")
    (bare.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    own = Path(bare.env["PATH"]) / "codex"
    own.write_text("#!/bin/sh\n[ $1 = --version ] && exec echo codex-cli 0.9.9\nexit 7\n")
    own.chmod(0o755)
    ran = bare("run", "RUNBOOK.md", "--model-script", "model.yaml", "--sandbox", "host", "--json")
    assert ran.code == 4
    assert ran.events("agent.started")[0]["version"] == "0.9.9"
    assert "ended with exit code 7" in ran.json["error"]


def test_registry_that_can_not_be_reached_is_named_and_nothing_half_is_used(bare: Any, tmp_path: Path) -> None:
    env = {
        "RUNBOOK_DATA": str(tmp_path / "data"),
        "npm_config_registry": "http://127.0.0.1:9",
        "npm_config_fetch_retries": "0",
        "npm_config_cache": str(tmp_path / "cache"),
    }
    command: Callable[..., Any] = lambda *arguments: bare(*arguments, env=env)  # noqa: E731
    for _ in range(2):
        ran = run(lambda *arguments, timeout: command(*arguments), "codex", "--sandbox", "host")
        assert ran.code == 3
        assert "could not be installed (exit code 1)" in ran.json["error"]
        assert "ECONNREFUSED" in ran.err


def test_without_npm_it_is_said_what_is_missing(bare: Any, tmp_path: Path) -> None:
    (Path(bare.env["PATH"]) / "npm").unlink()
    ran = bare("run", EXAMPLE, "--agent", "codex", "--model-script", SCRIPT, "--sandbox", "host",
               env={"RUNBOOK_DATA": str(tmp_path)})  # fmt: skip
    assert ran.code == 3
    assert "There is no 'codex' on this machine's PATH, nor a 'npm' to install it with." in ran.err
    assert "Node.js" in ran.err

"""The CLIs on an image that is not ours: a plain Python has neither Node nor uv, which install them."""

import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import yaml

from runbook_runner.sandbox.images.recipe import DEFAULT_BASE, LOCAL_BASE

RUNBOOK = """\
---
version: "1.0.0"
---
# Plain — Agent Runbook

## REQUIRED OUTPUT FILES

| File | Description |
|---|---|
| `/app/results/out.txt` | What the agent's shell is |

## Step 1: Work

Write it.
"""

pytestmark = [pytest.mark.needs("docker"), pytest.mark.xdist_group("agents-elsewhere"), pytest.mark.timeout(600)]


def docker(*words: str, stdin: str = "") -> str:
    return subprocess.run(["docker", *words], input=stdin, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def plain() -> str:
    """What our own snapshots are built on."""
    there = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    name = next((name for name in (LOCAL_BASE, DEFAULT_BASE) if name in there), DEFAULT_BASE)
    has = docker("run", "--rm", name, "sh", "-c", "command -v python3 node npm uv || true")
    assert [path.rpartition("/")[2] for path in has.split()] == ["python3"]
    return name


@pytest.fixture
def bare(plain: str) -> Iterator[str]:
    """Without the means to bring anything along."""
    tag = f"runbook-test/bare:{uuid4().hex[:8]}"
    docker("build", "--quiet", "--tag", tag, "-", stdin=f"FROM {plain}\nRUN rm /usr/bin/apt-get\n")
    yield tag
    docker("rmi", "--force", tag)


def run(runbook: Any, agent: str, image: str) -> Any:
    (runbook.cwd / "RUNBOOK.md").write_text(RUNBOOK)
    turns = [{"shell": "echo plain > /app/results/out.txt"}, {"say": "Done."}]
    (runbook.cwd / "model.yaml").write_text(yaml.safe_dump(turns))
    args = ("--agent", agent, "--image", image, "--model-script", "model.yaml", "--json")
    return runbook("run", "RUNBOOK.md", *args, timeout=500)


@pytest.mark.parametrize("agent", ["gemini-cli", "hermes"])
def test_a_plain_python_gets_what_installs_the_agent(runbook: Any, plain: str, agent: str) -> None:
    """One of those from npm, and the one from PyPI."""
    ran = run(runbook, agent, plain)
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert (ran.folder / "results" / "out.txt").read_text() == "plain\n"


def test_an_image_that_can_not_get_it_is_told_so(runbook: Any, bare: str) -> None:
    ran = run(runbook, "gemini-cli", bare)
    assert ran.code == 3
    assert "This image has no npm, which installs the agent, and no apt-get to bring it with" in ran.err

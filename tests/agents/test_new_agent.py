"""A new agent is one file and one row of the table: nothing else is written, and every command knows it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import runbook_runner

ROW = """\
    AgentFacts(
        "parrot-cli",
        dialect="openai-chat",
        default_model="parrot-2",
        models="parrot-.*",
        providers=("openai",),
    ),
"""
MODULE = '''\
"""Agents: Parrot, which writes down what the model says."""

from collections.abc import Iterator

from runbook_runner.agents.base import GATEWAY_TOKEN, Agent, AgentInput, Invocation
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.jsonl import Record, RecordReader, text_at
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.events import AgentMessage, Event

PROGRAM = f"{settings.PRIVATE}/parrot/parrot.py"
CLI = b"""
import json, os, sys, urllib.request
url, model = sys.argv[1:]
body = {"model": model, "messages": [{"role": "user", "content": sys.stdin.read()}]}
headers = {"Authorization": "Bearer " + os.environ["RUNBOOK_GATEWAY_TOKEN"], "Content-Type": "application/json"}
request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), headers)
said = json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
open(os.environ["RESULTS_DIR"] + "/out.txt", "w").write(said)
print(json.dumps({"type": "said", "text": said}))
"""


def invoke(agent_input: AgentInput) -> Invocation:
    return Invocation(
        argv=("python3", agent_input.local(PROGRAM), str(agent_input.gateway_url), str(agent_input.model)),
        env={GATEWAY_TOKEN: str(agent_input.token)},
        stdin=render_prompt(agent_input).encode(),
        files={PROGRAM: CLI},
    )


class Reader(RecordReader):
    def read(self, kind: str, record: Record) -> Iterator[Event]:
        self.finished, self.text = True, text_at(record, "text")
        yield AgentMessage(text=self.text)


AGENT = Agent(BUILT_IN_AGENTS["parrot-cli"], binary="python3", invoke=invoke, reader=lambda _: Reader("Parrot"))
'''
RUNBOOK = """\
---
version: "1.0.0"
evaluation: programmatic
{agent}
---
# Parrot — Agent Runbook

## Objective

Write down what the model says.

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | What it said |

## Step 1: Say

Say hello.
"""


@pytest.fixture
def parrot(runbook: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`runbook` of a copy of the package that has the file and the row, with no key on the machine."""
    package = tmp_path_factory.mktemp("package")
    copy = package / "runbook_runner"
    shutil.copytree(Path(runbook_runner.__file__).parent, copy)
    (copy / "agents" / "built_in" / "parrot_cli.py").write_text(MODULE)
    table = copy / "agents" / "built_in" / "__init__.py"
    start = "_ROWS: Final = (\n"
    assert table.read_text().count(start) == 1
    table.write_text(table.read_text().replace(start, start + ROW))
    runbook.env["PYTHONPATH"] = str(package)
    (runbook.cwd / "model.yaml").write_text("- say: Hello, said the model.\n")
    return runbook


def write(folder: Path, frontmatter: str) -> None:
    (folder / "RUNBOOK.md").write_text(RUNBOOK.format(agent=frontmatter))


@pytest.mark.needs("linux")
@pytest.mark.parametrize(("frontmatter", "option"), [
    ("agent: parrot-cli", ()),
    ("model: parrot-3", ()),
    ("agent: claude-code", ("--agent", "parrot-cli")),
])  # fmt: skip
def test_a_new_agent_carries_out_a_runbook(parrot: Any, frontmatter: str, option: tuple[str, ...]) -> None:
    write(parrot.cwd, frontmatter)
    ran = parrot("run", "RUNBOOK.md", *option, "--sandbox", "host", "--model-script", "model.yaml", "--json")
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert (ran.folder / "results" / "out.txt").read_text() == "Hello, said the model."
    spec = json.loads((ran.folder / "spec.json").read_text())
    model = "parrot-3" if "parrot-3" in frontmatter else "parrot-2"
    assert (spec["agent"], spec["model"], spec["provider"]) == ("parrot-cli", model, "openai")


def test_check_schema_new_and_show_know_a_new_agent(parrot: Any) -> None:
    write(parrot.cwd, "agent: parrot-cli\nmodel: parrot-3")
    assert "RB1" not in parrot("check", "RUNBOOK.md").out
    write(parrot.cwd, "agent: Parrot-CLI\nmodel_provider: google")
    found = parrot("check", "RUNBOOK.md").out
    assert "The agent is spelled `parrot-cli`." in found
    assert "parrot-cli can't use the provider google." in found
    write(parrot.cwd, "agent: parrot-cil")
    assert "Did you mean `parrot-cli`?" in parrot("check", "RUNBOOK.md").out
    assert parrot("show", "RUNBOOK.md", "--json").json["resolved"]["agent"]["value"] == "parrot-cil"
    assert "parrot-cli" in parrot("schema").json["properties"]["agent"]["anyOf"][0]["enum"]
    assert parrot("new", "Words", "--agent", "parrot-cli").code == 0
    assert "model: parrot-2" in (parrot.cwd / "words" / "RUNBOOK.md").read_text()


def test_a_declared_agent_brings_the_same_facts(runbook: Any) -> None:
    """Its file says what a row says."""
    declared = runbook.cwd / ".runbook" / "agents" / "parrot-cli.toml"
    declared.parent.mkdir(parents=True)
    declared.write_text(
        'argv = ["true"]\ndialect = "openai-chat"\ndefault_model = "parrot-2"\nmodels = "parrot-.*"\n'
        'providers = ["openai"]\n'
    )
    write(runbook.cwd, "model: parrot-3")
    resolved = runbook("show", "RUNBOOK.md", "--json").json["resolved"]
    assert {name: resolved[name]["value"] for name in ("agent", "provider", "model")} == {
        "agent": "parrot-cli", "provider": "openai", "model": "parrot-3"
    }  # fmt: skip
    write(runbook.cwd, "agent: parrot-cli\nmodel_provider: google")
    assert "parrot-cli can't use the provider google." in runbook("check", "RUNBOOK.md").out
    write(runbook.cwd, "agent: parrot-cli")
    assert runbook("show", "RUNBOOK.md", "--json").json["resolved"]["model"]["value"] == "parrot-2"
    assert "parrot-cli" in runbook("schema").json["properties"]["agent"]["anyOf"][0]["enum"]

"""The way every edge takes: prepare, then run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_runner import runner
from runbook_runner.core.errors import ExitCode, InputError, NotReadyError
from runbook_runner.core.events import Evaluated, Event, PhaseStarted, Recorded, SandboxStarted
from runbook_runner.runner import Question, RunOptions, RunRequest
from runbook_runner.runner.agent.retries import run_agent

HOST = RunOptions(sandbox="host", trust=True)

ASKING = """\
---
version: "1.0.0"
evaluation: programmatic
agent: shell
secrets:
  TOKEN:
    env: SHOP_TOKEN
    description: Opens the shop
---
# Test

## Parameters

| Parameter | Template Variable | Default | Description |
|---|---|---|---|
| Name | `{{name}}` | *(required)* | Whom to greet |

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The output |

## Step 1: Work

```bash
echo "hello {{name}}, $SHOP_TOKEN" > /app/results/out.txt
```
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    return tmp_path / "home"


@pytest.fixture
def asking(tmp_path: Path) -> str:
    file = tmp_path / "RUNBOOK.md"
    file.write_text(ASKING)
    return str(file)


def test_what_is_missing_is_asked_for_through_one_callback(asking: str) -> None:
    asked: list[Question] = []

    def ask(question: Question) -> str:
        asked.append(question)
        return {"name": "Ada", "SHOP_TOKEN": "open-sesame-4711"}[question.name]

    prepared = runner.prepare(RunRequest(asking, options=HOST), ask)
    assert asked == [Question("name", "Whom to greet", False), Question("SHOP_TOKEN", "Opens the shop", True)]
    outcome = runner.run(prepared)
    assert outcome.exit_code == ExitCode.PASS
    # The value reached the agent; what is recorded of it is its mark.
    assert (outcome.folder / "results" / "out.txt").read_text().startswith("hello Ada, ")
    assert not any(b"open-sesame" in file.read_bytes() for file in outcome.folder.rglob("*") if file.is_file())


def test_nobody_is_asked_for_a_providers_key_in_the_words_of_a_runbook(
    asking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    file = Path(asking)
    file.write_text(file.read_text().replace("SHOP_TOKEN", "GROQ_API_KEY").replace("Opens the shop", "Stays here"))
    with pytest.raises(NotReadyError, match="required secret is not set"):
        runner.prepare(RunRequest(asking, parameters={"name": "Ada"}, options=HOST), lambda _: pytest.fail("asked"))
    typed = RunRequest(asking, parameters={"name": "Ada"}, secrets=("GROQ_API_KEY",), options=HOST)
    assert runner.prepare(typed, lambda _: "gsk-4711-4711").secrets.values == {"GROQ_API_KEY": "gsk-4711-4711"}


def test_without_anybody_to_ask_what_is_missing_is_an_error(asking: str) -> None:
    with pytest.raises(InputError, match="required parameter has no value"):
        runner.prepare(RunRequest(asking, options=HOST))
    with pytest.raises(NotReadyError, match="required secret is not set"):
        runner.prepare(RunRequest(asking, parameters={"name": "Ada"}, options=HOST))


def test_preparing_starts_and_records_nothing_and_its_plan_can_be_read(
    shell_runbook: Callable[[str], Path], home: Path
) -> None:
    prepared = runner.prepare(RunRequest(str(shell_runbook("echo hi > /app/results/out.txt")), options=HOST))
    assert not home.exists()
    assert [line.split()[0] for line in prepared.plan()] == ["run", "run", "expect"]
    assert prepared.plan()[-1] == "expect out.txt"


@pytest.mark.parametrize("use", ["secret: TOKEN", "env: {T: '${SHOP_TOKEN}'}", "args: ['{{secrets.TOKEN}}']"])
def test_a_secret_that_an_mcp_server_uses_is_not_in_the_agents_environment(asking: str, use: str) -> None:
    file = Path(asking)
    servers = f"mcp_servers:\n  shop: {{command: shop, {use}}}\nsecrets:"
    file.write_text(file.read_text().replace("secrets:", servers))
    (file.parent / ".env").write_text("SHOP_TOKEN=open-sesame-4711\n")
    outcome = runner.run(runner.prepare(RunRequest(asking, parameters={"name": "Ada"}, options=HOST)))
    assert (outcome.folder / "results" / "out.txt").read_text() == "hello Ada, \n"
    assert "SHOP_TOKEN goes to the MCP server shop only" in (outcome.folder / "events.jsonl").read_text()


def test_a_bug_of_ours_loses_nothing_that_the_agent_made(
    shell_runbook: Callable[[str], Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        run_agent(*arguments)
        raise ZeroDivisionError

    monkeypatch.setattr("runbook_runner.runner.pipeline.run_agent", broken)
    prepared = runner.prepare(RunRequest(str(shell_runbook("echo made > /app/results/out.txt")), options=HOST))
    with pytest.raises(ZeroDivisionError):
        runner.run(prepared)
    (kept,) = home.rglob("results/out.txt")
    assert kept.read_text() == "made\n"
    assert '"error":"internal error: ZeroDivisionError"' in (kept.parents[1] / "events.jsonl").read_text()


ASKING_AGENT = """\
argv = ["sh", "-c", "echo $MODEL_URL > $RESULTS_DIR/out.txt; echo $MODEL_TOKEN > $TOKEN_FILE"]
dialect = "openai-chat"
[env]
MODEL_URL = "{{gateway_url}}"
MODEL_TOKEN = "{{token}}"
TOKEN_FILE = "{file}"
"""


class Look:
    """Looks for the run's sandbox and gateway when an event of the evaluation arrives."""

    def __init__(self, home: Path, token_file: Path):
        self._home = home
        self._token_file = token_file
        self._sandbox = Path()
        self.seen: list[tuple[type[Event], bool, int | None]] = []

    def __call__(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, SandboxStarted):
            self._sandbox = Path(event.sandbox_id)
        if isinstance(event, Evaluated) or (isinstance(event, PhaseStarted) and event.phase == "evaluate"):
            self.seen.append((type(event), self.sandbox_is_there(), self.answer_to_the_agent()))

    def sandbox_is_there(self) -> bool:
        return self._sandbox.is_dir()

    def answer_to_the_agent(self) -> int | None:
        """The status of a model call with the agent's token; `None` when no gateway listens any more."""
        (out,) = self._home.rglob("results/out.txt")
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        body = {"model": "m", "messages": [{"role": "user", "content": "more"}]}
        try:
            url = f"{out.read_text().strip()}/v1/chat/completions"
            return httpx.post(url, headers=headers, json=body, timeout=60).status_code
        except httpx.ConnectError:
            return None


def test_sandbox_and_gateway_are_open_while_a_run_is_evaluated_and_gone_after_it(
    tmp_path: Path, home: Path, shell_runbook: Callable[[str], Path]
) -> None:
    """But the agent's own access to its model ends with the agent: what it left behind makes no calls."""
    script = tmp_path / "model.yaml"
    script.write_text("- say: done\n")
    agent = tmp_path / ".runbook" / "agents" / "asking.toml"
    agent.parent.mkdir(parents=True)
    agent.write_text(ASKING_AGENT.format(file=tmp_path / "token"))
    look = Look(home, tmp_path / "token")
    document = str(shell_runbook("true"))
    request = RunRequest(document, near=(tmp_path,), agent="asking", model_script=script, options=HOST)
    outcome = runner.run(runner.prepare(request), (look,))
    assert outcome.outputs.verdict == "pass"
    assert look.seen == [(PhaseStarted, True, 401), (Evaluated, True, 401)]
    assert not look.sandbox_is_there()
    assert look.answer_to_the_agent() is None


@pytest.mark.parametrize("secret", [None, "the-word-4711"], ids=["kept", "not kept"])
def test_an_input_is_what_it_was_when_the_run_began(
    tmp_path: Path, shell_runbook: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    """One that is edited while the image is built is not given to the agent under the old digest."""
    given = tmp_path / "in.txt"
    given.write_text(f"first {secret}")
    if secret:
        monkeypatch.setenv("SHOP_TOKEN", secret)

    def edit(recorded: Recorded) -> None:
        if isinstance(recorded.event, PhaseStarted) and recorded.event.phase == "sandbox":
            given.write_text("second")

    document = str(shell_runbook("cat /app/assets/in.txt > /app/results/out.txt"))
    request = RunRequest(document, files=(given,), secrets=("SHOP_TOKEN",) if secret else (), options=HOST)
    outcome = runner.run(runner.prepare(request), (edit,))
    if secret:
        assert str(outcome.error).startswith("The input in.txt was changed after the run had begun.")
        assert outcome.exit_code == ExitCode.BAD_INPUT
    else:
        assert (outcome.folder / "results" / "out.txt").read_text() == "first None"

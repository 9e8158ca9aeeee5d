"""`runbook watch` in a terminal: what is saved runs again, and what is the same comes from the recording."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

BOOK = """\
---
version: "1.0.0"
evaluation: programmatic
agent: {agent}
---
# Test — Agent Runbook

## Objective

Write three words.

## REQUIRED OUTPUT FILES (MANDATORY)

| File | Description |
|---|---|
| `/app/results/out.txt` | The words |

## Step 1: One

{one}

## Step 2: Two

{two}

## Step 3: Three

{three}
"""
AGENT = '''\
argv = ["python3", "-c", """
import json, os, subprocess, sys, urllib.request
parameters = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
tools = [{"type": "function", "function": {"name": "bash", "description": "Runs.", "parameters": parameters}}]
messages = [{"role": "user", "content": sys.stdin.read()}]
headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}
while True:
    body = json.dumps({"model": "m-1", "messages": messages, "tools": tools}).encode()
    request = urllib.request.Request(os.environ["URL"] + "/v1/chat/completions", body, headers)
    message = json.load(urllib.request.urlopen(request))["choices"][0]["message"]
    messages.append(message)
    print(json.dumps({"type": "say", "text": message.get("content") or "…"}), flush=True)
    if not message.get("tool_calls"):
        break
    for call in message["tool_calls"]:
        command = json.loads(call["function"]["arguments"])["command"]
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": done.stdout + done.stderr})
"""]
dialect = "openai-chat"
default_model = "m-1"
providers = ["openai"]
env = {URL = "{gateway_url}", TOKEN = "{token}"}
[events]
format = "jsonl"
[[events.records]]
when = "say"
is = "message"
text = "text"
'''
SCRIPT = """\
- shell: echo one > /app/results/out.txt
  usage: {input: 100, output: 10, cost: 0.01}
- shell: echo two >> /app/results/out.txt
  usage: {input: 100, output: 10, cost: 0.01}
- say: Now step 3.
  shell: echo three >> /app/results/out.txt
  usage: {input: 100, output: 10, cost: 0.01}
- say: Done.
  usage: {input: 100, output: 10, cost: 0.01}
"""
CODEX = """\
#!/usr/bin/env python3
import json, os, re, secrets, sys, urllib.request
url = re.search('base_url = "([^"]+)"', open(os.environ["CODEX_HOME"] + "/config.toml").read())[1]
said = [{"role": "user", "content": sys.stdin.read()}]
tools = [{"type": "function", "name": "exec_command", "parameters": {}}]
headers = {"Authorization": "Bearer " + os.environ["RUNBOOK_GATEWAY_TOKEN"], "Content-Type": "application/json"}
for n in range(3):
    body = json.dumps({"model": "m-1", "input": said, "tools": tools}).encode()
    urllib.request.urlopen(urllib.request.Request(url + "/responses", body, headers)).read()
    output = f"Chunk ID: {secrets.token_hex(3)}\\nWall time: {secrets.randbelow(1000)}.5 seconds\\nOutput:\\nfine\\n"
    said.append({"type": "function_call", "call_id": f"c{n}", "name": "exec_command", "arguments": "{}"})
    said.append({"type": "function_call_output", "call_id": f"c{n}", "output": output})
os.makedirs("results", exist_ok=True)
open("results/out.txt", "w").write("fine")
print(json.dumps({"type": "turn.completed", "usage": {}}))
"""
"""As far as it matters here: it numbers what commands print at random."""
SHELL = "```bash\n{}\n```"
WAITS = "Watching "
"""What is told whenever the session waits for a save."""
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Session:
    """`runbook watch` in a terminal of its own."""

    def __init__(self, runbook: Any, eventually: Callable[..., Any], *arguments: str | Path, **env: str):
        self._eventually = eventually
        self._mine, its = pty.openpty()
        self.before = termios.tcgetattr(its)
        self._its = its
        self._open: tuple[int, ...] = (self._mine, its)
        self._raw = b""
        self._at = 0
        self._home = runbook.cwd / ".runbook" / "trajectories"
        self.process = subprocess.Popen(
            [*runbook.under, Path(sys.executable).with_name("runbook"), "watch", *map(str, arguments)],
            cwd=runbook.cwd,
            env={**runbook.env, "TERM": "xterm", "PAGER": "cat", **env},
            stdin=its,
            stdout=its,
            stderr=its,
            preexec_fn=lambda: _take_terminal(its),
        )

    @property
    def text(self) -> str:
        """What it has shown so far, without styles."""
        while select.select([self._mine], [], [], 0)[0]:
            try:
                data = os.read(self._mine, 1 << 16)
            except OSError:
                break
            if not data:
                break
            self._raw += data
        return _STYLE.sub("", self._raw.decode(errors="replace")).replace("\r\n", "\n")

    def shows(self, words: str) -> str:
        """Waits until it shows these words, after those that were waited for before; what it has shown since then."""

        def seen() -> str | None:
            text = self.text
            found = text.find(words, self._at)
            if found < 0:
                if self.process.poll() is not None:
                    pytest.fail(f"It ended without {words!r}:\n{text[self._at :]}")
                return None
            new, self._at = text[self._at : found + len(words)], found + len(words)
            return new

        try:
            return str(self._eventually(seen))
        except BaseException:
            print(self.text)
            raise

    def types(self, keys: str) -> None:
        os.write(self._mine, keys.encode())

    def ends(self) -> int:
        """Waits until it has ended; its exit code."""
        self._eventually(lambda: (self.text, self.process.poll() is not None)[1])
        return int(self.process.returncode)

    def terminal(self) -> list[Any]:
        return termios.tcgetattr(self._its)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        self.hang_up()

    def hang_up(self) -> None:
        """Closes the terminal."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open = ()

    def runs(self) -> list[dict[str, Any]]:
        """The trajectories, the oldest first, each with its events."""
        found = []
        for folder in self._home.glob("*/*/*"):
            lines = (folder / "events.jsonl").read_text().splitlines()
            events = [json.loads(line) for line in lines]
            found.append({"folder": folder, "events": events, "ts": events[0]["ts"]})
        return sorted(found, key=lambda run: run["ts"])


def _take_terminal(descriptor: int) -> None:
    """Also where the tests are run by nohup, below which a terminal that is closed ends nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


Watch = Callable[..., Session]


@pytest.fixture
def watch(runbook: Any, eventually: Callable[..., Any]) -> Iterator[Watch]:
    opened: list[Session] = []

    def start(*arguments: str | Path, **env: str) -> Session:
        opened.append(Session(runbook, eventually, *arguments, **env))
        return opened[-1]

    yield start
    for session in opened:
        session.close()


def write(folder: Path, agent: str = "shell", **steps: str) -> Path:
    file = folder / "RUNBOOK.md"
    texts = {name: SHELL.format(f"echo {name} >> /app/results/out.txt") for name in ("one", "two", "three")}
    file.write_text(BOOK.format(agent=agent, **{**texts, **steps}))
    return file


@pytest.fixture
def scripted(runbook: Any) -> Path:
    """A runbook for an agent with a model, and the script of the model."""
    (runbook.cwd / ".runbook" / "agents").mkdir(parents=True)
    (runbook.cwd / ".runbook" / "agents" / "mine.toml").write_text(AGENT)
    (runbook.cwd / "model.yaml").write_text(SCRIPT)
    return write(runbook.cwd, "mine", one="Write `one`.", two="Append `two`.", three="Append `three`.")


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))


def answered_by(run: dict[str, Any]) -> list[str]:
    return [event["source"] for event in run["events"] if event["type"] == "model.called"]


def status(run: dict[str, Any]) -> str:
    return str(run["events"][-1].get("status"))


MODEL = ("--sandbox", "bubblewrap", "--model-script", "model.yaml")

# --- the recording -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandbox", [
    pytest.param(("bubblewrap",), marks=pytest.mark.needs("bubblewrap")),
    ("host", "--trust"),
], ids=lambda sandbox: sandbox[0])  # fmt: skip
def test_after_an_edit_of_step_3_the_answers_of_steps_1_and_2_come_from_the_recording(
    watch: Watch, runbook: Any, scripted: Path, sandbox: tuple[str, ...]
) -> None:
    edit(scripted, "Append `two`.", "Append `two` to /app/results/out.txt.")
    session = watch(".", "--model-script", "model.yaml", "--sandbox", *sandbox)
    assert "Asked anew for every model call: 440 tokens and $0.0400." in session.shows(WAITS)
    edit(scripted, "Append `three`.", "Append `three` and say so.")
    shown = session.shows(WAITS)
    assert "↻ RUNBOOK.md is changed" in shown
    assert ": Step 3: Three\n" in shown
    assert "- Append `three`.\n    + Append `three` and say so.\n" in shown
    assert "Replayed 2 of 4 model calls: saved 220 tokens and $0.0200." in shown
    line = scripted.read_text().splitlines().index("Append `three` and say so.") + 1
    assert f"Asked anew from call 3 on: 220 tokens and $0.0200. It differs in prompt, line {line} (user)." in shown
    assert "PASS (provisional) ·" in shown
    assert "! The verdict is provisional: some answers of the model are from before the runbook was edited. f" in shown
    session.types("r")
    shown = session.shows(WAITS)
    assert "Replayed 4 of 4 model calls" in shown
    assert "PASS (provisional) ·" in shown, "its recording has the answers of before the edit"
    session.types("f")
    shown = session.shows(WAITS)
    assert "PASS ·" in shown
    assert "provisional" not in shown
    session.types("q")
    assert session.ends() == 0
    first, second, third, fourth = session.runs()
    assert answered_by(first) == answered_by(fourth) == ["script"] * 4
    assert [run["events"][0].get("replay", {}).get("provisional") for run in (second, third)] == [True, True]
    assert answered_by(second) == ["replay", "replay", "script", "script"]
    (began,) = (event for event in second["events"] if event["type"] == "run.started")
    assert began["replay"]["mode"] == "incremental"
    assert began["replay"]["parent_trajectory_id"] == first["folder"].name
    assert began["replay"]["until"] == 2
    mine, ids = third["folder"].name, [run["folder"].name for run in (second, third)]
    listed = runbook("runs", "list")
    assert listed.out.count("PASS (provisional)") == 2
    rows = runbook("runs", "list", "--json").json["runs"]
    assert sorted(row["trajectory_id"] for row in rows if row["provisional"]) == sorted(ids)
    counted = runbook("runs", "stats")
    assert "hint: 2 provisional verdicts counted like the others" in counted.err
    assert runbook("runs", "stats", "--json").json["tasks"][0]["provisional"] == 2
    assert "PASS (provisional) ·" in runbook("runs", "show", mine).out
    whole = [runbook("runs", "show", run["folder"].name, "--json").json["provisional"] for run in (third, fourth)]
    assert whole == [True, False]
    replayed = runbook("replay", mine, "--sandbox", *sandbox)
    assert "\nPASS (provisional) · " in replayed.out
    assert "! The verdict is provisional: some answers of the model" in replayed.out
    again = runbook("run", ".", "--model", "m-1", "--sandbox", *sandbox, "--replay", "@last", "--json")
    assert (again.code, again.json["verdict"], again.json["provisional"]) == (0, "pass", True)
    page, bundle = runbook.cwd / "page.html", runbook.cwd / "run.zip"
    assert runbook("export", "@last", "--format", "html", "-o", page).code == 0
    assert ">PASS (provisional)</span></h1>" in page.read_text()
    assert runbook("runs", "bundle", "@last", "-o", bundle).code == 0
    with zipfile.ZipFile(bundle) as packed:
        assert json.loads(packed.read("manifest.json"))["provisional"] is True
    from_it = watch(".", *MODEL[2:], "--sandbox", *sandbox, "--replay", "@last")
    assert "PASS (provisional) ·" in from_it.shows(WAITS)
    differing = [event for event in second["events"] if event["type"] == "replay.diverged"]
    assert [event["served"] for event in differing] == ["recorded", "recorded", "script"]
    assert differing[0]["differences"][0]["path"] == "prompt"
    assert (second["folder"] / "results" / "out.txt").read_text() == "one\ntwo\nthree\n"


@pytest.mark.needs("bubblewrap")
def test_an_unchanged_runbook_is_replayed_whole_and_f_asks_for_everything_anew(watch: Watch, scripted: Path) -> None:
    session = watch(".", *MODEL)
    session.shows(WAITS)
    session.types("r")
    assert "Replayed 4 of 4 model calls: saved 440 tokens and $0.0400.\n" in session.shows(WAITS)
    session.types("f")
    assert "Asked anew for every model call: 440 tokens and $0.0400." in session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    assert [answered_by(run) for run in session.runs()] == [["script"] * 4, ["replay"] * 4, ["script"] * 4]


@pytest.mark.needs("bubblewrap")
def test_an_edit_before_the_steps_asks_anew_from_the_first_call_on_and_so_does_strict(
    watch: Watch, scripted: Path
) -> None:
    session = watch(".", *MODEL)
    session.shows(WAITS)
    edit(scripted, "Write three words.", "Write three good words.")
    shown = session.shows(WAITS)
    line = scripted.read_text().splitlines().index("Write three good words.") + 1
    told = f"It differs in prompt, line {line} (user)."
    assert f"Asked anew for every model call: 440 tokens and $0.0400. {told}" in shown
    assert "PASS ·" in shown
    session.types("q")
    assert session.ends() == 0
    strict = watch(".", *MODEL, "--strict", "--replay", "@last")
    assert "Replayed 4 of 4 model calls" in strict.shows(WAITS)
    edit(scripted, "Append `three`.", "Append `three` now.")
    assert "Asked anew for every model call: 440 tokens and $0.0400." in strict.shows(WAITS)


ONE_SHOT = """\
- say: {first}
  shell: {work}
- say: {last}
  {check}
  usage: {{output: 1}}
"""
AT_ONCE = "seq 1 3 | awk '{s+=$1*2} END {print s}' > /app/results/out.txt"


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize(("first", "work", "last", "check"), [
    ("I compute it.", AT_ONCE, "Step 3 is done.", ""),
    ("I begin with step 1.", AT_ONCE, "Step 3 is done.", ""),
    ("I begin with step 1.", AT_ONCE, "Step 3 is done, a look at it.", "shell: cat /app/results/out.txt"),
    ("Steps 1 to 3 in one command.", AT_ONCE, "Step 3 is done, a look at it.", "shell: cat /app/results/out.txt"),
    ("Step 2.", f"cat numbers.txt; {AT_ONCE}", "Step 3 is done, a look at it.", "shell: cat /app/results/out.txt"),
], ids=["silent", "begins", "looks", "range", "value"])  # fmt: skip
def test_an_answer_that_did_the_work_of_all_steps_is_asked_for_anew_after_an_edit(
    watch: Watch, scripted: Path, first: str, work: str, last: str, check: str
) -> None:
    write(
        scripted.parent,
        "mine",
        one="Make the numbers 1 to 3.",
        two="Prepare `/app/results/out.txt` and numbers.txt.",
        three="Multiply each number by 2, and put their sum there.",
    )
    turns = ONE_SHOT.format(first=first, work=json.dumps(work), last=last, check=check)
    (scripted.parent / "model.yaml").write_text(turns + ("- say: It is.\n" if check else ""))
    session = watch(".", *MODEL)
    session.shows(WAITS)
    edit(scripted, "by 2,", "by 3,")
    shown = session.shows(WAITS)
    assert "Asked anew for every model call" in shown
    assert "provisional" not in shown
    assert set(answered_by(session.runs()[-1])) == {"script"}


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("strict", [(), ("--strict",)], ids=["usual", "strict"])
def test_an_edit_of_what_is_volatile_in_a_request_is_an_edit_of_the_runbook(
    watch: Watch, scripted: Path, strict: tuple[str, ...]
) -> None:
    today = date.today()
    edits = {
        "/tmp/a.csv": "/tmp/b.csv",
        "http://localhost:8000/api": "http://localhost:9000/api",
        "http://203.0.113.7:8080/x": "http://192.0.2.1:8080/x",
        str(today): str(today - timedelta(days=1)),
    }
    edit(scripted, "Write `one`.", f"Write `one`, and see {', '.join(edits)}.")
    session = watch(".", *MODEL, *strict)
    session.shows(WAITS)
    for before, after in edits.items():
        edit(scripted, before, after)
        assert "Asked anew for every model call: 440 tokens" in session.shows(WAITS), before
    assert all(answered_by(run) == ["script"] * 4 for run in session.runs())


@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("strict", [(), ("--strict",)], ids=["usual", "strict"])
def test_another_value_that_only_the_note_tells_is_asked_about_anew(
    watch: Watch, scripted: Path, strict: tuple[str, ...]
) -> None:
    table = "## Parameters\n\n| Parameter | Description |\n|---|---|\n| due | When |\n\n## Step 1: One"
    edit(scripted, "## Step 1: One", table)
    values, today = scripted.with_name("values.yaml"), date.today()
    values.write_text(f'due: "{today}"\n')
    session = watch(".", *MODEL, "--params", values, *strict)
    session.shows(WAITS)
    edit(values, str(today), str(today - timedelta(days=1)))
    shown = session.shows(WAITS)
    assert "Asked anew for every model call: 440 tokens" in shown
    assert "It differs in prompt, line" in shown
    assert [answered_by(run) for run in session.runs()] == [["script"] * 4] * 2


@pytest.mark.needs("bubblewrap")
def test_an_edit_that_is_taken_back_is_answered_whole_and_a_removed_run_is_told(
    watch: Watch, runbook: Any, scripted: Path
) -> None:
    session = watch(".", *MODEL)
    session.shows(WAITS)
    edit(scripted, "Append `three`.", "Append `three` now.")
    assert "Replayed 2 of 4 model calls" in session.shows(WAITS)
    edit(scripted, "Append `three` now.", "Append `three`.")
    assert "Replayed 4 of 4 model calls" in session.shows(WAITS)
    for run in session.runs():
        assert runbook("runs", "rm", run["folder"]).code == 0
    session.types("r")
    shown = session.shows(WAITS)
    assert "PASS" in shown
    assert "Asked anew for every model call" in shown
    session.types("r")
    assert "Replayed 4 of 4 model calls" in session.shows(WAITS)


@pytest.mark.needs("bubblewrap")
def test_an_edited_script_is_asked_for_everything(watch: Watch, scripted: Path) -> None:
    session = watch(".", *MODEL)
    session.shows(WAITS)
    edit(scripted.with_name("model.yaml"), "echo two", "echo zwei")
    shown = session.shows(WAITS)
    assert "↻ model.yaml is changed" in shown
    assert "Asked anew for every model call: 440 tokens and $0.0400." in shown
    assert (session.runs()[-1]["folder"] / "results" / "out.txt").read_text() == "one\nzwei\nthree\n"


@pytest.mark.needs("bubblewrap")
def test_answers_of_a_recording_that_the_user_names_get_no_variable_of_the_environment_by_consent(
    watch: Watch, runbook: Any, scripted: Path
) -> None:
    """What the agent does is in that recording."""
    wish = "secrets: {SHOP: {env: SHOP_TOKEN, description: x, required: false}}"
    edit(scripted, "agent: mine\n", f"agent: mine\n{wish}\n")
    token = {"SHOP_TOKEN": "open-sesame-4711"}
    first = runbook("run", ".", *MODEL, "--trust", "--json", env=token)
    assert first.code == 0, first.err
    assert first.events("agent.started")[0]["secrets"] == ["SHOP_TOKEN"]
    session = watch(".", *MODEL, "--trust", "--replay", first.folder, **token)
    session.shows(WAITS)
    (started,) = (event for event in session.runs()[-1]["events"] if event["type"] == "agent.started")
    assert started["secrets"] == []


def test_what_a_cli_numbers_at_random_is_asked_for_only_once(
    watch: Watch, runbook: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    codex = tmp_path_factory.mktemp("bin") / "codex"
    codex.write_text(CODEX)
    codex.chmod(0o755)
    (runbook.cwd / "model.yaml").write_text("- tool: {name: exec_command, input: {cmd: 'true'}}\n" * 3)
    write(runbook.cwd, "codex")
    path = f"{codex.parent}:{runbook.env['PATH']}"
    session = watch(".", "--model-script", "model.yaml", "--sandbox", "host", "--trust", PATH=path)
    session.shows(WAITS)
    session.types("r")
    assert "Replayed 3 of 3 model calls" in session.shows(WAITS)
    first, second = session.runs()
    assert answered_by(second) == ["replay"] * 3
    session.types("q")
    assert session.ends() == 0
    runbook.env["PATH"] = path
    again = runbook("replay", first["folder"].name, "--sandbox", "host", "--trust")
    assert "not as recorded" not in again.out


# --- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("bubblewrap")
def test_each_key(watch: Watch, runbook: Any) -> None:
    file = write(runbook.cwd)
    session = watch(file, "--sandbox", "bubblewrap")
    keys = session.shows("q quit.").splitlines()[-1]
    assert len(keys) < 80, "no word of it is broken in a terminal"
    assert all(f" {key} " in keys for key in "rfcdohq"), keys
    session.types("h")
    session.shows("q quit.")
    session.types("d")
    session.shows("There are no two runs yet.")
    session.types("o")
    assert session.shows("three\n").endswith("one\ntwo\nthree\n")
    session.types("r")
    session.shows(WAITS)
    session.types("d")
    session.shows("✓ The two are the same.")
    session.types("c")
    assert "✓ check: no findings" in session.shows("checks it, and runs nothing; c ends that, h shows the keys.")
    edit(file, "echo two", "echo zwei")
    assert "✓ check: no findings" in session.shows("runs nothing")
    session.types("\x1b[C\x1bOcx")  # arrows, and a key without a meaning
    session.types("c")
    session.shows("checks and runs it; h shows the keys.")
    session.types("r")
    session.shows(WAITS)
    session.types("d")
    assert "tool call 2 is the first that differs" in session.shows("✗ The two differ")
    session.types("q")
    assert session.ends() == 0
    assert len(session.runs()) == 3
    assert session.terminal() == session.before


# --- saves ---------------------------------------------------------------------------------------------------------


def _aside(file: Path, text: str) -> None:
    aside = file.with_name(f".{file.name}.swp")
    aside.write_text(text)
    aside.rename(file)


def _anew(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def _backup(file: Path, text: str) -> None:
    backup = file.with_name(f"{file.name}~")
    file.rename(backup)
    file.write_text(text)


def _twice(file: Path, text: str) -> None:
    file.write_text(text[: len(text) // 2])
    file.write_text(text)


SAVES = [Path.write_text, _aside, _anew, _backup, _twice]


@pytest.mark.needs("bubblewrap")
def test_every_way_to_save_starts_one_run_and_what_runs_write_starts_none(watch: Watch, runbook: Any) -> None:
    file = write(runbook.cwd)
    session = watch(".", "--sandbox", "bubblewrap", "--out", ".")
    session.shows(WAITS)
    for number, save in enumerate(SAVES):
        save(file, file.read_text().replace("echo three", f"echo three{number}").replace(f"three{number - 1}", "three"))
        session.shows(WAITS)
    (runbook.cwd / "out.txt").write_text("no input")
    os.utime(file)  # it was not changed
    _anew(file, file.read_text())
    session.types("r")
    session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    assert len(session.runs()) == 1 + len(SAVES) + 1
    assert session.text.count("↻") == len(SAVES)


@pytest.mark.needs("bubblewrap")
def test_what_is_broken_is_told_and_not_run_until_it_is_mended(watch: Watch, runbook: Any) -> None:
    file = write(runbook.cwd)
    session = watch(".", "--sandbox", "bubblewrap")
    session.shows(WAITS)
    edit(file, 'version: "1.0.0"', "version: [")
    shown = session.shows(WAITS)
    assert "✗ RUNBOOK.md:" in shown
    assert "[RB101]" in shown
    text = file.read_text()
    file.unlink()
    shown = session.shows(WAITS)
    assert "↻ RUNBOOK.md is gone\n" in shown
    assert "There is no such file" in shown or "does not exist" in shown or "can't be read" in shown
    file.write_text(text.replace("version: [", 'version: "1.0.0"'))
    assert "PASS" in session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    assert [status(run) for run in session.runs()] == ["completed"] * 2


@pytest.mark.needs("bubblewrap")
def test_inputs_count_those_behind_links_and_those_that_come_back(watch: Watch, runbook: Any) -> None:
    elsewhere = runbook.cwd / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.txt").write_text("far")
    (runbook.cwd / "link.txt").symlink_to(elsewhere / "far.txt")
    (runbook.cwd / "big.bin").write_bytes(b"x" * 5_000_000)
    many = runbook.cwd / "many"
    many.mkdir()
    for number in range(1000):
        (many / f"{number}.txt").write_text(str(number))
    named = [word for file in sorted(many.iterdir()) for word in ("-f", file)]
    write(runbook.cwd, three=SHELL.format("cat /app/assets/link.txt /app/assets/7.txt >> /app/results/out.txt"))
    files = ("-f", "link.txt", "-f", "big.bin", *named)
    session = watch(".", "--sandbox", "bubblewrap", *files)
    session.shows(WAITS)
    (elsewhere / "far.txt").write_text("farther")
    assert "far.txt is changed" in session.shows(WAITS)
    with (runbook.cwd / "big.bin").open("ab") as file:
        file.write(b"y")
    assert "↻ big.bin is changed (5.0 MB)\n" in session.shows(WAITS)
    (many / "7.txt").unlink()
    shown = session.shows(WAITS)
    assert "↻ many/7.txt is gone" in shown
    assert "error: " in shown
    (many / "7.txt").write_text("seven")
    shown = session.shows(WAITS)
    assert "↻ many/7.txt is new" in shown
    assert "PASS" in shown
    assert (session.runs()[-1]["folder"] / "results" / "out.txt").read_text() == "one\ntwo\nfartherseven"


@pytest.mark.needs("bubblewrap")
def test_what_needs_trust_after_an_edit_is_told_and_never_run(watch: Watch, runbook: Any) -> None:
    file = write(runbook.cwd)
    edit(file, "agent: shell\n", "agent: shell\nsecrets: {SHOP: {env: SHOP_TOKEN, description: x}}\n")
    assert runbook("trust", file, env={"SHOP_TOKEN": "open-sesame-4711"}, stdin="y\n").code == 0
    session = watch(".", "--sandbox", "bubblewrap", SHOP_TOKEN="open-sesame-4711")
    assert "PASS" in session.shows(WAITS)
    edit(file, "echo three", "echo $SHOP_TOKEN")
    shown = session.shows(WAITS)
    assert "error: " in shown
    assert "SHOP_TOKEN" in shown
    session.types("q")
    assert session.ends() == 0
    assert len(session.runs()) == 1


# --- a run under way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_busy", ["cancel", "queue"])
def test_a_save_cancels_the_run_under_way_or_is_queued(
    watch: Watch, runbook: Any, eventually: Callable[..., Any], on_busy: str
) -> None:
    wait = runbook.cwd / "wait"
    wait.touch()
    file = write(runbook.cwd, two=SHELL.format(f"while [ -e {wait} ]; do sleep 0.05; done"))
    session = watch(".", "--sandbox", "host", "--on-busy", on_busy)
    session.shows("$ shell: while")
    edit(file, "echo three", "echo drei")
    session.shows("is cancelled" if on_busy == "cancel" else "follows when")
    if on_busy == "cancel":
        session.shows("CANCELLED")
        session.shows("$ shell: while")
    wait.unlink()
    session.shows("PASS")
    if on_busy == "queue":
        session.shows("PASS")
    session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    states = [status(run) for run in session.runs()]
    assert states == (["cancelled", "completed"] if on_busy == "cancel" else ["completed", "completed"])
    assert runbook.left() == []


def test_a_broken_save_lets_the_run_under_way_go_on(watch: Watch, runbook: Any) -> None:
    wait = runbook.cwd / "wait"
    wait.touch()
    file = write(runbook.cwd, two=SHELL.format(f"while [ -e {wait} ]; do sleep 0.05; done"))
    session = watch(".", "--sandbox", "host")
    session.shows("$ shell: while")
    edit(file, 'version: "1.0.0"', "version: [")
    session.shows("[RB101]")
    wait.unlink()
    session.shows("PASS")
    session.shows(WAITS)
    assert [status(run) for run in session.runs()] == ["completed"]


@pytest.mark.needs("docker")
def test_in_docker_the_next_container_is_ready_before_the_save_and_none_is_left(
    watch: Watch, runbook: Any, eventually: Callable[..., Any]
) -> None:
    from runbook_runner.sandbox.docker.engine import connect
    from runbook_runner.sandbox.labels import OWNER_LABEL, this_host

    file = write(runbook.cwd)
    session = watch(".", "--sandbox", "docker")
    session.shows("PASS")
    label = f"{OWNER_LABEL}={this_host()}:{session.process.pid}"
    api = connect().api

    def ready() -> list[str]:
        found = api.containers(filters={"label": label})
        return [item["Id"] for item in found if item["Names"][0].startswith("/runbook-ready-")]

    (container,) = eventually(ready)
    session.shows(WAITS)
    edit(file, "echo three", "echo drei")
    session.shows("PASS")
    (started,) = (event for event in session.runs()[-1]["events"] if event["type"] == "sandbox.started")
    assert started["sandbox_id"] == container
    session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    assert api.containers(all=True, filters={"label": label}) == []
    assert runbook.left() == []


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGHUP", "q"])
def test_however_it_ends_the_run_is_recorded_and_the_terminal_is_as_before(
    watch: Watch, runbook: Any, how: str
) -> None:
    wait = runbook.cwd / "wait"
    wait.touch()
    write(runbook.cwd, two=SHELL.format(f"while [ -e {wait} ]; do sleep 0.05; done"))
    session = watch(".", "--sandbox", "host")
    session.shows("$ shell: while")
    if how == "Ctrl-C":
        session.types("\x03")
    elif how == "q":
        session.types("q")
    else:
        session.process.send_signal(getattr(signal, how))
    assert session.ends() == (0 if how == "q" else 130)
    assert session.terminal() == session.before
    assert [status(run) for run in session.runs()] == ["cancelled"]
    assert runbook.left() == []


def test_a_terminal_that_is_closed_cancels_the_run_and_ends_the_session(
    watch: Watch, runbook: Any, eventually: Callable[..., Any]
) -> None:
    wait = runbook.cwd / "wait"
    wait.touch()
    write(runbook.cwd, two=SHELL.format(f"while [ -e {wait} ]; do sleep 0.05; done"))
    session = watch(".", "--sandbox", "host")
    session.shows("$ shell: while")
    session.hang_up()
    assert session.process.wait(60) != 0
    assert [status(run) for run in session.runs()] == ["cancelled"]
    assert runbook.left() == []


def test_a_second_ctrl_c_ends_at_once_and_restores_the_terminal(watch: Watch, runbook: Any) -> None:
    hold = "trap '' TERM INT; while true; do sleep 0.05; done"
    write(runbook.cwd, two=SHELL.format(hold))
    session = watch(".", "--sandbox", "host")
    session.shows("$ shell: trap")
    session.types("\x03")
    session.shows("stopping")
    session.types("\x03")
    assert session.ends() == 130
    assert session.terminal() == session.before


@pytest.mark.needs("bubblewrap")
def test_a_run_that_cannot_be_recorded_is_told_and_the_session_goes_on(watch: Watch, runbook: Any) -> None:
    write(runbook.cwd)
    session = watch(".", "--sandbox", "bubblewrap")
    session.shows(WAITS)
    home = runbook.cwd / ".runbook" / "trajectories"
    aside = home.rename(home.with_name("aside"))
    home.write_text("no folder")
    session.types("r")
    assert "error: " in session.shows(WAITS)
    home.unlink()
    aside.rename(home)
    session.types("r")
    assert "PASS" in session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    assert session.terminal() == session.before


_FAILS = """
from runbook_runner.cli.ui.keys import Keys
with Keys(print):
    raise ValueError
"""


def test_an_error_leaves_the_terminal_as_it_was() -> None:
    mine, its = pty.openpty()
    before = termios.tcgetattr(its)
    done = subprocess.run(
        [sys.executable, "-c", _FAILS],
        stdin=its,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: _take_terminal(its),
    )
    assert "ValueError" in done.stderr
    assert termios.tcgetattr(its) == before
    os.close(mine)
    os.close(its)


# --- without a terminal --------------------------------------------------------------------------------------------


@pytest.mark.needs("bubblewrap")
def test_without_a_terminal_there_are_no_keys_and_a_save_runs_all_the_same(
    runbook: Any, eventually: Callable[..., Any]
) -> None:
    file = write(runbook.cwd)
    shown = runbook.cwd / "shown.txt"
    with shown.open("w") as out:
        process = runbook.start("watch", ".", "--sandbox", "bubblewrap", stdout=out, stderr=out)
    try:
        eventually(lambda: "There are no keys, for stdin is not a terminal; Ctrl-C ends it." in shown.read_text())
        edit(file, "echo three", "echo drei")
        eventually(lambda: shown.read_text().count("PASS") == 2)
        eventually(lambda: shown.read_text().count(WAITS) == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait(60)


@pytest.mark.needs("bubblewrap")
def test_quiet_tells_only_what_is_wrong(runbook: Any, eventually: Callable[..., Any]) -> None:
    file = write(runbook.cwd, three=SHELL.format("exit 3"))
    shown = runbook.cwd / "shown.txt"
    with shown.open("w") as out:
        process = runbook.start("watch", ".", "-q", "--sandbox", "bubblewrap", stdout=out, stderr=out)
    try:
        eventually(lambda: "exit code 3" in shown.read_text() or "with code 3" in shown.read_text())
        edit(file, "exit 3", "echo three >> /app/results/out.txt")
        eventually(lambda: len(list((runbook.cwd / ".runbook").glob("trajectories/*/*/*/trajectory.json"))) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait(60)
    assert all(line.startswith("error: ") or not line.startswith(("✓", "↻")) for line in shown.read_text().splitlines())
    assert "PASS" not in shown.read_text()


def test_check_only_starts_nothing(watch: Watch, runbook: Any) -> None:
    file = write(runbook.cwd)
    session = watch(".", "--check")
    session.shows("checks it, and runs nothing.")
    edit(file, 'version: "1.0.0"', "version: [")
    assert "[RB101]" in session.shows(WAITS)
    session.types("q")
    assert session.ends() == 0
    assert session.runs() == []


@pytest.mark.parametrize(("arguments", "told"), [
    (("-",), "Only a file can be watched."),
    (("https://example.com/RUNBOOK.md",), "Only a file can be watched."),
    (("nonesuch",), "There is no such file."),
    ((".", "--sandbox", "nonesuch"), "Unknown sandbox 'nonesuch'."),
    ((".", "--replay", "nonesuch", "--sandbox", "host"), "nonesuch"),
])  # fmt: skip
def test_what_no_save_would_mend_ends_it(runbook: Any, arguments: tuple[str, ...], told: str) -> None:
    write(runbook.cwd)
    ran = runbook("watch", *arguments)
    assert ran.code == 2
    assert told in ran.err

"""A run as one page: what happened is on it, and nothing on it can do anything."""

import io
from html.parser import HTMLParser

import pytest

from runbook_runner.core.events import (
    AgentFinished,
    AgentMessage,
    AgentStarted,
    Artifact,
    Evaluated,
    ModelCalled,
    PhaseFinished,
    PhaseStarted,
    Recorded,
    RunFinished,
    RunStarted,
    SandboxStarted,
    ToolCalled,
    ToolReturned,
    Usage,
)
from runbook_runner.trajectory.export.page import write_page
from runbook_runner.trajectory.overlay import Overlay

EVIL = "<script>alert(1)</script><img src=x onerror=y>\"'\u202e"
KEY = "sk-ant-api03-" + "a1B2c3D4e5F6" * 8


def log(*events, text="Do it."):
    start = RunStarted(
        trajectory_id="bb2bb71e",
        collection="acme",
        task="t",
        author="a",
        spec_digest="",
        init_params={"instruction": text},
        step_config={},
        engine="e",
    )
    for number, event in enumerate((start, PhaseStarted(phase="agent"), *events), 1):
        yield Recorded(seq=number, ts=f"2026-07-01T09:00:{number % 60:02}.000000Z", event=event)


def page(events):
    out = io.BytesIO()
    write_page(events, out)
    return out.getvalue().decode()


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.setdefault(tag, []).append(dict(attrs))


def everywhere(text):
    return log(
        AgentStarted(agent="claude-code", version="2", model=text),
        AgentMessage(text=text),
        ToolCalled(call_id="1", name=text, input={"command": text, text: text}),
        AgentMessage(text=text, parent_call_id="1"),
        ToolReturned(call_id="1", output=text, exit_code=1),
        ModelCalled(
            number=1,
            dialect="d",
            model=text,
            source="provider",
            status=200,
            seconds=1.5,
            usage=Usage(prompt_tokens=1000, completion_tokens=200, cost_usd=0.25, api_calls=1),
        ),
        Artifact(
            kind="result",
            path=f"results/{text}",
            sandbox_path="/app/results/x",
            key="k",
            size=12345,
            sha256="",
            content_type="text/markdown",
            primary=0,
        ),
        Evaluated(verdict="fail", success=False, reasons=(text,)),
        RunFinished(status="completed", seconds=12.5),
        text=text,
    )


def test_what_happened_is_on_the_page():
    text = page(everywhere("Hello there"))
    for part in (
        "acme/t",
        "bb2bb71e",
        "FAIL",
        "1,200 tokens, $0.25",
        "12.5 s",
        "12.3 kB",
        "text/markdown",
        "Hello there",
    ):
        assert part in text


def test_nothing_that_is_shown_can_do_anything():
    text = page(everywhere(EVIL))
    tags = Tags(text).tags
    assert not tags.keys() & {"script", "img", "a", "link", "iframe", "form", "object", "base"}
    assert not any(
        name.startswith("on") or name in ("src", "href", "style")
        for found in tags.values()
        for attrs in found
        for name in attrs
    )
    policy = next(meta["content"] for meta in tags["meta"] if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;") >= 6


def test_a_key_that_was_recorded_is_not_on_the_page():
    assert KEY not in page(everywhere(KEY))


def test_a_page_has_bounds_and_says_what_it_leaves_out():
    calls = (
        event
        for n in range(20_000)
        for event in (
            ToolCalled(call_id=str(n), name="Bash", input={"command": "x" * 50}),
            ToolReturned(call_id=str(n), output="y" * 50),
        )
    )
    text = page(log(*calls))
    assert "Not shown:" in text
    assert len(text) < 20_000_000


def test_results_reasons_and_times_are_for_people(tmp_path):
    app = "/home/me/work/runbook-bb2bb71e"
    results = tmp_path / "results"
    results.mkdir()
    (results / "z.md").write_text(f"<b>bold</b> in {app}/results")
    (results / "a.bin").write_bytes(b"\0\1")
    (results / "b.txt").write_text("x" * 200_000)
    (tmp_path / "secret.txt").write_text("not a result")

    def result(path, primary=None):
        return Artifact(
            kind="result", path=path, sandbox_path="/app/x", key="k", size=9, sha256="", content_type="text/x",
            primary=primary,
        )  # fmt: skip

    sandbox = SandboxStarted(backend="host", sandbox_id="s", app=app)
    started, *rest = log(
        sandbox,
        AgentMessage(text=f"Wrote {app}/results/z.md"),
        result("results/a.bin"),
        result("results/b.txt"),
        result("results/z.md", 0),
        result("results/../secret.txt"),
        result("secret.txt"),
        AgentFinished(exit_code=3, ended_by="exit", text=f"Wrote {app}/results/z.md", error="It broke."),
        Evaluated(
            verdict="fail", success=False, reasons=("The agent did not end well: It broke.", "A file is missing.")
        ),
        PhaseFinished(phase="evaluate", seconds=0.01, ok=False),
        RunFinished(status="failed", error="It broke.", seconds=125.0),
    )
    given = {"instruction": "Do it.", "vars": {"name": "Ada"}}
    begun = started.event.model_copy(update={"init_params": given, "labels": {"team": "red"}})
    out = io.BytesIO()
    overlay = Overlay(labels=({"key": "quality", "value": "high", "created": "", "author": ""},))
    write_page([started._replace(event=begun), *rest], out, tmp_path, overlay)
    text = out.getvalue().decode()
    assert "ERROR</span></h1>" in text
    assert (text.count("It broke."), text.count("A file is missing.")) == (1, 1)
    assert text.count("Wrote /app/results/z.md") == 1
    assert app not in text
    assert "&lt;b&gt;bold&lt;/b&gt; in /app/results" in text
    assert text.index("results/z.md</b>") < text.index("results/a.bin")
    assert "more bytes" in text
    assert len(text) < 100_000
    assert "not a result" not in text
    assert '<time datetime="2026-07-01T09:00:01.000000Z">1 July 2026, 09:00:01 UTC</time>' in text
    assert "2 min 5 s" in text
    assert "name = Ada" in text
    assert "team = red, quality = high" in text


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e300, 0.001])
def test_times_that_can_not_be_are_shown(seconds):
    assert " s</td>" in page(log(RunFinished(status="completed", seconds=seconds)))


def test_a_log_that_is_only_begun_and_one_without_a_beginning_are_pages():
    assert "NOT ENDED" in page(log())
    assert "<html" in page(())

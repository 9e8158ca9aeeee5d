"""A run that has used up its budget gets no more answers, and says why."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.redaction import Redactor
from runbook_runner.gateway import Budget, Cassette, load_script, provider_from

SCRIPT = "".join(f"- {{say: t{n}, usage: {{input: 40, output: 5, cache_read: 5, cost: 0.2}}}}\n" for n in range(9))
Limited = Callable[[Budget], Any]


@pytest.fixture
def limited(connect: Any, tmp_path: Path) -> Limited:
    (tmp_path / "m.yaml").write_text(SCRIPT)
    return lambda budget: connect(load_script(tmp_path / "m.yaml"), budget=budget)


@pytest.mark.parametrize(("budget", "answered", "says"), [
    (Budget(max_calls=2), 2, "budget of 2 model calls is used up"),
    (Budget(max_tokens=100), 2, "budget of 100 tokens is used up: 100 were used, cached ones included"),
    (Budget(max_tokens=101), 3, "budget of 101 tokens is used up: 150 were used, cached ones included"),
    (Budget(max_cost_usd=0.5), 3, "budget of $0.50 is used up: $0.6000 were spent"),
    (Budget(max_cost_usd=9, max_calls=1), 1, "budget of 1 model call "),
])  # fmt: skip
def test_call_that_crosses_a_limit_is_the_last(limited: Limited, budget: Budget, answered: int, says: str) -> None:
    line = limited(budget)
    statuses = [line.ask(f"q{n}").status_code for n in range(answered + 2)]
    assert statuses == [200] * answered + [400, 400]
    assert line.session.failure.kind == "budget"
    assert says in line.session.failure.message
    assert says in line.events[-1].error
    assert line.session.usage.api_calls == answered


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1beta/models/m:generateContent"])
def test_refusal_is_in_the_words_of_the_agents_api(limited: Limited, path: str) -> None:
    line = limited(Budget(max_calls=1))
    line.ask("q")
    refused = line.post(path, input="x", messages=[], contents=[])
    assert refused.status_code == 400
    assert "budget of 1 model call " in refused.json()["error"]["message"]


def test_what_is_recorded_is_bounded_on_disk(connect: Any, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(SCRIPT)
    cassette = Cassette(tmp_path / "model", Redactor({}), most_bytes=100_000)
    line = connect(load_script(tmp_path / "m.yaml"), cassette=cassette)
    statuses = [line.ask(os.urandom(50_000).hex()).status_code for _ in range(6)]
    assert statuses == [200, 200, 500, 500, 500, 500]
    assert "more than 0 MB, a share of --disk" in line.session.failure.message
    assert sum(file.stat().st_size for file in cassette.folder.rglob("*") if file.is_file()) < 200_000


def test_without_a_budget_there_is_no_limit(limited: Limited) -> None:
    line = limited(Budget())
    assert {line.ask(f"q{n}").status_code for n in range(9)} == {200}
    assert line.session.failure is None


def test_calls_that_the_agent_leaves_use_the_budget_too(connect: Any, fake: Any) -> None:
    upstream = provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"})
    line = connect(upstream, budget=Budget(max_tokens=30))
    body = {"model": "slow", "stream": True, "messages": []}
    for _ in range(3):
        with line.client.stream("POST", "/v1/messages", json=body) as response:
            if response.status_code == 200:
                next(response.iter_bytes())
        line.settled()
    assert [(event.status, event.usage.all_tokens) for event in line.events] == [(0, 17), (0, 17), (400, 0)]


def test_a_budget_of_tokens_is_not_held_blindly(connect: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that tells no usage."""
    silent = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    monkeypatch.setattr(fake, "answer", lambda http, body: fake.json(http, 200, silent))
    upstream = provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"})
    line = connect(upstream, budget=Budget(max_tokens=2000))
    assert [line.ask(f"q{n}").status_code for n in range(3)] == [200, 400, 400]
    assert "do not tell how many tokens they used: limit calls" in line.session.failure.message


def test_refused_call_does_not_reach_the_provider(connect: Any, fake: Any) -> None:
    upstream = provider_from("anthropic", {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"})
    line = connect(upstream, budget=Budget(max_cost_usd=0.0001))
    assert line.ask("a", model="claude-sonnet-4-6", stream=True).status_code == 200
    assert line.ask("b", model="claude-sonnet-4-6", stream=True).status_code == 400
    assert len(fake.requests) == 1


def test_money_can_not_be_limited_when_the_price_is_not_known(connect: Any, fake: Any, tmp_path: Path) -> None:
    environ = {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}
    line = connect(provider_from("anthropic", environ), budget=Budget(max_cost_usd=5))
    assert line.ask("a", model="odd").status_code == 200
    refused = line.ask("b", model="odd")
    assert refused.status_code == 400
    assert "the price of odd is not known" in refused.json()["error"]["message"]
    (tmp_path / "p.yaml").write_text("odd: {input: 1, output: 1, cache_read: 1}")
    priced = provider_from("anthropic", {**environ, "RUNBOOK_PRICES": str(tmp_path / "p.yaml")})
    line = connect(priced, budget=Budget(max_cost_usd=5))
    assert [line.ask(text, model="odd").status_code for text in "abc"] == [200] * 3


def test_call_that_failed_does_not_make_the_price_unknown(connect: Any, fake: Any) -> None:
    environ = {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}
    line = connect(provider_from("anthropic", environ), budget=Budget(max_cost_usd=5))
    assert [line.ask("a", model=model).status_code for model in ("e401", "e529", "drop")] == [401, 529, 502]
    assert line.ask("a", model="claude-sonnet-4-6").status_code == 200


def test_counting_tokens_is_free(limited: Limited) -> None:
    line = limited(Budget(max_calls=1))
    for _ in range(3):
        assert line.post("/v1/messages/count_tokens", messages=[]).status_code == 200
    assert line.ask("a").status_code == 200


def test_budgets_of_two_runs_are_their_own(limited: Limited, tmp_path: Path) -> None:
    first, second = limited(Budget(max_calls=1)), limited(Budget(max_calls=1))
    assert [line.ask("a").status_code for line in (first, second)] == [200, 200]
    session = first.listener.open(
        upstream=load_script(tmp_path / "m.yaml"), cassette=Cassette(tmp_path / "x", Redactor({})), emit=lambda _: None
    )
    assert session.spending.count_call() is None
    session.close()

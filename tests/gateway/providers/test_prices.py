"""What a call costs, and that an unknown price is never a number."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Usage
from runbook_runner.gateway import provider_from
from runbook_runner.gateway.dialects.base import ParsedResponse
from runbook_runner.gateway.providers.prices import Prices, load_prices

MILLION = 1_000_000
TOOL = Path(__file__).parents[3] / "tools" / "reduce_prices.py"


def reduce(table: Any) -> Any:
    return runpy.run_path(str(TOOL))["reduce"](table)


def reading(prompt: int = 0, made: int = 0, read: int = 0, written: int = 0, **more: Any) -> ParsedResponse:
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=made,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=more.pop("reasoning", 0),
        api_calls=1,
    )
    return ParsedResponse(usage, error=None, complete=True, **more)


def test_every_kind_of_token_has_its_price() -> None:
    """Claude Sonnet 4.6: 3, 15, 0.30, 3.75 and, for an hour, 6 USD per million."""
    said = reading(prompt=MILLION, made=MILLION, read=MILLION, written=MILLION, long_cache_tokens=400_000)
    cost = Prices().cost("anthropic", "claude-sonnet-4-6", said)
    assert cost == pytest.approx(3 + 15 + 0.3 + 3.75 * 0.6 + 6 * 0.4)


def test_long_input_and_service_tiers_have_other_prices() -> None:
    """GPT-5.5 doubles its input price above 272,000 tokens; flex halves it."""
    prices = Prices()
    assert prices.cost("openai", "gpt-5.5", reading(prompt=272_000)) == pytest.approx(1.36)
    assert prices.cost("openai", "gpt-5.5", reading(prompt=172_000, read=100_001)) == pytest.approx(1.820001)
    assert prices.cost("openai", "gpt-5.5", reading(prompt=200_000, tier="flex")) == pytest.approx(0.5)
    assert prices.cost("openai", "gpt-5.5", reading(prompt=200_000, tier="default")) == pytest.approx(1.0)
    assert prices.cost("anthropic", "claude-sonnet-4-6", reading(prompt=MILLION, tier="us")) == pytest.approx(3.3)


@pytest.mark.parametrize(("provider", "model", "said"), [
    ("anthropic", "claude-not-yet", reading(prompt=5)),
    ("openai", "claude-sonnet-4-6", reading(prompt=5)),
    ("google", "gpt-5.5", reading(prompt=5)),
    ("ollama", "qwen3", reading(prompt=5)),
    ("anthropic", "claude-sonnet-4-6", reading()),
    ("anthropic", "claude-sonnet-4-6", reading(prompt=5, tier="priority")),
])  # fmt: skip
def test_what_is_not_known_is_no_number(provider: str, model: str, said: ParsedResponse) -> None:
    assert Prices().cost(provider, model, said) is None


def test_kind_of_token_without_a_price_makes_the_call_unpriced(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("m: {input: 1, output: 2}")
    prices = load_prices(tmp_path / "p.yaml")
    assert prices.cost("x", "m", reading(prompt=MILLION, written=MILLION)) == 2.0, "writing a cache is input"
    assert prices.cost("x", "m", reading(read=1)) is None
    assert prices.cost("x", "m", reading(made=10, reasoning=4)) == pytest.approx(2e-5)


def test_own_price_file_wins_over_the_table(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("""
anthropic/claude-sonnet-4-6: {input: 1, output: 1, above: {1000: {input: 2}}}
qwen3: {input: 0, output: 0}
""")
    prices = load_prices(path)
    assert prices.cost("anthropic", "claude-sonnet-4-6", reading(prompt=1000)) == pytest.approx(0.001)
    assert prices.cost("anthropic", "claude-sonnet-4-6", reading(prompt=1001)) == pytest.approx(0.002002)
    assert prices.cost("ollama", "qwen3", reading(prompt=5)) == 0.0, "the user says so"
    assert prices.cost("openai", "gpt-5.5", reading(prompt=MILLION, read=0)) == pytest.approx(10.0)


@pytest.mark.parametrize(("text", "says"), [
    ("m: {inptu: 1}", "m.inptu: is not a known key"),
    ("m: {input: -1}", "m.input: must be greater than or equal to 0"),
    ("\nm: {input: .inf}", "p.yaml:2: m.input: must be a finite number"),
    ("\nm: {input: .nan}", "p.yaml:2: m.input: must be a finite number"),
    ("\nm: {input: 1}\nm: {input: 2}", "p.yaml:3: The key 'm' is given twice, on lines 2 and 3."),
    ("\nm:\n  input: 1\n  above: {1000: {input: -1}}", "p.yaml:4: m.above.1000.input: must be greater"),
    ("m: 3", "USD per million"),
    ("- a", "USD per million"),
    ("m: [", "The YAML is broken"),
])  # fmt: skip
def test_mistake_in_a_price_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_prices(tmp_path / "p.yaml")
    assert says in str(caught.value)
    assert (caught.value.where or "").startswith(f"{tmp_path / 'p.yaml'}:")


def test_missing_price_file_is_named() -> None:
    with pytest.raises(InputError, match=r"/nowhere/p.yaml: The price file of .* can't be read: No such file"):
        provider_from("anthropic", {"ANTHROPIC_API_KEY": "k-1234", "RUNBOOK_PRICES": "/nowhere/p.yaml"})


def test_reduction_keeps_prices_and_leaves_out_what_is_no_price() -> None:
    chat = {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    rows = reduce({
        "plain": {**chat, "max_tokens": 5, "output_cost_per_token_priority": 4e-6,
                  "input_cost_per_token_above_200k_tokens": 3e-6},
        "search": {**chat, "search_context_cost_per_query": {"low": 0.01, "high": 0.01}},
        "depends": {**chat, "search_context_cost_per_query": {"low": 0.01, "high": 0.02}},
        "bands": {"mode": "chat", "litellm_provider": "x", "tiered_pricing": [
            {"range": [0, 1000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
            {"range": [1000.0, 9000.0], "input_cost_per_token": 5e-6, "output_cost_per_token": 6e-6}]},
        "image": {**chat, "mode": "image_generation"},
        "free?": {**chat, "input_cost_per_token": 0, "output_cost_per_token": 0},
        "mine": {**chat, "litellm_provider": "ollama", "input_cost_per_token": 0, "output_cost_per_token": 0},
        "by the hour": {**chat, "off_peak_pricing": {}},
        "half": {"mode": "chat", "input_cost_per_token": 1e-6},
        "not a row": 5,
    })  # fmt: skip
    assert set(rows) == {"plain", "bands", "mine", "search", "depends"}
    assert (rows["search"]["search"], "search" in rows["depends"]) == (0.01, False)
    assert rows["plain"] == {
        "provider": "x",
        "rates": {"input": 1.0, "output": 2.0},
        "above": {"200000": {"input": 3.0}},
        "tiers": {"priority": {"rates": {"output": 4.0}}},
    }
    assert rows["bands"]["above"] == {"1000": {"input": 5.0, "output": 6.0}}


def test_forwarded_call_is_priced_and_what_the_provider_says_it_cost_wins(connect: Any, fake: Any) -> None:
    environ = {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "k-1234"}
    line = connect(provider_from("anthropic", environ))
    line.ask("a", model="claude-sonnet-4-6")
    assert line.events[0].usage.cost_usd == pytest.approx((7 * 3 + 5 * 15 + 2 * 0.3 + 1 * 3.75) / MILLION)
    assert line.cassette.calls()[0].usage.cost_usd == line.session.usage.cost_usd
    dialect = __import__("runbook_runner.gateway.dialects", fromlist=["DIALECTS"]).DIALECTS[2]
    body = {"choices": [{}], "usage": {"prompt_tokens": 5, "completion_tokens": 1, "cost": 0.0125}}
    assert dialect.parse_response(json.dumps(body).encode()).usage.cost_usd == 0.0125


def test_searches_by_the_provider_are_paid_one_by_one(tmp_path: Path) -> None:
    """1 cent each at Anthropic; Gemini 2.5 charges for the answer that needed any, Gemini 3 for each."""
    prices, said = Prices(), reading(prompt=MILLION, searches=3)
    assert prices.cost("anthropic", "claude-sonnet-4-6", said) == pytest.approx(3.03)
    bare = [prices.cost("google", model, reading(prompt=5)) for model in ("gemini-2.5-pro", "gemini-3.1-pro-preview")]
    asked = [
        prices.cost("google", m, reading(prompt=5, searches=3)) for m in ("gemini-2.5-pro", "gemini-3.1-pro-preview")
    ]
    assert [round((a or 0) - (b or 0), 6) for a, b in zip(asked, bare, strict=True)] == [0.035, 0.042]
    (tmp_path / "p.yaml").write_text("m: {input: 1}\nn: {input: 1, search: 0.5}")
    own = load_prices(tmp_path / "p.yaml")
    assert own.cost("x", "m", said) is None, "what a search costs there is not known"
    assert own.cost("x", "n", said) == pytest.approx(2.5)


def test_reasoning_that_is_counted_beside_the_output_does_not_make_it_cheaper() -> None:
    odd = reading(made=9, reasoning=94)
    assert Prices().cost("openai", "gpt-5.5", odd) == Prices().cost("openai", "gpt-5.5", reading(made=9))

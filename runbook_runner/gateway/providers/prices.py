"""Gateway: what a model call costs, by a dated price table of this package and by the user's own file.

The table is a reduced copy of litellm's (see `tools/reduce_prices.py`), read without importing litellm. A price that is
not known is `None`, never zero: also when a call used a kind of token or a service tier that the table does not price.
`genai-prices` 0.2.3 is not used: it prices an unknown service tier as the standard one, cached tokens and searches
without a price as input and as free, and a Gemini 2.5 prompt's searches one by one; it covers 27 % of these models, has
no user's prices and imports an HTTP client.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import zstandard
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runbook_runner.core.facts.providers import find_provider
from runbook_runner.core.files import read_text
from runbook_runner.core.formats.yaml_text import place_in, read_yaml
from runbook_runner.core.invalid import problem_of, validation_error
from runbook_runner.core.settings import PRICES_VARIABLE
from runbook_runner.gateway.dialects.base import ParsedResponse

TABLE: Final = Path(__file__).with_name("prices.json.zst")
_MILLION: Final = 1_000_000
_STANDARD: Final = (None, "", "default", "standard", "auto", "scale", "on_demand")

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Rates(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    """For tokens that are kept for an hour; `None`: as `cache_write`."""
    reasoning: Price | None = None
    """`None`: as `output`."""


class Tier(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rates: Rates = Rates()
    above: dict[int, Rates] = {}
    """When the input, cached or not, has more tokens than the key, these rates hold for the whole call."""


class Row(Tier):
    """The prices of one model."""

    provider: str = ""
    search: Price | None = None
    """USD of one web search by the provider itself."""
    search_once: bool = False
    """The price is for all searches of an answer together."""
    tiers: dict[str, Tier] = {}
    """Service tiers with prices of their own."""
    times: dict[str, Price] = {}
    """Service tier → its factor on the standard prices."""


class _Listed(Rates):
    """A model in the user's file: rates, and others above a size of the input."""

    above: dict[int, Rates] = {}
    search: Price | None = None
    """USD of one, see `Row`."""


@dataclass(frozen=True)
class Prices:
    own: Mapping[str, Row] = field(default_factory=dict)
    """The user's, by `PROVIDER/MODEL` or `MODEL`; they win."""

    def cost(self, provider: str, model: str, response: ParsedResponse) -> float | None:
        """Returns the USD of one call; `None` when its price is not known."""
        row = self.find(provider, model)
        tier = _tier(row, response.tier) if row else None
        if row is None or tier is None or not response.usage.all_tokens:
            return None
        rates, times = tier
        usd, searches = _sum(_rates(rates, response), response), _searches(row, response)
        return None if usd is None or searches is None else round(usd * times + searches, 9)

    def find(self, provider: str, model: str) -> Row | None:
        """Returns the row of this provider's model; `None` without one. Models of the same name at other
        providers do not count."""
        facts = find_provider(provider)
        names = (facts and facts.price_names) or (provider,)
        bare = model.removeprefix(f"{provider}/")
        for name in (f"{provider}/{bare}", bare):
            if name in self.own:
                return self.own[name]
        listed = _table()["models"]
        for name in (*(f"{name}/{bare}" for name in names), bare):
            row = listed.get(name)
            if row is not None and row["provider"] in names:
                return Row.model_validate(row)
        return None


def prices_from(environ: Mapping[str, str]) -> Prices:
    """Raises InputError for a price file that can't be read."""
    path = environ.get(PRICES_VARIABLE)
    return load_prices(Path(path) if path else None)


def load_prices(path: Path | None) -> Prices:
    """Returns the built-in table with the user's file, if any, taking precedence. Raises InputError.

    The file is YAML or JSON: model → {input, output, cache_read, …} in USD per million tokens, see `Rates`.
    """
    if path is None:
        return Prices()
    text = read_text(path, f"price file of {PRICES_VARIABLE}")
    data = read_yaml(text, str(path))
    try:
        listed = TypeAdapter(dict[str, _Listed]).validate_python({} if data is None else data)
    except ValidationError as error:
        hint = "Write `MODEL: {input: 3, output: 15, cache_read: 0.3}`, in USD per million tokens."
        where = place_in(text, str(path), problem_of(error).place)
        raise validation_error(error, where, hint=hint) from None
    return Prices({name: _as_row(model) for name, model in listed.items()})


def _as_row(listed: _Listed) -> Row:
    rates = Rates(**listed.model_dump(exclude={"above", "search"}))
    return Row(rates=rates, above=listed.above, search=listed.search)


def listed_providers() -> tuple[str, ...]:
    """Returns every provider that litellm has a name for, as of the table's date."""
    return tuple(_table()["providers"])


@cache
def _table() -> Mapping[str, Any]:
    """Rows are checked when they are used: there are thousands."""
    table: dict[str, Any] = json.loads(zstandard.decompress(TABLE.read_bytes()))
    return table


def _tier(row: Row, name: str | None) -> tuple[Tier, float] | None:
    if name in _STANDARD:
        return row, 1.0
    assert name is not None
    if name in row.times:
        return row, row.times[name]
    return (row.tiers[name], 1.0) if name in row.tiers else None


def _rates(tier: Tier, response: ParsedResponse) -> Rates:
    usage = response.usage
    sent = usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    rates = tier.rates
    for size in sorted(tier.above):
        if sent > size:
            rates = rates.model_copy(update=tier.above[size].model_dump(exclude_none=True))
    return rates


def _sum(rates: Rates, response: ParsedResponse) -> float | None:
    total = 0.0
    for tokens, price in _items(rates, response):
        if tokens and price is None:
            return None
        total += tokens * (price or 0.0)
    return total / _MILLION


def _searches(row: Row, response: ParsedResponse) -> float | None:
    count = min(response.searches, 1) if row.search_once else response.searches
    return 0.0 if not count else None if row.search is None else count * row.search


def _items(rates: Rates, response: ParsedResponse) -> Iterator[tuple[int, float | None]]:
    usage = response.usage
    long = min(response.long_cache_tokens, usage.cache_write_tokens)
    thought = min(usage.reasoning_tokens, usage.completion_tokens)
    yield usage.prompt_tokens, rates.input
    yield usage.cache_read_tokens, rates.cache_read
    written = rates.input if rates.cache_write is None else rates.cache_write  # most charge nothing extra for it
    yield usage.cache_write_tokens - long, written
    yield long, written if rates.cache_write_1h is None else rates.cache_write_1h
    yield usage.completion_tokens - thought, rates.output
    yield thought, rates.output if rates.reasoning is None else rates.reasoning

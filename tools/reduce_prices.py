"""Gateway: makes the price table from litellm's, for maintainers: a reduced, dated copy that needs no litellm.

    pip download --no-deps litellm==VERSION && unzip litellm-*.whl 'litellm/*.json'
    python tools/reduce_prices.py litellm VERSION

Only models that answer in text, only their prices, in USD per million tokens. Left out: rows without prices, rows whose
price depends on the hour, on requests or on characters, and rows that say zero for a service that is not free.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import zstandard

from runbook_runner.core import clock
from runbook_runner.gateway.providers.prices import TABLE

_MODES: Final = ("chat", "responses", "completion")
_NOT_BY_TOKEN: Final = ("off_peak_pricing", "input_cost_per_request", "input_cost_per_character")
_FREE: Final = ("ollama", "lemonade")  # they run on the user's own machine
_BY_PROMPT: Final = ("gemini", "vertex_ai-language-models")
_KINDS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
}
_KEY: Final = re.compile(
    rf"(?P<kind>{'|'.join(sorted(_KINDS, key=len, reverse=True))})"
    r"(?:_above_(?P<thousands>\d+)k_tokens)?(?:_(?P<tier>priority|flex|ultrafast|balanced))?"
)


def reduce(table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns litellm's table as model → row, see `prices.Row`."""
    return {name: row for name, entry in table.items() if isinstance(entry, dict) and (row := _row(entry))}


def _row(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    if entry.get("mode") not in _MODES or any(key in entry for key in _NOT_BY_TOKEN):
        return None
    tiers: dict[str, Any] = {}
    for tier, above, kind, price in _prices(entry):
        rates = tiers.setdefault(tier, {"rates": {}, "above": {}})
        place = rates["rates"] if above == 0 else rates["above"].setdefault(str(above), {})
        place[kind] = price
    standard = tiers.pop("", None)
    if not standard or not {"input", "output"} <= standard["rates"].keys():
        return None
    provider = str(entry.get("litellm_provider", ""))
    if not any(standard["rates"].values()) and provider not in _FREE:
        return None
    factors = {key: value for key, value in (entry.get("provider_specific_entry") or {}).items() if _is_price(value)}
    slim = {"tiers": {k: _slim(v) for k, v in tiers.items()}, "times": factors}
    return _slim({"provider": provider, **standard, **slim, **_search(entry)})


def _search(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns no price where it depends on how much was read."""
    prices = set((entry.get("search_context_cost_per_query") or {}).values())
    if len(prices) != 1:
        return {}
    by_prompt = str(entry.get("litellm_provider")) in _BY_PROMPT and entry.get("web_search_billing_unit") != "per_query"
    return {"search": prices.pop(), "search_once": by_prompt}


def _prices(entry: Mapping[str, Any]) -> Iterator[tuple[str, int, str, float]]:
    """Yields (tier, above how many input tokens, kind, USD per million)."""
    bands: list[dict[str, Any]] = entry.get("tiered_pricing") or [{}]
    for band in bands:
        begins = int((band.get("range") or [0])[0])
        for key, price in ({**entry, **band} if not begins else band).items():
            found = _KEY.fullmatch(key)
            if found and _is_price(price):
                above = int(found["thousands"] or 0) * 1000 or begins
                yield found["tier"] or "", above, _KINDS[found["kind"]], round(price * 1e6, 6)


def _is_price(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _slim(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value}


def providers(table: Mapping[str, Any], endpoints: Mapping[str, Any]) -> list[str]:
    """Returns every provider that litellm has a name for."""
    priced = {str(entry.get("litellm_provider")) for entry in table.values() if isinstance(entry, dict)}
    return sorted(priced.union(endpoints["providers"]))


def main(folder: str, version: str) -> None:
    prices = json.loads((Path(folder) / "model_prices_and_context_window_backup.json").read_bytes())
    endpoints = json.loads((Path(folder) / "provider_endpoints_support_backup.json").read_bytes())
    models = reduce(prices)
    table = {
        "source": f"litellm {version}",
        "date": clock.now_iso()[:10],
        "providers": providers(prices, endpoints),
        "models": dict(sorted(models.items())),
    }
    TABLE.write_bytes(zstandard.compress(json.dumps(table, separators=(",", ":")).encode(), 19))
    sys.stdout.write(f"{len(models)} models in {TABLE} ({TABLE.stat().st_size} bytes)\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

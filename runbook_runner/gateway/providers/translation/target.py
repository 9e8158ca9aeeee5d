"""Gateway: where a translated request goes. Quick to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from runbook_runner.core.facts.providers import PROVIDERS

NO_KEY: Final = "none"
"""A local server asks for none, but litellm's OpenAI client does."""
_NO_SECRETS: Final = ("api_base", "aws_region_name")


@dataclass(frozen=True)
class Target:
    """A model and its provider, as litellm names them."""

    provider: str
    prefix: str
    """litellm's name of the provider."""
    model: str | None
    """`None`: the one that the request names."""
    key_name: str
    options: Mapping[str, str] = field(repr=False)
    """Key, base URL and the like."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """Variable, or option where that is not known → value, of those that open the provider."""
        named = {self.key_name if name == "api_key" else name: value for name, value in self.options.items()}
        return {name: value for name, value in named.items() if name not in _NO_SECRETS and value != NO_KEY}

    @property
    def elsewhere(self) -> Mapping[str, str]:
        """Host → the other provider that is there; empty where an option says where this one is."""
        if "api_base" in self.options:
            return {}
        rows = (row for row in PROVIDERS.values() if row.name != self.provider and not row.is_local)
        return {host: row.name for row in rows if (host := urlsplit(row.base_url).hostname)}

    def name(self, asked: str) -> str:
        return f"{self.prefix}/{self.model or asked.removeprefix(f'{self.prefix}/')}"

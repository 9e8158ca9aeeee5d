"""Gateway: a provider as an upstream: its address, its key, which stays on the host, and its prices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from runbook_runner.core.facts.providers import KeyHeader
from runbook_runner.gateway.dialects.base import ParsedResponse
from runbook_runner.gateway.providers.prices import Prices
from runbook_runner.gateway.providers.rate_limit import Throttle
from runbook_runner.gateway.providers.translation.target import Target
from runbook_runner.gateway.upstream import Connection, Headers

# What clients of these APIs say of themselves and of the request. The agent chooses the others, and gateways at a base
# URL of the user take some for the address to send the key to (`Helicone-Target-Url`, `x-portkey-custom-host`).
_FORWARDED: Final = frozenset(
    {
        "accept",
        "content-type",
        "conversation_id",
        "http-referer",
        "openai-beta",
        "originator",
        "session-id",
        "session_id",
        "user-agent",
        "version",
        "x-app",
        "x-client-request-id",
        "x-goog-api-client",
        "x-session-affinity",
        "x-title",
    }
)
_FORWARDED_PREFIXES: Final = ("anthropic-", "x-claude-code-", "x-codex-", "x-stainless-")


@dataclass(frozen=True)
class Provider:
    """A provider with a key for it. An Upstream; see `provider_from`."""

    name: str
    dialects: frozenset[str]
    """Names of the APIs it speaks itself; a request in another is translated."""
    base_url: str = field(repr=False)
    """May contain a password, in `https://user:password@host`."""
    key_name: str
    """The variable that the key came from, for messages."""
    key: str = field(repr=False)
    key_header: KeyHeader
    """Which header the key goes in."""
    target: Target = field(repr=False)
    """Where a translated request goes."""
    throttle: Throttle = field(repr=False, compare=False)
    prices: Prices = field(default_factory=Prices, repr=False)
    extra_headers: Headers = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """More variables whose values are keys of it."""
    source: Literal["provider"] = "provider"

    def resumed(self, turns: int) -> "Provider":
        return self

    def placed(self, localise: Callable[[str], str]) -> "Provider":
        return self

    def connect(self) -> Connection:
        from runbook_runner.gateway.providers.forward import ProviderConnection  # aiohttp is slow to import

        return ProviderConnection(self)

    def cost(self, model: str, response: ParsedResponse) -> float | None:
        return self.prices.cost(self.name, model, response)

    def secret_values(self) -> dict[str, str]:
        return {**({self.key_name: self.key} if self.key else {}), **self.secrets}

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or "nowhere"

    @property
    def address(self) -> str:
        """Without user and password. A provider that only litellm knows has no address of its own."""
        parts = urlsplit(self.base_url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}" if host else f"litellm's address of {self.name}"

    def url(self, path: str, query: str) -> str:
        """Base URLs are given with and without the version that every path starts with."""
        base = self.base_url.rstrip("/")
        version = "/" + path.lstrip("/").partition("/")[0]
        base = base.removesuffix(version)
        return f"{base}{path}?{query}" if query else base + path

    def headers(self, client_headers: Headers) -> Headers:
        """Those of the client's headers that its API has, with the provider's key."""
        named = ",".join(value for name, value in client_headers if name == "connection")
        of_this_hop = {name.strip().lower() for name in named.split(",")}
        kept = tuple((name, value) for name, value in client_headers if _is_forwarded(name) and name not in of_this_hop)
        return (*kept, ("accept-encoding", "identity"), *self.extra_headers, *self._key_headers())

    def _key_headers(self) -> Headers:
        if self.key_header == "none":
            return ()
        if self.key_header == "bearer":
            return (("authorization", f"Bearer {self.key}"),)
        return ((self.key_header, self.key),)


def _is_forwarded(header: str) -> bool:
    return header in _FORWARDED or header.startswith(_FORWARDED_PREFIXES)

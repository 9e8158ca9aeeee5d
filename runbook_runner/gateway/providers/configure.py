"""Gateway: makes the upstream of a provider from its row in `core/facts/providers.py` and the user's environment.

A provider without a row is any that litellm knows by that name (see `translation`).
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.facts.providers import (
    PROVIDERS,
    KeyHeader,
    ProviderFacts,
    default_provider,
    find_provider,
    only_other_maker,
)
from runbook_runner.core.files import is_file
from runbook_runner.core.network.addresses import is_loopback
from runbook_runner.core.text import did_you_mean
from runbook_runner.gateway.providers.prices import listed_providers, prices_from
from runbook_runner.gateway.providers.provider import Provider
from runbook_runner.gateway.providers.rate_limit import pace_from, throttle_for
from runbook_runner.gateway.providers.translation.target import NO_KEY, Target
from runbook_runner.gateway.upstream import Headers

Environ = Mapping[str, str]
_LOGINS: Final = {
    "chatgpt": ("CHATGPT_TOKEN_DIR", "auth.json"),
    "github_copilot": ("GITHUB_COPILOT_TOKEN_DIR", "access-token"),
}
"""The providers to which litellm logs in → the variable that names the folder of its files, and one of them."""


def provider_from(
    name: str | None, environ: Environ, *, model: str | None = None, dialect: str | None = None
) -> Provider:
    """The provider of this name with its key from the environment. `None`: the default provider.

    model: the run's; a translated request asks for this one, whatever it names. dialect: the API the agent speaks.
    Raises NotReadyError without a key, or when a translation is needed and litellm is not installed; InputError for an
    unknown provider, for a model of another maker, and for a price file or a pace that is not valid.
    """
    row = _row(name or default_provider(environ))
    _require_maker(row, model, environ)
    if dialect is not None and dialect not in row.dialects:
        _require_litellm(row.name, dialect)
    _require_login(row.name)
    key_name, header, key = _key(row, environ)
    base_url = _base_url(row, environ, key)
    return Provider(
        name=row.name,
        dialects=frozenset(row.dialects),
        base_url=base_url,
        key_name=key_name,
        key=key,
        key_header=header,
        target=_target(row, model, base_url, key, environ),
        throttle=throttle_for(row.name, base_url, key, pace=pace_from(environ)),
        prices=prices_from(environ),
        extra_headers=_headers(row, environ),
        secrets={variable: environ[variable] for _, variable in row.litellm_options if environ.get(variable)},
    )


def check_environment(environ: Environ) -> None:
    """Raises InputError for a price file or a pace that is not valid, also for a run that asks no provider."""
    prices_from(environ)
    pace_from(environ)


def known_providers() -> tuple[str, ...]:
    """Every name that means a provider, aliases included."""
    named = (name for row in PROVIDERS.values() for name in (row.name, *row.aliases))
    return tuple(dict.fromkeys((*named, *listed_providers())))


def _row(name: str) -> ProviderFacts:
    """For a provider that only litellm knows, a row without an address; a key by the usual name is passed on to
    litellm, since it may come from a file. Raises InputError for an unknown provider."""
    if row := find_provider(name):
        return row
    if name not in listed_providers():
        hint = f"Known: {', '.join(PROVIDERS)}, and the providers of litellm."
        near = did_you_mean(name, (*PROVIDERS, *listed_providers()))
        raise InputError(f"Unknown provider {name!r}.", hint=f"{near} {hint}" if near else hint)
    return ProviderFacts(name, keys=((f"{name.upper()}_API_KEY", "none"),), needs_key=False)


def _require_maker(row: ProviderFacts, model: str | None, environ: Environ) -> None:
    """Raises InputError for a model of another maker. A server of the user's own may have that one, too."""
    maker = only_other_maker(model or "", row.name)
    if maker and not any(environ.get(variable) for variable in row.base_variables):
        hint = f"Name a model of {row.name}'s with --model, or another provider with --provider {maker}."
        raise InputError(f"{row.name} does not serve the model {model}, which is {maker}'s.", hint=hint)


def _base_url(row: ProviderFacts, environ: Environ, key: str) -> str:
    """Raises NotReadyError for a value that is not the address of a server, or to which nothing may go unencrypted."""
    for variable in row.base_variables:
        if url := environ.get(variable):
            with suppress(ValueError):
                parts = urlsplit(url)
                extra = parts.query or parts.fragment  # the path of each request comes behind it
                if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not extra:
                    if parts.scheme == "http" and not (is_loopback(parts.hostname) or (row.is_local and not key)):
                        hint = (
                            "Write it with https://; http:// is for this machine, and for local servers without a key."
                        )
                        raise NotReadyError(f"{variable} would send prompts and the key unencrypted.", hint=hint)
                    return url
            # Not shown: it may hold a password.
            raise NotReadyError(f"{variable} is not the address of a server.", hint="Write it as https://host/path.")
    return row.base_url


def _key(row: ProviderFacts, environ: Environ) -> tuple[str, KeyHeader, str]:
    """Variable, header and value; the value is empty for a provider that needs no key. Raises NotReadyError."""
    for variable, header in row.keys:
        key = environ.get(variable, "").strip()
        if key:
            if not key.isascii() or not key.isprintable():
                hint = "Set it again, from the provider's page."
                raise NotReadyError(f"{variable} holds characters that no key has.", hint=hint)
            return variable, header, key
    variable = row.keys[0][0]
    if row.needs_key:
        names = " or ".join(name for name, _ in row.keys)
        hint = f"Set {names}, or answer from a file with --model-script FILE (a judge: --judge-script FILE)."
        raise NotReadyError(f"There is no key for the model provider: {variable} is not set.", hint=hint)
    return variable, "none", ""


def _target(row: ProviderFacts, model: str | None, base_url: str, key: str, environ: Environ) -> Target:
    prefix = row.litellm or row.name
    bare = None if model is None else model.removeprefix(f"{row.name}/").removeprefix(f"{prefix}/")
    options = {option: environ[variable] for option, variable in row.litellm_options if environ.get(variable)}
    if key:
        options["api_key"] = key
    elif row.dialects:
        options["api_key"] = NO_KEY
    if base_url and (base_url != row.base_url or not row.needs_key):
        version, parts = row.litellm_version, urlsplit(base_url)
        # litellm's clients would send a password there in place of the key.
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        options["api_base"] = address.rstrip("/").removesuffix(version) + version if version else address
    return Target(provider=row.name, prefix=prefix, model=bare, key_name=row.keys[0][0], options=options)


def _headers(row: ProviderFacts, environ: Environ) -> Headers:
    return tuple((header, environ[variable]) for header, variable in row.headers if environ.get(variable))


def _require_login(provider: str) -> None:
    """litellm would log in to it during the run: with a code on the terminal, and files in the home. Raises
    NotReadyError."""
    variable, name = _LOGINS.get(provider, ("", ""))
    folder = os.environ.get(variable) or os.path.expanduser(f"~/.config/litellm/{provider}")  # noqa: PTH111 - never raises
    if name and not is_file(os.path.join(folder, name)):  # noqa: PTH118
        hint = "Log in with litellm first, or name another provider with --provider."
        raise NotReadyError(f"You have not logged in to {provider}.", hint=hint)


def _require_litellm(provider: str, dialect: str, found: Callable[[str], object] = find_spec) -> None:
    if not found("litellm"):
        raise NotReadyError(
            f"{provider} does not speak the agent's API ({dialect}), and litellm, which translates, is not installed.",
            hint="Install it, in the clone of Runbook Runner: pip install '.[litellm]'.",
        )

"""Room `runbook`: what is wrong with a check source, as far as its declaration tells (contract §3.11)."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from runbook_runner.core.authority import opens_provider
from runbook_runner.core.criteria import CheckSource
from runbook_runner.core.declared import Secret

MOST: Final = 20
HTTPS: Final = re.compile(
    r"https://(?P<server>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/[\w.~/%+@,=:!$&'()*;-]*)",
    re.ASCII | re.IGNORECASE,
)
FILE: Final = re.compile(r"file:(?://(?=/))?(?P<path>.+)", re.IGNORECASE | re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# Documentation/git-check-ref-format.txt; and nothing that could be taken for an option.
_REF: Final = re.compile(r"(?!-)(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\]{1,250}(?<![./])")


class Wrong(NamedTuple):
    message: str
    hint: str


def wrong_name(source: CheckSource) -> Wrong | None:
    """`None`: the name is one of a folder."""
    if _NAME.fullmatch(source.name):
        return None
    hint = "It names a folder: use letters, digits, '-', '_' and '.'."
    return Wrong(f"{source.name!r} can't be the name of a check source.", hint)


def wrong_in(source: CheckSource, secrets: Iterable[Secret]) -> Wrong | None:
    """secrets: those that the runbook declares. `None`: it may be looked for."""
    if wrong := wrong_name(source):
        return wrong
    wrong = _wrong_ref(source) or _wrong_secret(source, secrets) or _wrong_address(source)
    return wrong and wrong._replace(message=f"The check source {source.name} {wrong.message}")


def _wrong_ref(source: CheckSource) -> Wrong | None:
    if source.ref is None or _REF.fullmatch(source.ref):
        return None
    return Wrong(f"has a `ref` that is no name: {source.ref!r}.", "Give a branch, a tag or a commit.")


def _wrong_secret(source: CheckSource, secrets: Iterable[Secret]) -> Wrong | None:
    if source.secret is None:
        return None
    secret = secret_of(source, secrets)
    if secret is None:
        message = f"names the secret {source.secret}, which the runbook does not declare."
        return Wrong(message, "Declare it under `secrets:`.")
    if opens_provider(secret.env):
        message = f"names {secret.env}: the key of a model provider opens no repository."
        return Wrong(message, "Declare a secret of its own.")
    return None


def secret_of(source: CheckSource, secrets: Iterable[Secret]) -> Secret | None:
    """That opens it; `None` when it names none that is declared."""
    return next((one for one in secrets if source.secret in (one.name, one.env)), None)


def _wrong_address(source: CheckSource) -> Wrong | None:
    url = source.url
    if HTTPS.fullmatch(url):
        return None
    if "@" in url.partition("//")[2].partition("/")[0]:
        hint = "Declare a secret, and name it with `secret:`."
        return Wrong("has an address with a user or a password in it.", hint)
    if (not FILE.fullmatch(url) and ":" in url) or url.startswith("-") or not url:
        hint = "Use https://HOST/PATH, or file: and a path in the runbook's project."
        return Wrong("has an address that is not fetched.", hint)
    if source.secret:
        return Wrong(f"is a folder, which {source.secret} can't open.", "Leave `secret` out.")
    return None

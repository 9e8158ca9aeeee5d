"""Room `runbook`: fetches a runbook over https from the open internet, and from nowhere else.

Each hop's host is resolved once, all its addresses are checked, and the connection is made to a checked address with
the name kept for TLS and the Host header: a name that resolves differently a moment later gains nothing.
"""

import ssl
import time
from dataclasses import dataclass

import httpx

from runbook_runner.core.addresses import Address, IsAllowed, is_public, raw_address, resolve, shown
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import Settings
from runbook_runner.runbook.sources.load import MAX_BYTES, too_large

MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
_STATUS_HINTS = {
    401: "Only public files can be fetched. Download it and give its path.",
    403: "Only public files can be fetched. Download it and give its path.",
    404: "Check the address; a file of a private repository is reported like this too.",
}


@dataclass(frozen=True)
class _Hop:
    """An answer: the text, or where to look next."""

    body: bytes = b""
    location: str | None = None


def fetch(
    url: str, *, is_allowed: IsAllowed = is_public, tls: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
) -> bytes:
    """The body behind an https URL; at most 5 MB, 5 redirects and `timeout_s` seconds in all.

    is_allowed: which network addresses may be connected to. tls: default trusts the public roots and the CA bundle
    of the settings. Raises InputError.
    """
    deadline = time.monotonic() + timeout_s
    target = _checked(raw_address(url), url)
    # trust_env off: through a proxy the address could not be pinned.
    with httpx.Client(verify=tls or _tls(), trust_env=False, follow_redirects=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            hop = _hop(client, target, is_allowed, deadline)
            if hop.location is None:
                return hop.body
            target = _checked(str(target.join(hop.location)), url)
    raise InputError(f"The address leads through more than {MAX_REDIRECTS} redirects.", where=shown(url))


def _tls() -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    bundle = Settings.load().ca_bundle
    if bundle is not None:
        try:
            context.load_verify_locations(bundle)
        except OSError as e:
            raise InputError(f"The CA bundle can't be read: {e}.", where=str(bundle)) from e
    return context


def _checked(address: str, given: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError) as e:
        raise InputError(f"This is not an address: {e}.", where=shown(given)) from e
    if url.scheme != "https":
        raise InputError(f"Runbooks are fetched by https only, not {url.scheme or 'that'}.", where=shown(given))
    if not url.host:
        raise InputError("The address names no host.", where=shown(given))
    if url.userinfo:
        raise InputError("An address with a password in it is refused.", where=shown(given))
    return url.copy_with(fragment=None)


def _hop(client: httpx.Client, url: httpx.URL, is_allowed: IsAllowed, deadline: float) -> _Hop:
    host = url.raw_host.decode("ascii")
    addresses = resolve(host, url.port or 443, is_allowed, shown(str(url)))
    for address in addresses:
        try:
            return _ask(client, url, address, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout) as e:
            if address != addresses[-1]:
                continue
            raise InputError(f"The host {host} can't be reached: {e}.", where=shown(str(url)), hint=_tls_hint(e)) from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise InputError(f"The file can't be fetched: {e or type(e).__name__}.", where=shown(str(url))) from e
    raise InputError(f"The host {host} has no address.", where=shown(str(url)))


def _tls_hint(error: Exception) -> str | None:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "If your network intercepts TLS, point RUNBOOK_CA_BUNDLE at its certificate."
    return None


def _ask(client: httpx.Client, url: httpx.URL, address: Address, deadline: float) -> _Hop:
    request = client.build_request(
        "GET",
        url.copy_with(host=str(address)),
        headers={"Host": url.netloc.decode("ascii"), "Accept": "text/*, */*;q=0.5", "Accept-Encoding": "identity"},
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
        timeout=max(deadline - time.monotonic(), 0.001),
    )
    response = client.send(request, stream=True)
    try:
        if response.has_redirect_location:
            return _Hop(location=response.headers["location"])
        _require_text(response, url)
        return _Hop(body=_body(response, url, deadline))
    finally:
        response.close()


def _require_text(response: httpx.Response, url: httpx.URL) -> None:
    status = response.status_code
    if status != httpx.codes.OK:
        reason = f"{status} {response.reason_phrase}".strip()
        raise InputError(f"The server answered {reason}.", where=shown(str(url)), hint=_STATUS_HINTS.get(status))
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise InputError(
            "This is a web page, not a runbook.", where=shown(str(url)), hint="Give the address of the raw file."
        )


def _body(response: httpx.Response, url: httpx.URL, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise too_large(shown(str(url)))
        if time.monotonic() > deadline:
            raise InputError("The server is too slow.", where=shown(str(url)))
    return bytes(body)

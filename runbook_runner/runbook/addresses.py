"""Room `runbook`: which network addresses a runbook may be fetched from, and how well-known pages are spelled raw."""

import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from runbook_runner.errors import InputError

Address = IPv4Address | IPv6Address
IsAllowed = Callable[[Address], bool]

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; DNS64 networks show every IPv4 host so
_GITHUB = re.compile(r"https://(?:www\.)?github\.com/([^/]+)/([^/]+)/(blob|raw|tree)/([^?#]+)")
_CONFIDENTIAL = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
_GIST = re.compile(r"https://gist\.github\.com/([^/]+)/([0-9a-f]+)/?")


def is_public(address: Address) -> bool:
    """True for an address of the open internet; the IPv4 address inside an IPv6 one is looked at too."""
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or site_local)


def _inner(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def resolve(host: str, port: int, is_allowed: IsAllowed, where: str) -> tuple[Address, ...]:
    """All addresses of a host. Raises InputError when there is none or when any of them is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise InputError(f"The host {host} can't be found: {e}.", where=where) from e
    addresses = tuple(dict.fromkeys(ip_address(str(info[4][0])) for info in found))
    if not all(map(is_allowed, addresses)):
        hint = "Runbooks are fetched from public hosts only. Download the file and give its path."
        raise InputError(f"The host {host} is in a private network.", where=where, hint=hint)
    return addresses


def shown(url: str) -> str:
    """The address as messages may show it: a password, a query (`?token=…`) or a fragment is left out."""
    return _CONFIDENTIAL.sub("", url)


def raw_address(url: str) -> str:
    """The address of the text behind a GitHub page: of a file (`blob`), a folder (`tree`: its RUNBOOK.md) or a gist.
    Other addresses stay as they are."""
    if match := _GITHUB.match(url):
        owner, repository, kind, path = match.groups()
        file = f"{path.rstrip('/')}/RUNBOOK.md" if kind == "tree" else path
        return f"https://raw.githubusercontent.com/{owner}/{repository}/{file}"
    if match := _GIST.match(url):
        return f"https://gist.githubusercontent.com/{match[1]}/{match[2]}/raw"
    return url

"""Which hosts a sandbox may reach: the rules of an allow-list, and the addresses nobody gets to by a name. No I/O."""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from runbook_runner.core.errors import InputError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Net = ipaddress.IPv4Network | ipaddress.IPv6Network

# This machine, its neighbours and the clouds' metadata services (169.254.169.254, fd00:ec2::254, 100.100.100.200).
_PRIVATE: tuple[_Net, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
# IPv6 prefixes that carry an IPv4 address in their last 32 bits, or (6to4) after the first 16.
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; DNS64 networks show every IPv4 host so
_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True)
class Rule:
    """One line of an allow-list."""

    host: str | None = None
    """Lower case; begins with `*.` when it stands for everything below a domain (and not for the domain itself)."""
    network: _Net | None = None
    """Exactly one of host and network is set."""
    port: int | None = None
    """`None`: any."""

    def names(self, host: str, port: int) -> bool:
        if self.host is None or self.port not in (None, port):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host

    def holds(self, address: _Address, port: int) -> bool:
        if self.network is None or self.port not in (None, port):
            return False
        return address.version == self.network.version and address in self.network

    def covers(self, other: "Rule") -> bool:
        """Whether it lets through all that the other one does."""
        if self.port not in (None, other.port):
            return False
        if self.network and other.network:
            return self.network.version == other.network.version and other.network.subnet_of(self.network)  # type: ignore[arg-type]
        if self.host is None or other.host is None:
            return False
        return other.host == self.host or (self.host.startswith("*.") and other.host.endswith(self.host[1:]))


def parse_rule(text: str) -> Rule:
    """`example.com`, `*.example.com:443`, `10.0.0.5`, `10.0.0.0/8`, `[fd00::1]:8080`. Raises InputError."""
    host, port = _split(text.strip().lower())
    try:
        return Rule(network=ipaddress.ip_network(host, strict=False), port=port)
    except ValueError:
        pass
    host = host.rstrip(".")
    # A last part of digits only is somebody's way to write an address, and the resolver would take it for one.
    if not _NAME.fullmatch(host) or len(host) > 253 or host.rpartition(".")[2].isdigit():
        raise InputError(f"{text!r} is no host.", hint="Write example.com, *.example.com, an address or a network.")
    return Rule(host=host, port=port)


def _split(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"\[(?P<six>[^\]]+)\](:(?P<sixport>\d{1,5}))?|(?P<host>[^:]+)(:(?P<port>\d{1,5}))?", text)
    if match is None:  # more than one colon: an IPv6 address without brackets
        return text, None
    digits = match["sixport"] or match["port"]
    return match["six"] or match["host"], int(digits) if digits else None


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str
    """Why not; empty when allowed."""


class AllowList:
    def __init__(self, rules: Iterable[str]):
        """Raises InputError."""
        self._rules = tuple(parse_rule(text) for text in rules)

    def admits_host(self, host: str, port: int) -> Decision:
        """Before a name is looked up: nothing is asked about a name that is not listed."""
        address = _address(host)
        if address is not None:
            return self.admits_address(address, port, by_name=False)
        if any(rule.names(host.lower().rstrip("."), port) for rule in self._rules):
            return Decision(True, "")
        return Decision(False, "not on the allow-list")

    def admits_address(self, address: _Address, port: int, *, by_name: bool) -> Decision:
        """by_name: it is what a listed name stands for; even then a private address must be listed itself, because
        whoever owns the name chooses the address."""
        plain = _plain(address)
        if any(rule.holds(plain, port) for rule in self._rules):
            return Decision(True, "")
        if any(plain in net for net in _PRIVATE if net.version == plain.version):
            return Decision(False, f"{plain} is a private address that is not listed itself")
        return Decision(by_name, "" if by_name else "not on the allow-list")


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one is another way to write."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


Address = IPv4Address | IPv6Address
IsAllowed = Callable[[Address], bool]

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

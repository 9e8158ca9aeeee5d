"""Core: which network addresses are public, and the rules of an allow-list. No I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from runbook_runner.core.errors import InputError

Address = IPv4Address | IPv6Address
_Net = IPv4Network | IPv6Network

# This machine, its neighbours and the clouds' metadata services (169.254.169.254, fd00:ec2::254, 100.100.100.200; at
# Azure also 168.63.129.16). Beside what `ipaddress` knows, which depends on the version of Python.
_PRIVATE: tuple[_Net, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "168.63.129.16/32", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::1/128", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def is_public(address: Address) -> bool:
    """Whether this is an address of the open internet. The IPv4 address inside an IPv6 one must be public, too."""
    plain = _plain(address)
    if isinstance(plain, IPv6Address) and plain.teredo:
        return is_public(plain.teredo[1])
    site_local = isinstance(plain, IPv6Address) and plain.is_site_local
    special = plain.is_multicast or plain.is_reserved or site_local
    return plain.is_global and not special and not any(plain in net for net in _PRIVATE)


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: mapped, by NAT64 or by 6to4; other addresses as they are."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_loopback(host: str) -> bool:
    """Whether a host of an address is this machine itself: `localhost` or a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in ("localhost", "localhost.localdomain")


@dataclass(frozen=True)
class Rule:
    """One line of an allow-list."""

    host: str | None = None
    """Lower case; one that begins with `*.` means everything below a domain, but not the domain itself."""
    network: _Net | None = None
    """Exactly one of host and network is set."""
    port: int | None = None
    """`None`: any port."""

    def names(self, host: str, port: int) -> bool:
        if self.host is None or self.port not in (None, port):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host

    def holds(self, address: Address, port: int) -> bool:
        if self.network is None or self.port not in (None, port):
            return False
        return address.version == self.network.version and address in self.network

    def covers(self, other: "Rule") -> bool:
        """Whether this rule allows everything that the other one allows."""
        if self.port not in (None, other.port):
            return False
        if self.network and other.network:
            return self.network.version == other.network.version and other.network.subnet_of(self.network)  # type: ignore[arg-type]
        if self.host is None or other.host is None:
            return False
        return other.host == self.host or (self.host.startswith("*.") and other.host.endswith(self.host[1:]))


def parse_rule(text: str, where: str | None = None) -> Rule:
    """`example.com`, `*.example.com:443`, `10.0.0.5`, `10.0.0.0/8`, `[fd00::1]:8080`. where: the place that it is from.
    Raises InputError."""
    host, port = _split(text.strip().lower())
    if port is not None and not 1 <= port <= 65_535:
        raise InputError(f"{port} in {text!r} is not a port.", where=where, hint="Ports are 1 to 65535.")
    try:
        return Rule(network=ip_network(host, strict=False), port=port)
    except ValueError:
        pass
    host = host.rstrip(".")
    # The resolver takes a name whose last part is a number for an address.
    if not _NAME.fullmatch(host) or len(host) > 253 or host.rpartition(".")[2].isdigit():
        hint = "Write example.com, *.example.com, an address or a network."
        raise InputError(f"{text!r} is not a host.", where=where, hint=hint)
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
    """Why the host is refused; empty when it is allowed."""


class AllowList:
    def __init__(self, rules: Iterable[str]):
        """Raises InputError."""
        self._rules = tuple(parse_rule(text) for text in rules)

    def admits_host(self, host: str, port: int) -> Decision:
        """The decision before a name is looked up, so that a name that is not listed is never looked up."""
        address = _address(host)
        if address is not None:
            return self.admits_address(address, port, by_name=False)
        name = host.lower().rstrip(".")
        # What is no name may be another one to the resolver: it reads up to a NUL.
        if _NAME.fullmatch(name) and any(rule.names(name, port) for rule in self._rules):
            return Decision(True, "")
        return Decision(False, "not on the allow-list")

    def admits_address(self, address: Address, port: int, *, by_name: bool) -> Decision:
        """by_name: a listed name stands for this address. A private address must be listed itself even then, because
        the owner of the name chooses the address."""
        plain = _plain(address)
        if any(rule.holds(plain, port) for rule in self._rules):
            return Decision(True, "")
        if not is_public(address):
            return Decision(False, f"{plain} is a private address that is not listed itself")
        return Decision(by_name, "" if by_name else "not on the allow-list")


def _address(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None

"""Runner: what a project bounds its runs by: `[run]` in `.runbook/config.toml`, `[tool.runbook.run]` in
`pyproject.toml`.

Every such table from the runbook's folder and from the current one upwards counts, and each can only narrow: it may
come from the same stranger as the runbook. The command line wins over them, because the user has written it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import upwards
from runbook_runner.core.network.addresses import parse_rule
from runbook_runner.core.settings import Table, table_in
from runbook_runner.core.spec import Limits, Network, Policy
from runbook_runner.core.text import did_you_mean
from runbook_runner.runner.request.limits import LIMITS, lower, read_limits

_SETTINGS = ("network", "allow_hosts", "strict_snapshots")
_NARROW_TO_WIDE: Sequence[Policy] = ("none", "model-only", "allowlist", "full")


@dataclass(frozen=True)
class Bounds:
    network: Policy = "full"
    allow_hosts: tuple[str, ...] = ()
    """For the policy `allowlist`."""
    strict_snapshots: bool = False
    """A runbook that names an unknown snapshot is refused."""
    limits: Limits = field(default_factory=Limits)
    """Those that are set."""

    def narrow(self, network: Network) -> Network:
        """What of it stays within these bounds."""
        policy = min(self.network, network.policy, key=_NARROW_TO_WIDE.index)
        if policy != "allowlist":
            return Network(policy=policy)
        if self.network != "allowlist":
            return network
        if network.policy != "allowlist":
            return Network(policy=policy, allow_hosts=self.allow_hosts)
        rules = [parse_rule(text) for text in self.allow_hosts]
        both = (text for text in network.allow_hosts if any(rule.covers(parse_rule(text)) for rule in rules))
        return Network(policy=policy, allow_hosts=tuple(both))


def within_bounds(network: Network, near: Iterable[Path | str]) -> Network:
    """What of it every project near these folders allows. Raises InputError as `bounds_near`."""
    for bounds in bounds_near(near):
        network = bounds.narrow(network)
    return network


def limits_within_bounds(limits: Limits, near: Iterable[Path | str]) -> Limits:
    """Each limit, or the lowest that a project near these folders sets. Raises InputError as `bounds_near`."""
    for bounds in bounds_near(near):
        limits = lower(limits, bounds.limits)
    return limits


def bounds_near(near: Iterable[Path | str]) -> tuple[Bounds, ...]:
    """Raises InputError with the file for a setting that can't be."""
    folders = dict.fromkeys(upwards(near))
    tables = (table_in(folder, "run") for folder in folders)
    return tuple(_read(table) for table in tables if table)


def _read(table: Table) -> Bounds:
    given = {key.replace("-", "_"): value for key, value in table.values.items()}
    known = (*_SETTINGS, *LIMITS)
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known) or f"There are {', '.join(known)}."
            raise InputError(f"There is no setting {key!r} for `run`.", where=table.path, hint=hint)
    hosts = given.get("allow_hosts", [])
    network = given.get("network", "allowlist" if hosts else "full")
    strict = given.get("strict_snapshots", False)
    _require(network in get_args(Policy), f"`network` must be one of {', '.join(get_args(Policy))}.", table)
    _require(isinstance(strict, bool), "`strict_snapshots` must be true or false.", table)
    limits = read_limits({limit: given.get(name) for name, limit in LIMITS.items()}, table.path)
    return Bounds(network, _hosts(hosts, table), strict, limits)


def _hosts(value: Any, table: Table) -> tuple[str, ...]:
    fits = isinstance(value, list) and all(isinstance(text, str) for text in value)
    _require(fits, '`allow_hosts` must be a list of hosts, like ["pypi.org"].', table)
    for text in value:
        parse_rule(text, table.path)
    return tuple(value)


def _require(fits: bool, message: str, table: Table) -> None:
    if not fits:
        raise InputError(message, where=table.path)

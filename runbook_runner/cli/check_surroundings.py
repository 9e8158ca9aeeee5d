"""Command line: what `runbook check` finds on this machine beside the contract's own names; each looked up when a
runbook names something else."""

from collections.abc import Collection
from functools import cache
from pathlib import Path

from runbook_runner.runbook.check.rules.known_names import Near, Surroundings


@cache
def _agents(near: Near) -> Collection[str]:
    from runbook_runner.agents.registry import known_agents

    return known_agents(_folders(near))


@cache
def _snapshots(near: Near) -> Collection[str]:
    from runbook_runner.sandbox.images.snapshots import known_snapshots

    return known_snapshots(_folders(near))


@cache
def _providers(_near: Near) -> Collection[str]:
    from runbook_runner.gateway.providers.table import known_providers

    return known_providers()


def _folders(near: Near) -> tuple[Path, ...]:
    """As a run looks: from the runbook upwards, then from here."""
    return (*([near] if near else []), Path.cwd())


HERE = Surroundings(_agents, _snapshots, _providers)

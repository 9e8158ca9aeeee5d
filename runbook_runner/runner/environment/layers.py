"""Runner: what goes on top of a snapshot or an image: Debian packages, then agents."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent
from runbook_runner.agents.registry import find_agent, known_agents
from runbook_runner.core.errors import InputError

if TYPE_CHECKING:
    from runbook_runner.sandbox.images.recipe import Layer

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")  # Debian Policy 5.6.1, and a version behind it


def check_packages(names: Iterable[str], where: str | None = None) -> tuple[str, ...]:
    """Each once. Raises InputError for what is no package's name."""
    once = tuple(dict.fromkeys(names))
    for name in once:
        if not _PACKAGE.fullmatch(name):
            raise InputError(f"{name!r} is no Debian package.", where=where, hint="Write apt_packages: [jq].")
    return once


def layers_of(agent: Agent | None, packages: Sequence[str] = ()) -> "list[Layer]":
    """packages: checked ones."""
    from runbook_runner.sandbox.images.recipe import Layer, apt_layer

    installed = [Layer(agent.name, agent.install)] if agent and agent.install else []
    return [*([apt_layer(packages)] if packages else []), *installed]


def agent_layers(near: Sequence[Path | str] = ()) -> "tuple[Layer, ...]":
    """Of every agent that has one. Raises InputError when one can't be read."""
    found = (layers_of(find_agent(name, near)) for name in known_agents(near))
    return tuple(layer for layers in found for layer in layers)

"""Docker sandbox: the backend as the table of backends knows it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from docker.errors import NotFound

from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, connect, engine_errors
from runbook_runner.sandbox.docker.sandbox import NAME, DockerSandbox
from runbook_runner.sandbox.labels import HOST_LABEL, RUN_LABEL, Labels, Leftover

_NAME = re.compile(NAME)


def open_docker(timeout_s: int | None) -> "DockerBackend":
    """Raises what `connect` raises."""
    return DockerBackend(connect(timeout_s) if timeout_s else connect())


@dataclass(frozen=True)
class DockerBackend:
    """Implements `OpenBackend`."""

    engine: Engine

    def require(self) -> None:
        self.engine.ask_ahead()

    def create(self, spec: SandboxSpec) -> DockerSandbox:
        return DockerSandbox(self.engine, spec)

    def reopen(self, sandbox_id: str, spec: SandboxSpec) -> DockerSandbox:
        return DockerSandbox(self.engine, spec, container=sandbox_id)

    def labels(self, sandbox_id: str) -> Labels | None:
        with engine_errors("look for the container"):
            try:
                found = self.engine.api.inspect_container(sandbox_id)
            except NotFound:
                return None
        return dict(found["Config"]["Labels"] or {}) if found["State"]["Running"] else None

    def leftovers(self, host: str) -> tuple[Leftover, ...]:
        with engine_errors("list containers"):
            wanted = {"label": [RUN_LABEL, f"{HOST_LABEL}={host}"]}
            found = self.engine.api.containers(all=True, filters=wanted)
        return tuple(Leftover(item["Id"], dict(item["Labels"]), _run_id(item["Names"])) for item in found)


def _run_id(names: Sequence[str]) -> str:
    """A pool's container keeps the labels of the pool, so its name tells which run has it."""
    return next((match[1] for name in names if (match := _NAME.fullmatch(name.lstrip("/")))), "")

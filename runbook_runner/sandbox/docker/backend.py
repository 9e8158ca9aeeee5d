"""Docker sandbox: the backend as the table of backends knows it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, connect, engine_errors
from runbook_runner.sandbox.docker.sandbox import NAME, DockerSandbox
from runbook_runner.sandbox.labels import CLAIM_LABEL, Leftover

if TYPE_CHECKING:
    from runbook_runner.sandbox.docker.pool import Pool

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

    @contextmanager
    def warmed(self, labels: Mapping[str, str]) -> Iterator["DockerBackend"]:
        from runbook_runner.sandbox.docker.pool import Pool  # only processes that live long have one

        with Pool(self.engine, labels, size=1) as pool:
            yield _Warmed(self.engine, pool)

    def reopen(self, sandbox_id: str, spec: SandboxSpec) -> DockerSandbox:
        return DockerSandbox(self.engine, spec, container=sandbox_id)

    def leftovers(self) -> tuple[Leftover, ...]:
        with engine_errors("list containers"):
            found = self.engine.api.containers(all=True, filters={"label": CLAIM_LABEL})
        found.sort(key=lambda item: not any(_NAME.fullmatch(name.lstrip("/")) for name in item["Names"] or ()))
        return tuple(Leftover(item["Id"], tuple(_claims(item)), item["State"] == "running") for item in found)


@dataclass(frozen=True)
class _Warmed(DockerBackend):
    pool: "Pool"

    def create(self, spec: SandboxSpec) -> DockerSandbox:
        return self.pool.take(spec)


def _claims(item: Mapping[str, Any]) -> Iterator[str]:
    """A pool's container keeps the labels of the pool, so its name tells which run has it."""
    for name in item["Names"] or ():  # none while it is being removed
        if match := _NAME.fullmatch(name.lstrip("/")):
            yield match[1]
    yield item["Labels"][CLAIM_LABEL]

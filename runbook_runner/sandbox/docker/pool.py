"""Docker sandbox: containers kept ready, for processes that live long: a server, a watch. Each is used once.

A ready container runs nothing, belongs to no run, and has the folders and first files of every sandbox. Taking one
gives a sandbox in a hundredth of a second; meanwhile the next is made ready."""

import queue
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runbook_runner.core.errors import RunbookError
from runbook_runner.sandbox.base import FOLDERS, SandboxSpec
from runbook_runner.sandbox.docker.container import first_files, put_files, remove_container, start_container
from runbook_runner.sandbox.docker.engine import Engine
from runbook_runner.sandbox.docker.network import ContainerSockets
from runbook_runner.sandbox.docker.sandbox import DockerSandbox

_POLICIES: Final = ("full", "none")
"""The others give each container sockets of its own when it is made."""
_PAUSE_S: Final = 0.5  # after a container was taken: the engine is to start the command in it first


@dataclass(frozen=True)
class _Kind:
    """What can't be changed once a container was created."""

    image: str
    cpus: float
    memory_bytes: int
    pids: int
    network: str
    ca_bundle: Path | None


@dataclass(frozen=True)
class _Ready:
    kind: _Kind
    container: str
    made: float
    ends: float
    """When its lifetime is over."""


class Pool:
    """Safe to be used by several threads. A context manager: leaves no container that was not taken."""

    def __init__(self, engine: Engine, labels: Mapping[str, str], *, size: int = 2, max_age_s: float = 600.0):
        """labels: of this process' claim, by which a later start finds the containers when this process has died. size:
        how many are ready at most, of all kinds together; max_age_s: for how long."""
        self._engine = engine
        self._labels = labels
        self._size = size
        self._max_age_s = max_age_s
        self._state = threading.Lock()
        self._ready: list[_Ready] = []
        self._orders: queue.Queue[SandboxSpec | None] = queue.Queue()
        self._closed = threading.Event()
        self._worker = threading.Thread(target=self._work, name="pool", daemon=True)
        self._worker.start()

    def take(self, spec: SandboxSpec) -> DockerSandbox:
        """Returns a sandbox, to be started and stopped like any other. Raises SandboxError when the engine fails."""
        found = self._pop(spec) if spec.network.policy in _POLICIES else None
        if self._orders.qsize() < self._size:
            self.refill(spec)
        return DockerSandbox(self._engine, spec, ready=found.container if found else "")

    def refill(self, spec: SandboxSpec) -> None:
        """Orders one more ready container of this kind; in a full pool the oldest is removed for it."""
        if self._size and spec.network.policy in _POLICIES:
            self._orders.put(spec)

    def settle(self) -> None:
        """Waits until every order is done, or has failed."""
        self._orders.join()

    def close(self) -> None:
        """Idempotent. Raises SandboxError when a container can't be removed."""
        self._closed.set()
        self._orders.put(None)
        self._worker.join()
        with suppress(queue.Empty):  # otherwise `settle` would wait for ever
            while True:
                self._orders.get_nowait()
                self._orders.task_done()
        self._remove_beyond(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pop(self, spec: SandboxSpec) -> _Ready | None:
        kind, now = self._kind(spec), time.monotonic()
        with self._state:
            for ready in self._ready:
                young = now - ready.made < self._max_age_s and now + spec.lifetime_s <= ready.ends
                if ready.kind == kind and young:
                    self._ready.remove(ready)
                    return ready
        return None

    def _kind(self, spec: SandboxSpec) -> _Kind:
        """The image counts by its id: its name may mean another one by the time a container is taken."""
        image = (spec.image and self._engine.image_id(spec.image)) or ""
        return _Kind(image, spec.cpus, spec.memory_bytes, spec.pids, spec.network.policy, spec.ca_bundle)

    def _work(self) -> None:
        while True:
            try:
                order = self._orders.get(timeout=self._max_age_s / 4)
            except queue.Empty:
                with suppress(RunbookError):  # it ends by itself
                    self._remove_old()
                continue
            try:
                if order is None or self._closed.wait(_PAUSE_S):
                    return
                self._make(order)
            except RunbookError:  # a later `take` gets a new container, or an error with the reason
                continue
            finally:
                self._orders.task_done()

    def _make(self, spec: SandboxSpec) -> None:
        self._remove_old()
        self._remove_beyond(self._size - 1)
        name = f"runbook-ready-{secrets.token_hex(6)}"
        asked = replace(spec, labels=self._labels, folder=None, lifetime_s=spec.lifetime_s + self._max_age_s)
        kind, made = self._kind(spec), time.monotonic()
        try:
            container, _ = start_container(self._engine, asked, name, ContainerSockets(self._engine, asked))
            put_files(self._engine, container, first_files(asked), FOLDERS)
        except BaseException:
            remove_container(self._engine, name)
            raise
        with self._state:
            self._ready.append(_Ready(kind, container, made, made + asked.lifetime_s))

    def _remove_old(self) -> None:
        now = time.monotonic()
        with self._state:
            old = [ready for ready in self._ready if now - ready.made >= self._max_age_s]
            self._ready = [ready for ready in self._ready if ready not in old]
        for ready in old:
            remove_container(self._engine, ready.container)

    def _remove_beyond(self, most: int) -> None:
        """Removes the oldest first."""
        while True:
            with self._state:
                if len(self._ready) <= most:
                    return
                oldest = self._ready.pop(0)
            remove_container(self._engine, oldest.container)

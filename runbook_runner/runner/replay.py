"""Runner: runs answered from a recording: what is played, what comes after it, and what stands in for secrets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import ReplayOf, SandboxStarted
from runbook_runner.core.redaction import mark
from runbook_runner.core.spec import Policy, RunSpec
from runbook_runner.gateway.cassette.cassette import INDEX_FILE
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.recorded_run import MODEL_FOLDER, Parent, read_parent
from runbook_runner.runner.request.resolve import RunRequest, resolve
from runbook_runner.runner.request.secrets import missing_secrets
from runbook_runner.sandbox.images.snapshots import PREFIX
from runbook_runner.sandbox.paths import app_rewriter

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, OnMiss, Replay, Upstream

Then = Literal["live", "script"]
DOCUMENT: Final = "RUNBOOK.md"
RECORDING: Final = "recording"
"""Folder beside a RUNBOOK.md with a copy of a trajectory, for hooks and CI."""


@dataclass(frozen=True)
class Replaying:
    """How a run gets its answers from a recording. Part of `RunOptions`."""

    recording: Path
    """A trajectory's `model/` folder."""
    parent_id: str | None = None
    app: str = settings.APP
    """Where `/app` was in the recorded sandbox."""
    on_miss: "OnMiss" = "stop"
    until: int | None = None
    """A fork: the last call that is answered from the recording."""
    then: Then | None = None
    """Who answers after it."""
    parent: Parent | None = None
    """`None`: only the recording is known."""

    @classmethod
    def of(
        cls, parent: Parent, *, on_miss: "OnMiss", until: int | None = None, then: Then | None = None
    ) -> "Replaying":
        return cls(parent.recording, parent.trajectory_id, parent.app, on_miss, until, then, parent)

    @property
    def asks_provider(self) -> bool:
        return self.then == "live" or self.on_miss == "live"

    def changes(self, sandbox: SandboxStarted) -> tuple[str, ...]:
        """What is not as it was when the recording was made, for people."""
        return changes(self.parent, sandbox) if self.parent else ()

    def described(self) -> ReplayOf:
        return ReplayOf(
            parent_trajectory_id=self.parent_id,
            mode="replay" if self.until is None else "fork",
            on_miss=self.on_miss,
            until=self.until,
            then=self.then,
        )

    def upstream(self, beyond: "Upstream | None") -> "Replay":
        """Raises InputError when the recording can't be replayed."""
        from runbook_runner.gateway import load_replay

        return load_replay(self.recording, on_miss=self.on_miss, until=self.until, beyond=beyond)

    def placed(self, replay: "Replay", cassette: "Cassette", app: str) -> "Replay":
        """The replay for a sandbox where `/app` is at `app`, recorded to this cassette."""
        return replay.placed(cassette.clean_json, relocation(self.app, app), relocation(app, self.app))


def relocation(there: str, here: str) -> Callable[[str], str]:
    """Turns paths of one sandbox into those of another. there, here: where `/app` is in each."""
    if there == here:
        return str
    return app_rewriter(here) if there == settings.APP else lambda text: text.replace(there, here)


def respecified(recorded: RunSpec, document: Path) -> RunSpec:
    """What the document asks for now, with everything that the recorded run was given. Raises InputError."""
    source = load(str(document))
    request = RunRequest(
        parameters=recorded.parameters,
        folder=source.folder,
        agent=recorded.agent,
        model=recorded.model,
        provider=recorded.provider,
        snapshot=recorded.snapshot,
        image=recorded.image,
        collection=recorded.collection,
        task=recorded.task,
        near=tuple(map(Path, recorded.near)),
    )
    asked = resolve(parse(source.text, source.name), request)
    return asked.model_copy(update={"inputs": recorded.inputs, "limits": recorded.limits, "labels": recorded.labels})


def pinned(parent: Parent) -> RunSpec:
    """What the recorded run was asked, in the very image that it had: a tag may lead to another one by now."""
    if parent.image_pinned is None:
        return parent.spec
    return parent.spec.model_copy(update={"image": parent.image_pinned})


def changes(parent: Parent, sandbox: SandboxStarted | None) -> tuple[str, ...]:
    """How the agent and the image of a repetition differ from the recorded ones."""
    found = (_changed_agent(parent), _changed_image(parent, sandbox))
    return tuple(change for change in found if change)


def _changed_agent(parent: Parent) -> str | None:
    name, then = parent.spec.agent, parent.agent_version
    now = find_agent(name, parent.spec.near).version
    return f"{name} {then} then, {now} now" if then != now else None


def _changed_image(parent: Parent, sandbox: SandboxStarted | None) -> str | None:
    image, digest = (sandbox.image, sandbox.image_digest) if sandbox else (None, None)
    if digest == parent.image_digest:
        return None
    then_and_now = f"{_short(parent.image_digest)} then, {_short(digest)} now"
    same_files = image is not None and image == parent.image and image.startswith(PREFIX)
    return f"image built again from the same files: {then_and_now}" if same_files else f"image {then_and_now}"


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "none"


def with_policy(spec: RunSpec, policy: str) -> RunSpec:
    """The spec under another network policy. Raises InputError for an unknown one."""
    for known in get_args(Policy):
        if policy == known:
            return spec.model_copy(update={"network": spec.network.model_copy(update={"policy": known})})
    raise InputError(f"Unknown network policy {policy!r}.", hint=f"Known: {', '.join(get_args(Policy))}.")


def find_recording(home: Path, name: str, *, on_miss: "OnMiss") -> Replaying:
    """For a run of another document than the recorded one. name: a trajectory's folder or id, or a recording's own
    folder. Raises InputError."""
    path = Path(name)
    if (path / INDEX_FILE).is_file() and not (path.parent / "spec.json").is_file():
        return Replaying(path.absolute(), on_miss=on_miss)
    inside = path.name == MODEL_FOLDER and (path / INDEX_FILE).is_file()
    parent = read_parent(home, str(path.parent) if inside else name)
    return Replaying.of(parent, on_miss=on_miss)


def stand_ins(spec: RunSpec, environ: Mapping[str, str]) -> dict[str, str]:
    """Variable → its mark, for every required secret that this machine lacks: a replay needs no secrets, and this is
    how the recording spells them."""
    return {secret.env: mark(secret.env) for secret in missing_secrets(spec, environ)}


def check_on_miss(text: str) -> "OnMiss":
    """Raises InputError."""
    from runbook_runner.gateway import ON_MISS

    for known in ON_MISS:
        if text == known:
            return known
    raise InputError(f"Unknown --on-miss {text!r}.", hint=f"Known: {', '.join(ON_MISS)}.")

"""Runner: a run whose model calls are answered from the cassette of a recorded run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from runbook_runner.agents.base import AgentInput
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.events import Difference, ReplayOf, SandboxStarted
from runbook_runner.core.files import is_file
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import did_you_mean
from runbook_runner.gateway import ON_MISS, load_replay
from runbook_runner.gateway.cassette.cassette import INDEX_FILE
from runbook_runner.gateway.replay.volatile import without_redaction_marks
from runbook_runner.runner.replay.edit import differences_of
from runbook_runner.runner.replay.recorded_run import MODEL_FOLDER, RecordedRun, read_recorded_run
from runbook_runner.sandbox.images.snapshots import PREFIX
from runbook_runner.sandbox.paths import app_rewriter
from runbook_runner.trajectory.folders import JUDGE, SPEC_FILE
from runbook_runner.trajectory.index.names import path_of

if TYPE_CHECKING:
    from runbook_runner.gateway import Cassette, OnMiss, Replay, Upstream

_OTHER_RESULTS: Final = (
    "the recorded answer is about other results, or to another question; `--on-miss live` asks the judge anew"
)

Then = Literal["live", "script"]


@dataclass(frozen=True)
class CassetteReplay:
    cassette: Path
    """A trajectory's `model/` folder."""
    on_miss: "OnMiss" = "stop"
    until: int | None = None
    """A fork: the last call that is answered from the cassette."""
    then: Then | None = None
    """Who answers after it."""
    recorded: RecordedRun | None = None
    """`None`: only the cassette is known."""
    is_compared: bool = False
    """Whether the run is compared with the recorded one when it is over."""
    edit: tuple[Difference, ...] = ()
    """How its agent is told something else than the recorded one was."""

    @property
    def is_incremental(self) -> bool:
        """It answers only requests that are the same, and something else answers the others."""
        return False

    @property
    def asks_provider(self) -> bool:
        return self.then == "live" or self.on_miss == "live"

    def changes(self, sandbox: SandboxStarted) -> tuple[str, ...]:
        """What differs from when the cassette was recorded, for people."""
        return changes(self.recorded, sandbox) if self.recorded else ()

    def described(self) -> ReplayOf:
        return ReplayOf(
            parent_trajectory_id=self.recorded.trajectory_id if self.recorded else None,
            mode="replay" if self.until is None else "fork",
            on_miss=self.on_miss,
            until=self.until,
            then=self.then,
            provisional=bool(self.edit or (self.recorded and self.recorded.is_provisional)),
        )

    def of(self, spec: RunSpec, clean: Callable[[str], str]) -> Self:
        """The replay for a run of this spec. clean: removes its secrets."""
        if self.recorded is None:
            return self
        return replace(self, edit=differences_of(prompt_of(self.recorded.spec, clean), prompt_of(spec, clean)))

    def upstream(self, fallback: "Upstream | None") -> "Replay":
        """fallback: answers what the cassette does not. Raises InputError when the cassette can't be replayed."""
        if self.recorded:
            self.recorded.require_model_calls()
        return load_replay(
            self.cassette,
            on_miss=self.on_miss,
            until=self.until,
            fallback=fallback,
            edit=self.edit,
            volatile_output=volatile_output(self.recorded) if self.recorded else (),
        )

    @property
    def has_judge(self) -> bool:
        """The recorded run was judged, and the answers of its judge are there."""
        return is_file(self._judge / INDEX_FILE)

    def judge_upstream(self, fallback: "Upstream | None") -> "Replay":
        """An answer belongs to the results that it is about, also for `on_miss="nearest"`. fallback: answers what the
        recording does not. Raises InputError when it can't be replayed."""
        on_miss: OnMiss = "live" if fallback else "stop"
        return load_replay(self._judge, on_miss=on_miss, fallback=fallback, refusal=_OTHER_RESULTS)

    @property
    def _judge(self) -> Path:
        return self.cassette.parent / JUDGE

    def recorded_with(self, replay: "Replay", cassette: "Cassette", app: str) -> "Replay":
        """The replay for a sandbox where `/app` is at `app`, recorded to this new cassette."""
        there = self.recorded.app if self.recorded else settings.APP
        return replay.recorded_with(cassette.clean_json, relocation(there, app), relocation(app, there))


def find_cassette(home: Path, name: str, near: tuple[Path, ...] = (), *, on_miss: str) -> CassetteReplay:
    """name: a trajectory's folder or id, or a cassette's own folder. near: where the agents of a project are. Raises
    InputError."""
    path, policy = path_of(name), check_on_miss(on_miss)
    if path and is_file(path / INDEX_FILE):
        path = path.absolute()
        if not is_file(path.parent / SPEC_FILE):
            return CassetteReplay(path, policy)
        name = str(path.parent) if path.name == MODEL_FOLDER else name
    recorded = read_recorded_run(home, name, near)
    return CassetteReplay(recorded.cassette, policy, recorded=recorded)


def volatile_output(recorded: RecordedRun) -> tuple[str, ...]:
    """Of the run's agent, see `Agent`; of one that is not known here, such as another project's, nothing is."""
    try:
        return find_agent(recorded.spec.agent, recorded.spec.near).volatile_output
    except InputError:
        return ()


def check_on_miss(text: str) -> "OnMiss":
    """Raises InputError."""
    for known in ON_MISS:
        if text == known:
            return known
    hint = did_you_mean(text, ON_MISS) or f"Known: {', '.join(ON_MISS)}."
    raise InputError(f"Unknown --on-miss {text!r}.", hint=hint)


def prompt_of(spec: RunSpec, clean: Callable[[str], str] = str) -> str:
    """What the agent is told, in terms of `/app` and without the names of secrets: what is volatile in a request, such
    as a date of today, is not so in the author's own text. clean: removes secrets, as they are removed from what is
    recorded."""
    names = tuple(item.name for item in spec.inputs)
    told = render_prompt(AgentInput(spec.told, settings.APP, parameters=spec.parameters, input_names=names))
    return without_redaction_marks(clean(told))


def relocation(there: str, here: str) -> Callable[[str], str]:
    """Turns paths of one sandbox into those of another. there, here: where `/app` is in each."""
    if there == here:
        return str
    return app_rewriter(here) if there == settings.APP else lambda text: text.replace(there, here)


def changes(recorded: RecordedRun, sandbox: SandboxStarted | None) -> tuple[str, ...]:
    """How the agent and the image of a repetition differ from the recorded ones, for people."""
    image, digest = (sandbox.image, sandbox.image_digest) if sandbox else (None, None)
    found = (_changed_agent(recorded), changed_image(recorded, image, digest))
    return tuple(change for change in found if change)


def _changed_agent(recorded: RecordedRun) -> str | None:
    name, then = recorded.spec.agent, recorded.agent_version
    now = find_agent(name, recorded.spec.near).version
    return f"{name} {then} then, {now} now" if then != now else None


def changed_image(recorded: RecordedRun, image: str | None, digest: str | None) -> str | None:
    """How the image of now differs from the recorded one, for people; `None` when it does not."""
    if digest == recorded.image_digest:
        return None
    then_and_now = f"{_short(recorded.image_digest)} then, {_short(digest)} now"
    same_files = image is not None and image == recorded.image and image.startswith(PREFIX)
    return f"image built again from the same files: {then_and_now}" if same_files else f"image {then_and_now}"


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "none"

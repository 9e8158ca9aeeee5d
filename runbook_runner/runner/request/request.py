"""Runner: what a caller asks for: which document, with what values, where and how. Plain data, made by every edge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from runbook_runner.runbook.sources.load import Source


@dataclass(frozen=True)
class RunOptions:
    """How a run is made, as opposed to what it is: no field changes the spec."""

    sandbox: str | None = None
    """Name of a backend or `auto`; `None`: `auto`, or for a replay the recorded one."""
    env_file: Path | None = None
    """Secrets and provider keys in this file win over those of the environment."""
    on_miss: str = "stop"
    """With a recording, for a call that was not recorded: one of `stop`, `live`, `nearest`."""
    record_mode: str | None = None
    """How much of the model calls is kept; `None`: as the settings say."""
    out: Path | None = None
    """Folder for a copy of the results."""
    keep: bool = False
    """The sandbox stays after the run."""
    author: str = "local"
    trust: bool = False
    """What the run uses of the project and of the environment counts as trusted, see `request.trust`."""
    dry_run: bool = False
    """Nothing is to be started: what this machine lacks is kept in the prepared run instead of raised."""
    offline: bool = False
    """No image is pulled or built: the run needs one that is here."""
    installs: bool = True
    """The agent's program is installed where a sandbox without an image lacks it."""


@dataclass(frozen=True)
class RunRequest:
    """A run of a document; `None` and empty fields leave the choice to the document."""

    document: str | Source
    """A file, a folder with a RUNBOOK.md, `-` for stdin, an https address, or a document that was loaded already."""
    near: tuple[Path, ...] = ()
    """Folders from which upwards agents, snapshots and project settings are looked for, after the document's own."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Name → value; they win over those of the parameter file, which win over the fixture's."""
    parameter_file: Path | None = None
    """JSON or YAML: an object of name → value."""
    fixture: Path | None = None
    """An `examples/…/input.json`: parameters and files."""
    files: tuple[Path, ...] = ()
    """Input files, after those of the fixture."""
    named_files: tuple[tuple[str, Path], ...] = ()
    """Those that the agent is to see under a name that may not be their own: the fixture's."""
    agent: str | None = None
    model: str | None = None
    provider: str | None = None
    model_script: Path | None = None
    """Answers the agent's model calls instead of a provider."""
    judge_model: str | None = None
    """Scores the results; `None`: as the settings say."""
    judge_samples: int | None = None
    """How often it is asked; `None`: once."""
    judge_script: Path | None = None
    """Answers in the place of the judge's provider."""
    replay: str | None = None
    """A trajectory's id or folder, or its `model/` folder: its recording answers the model calls."""
    from_recording: bool = False
    """Answers are taken from a recording that is added later (`replay.incremental`): as with `replay`, the run gets no
    variable of the environment by consent, for what the agent does is in that recording."""
    snapshot: str | None = None
    image: str | None = None
    apt_packages: tuple[str, ...] = ()
    """In addition to the document's own."""
    secrets: tuple[str, ...] = ()
    """Names of variables that the user grants to the agent, whether the document declares them or not."""
    collection: str | None = None
    task: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    cpus: float | None = None
    memory: str | None = None
    """Such as `512M`, `8G`; disk and results likewise."""
    pids: int | None = None
    disk: str | None = None
    results: str | None = None
    """Size of what is collected."""
    results_files: int | None = None
    idle_s: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    network: str | None = None
    allow_hosts: tuple[str, ...] = ()
    """In addition to the document's own."""
    options: RunOptions = field(default_factory=RunOptions)

    @property
    def asks_provider(self) -> bool:
        """A provider answers at least some of the model calls."""
        return self.model_script is None and (self.replay is None or self.options.on_miss == "live")


class Question(NamedTuple):
    """A value that a run needs and the request lacks, or a decision."""

    name: str
    """Of the parameter, or the variable of a secret; of a decision, what it is about."""
    text: str
    is_secret: bool
    """The answer must not be shown."""
    yes_or_no: bool = False
    """The text asks for a decision; any other answer than yes counts as no."""


Ask = Callable[[Question], str]
"""Asks a person. Raises KeyboardInterrupt when the person gives up."""

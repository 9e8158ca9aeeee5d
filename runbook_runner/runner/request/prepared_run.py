"""Runner: a run that is ready to start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runbook_runner.agents.base import Agent
from runbook_runner.core import settings
from runbook_runner.core.errors import RunbookError, all_of
from runbook_runner.core.events import AttemptOf
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import RecordMode, Settings
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import counted
from runbook_runner.runner.environment.backends import ChosenBackend
from runbook_runner.runner.request.inputs import is_zip
from runbook_runner.runner.request.request import RunOptions
from runbook_runner.runner.request.secrets import Granted, redactor_for
from runbook_runner.runner.trust import Trust
from runbook_runner.sandbox.base import PutFile

if TYPE_CHECKING:
    from runbook_runner.gateway import Spending, Upstream
    from runbook_runner.runner.checks.sources import GitSource
    from runbook_runner.runner.replay.cassette import CassetteReplay


@dataclass(frozen=True)
class PreparedRun:
    spec: RunSpec
    agent: Agent
    chosen: ChosenBackend | None
    """`None`: this machine lacks what the backend needs."""
    upstream: "Upstream | None"
    """Who answers the agent's model calls; `None` when it makes none."""
    answers_from: str | None
    """The same, for people."""
    replay: "CassetteReplay | None"
    """The recording that answers them first; `None` when no recording does."""
    judge: "Upstream | None"
    """Who answers the calls of `spec.judge`; `None`: the results are not judged."""
    settings: Settings
    environ: Mapping[str, str]
    """The user's variables, which provider keys come from."""
    secrets: Granted
    trust: Trust
    """Asks nobody any more."""
    record_mode: RecordMode
    options: RunOptions
    attempt: AttemptOf | None = None
    """`None`: the first one."""
    rerun_of: str | None = None
    """The trajectory id of the run whose spec this is; `None`: it is no rerun."""
    doubts: tuple[str, ...] = ()
    """What the user should know of the document and of the files beside it, and why the results may not be what was
    meant."""
    warnings: tuple[str, ...] = ()
    """What else the user should know."""
    sources: "tuple[GitSource, ...]" = ()
    """Of the checks; in a replay those that were kept."""
    placed: tuple[PutFile, ...] = ()
    """Further files of the sandbox; one at the mission's place takes it. No replay has them."""
    edited: Mapping[str, str] = field(default_factory=dict)
    """Files of the sandbox that are results, too: sandbox path → path below the results."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further variables of the agent."""
    within: "Spending | None" = None
    """The budget of several runs, which this one uses as well as its own."""
    lacks: tuple[RunbookError, ...] = ()
    """The values and files that are missing, and what this machine lacks; only a dry run is prepared in spite of
    it."""

    @property
    def model_address(self) -> str | None:
        """Scheme, host and port to which model calls go; `None` when none leaves this machine."""
        return self.upstream.address if self.upstream else None

    @property
    def backend(self) -> ChosenBackend:
        assert self.chosen, "what is only a dry run is not started"
        return self.chosen

    def redactor(self, *others: Mapping[str, str]) -> Redactor:
        """For all secrets that the run has or that answer for it, and others (name → value)."""
        answering = filter(None, (self.upstream, self.judge))
        keys = {name: value for upstream in answering for name, value in upstream.secret_values().items()}
        return redactor_for(self.spec, self.environ, self.secrets.values, keys, *others)

    def require_ready(self) -> None:
        """Raises InputError or NotReadyError that names all that is missing."""
        if self.lacks:
            raise all_of(self.lacks)

    def plan(self) -> list[str]:
        """What `run` would do, line by line; without the sandbox when there is none."""
        spec = self.spec
        lines = []
        for item in spec.inputs:
            how = "unpack" if is_zip(item.name) else "put"
            lines.append(f"{how} {item.name} ({counted(item.size, 'byte')}) into {settings.ASSETS}")
        for source in self.sources if self.replay is None else ():
            at = f" at {source.ref}" if source.ref else ""
            secret = f" with the secret {source.secret}" if source.secret else ""
            lines.append(f"look whether the check source {source.name} is there: {source.url}{at}{secret}")
        lines += self.chosen.plan(spec, self.agent) if self.chosen else []
        if self.agent.dialect:
            at = f" at {self.model_address}" if self.model_address else ""
            lines.append(f"answer model calls for {spec.model} from {self.answers_from}{at}")
        lines.append(f"run {self.agent.name} for at most {spec.limits.timeout_s:g} s")
        if self.sources:
            lines.append(f"put the check sources into {settings.CHECKS}, once the agent has ended")
        if spec.judge:
            lines.append(f"have {spec.judge.model} judge the results")
        lines.append("expect " + (", ".join(output.path for output in spec.outputs) or "no particular output"))
        return lines

"""Room `runbook`: settings for this program alone, under its own key in the frontmatter; the platform ignores them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from runbook_runner.core.errors import InputError
from runbook_runner.core.invalid import UNKNOWN_KEY, Problem, problems_of
from runbook_runner.core.spec import Count, Policy, Seconds, Usd
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.parts.frontmatter import OWN_KEY, Frontmatter


class OwnSettings(BaseModel):
    """What only Runbook Runner knows. The command line wins over every limit here."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    inputs: tuple[StrictStr, ...] = Field(
        (), description="Files for runs that are given none, below the runbook's folder."
    )
    timeout: Seconds | None = Field(None, description="The agent's wall time, in seconds.")
    max_cost: Usd | None = Field(None, description="USD that the model may cost.")
    max_tokens: Count | None = Field(None, description="Tokens the model may use, cached ones included.")
    max_calls: Count | None = Field(None, description="Model calls that may be made.")
    apt_packages: tuple[StrictStr, ...] = Field((), description="Debian packages on top of the snapshot or image.")
    network: Policy | None = Field(None, description="What the sandbox may reach.")
    allow_hosts: tuple[StrictStr, ...] = Field((), description="For `network: allowlist`.")

    def limits(self) -> dict[str, Any]:
        """As `spec.Limits` names them; `None`: not set."""
        return {
            "timeout_s": self.timeout,
            "max_cost_usd": self.max_cost,
            "max_tokens": self.max_tokens,
            "max_calls": self.max_calls,
        }


class SettingProblem(NamedTuple):
    key: str
    """Below `runbook_runner`; empty: that key itself."""
    message: str
    known: tuple[str, ...] = ()
    """The valid names, when the name is the problem."""

    @property
    def hint(self) -> str:
        if near := did_you_mean(self.key, self.known):
            return near
        if self.known:
            return f"It knows: {', '.join(self.known)}."
        return "" if self.key else f"Write `{OWN_KEY}: {{inputs: [a.csv]}}`."


def own_settings(runbook: Runbook) -> OwnSettings:
    """Raises InputError with the line for a value of another shape."""
    front = runbook.frontmatter
    if front.extra.get(OWN_KEY) is None:
        return OwnSettings.model_construct()
    for problem in problems(front):
        raise InputError(problem.message, where=place_of(runbook, problem.key), hint=problem.hint)
    return OwnSettings.model_validate(front.extra[OWN_KEY])


def place_of(runbook: Runbook, setting: str = "", item: str = "") -> str:
    """`file:line` of the setting, or of the item of its list; of our key itself when it has no such setting."""
    lines = runbook.frontmatter.lines
    line = lines.get(f"{OWN_KEY}.{setting}", lines.get(OWN_KEY, 1))
    if item:
        head = runbook.text[: len(runbook.text) - len(runbook.body)]
        below = head.split("\n", line - 1)[-1]
        line += below.count("\n", 0, max(0, below.find(item)))
    return f"{runbook.source}:{line}"


@contextmanager
def placed(runbook: Runbook, setting: str, item: str) -> Iterator[None]:
    """Gives an InputError of this block the place of the item, see `place_of`."""
    try:
        yield
    except InputError as error:
        error.where = place_of(runbook, setting, item)
        raise


def problems(front: Frontmatter) -> Iterator[SettingProblem]:
    """All problems, at most one for each setting."""
    given = front.extra.get(OWN_KEY)
    try:
        OwnSettings.model_validate({} if given is None else given)
    except ValidationError as error:
        found = {str(problem.place[0]) if problem.place else "": problem for problem in problems_of(error)}
        for key, problem in found.items():
            yield _setting_problem(key, problem)


def _setting_problem(key: str, problem: Problem) -> SettingProblem:
    if not key:
        return SettingProblem(key, f"`{OWN_KEY}` does not hold settings.")
    if problem.kind == UNKNOWN_KEY:
        return SettingProblem(key, f"`{OWN_KEY}` has no setting {key!r}.", tuple(OwnSettings.model_fields))
    return SettingProblem(key, f"`{OWN_KEY}.{key}` {problem.message}.")

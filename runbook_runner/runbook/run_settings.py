"""Room `runbook`: what a runbook says to this program alone, under our own key in its frontmatter; the platform
ignores it."""

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from runbook_runner.core.errors import InputError
from runbook_runner.core.spec import Policy
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.parts.frontmatter import OWN_KEY, Frontmatter

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(gt=0)]


class OwnSettings(BaseModel):
    """What only Runbook Runner knows. The command line wins over every limit here."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    inputs: tuple[StrictStr, ...] = Field(
        (), description="Files for runs that are given none, below the runbook's folder."
    )
    timeout: _Positive | None = Field(None, description="The agent's wall time, in seconds.")
    max_cost: _Positive | None = Field(None, description="USD that the model may cost.")
    max_tokens: _Count | None = Field(None, description="Tokens the model may use, cached ones included.")
    max_calls: _Count | None = Field(None, description="Model calls that may be made.")
    apt_packages: tuple[StrictStr, ...] = Field((), description="Debian packages on top of the snapshot or image.")
    network: Policy | None = Field(None, description="What the sandbox may reach.")
    allow_hosts: tuple[StrictStr, ...] = Field((), description="For `network: allowlist`.")

    def limits(self) -> dict[str, Any]:
        """As `spec.Limits` names them; `None`: not said."""
        return {
            "timeout_s": self.timeout,
            "max_cost_usd": self.max_cost,
            "max_tokens": self.max_tokens,
            "max_calls": self.max_calls,
        }


class Problem(NamedTuple):
    key: str
    """Below our own; empty: the key itself."""
    message: str
    known: tuple[str, ...] = ()
    """What may stand there, when it is a matter of names."""


def own_settings(runbook: Runbook) -> OwnSettings:
    """Raises InputError with the line for what is not of this shape."""
    front = runbook.frontmatter
    if front.extra.get(OWN_KEY) is None:
        return OwnSettings.model_construct()
    for problem in problems(front):
        where = f"{runbook.source}:{front.lines[OWN_KEY]}"
        raise InputError(problem.message, where=where, hint=_hint(problem))
    return OwnSettings.model_validate(front.extra[OWN_KEY])


def problems(front: Frontmatter) -> Iterator[Problem]:
    """All that is wrong there, one for each setting."""
    given = front.extra.get(OWN_KEY)
    try:
        OwnSettings.model_validate({} if given is None else given)
    except ValidationError as wrong:
        found = {str(error["loc"][0]) if error["loc"] else "": error for error in wrong.errors(include_url=False)}
        for key, error in found.items():
            yield _problem(key, error)


def _problem(key: str, error: Any) -> Problem:
    if not key:
        return Problem(key, f"`{OWN_KEY}` does not hold settings.")
    if error["type"] == "extra_forbidden":
        return Problem(key, f"`{OWN_KEY}` has no setting {key!r}.", tuple(OwnSettings.model_fields))
    return Problem(key, f"`{OWN_KEY}`: {key}: {error['msg'].replace('tuple', 'list')}.")


def _hint(problem: Problem) -> str:
    if near := did_you_mean(problem.key, problem.known):
        return near
    return f"It knows: {', '.join(problem.known)}." if problem.known else f"Write `{OWN_KEY}: {{inputs: [a.csv]}}`."

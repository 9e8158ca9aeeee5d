"""Runner: what a runbook says to this program alone, under our own key in its frontmatter; the platform ignores it."""

import difflib
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from runbook_runner.errors import InputError
from runbook_runner.runbook.document import Runbook
from runbook_runner.spec import Policy

OWN_KEY: Final = "runbook_runner"

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class OwnSettings(BaseModel):
    """`runbook_runner: {…}`. The command line wins over every limit here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[StrictStr, ...] = ()
    """Files for runs that are given none, below the runbook's folder."""
    timeout: Positive | None = None
    """The agent's wall time, in seconds."""
    max_cost: Positive | None = None
    """USD for the model."""
    max_tokens: Count | None = None
    max_calls: Count | None = None
    apt_packages: tuple[StrictStr, ...] = ()
    """Debian packages on top of the snapshot or image."""
    network: Policy | None = None
    """What the sandbox may reach."""
    allow_hosts: tuple[StrictStr, ...] = ()
    """For `network: allowlist`."""

    def limits(self) -> dict[str, Any]:
        """As `spec.Limits` names them; `None`: not said."""
        return {
            "timeout_s": self.timeout,
            "max_cost_usd": self.max_cost,
            "max_tokens": self.max_tokens,
            "max_calls": self.max_calls,
        }


def own_settings(runbook: Runbook) -> OwnSettings:
    """Raises InputError for what is not of this shape."""
    given = runbook.frontmatter.extra.get(OWN_KEY)
    try:
        return OwnSettings.model_validate({} if given is None else given)
    except ValidationError as problem:
        raise _explain(problem, runbook.source) from None


def _explain(problem: ValidationError, source: str) -> InputError:
    first = problem.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    known = tuple(OwnSettings.model_fields)
    if name == "inputs" or not name:
        hint = f"Write `{OWN_KEY}: {{inputs: [data/file.csv]}}`."
        what = "a list of inputs" if name else "settings"
        return InputError(f"`{OWN_KEY}` does not hold {what}.", where=source, hint=hint)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It knows: {', '.join(known)}."
        return InputError(f"`{OWN_KEY}` has no setting {name!r}.", where=source, hint=hint)
    return InputError(f"`{OWN_KEY}`: {name}: {first['msg']}.", where=source)

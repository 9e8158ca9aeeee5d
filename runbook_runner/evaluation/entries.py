"""Evaluation: the entries of `checks` in a v2 report (contract §3.10): the agent's as they are read, the platform's as
they are made."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runbook_runner.core.invalid import problem_of
from runbook_runner.core.text import counted

Kind = Literal["step", "code_check", "checklist", "judge"]
Status = Literal["pass", "fail", "skipped", "error"]

BAD: tuple[Status, ...] = ("fail", "error")
PLATFORM = "jetty"
"""`details.runner` of an entry that the engine has made."""
MOST: Final = 10_000
"""Entries of a report that are read."""
_LONGEST: Final = 1000  # characters of a text
_Score = Annotated[float, Field(ge=-1e9, le=1e9)]
"""Their average can be computed."""


class Check(BaseModel):
    """One entry. Keys that the contract does not name are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    kind: Kind
    id: str = Field(min_length=1)
    name: str = ""
    status: Status
    message: str = ""
    score: _Score | None = None
    """Of a judge."""
    max_score: _Score | None = None
    threshold: _Score | None = None
    """A judge's score below it fails."""
    details: dict[str, Any] | None = None

    @property
    def is_bad(self) -> bool:
        return self.status in BAD

    @property
    def complaint(self) -> str:
        """What is wrong, for people."""
        said = self.message or {"fail": "it failed.", "error": "it could not be carried out."}.get(self.status, "")
        name = f" ({self.name})" if self.kind == "code_check" and self.name else ""
        return f"{self.id}{name}: {said}"

    def judged(self) -> "Check":
        """A judge's entry with the status that its score has."""
        if self.kind == "judge" and self.status == "pass" and self.score is None and self.threshold is not None:
            return self.model_copy(update={"status": "error", "message": f"it has no score. {self.message}".strip()})
        if self.kind != "judge" or self.score is None or self.threshold is None or self.score >= self.threshold:
            return self
        message = f"score {self.score:g} is below {self.threshold:g}."
        return self.model_copy(update={"status": "fail", "message": f"{message} {self.message}".strip()})

    def body(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


def read_entries(listed: Sequence[Any], most: int | None = MOST) -> Iterator[Check]:
    """Yields an entry for each; what is malformed, and what has the kind and id of an earlier one, is an `error`. most:
    of them; `None` for a report that was made of one that had no more."""
    seen: Counter[tuple[str, str]] = Counter()
    for number, body in enumerate(listed[:most], 1):
        check = _read(body, number)
        seen[check.kind, check.id] += 1
        if seen[check.kind, check.id] > 1:
            check = check.model_copy(update={"status": "error", "message": "another entry of the report has this id."})
        yield check
    if most is not None and (more := len(listed) - most) > 0:
        message = f"{counted(more, 'more check')} of the report cannot be read: {most:,} are the most."
        yield Check(kind="step", id="report", status="error", message=message)


def _read(body: Any, number: int) -> Check:
    try:
        return Check.model_validate(body).judged()
    except ValidationError as error:
        known = body if isinstance(body, dict) else {}
        kind = known.get("kind")
        return Check(
            kind=kind if kind in get_args(Kind) else "step",
            id=str(known.get("id") or f"entry-{number}"),
            name=str(known.get("name") or "")[:_LONGEST],
            status="error",
            message=f"entry {number} of the report is malformed: {problem_of(error)}",
        )

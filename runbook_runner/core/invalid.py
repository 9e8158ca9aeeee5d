"""Core: what pydantic's errors say, as an InputError."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.text import did_you_mean

if TYPE_CHECKING:  # slow to import; who catches their errors has them already
    from pydantic import ValidationError

UNKNOWN_KEY: Final = "extra_forbidden"
_OF_DATACLASS: Final = "unexpected_keyword_argument"
_MESSAGES: Final = {
    **dict.fromkeys(("model_type", "dict_type"), "must be an object"),
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "missing": "is missing",
    "too_short": "must not be empty",
    UNKNOWN_KEY: "is not a known key",
}
"""By kind, where pydantic's own message is about Python."""


class Problem(NamedTuple):
    """One thing that a model of pydantic refuses."""

    place: tuple[int | str, ...]
    """The keys that lead to it; empty for the whole value."""
    message: str
    """Without a full stop."""
    kind: str
    """Pydantic's `type`, like `missing`; `UNKNOWN_KEY` when the model does not have the key that the place ends in."""

    def __str__(self) -> str:
        key = ".".join(map(str, self.place))
        return f"{key}: {self.message}." if key else f"{self.message[:1].upper()}{self.message[1:]}."


def problems_of(error: "ValidationError") -> list[Problem]:
    """All problems, unknown keys first: a key that is misspelt is reported as missing, too."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [_problem(one["loc"], one["msg"], one["type"]) for one in found]
    return sorted(problems, key=lambda problem: problem.kind != UNKNOWN_KEY)


def _problem(place: tuple[int | str, ...], message: str, kind: str) -> Problem:
    kind = UNKNOWN_KEY if kind == _OF_DATACLASS else kind
    return Problem(place, _MESSAGES.get(kind) or _plain(message), kind)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be ", "must be ")


def problem_of(error: "ValidationError") -> Problem:
    """The first of `problems_of`."""
    return problems_of(error)[0]


def validation_error(error: "ValidationError", where: str, *, hint: str | None = None) -> InputError:
    return InputError(str(problem_of(error)), where=where, hint=hint)


def unknown_key(key: str, known: Iterable[str], where: str, message: str | None = None) -> InputError:
    """message: instead of `Unknown key 'x'.`"""
    names = tuple(known)
    hint = did_you_mean(key, names) or f"Known keys: {', '.join(names)}."
    return InputError(message or f"Unknown key {key!r}.", where=where, hint=hint)

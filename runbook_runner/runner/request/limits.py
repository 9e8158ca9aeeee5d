"""Runner: the limits of a run, from what a person writes: options, a runbook's settings, a project's."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from runbook_runner.core.errors import InputError
from runbook_runner.core.spec import Limits, parse_memory
from runbook_runner.runner.request.request import RunRequest

LIMITS: Final = {
    "timeout": "timeout_s",
    "idle": "idle_s",
    "cpus": "cpus",
    "memory": "memory_bytes",
    "pids": "pids",
    "disk": "disk_bytes",
    "results_size": "results_bytes",
    "results_files": "results_files",
    "max_cost": "max_cost_usd",
    "max_tokens": "max_tokens",
    "max_calls": "max_calls",
}
"""The name that a person writes → the field of `Limits`."""

_OF_MACHINE: Final = {
    "cpus": "cores",
    "memory_bytes": "memory",
    "pids": "processes",
    "open_files": "open files",
    "disk_bytes": "disk",
    "results_bytes": "size of results",
    "results_files": "files of results",
}
"""What a run may take of the machine → what people call it."""


def read_limits(given: Mapping[str, Any], where: str | None = None) -> Limits:
    """given: field → number, or for bytes a size such as `512M`; `None`: not set. where: the file that it is from;
    `None`: the command line. Raises InputError."""
    try:
        values = {field: _value(field, value) for field, value in given.items() if value is not None}
        return Limits.model_validate(values, strict=True)
    except ValidationError as error:
        raise InputError(_refusal(error, is_option=where is None), where=where) from error
    except InputError as error:
        raise InputError(error.message, where=where, hint=error.hint) from error


def asked_limits(request: RunRequest) -> Limits:
    """Those that the request sets. Raises InputError."""
    return read_limits({field: getattr(request, field.removesuffix("_bytes")) for field in LIMITS.values()})


def override(limits: Limits, by: Limits) -> Limits:
    """With every limit that the other one sets."""
    return limits.model_copy(update=_set_in(by))


def lower(limits: Limits, to: Limits) -> Limits:
    """With every limit that the other one sets, where that is lower."""
    now = {field: getattr(limits, field) for field in _set_in(to)}
    most = {field: value if now[field] is None else min(value, now[field]) for field, value in _set_in(to).items()}
    return limits.model_copy(update=most)


def limits_of_stranger(limits: Limits) -> Limits:
    """Those of a recording that this machine has not made: it takes no more of the machine than any runbook. Time and
    money are limited as it says, for a runbook sets these, too."""
    return lower(limits, Limits.model_validate({field: getattr(Limits(), field) for field in _OF_MACHINE}))


def lowered_by(limits: Limits, to: Limits, typed: Iterable[str] = ()) -> tuple[str, ...]:
    """What of the machine the second gives less of, for people. typed: fields that are left out."""
    less = (field for field in _OF_MACHINE if getattr(to, field) < getattr(limits, field) and field not in typed)
    return tuple(f"{_OF_MACHINE[field]} {_shown(field, getattr(to, field))}" for field in less)


def _shown(field: str, value: float) -> str:
    return f"{int(value) >> 20}M" if field.endswith("_bytes") else f"{value:g}"


def _set_in(limits: Limits) -> dict[str, Any]:
    return {field: getattr(limits, field) for field in limits.model_fields_set}


def _value(field: str, value: Any) -> Any:
    return parse_memory(value) if isinstance(value, str) and field.endswith("_bytes") else value


def _refusal(error: ValidationError, *, is_option: bool) -> str:
    first = error.errors()[0]
    field, bound = str(first["loc"][0]), next(iter(first.get("ctx", {}).values()), "")
    words = {"greater_than": "more than", "greater_than_equal": "at least", "less_than_equal": "at most"}
    if first["type"] not in words:
        words, bound = {}, ""
    elif field.endswith("_bytes"):
        bound = f"{int(bound) >> 20}M"
    name = next(name for name, known in LIMITS.items() if known == field)
    shown = f"--{name.replace('_', '-')}" if is_option else name
    wanted = f"{words.get(first['type'], 'a number')} {bound}".strip().removesuffix(".0")
    return f"The limit {shown} must be {wanted}."

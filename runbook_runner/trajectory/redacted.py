"""Trajectory: an event without secrets. What it is stays: only fields of free text are searched for ordinary words."""

from collections.abc import Iterable, Iterator
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel

from runbook_runner.core.redaction import Redactor

Kind = Literal["fixed", "name", "free"]
_NUMBERS: Final = {int, float, bool, NoneType}
Model = TypeVar("Model", bound=BaseModel)


def redacted(event: Model, redactor: Redactor) -> Model:
    """Returns the event without secrets; numbers and words of this program are as they were."""
    changed = {}
    for name, kind in _fields(type(event)).items():
        value = getattr(event, name)
        clean = _clean(value, kind, redactor)
        if clean != value:
            changed[name] = clean
    return event.model_copy(update=changed) if changed else event


def _clean(value: Any, kind: Kind, redactor: Redactor) -> Any:
    if isinstance(value, BaseModel):
        return redacted(value, redactor)
    if isinstance(value, tuple):
        return tuple(_clean(item, kind, redactor) for item in value)
    return redactor.json(value, strong=kind == "name")


@cache
def _fields(model: type[BaseModel]) -> dict[str, Kind]:
    """The fields that are searched."""
    kinds = {
        name: _kind({*_words(field.annotation), *_marks(field.metadata)}) for name, field in model.model_fields.items()
    }
    return {name: kind for name, kind in kinds.items() if kind != "fixed"}


def _kind(words: set[Any]) -> Kind:
    if "fixed" in words or words <= _NUMBERS:
        return "fixed"
    return "name" if "name" in words else "free"


def _words(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, and the marks of `core.events`."""
    if get_origin(annotation) is Literal:
        return
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from (*_words(inner), *_marks(metadata))
    elif get_args(annotation):
        for inner in get_args(annotation):
            yield from _words(inner)
    else:
        yield annotation


def _marks(metadata: Iterable[Any]) -> Iterator[str]:
    yield from (mark for mark in metadata if mark in ("fixed", "name"))

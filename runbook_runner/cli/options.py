"""Command line: a command's options as the fields of a dataclass: name, type, default and help, each said once. And the
options that several commands have.

What is plainly right is read here, without typer, whose import takes a twentieth of a second; for help, and for
whatever is not understood here, typer has its say.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

WHAT, HOW, MODEL, FORK, OUTPUT = "What to run", "Where and how", "Agent and model", "Fork", "Output"
"""Panels of the help."""


class Option:
    """As `typer.Option`: its names, when the field's own will not do, and how the help shows it."""

    def __init__(self, *names: str, **look: str):
        self.names = names
        self.look = look


class Argument(Option):
    """As `typer.Argument`."""


Keep = Annotated[bool, Option("--keep", rich_help_panel=HOW, help="Leave the sandbox there after the run.")]
Out = Annotated[Path | None, Option(metavar="DIR", rich_help_panel=OUTPUT, help="Copy the results here as well.")]
Quiet = Annotated[bool, Option("-q", "--quiet", rich_help_panel=OUTPUT, help="Say nothing but errors.")]
Json = Annotated[
    bool, Option("--json", rich_help_panel=OUTPUT, help="One JSON object on stdout; everything else on stderr.")
]

_Arguments = TypeVar("_Arguments")


@dataclass(frozen=True)
class Command(Generic[_Arguments]):
    arguments: type[_Arguments]
    """A dataclass whose fields are the options."""
    function: Callable[[_Arguments], int]
    """Gives the exit code."""

    def read(self, argv: Sequence[str]) -> _Arguments | None:
        """argv: what follows the command's name. `None`: ask typer."""
        found = _read([_Place.of(field) for field in fields(self.arguments)], argv)  # type: ignore[arg-type]
        return None if found is None else self.arguments(**found)

    def typed(self) -> Callable[..., None]:
        """As typer wants it."""
        import typer

        def command(**given: Any) -> None:
            raise typer.Exit(self.function(self.arguments(**given)))

        declared = [_parameter(field) for field in fields(self.arguments)]  # type: ignore[arg-type]
        command.__name__, command.__doc__ = self.function.__name__, self.function.__doc__
        command.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in declared}
        return command


def with_options(
    arguments: type[_Arguments],
) -> Callable[[Callable[[_Arguments], int]], Command[_Arguments]]:
    """Makes a function of one dataclass a command that has the dataclass's fields as options."""
    return lambda function: Command(arguments, function)


def _parameter(field: "Field[Any]") -> inspect.Parameter:
    import typer

    base, option = get_args(field.type)
    shown = typer.Argument if isinstance(option, Argument) else typer.Option
    annotation = Annotated[base, shown(*option.names, **option.look)]  # type: ignore[valid-type]
    default: Any = inspect.Parameter.empty
    if field.default is not MISSING:
        default = field.default
    elif field.default_factory is not MISSING:
        default = field.default_factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@dataclass(frozen=True)
class _Place:
    """Where a word of the command line goes."""

    field: str
    names: tuple[str, ...]
    """None: it is an argument."""
    kind: Callable[[str], Any]
    many: bool

    @classmethod
    def of(cls, field: "Field[Any]") -> "_Place":
        base, option = get_args(field.type)
        many = get_origin(base) is list
        kind = next((part for part in get_args(base) if part is not type(None)), base)
        names = option.names or (f"--{field.name.replace('_', '-')}",)
        return cls(field.name, () if isinstance(option, Argument) else names, kind, many)


def _read(places: Sequence[_Place], argv: Sequence[str]) -> dict[str, Any] | None:
    named = {name: place for place in places for name in place.names}
    (argument,) = (place for place in places if not place.names)
    found: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        if word == "-" or not word.startswith("-"):
            place, value = argument, word
        else:
            name, equals, rest = word.partition("=") if word.startswith("--") else (word, "", "")
            place = named.get(name, argument)
            if place is argument or (place.kind is bool and equals):
                return None
            value = rest if equals else "" if place.kind is bool else _next(words)
        if not _put(found, place, value):
            return None
    return found if argument.field in found else None


def _next(words: Iterator[str]) -> str:
    """What looks like an option is no value here; nor is nothing."""
    value = next(words, "-")
    return value if not value.startswith("-") else ""


def _put(found: dict[str, Any], place: _Place, text: str) -> bool:
    """False for what typer must explain."""
    if place.kind is bool:
        found[place.field] = True
        return True
    try:
        value = place.kind(text)
    except ValueError:
        return False
    if place.many:
        found.setdefault(place.field, []).append(value)
    elif place.names or place.field not in found:
        found[place.field] = value
    else:
        return False
    return text != ""

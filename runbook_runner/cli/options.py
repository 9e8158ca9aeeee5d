"""Command line: a command's options as the fields of a dataclass: name, type, default and help, each said once. And the
options that several commands have."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

WHAT, HOW, MODEL, FORK, OUTPUT = "What to run", "Where and how", "Agent and model", "Fork", "Output"
"""Panels of the help."""

Keep = Annotated[bool, typer.Option("--keep", rich_help_panel=HOW, help="Leave the sandbox there after the run.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=OUTPUT, help="Copy the results here as well."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", rich_help_panel=OUTPUT, help="Say nothing but errors.")]
Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT, help="One JSON object on stdout; everything else on stderr."),
]

_Arguments = TypeVar("_Arguments")


def with_options(kind: type[_Arguments]) -> Callable[[Callable[[_Arguments], None]], Callable[..., None]]:
    """Makes a function of one dataclass a command for typer, whose options are the dataclass's fields."""

    def decorate(function: Callable[[_Arguments], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            function(kind(**given))

        declared = [_parameter(field) for field in fields(kind)]  # type: ignore[arg-type]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in declared}
        return command

    return decorate


def _parameter(field: "Field[Any]") -> inspect.Parameter:
    default: Any = inspect.Parameter.empty
    if field.default is not MISSING:
        default = field.default
    elif field.default_factory is not MISSING:
        default = field.default_factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)

"""Runner: the values of a run's parameters, from its fixture, its parameter file, its request and a person's
answers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from posixpath import join, normpath
from typing import Any

from runbook_runner.core import settings
from runbook_runner.core.authority import only_from_user
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import read_found, text_of
from runbook_runner.core.formats.yaml_text import read_yaml
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.parts.substitution import spell
from runbook_runner.runbook.sources.fixture import load_fixture
from runbook_runner.runner.request.request import Ask, Question, RunRequest
from runbook_runner.runner.request.resolve import missing_parameters, refuse_unknown_parameters
from runbook_runner.runner.request.valid_spec import require_usable


def with_values(request: RunRequest, runbook: Runbook, ask: Ask | None, warnings: list[str]) -> RunRequest:
    """The request with the values and files that its fixture, its parameter file and answers bring. warnings: gets
    those of the fixture. Raises InputError, with the file, for a value that can't be used."""
    fixture = load_fixture(request.fixture) if request.fixture else None
    warnings += fixture.warnings if fixture else ()
    sources = (
        (request.fixture, fixture.vars if fixture else {}),
        (request.parameter_file, _parameter_file(request.parameter_file) if request.parameter_file else {}),
        (None, request.parameters),
    )
    values: dict[str, Any] = {}
    for file, given in sources:
        refuse_unknown_parameters(runbook, given, str(file) if file else None)
        for name, value in given.items():
            require_usable(f"The parameter {name!r}", value, str(file) if file else None)
        values |= _with_results_folder(given, str(file) if file else None)
    for missing in missing_parameters(runbook, values) if ask else ():
        assert ask
        if only_from_user(missing.name.upper()):
            continue  # as for a secret: nobody is asked for a provider's key in the words of a runbook
        values[missing.name] = answer(ask, Question(missing.name, missing.description or missing.label, False))
    named = tuple((file.name, file.path) for file in fixture.files) if fixture else ()
    return replace(request, parameters=values, named_files=named)


def _parameter_file(path: Path) -> Mapping[str, Any]:
    values = read_yaml(text_of(read_found(path, "parameter file"), str(path)), str(path), as_written=True)
    if not isinstance(values, dict):
        raise InputError("The parameter file must hold an object: name → value.", where=str(path))
    return values


def _with_results_folder(values: Mapping[str, Any], where: str | None) -> Mapping[str, Any]:
    """The value of `results_dir` as one path of the sandbox. Raises InputError for one that is not collected."""
    if "results_dir" not in values:
        return values
    path = normpath(join(settings.APP, spell(values["results_dir"])))
    if path != settings.RESULTS and not path.startswith(f"{settings.RESULTS}/"):
        message = f"The parameter 'results_dir' must be {settings.RESULTS} or a folder in it: only what is there is"
        hint = "`--out DIR` copies the results to a folder of this machine."
        raise InputError(f"{message} collected.", where=where, hint=hint)
    return {**values, "results_dir": path}


def answer(ask: Ask, question: Question) -> str:
    """Raises InputError for what is not a text or can't be used."""
    given: Any = ask(question)
    if not isinstance(given, str):
        raise InputError(f"The answer for {question.name} is of the type {type(given).__name__}, not a text.")
    require_usable(f"The answer for {question.name}", given)
    return given

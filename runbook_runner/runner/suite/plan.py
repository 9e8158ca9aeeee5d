"""Runner, suite: the matrix of a suite: groups (a runbook, a case, an agent with a model), each run several times."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.evaluation.compare.folders import fits_nothing, without_effect
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.runner.suite.named import cases_of, expected_of
from runbook_runner.runner.suite.suite_file import CASES, Suite, Variant, document_in

MOST_CELLS: Final = 10_000
_WITHOUT: Final = "-"


class Case(NamedTuple):
    name: str
    fixture: Path | None
    """`None`: the runbook is run without a saved input."""
    expected: Path | None = None
    """The folder with the files that must come out."""


@dataclass(frozen=True)
class Group:
    runbook: str
    """A name that no other runbook of the suite has."""
    document: Path
    case: Case
    variant: Variant

    @property
    def key(self) -> str:
        return f"{self.runbook}/{self.case.name}/{self.variant.told}"

    def request(self, base: RunRequest) -> RunRequest:
        variant = self.variant
        given = {name: getattr(variant, name) for name in ("agent", "model", "provider", "model_script")}
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(base, document=str(self.document), fixture=self.case.fixture or base.fixture, **chosen)


class Cell(NamedTuple):
    group: Group
    repeat: int
    """From 1."""

    @property
    def key(self) -> str:
        return f"{self.group.key}#{self.repeat}"


@dataclass(frozen=True)
class Plan:
    suite: Suite
    groups: tuple[Group, ...]
    base: RunRequest
    """What all runs have in common."""


def plan_of(suite: Suite, base: RunRequest) -> Plan:
    """Raises InputError."""
    documents = [document_in(path) for path in suite.runbooks]
    _require_few(len(documents) * max(1, len(suite.agents)) * max(1, len(suite.models)) * suite.repeats)
    variants = tuple(_variants(suite))
    cases = [_cases(document, suite, base) for document in documents]
    _require_few(sum(map(len, cases)) * len(variants) * suite.repeats)
    groups = tuple(
        Group(name, document, case, variant)
        for name, document, own in zip(_names(documents, suite), documents, cases, strict=True)
        for case in own
        for variant in variants
    )
    key, count = Counter(group.key for group in groups).most_common(1)[0]
    if count > 1:
        hint = "Give their agents a `name` each."
        raise InputError(f"Two groups of the suite are {key}.", where=suite.place("agents"), hint=hint)
    _require_useful(suite, [case.expected for own in cases for case in own if case.expected])
    return Plan(suite, groups, base)


def _require_useful(suite: Suite, expected: Sequence[Path]) -> None:
    """That each rule of `compare` does something. Raises InputError."""
    for number, rule in enumerate(suite.compare):
        where = suite.place("compare", number)
        if fits_nothing(rule, expected):
            hint = "A path or pattern below expected/, such as out.json or **/*.csv."
            message = f"No expected file of a case fits {rule.files!r}, which compare names."
            raise InputError(message, where=where, hint=hint)
        if problem := without_effect(rule, expected):
            raise InputError(f"{problem}.", where=where)


def _require_few(runs: int) -> None:
    if runs > MOST_CELLS:
        raise InputError(f"The suite has {runs:,} runs; {MOST_CELLS:,} are the most.")


def _names(documents: Sequence[Path], suite: Suite) -> list[str]:
    """Of the folders, with as many of those above as tell them apart."""
    depth = 1
    while True:
        names = ["/".join(document.parent.parts[-depth:]) + _of_file(document) for document in documents]
        if len(set(names)) == len(names):
            return names
        if depth > max(len(document.parts) for document in documents):
            second = next(n for n, document in enumerate(documents) if document in documents[:n])
            raise InputError("The suite names a runbook twice.", where=suite.place("runbooks", second))
        depth += 1


def _of_file(document: Path) -> str:
    return "" if document.name == RUNBOOK_FILE else f"/{document.name.split('.')[0]}"


def _variants(suite: Suite) -> Iterator[Variant]:
    for variant in suite.agents or (Variant(),):
        if variant.model or not suite.models:
            yield variant
        else:
            for model in suite.models:
                name = f"{variant.name} {model}" if variant.name else ""
                yield variant.model_copy(update={"model": model, "name": name})


def _cases(document: Path, suite: Suite, base: RunRequest) -> tuple[Case, ...]:
    if base.fixture:
        return (Case(base.fixture.parent.name, base.fixture),)
    folder, pattern = document.parent, suite.cases
    found = list(cases_of(document, pattern or CASES))
    if not found and pattern is not None:
        raise InputError(f"No case fits {pattern!r}.", where=suite.place("cases"), hint=f"Cases are below {folder}.")
    names = [path.parent.relative_to(folder).name or path.stem for path in found]
    if len(set(names)) < len(names):
        names = [str(path.relative_to(folder).with_suffix("")) for path in found]
    cases = (Case(name, path, expected_of(document, path)) for name, path in zip(names, found, strict=True))
    return tuple(cases) or (Case(_WITHOUT, None),)

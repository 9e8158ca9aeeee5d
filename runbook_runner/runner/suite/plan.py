"""Runner, suite: the matrix of a suite: groups (a runbook, a case, an agent with a model), each run several times."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_folder
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.runner.suite.suite_file import CASES, Suite, Variant, document_in

MOST_CELLS: Final = 10_000
_WITHOUT: Final = "-"
_BLOCK: Final = 1 << 20


class Case(NamedTuple):
    name: str
    fixture: Path | None
    """`None`: the runbook is run without a saved input."""

    @property
    def expected(self) -> Path | None:
        """The folder with the files that must come out."""
        folder = self.fixture.parent / "expected" if self.fixture else None
        return folder if folder and is_folder(folder) else None


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

    def digest(self, home: Path) -> str:
        """Another one for every change of the suite, of the request, and of the files that decide what is run. home:
        where the runs are recorded. Raises InputError."""
        try:
            return self._digest(home)
        except OSError as error:
            raise InputError(f"It can't be read: {error.strerror}.", where=str(error.filename)) from error

    def _digest(self, home: Path) -> str:
        request = {name: str(value) for name, value in asdict(self.base).items()}
        digest = hashlib.sha256(json.dumps([str(home), self.suite.model_dump(mode="json"), request]).encode())
        for group in self.groups:
            digest.update(group.key.encode())
            for file in _files(group):
                digest.update(str(file).encode())
                with open_regular(file) as content:
                    while block := content.read(_BLOCK):
                        digest.update(block)
        return digest.hexdigest()


def _files(group: Group) -> Iterator[Path]:
    yield group.document
    if group.case.fixture:
        folder = group.case.fixture.parent
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if group.variant.model_script:
        yield group.variant.model_script


def plan_of(suite: Suite, base: RunRequest) -> Plan:
    """Raises InputError."""
    documents = [document_in(path) for path in suite.runbooks]
    names = _names(documents)
    variants = tuple(_variants(suite))
    groups = tuple(
        Group(name, document, case, variant)
        for name, document in zip(names, documents, strict=True)
        for case in _cases(document.parent, suite.cases, base)
        for variant in variants
    )
    keys = [group.key for group in groups]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"Two groups of the suite are {twice}.", hint="Give their agents a `name` each.")
    if len(groups) * suite.repeats > MOST_CELLS:
        raise InputError(f"The suite has {len(groups) * suite.repeats:,} runs; {MOST_CELLS:,} are the most.")
    return Plan(suite, groups, base)


def _names(documents: Sequence[Path]) -> list[str]:
    """Of the folders, with as many of those above as tell them apart."""
    depth = 1
    while True:
        names = ["/".join(document.parent.parts[-depth:]) + _of_file(document) for document in documents]
        if len(set(names)) == len(names):
            return names
        if depth > max(len(document.parts) for document in documents):
            raise InputError("The suite names a runbook twice.")
        depth += 1


def _of_file(document: Path) -> str:
    return "" if document.name == "RUNBOOK.md" else f"/{document.name.split('.')[0]}"


def _variants(suite: Suite) -> Iterator[Variant]:
    for variant in suite.agents or (Variant(),):
        if variant.model or not suite.models:
            yield variant
        else:
            for model in suite.models:
                name = f"{variant.name} {model}" if variant.name else ""
                yield variant.model_copy(update={"model": model, "name": name})


def _cases(folder: Path, pattern: str | None, base: RunRequest) -> tuple[Case, ...]:
    if base.fixture:
        return (Case(base.fixture.parent.name, base.fixture),)
    try:
        found = sorted(path for path in folder.glob(pattern or CASES) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"{pattern!r} is not a glob of files below a runbook.") from error
    found = [path for path in found if path.resolve().is_relative_to(folder.resolve())]
    if not found and pattern is not None:
        raise InputError(f"No case fits {pattern!r}.", where=str(folder))
    cases = tuple(Case(path.parent.relative_to(folder).name or path.stem, path) for path in found)
    if len({case.name for case in cases}) < len(cases):
        cases = tuple(Case(str(path.relative_to(folder).with_suffix("")), path) for path in found)
    return cases or (Case(_WITHOUT, None),)

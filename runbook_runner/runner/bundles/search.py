"""Runner, bundles: searches the files of a run for secrets before they are put into a bundle: they leave the machine.

What was redacted as the run was recorded is searched again, as the user may have other secrets by now. Inputs, check
sources and results are byte for byte what they were, so nothing that only looks like a key was removed from them.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.events import Report
from runbook_runner.core.redaction import PATTERNS, Redactor
from runbook_runner.core.spec import RunSpec
from runbook_runner.gateway.cassette.blobs import BlobFolder
from runbook_runner.runner.checks.clones import files_in
from runbook_runner.runner.checks.git import open_git
from runbook_runner.runner.checks.sources import GitSource, kept_sources
from runbook_runner.runner.replay.recorded_run import MODEL_FOLDER
from runbook_runner.runner.request.input_zips import is_zip_content, opened
from runbook_runner.trajectory.artifacts import Readable, Scrubber
from runbook_runner.trajectory.folders import INPUTS, JUDGE, LABELS_FILE

_SEARCHED_BYTES: Final = 256 << 20
"""Of the content of one zip."""
_GIT_S: Final = 60.0
_PACKED_CALLS: Final = ".zst"


@dataclass(frozen=True)
class Found:
    """By the file's name, an input's as the agent saw it; one in a zip or a check source as `inputs/x.zip: a/b.txt`."""

    known: Mapping[str, tuple[str, ...]]
    """Variables whose values stand in it."""
    like_keys: Mapping[str, tuple[str, ...]]
    """Rules by which something in it looks like a key."""
    unsearched: tuple[str, ...]
    """Packed or encrypted."""
    unopened: Mapping[str, str]
    """Not searched, and why: a check source or a zip among the inputs that can't be opened here."""


def search(folder: Path, paths: Iterable[str], spec: RunSpec | None, redactor: Redactor, report: Report) -> Found:
    """paths: below the run's folder. spec: the run's; `None` when it has none. report: gets each file, as a detail.
    Raises InputError for a file that can't be read."""
    found, seen = _Search(folder, spec, redactor), list[str]()
    for path in paths:
        report(f"searching {path}", detail=True)
        found.look_into(path)
        seen.append(path)
    found.names("the names of its files", seen)
    return found.told()


class _Search:
    def __init__(self, folder: Path, spec: RunSpec | None, redactor: Redactor):
        self._folder = folder
        self._scrubber = Scrubber(redactor, "agent", strong=True)
        self._inputs = {item.sha256: item.name for item in spec.inputs} if spec else {}
        self._unopened: dict[str, str] = {}
        self._sources: dict[Path | None, GitSource] = {}
        if spec:
            with suppress(InputError):  # a stranger's spec; without it they are told as packed
                self._sources = {source.pack: source for source in kept_sources(spec, folder)}

    def look_into(self, path: str) -> None:
        file, top = self._folder / path, path.partition("/")[0]
        name = f"{INPUTS}/{self._inputs.get(file.name, file.name)}" if top == INPUTS else path
        try:
            if top == INPUTS and _is_zip(file):
                self._zip(name, file)
            elif source := self._sources.get(file):
                self._source(name, source)
            elif top in (MODEL_FOLDER, JUDGE) and file.suffix == _PACKED_CALLS:
                blobs = BlobFolder(file.parents[1])
                self._content(name, nullcontext(_Joined(blobs.pieces(file.stem))))
            else:
                self._content(name, open_regular(file))
        except OSError as error:
            raise InputError(f"The file can't be read: {error.strerror}.", where=str(file)) from error
        except (InputError, NotReadyError) as error:
            self._unopened[name] = error.message
        except (ValueError, KeyError):
            self._unopened[name] = "It is damaged."

    def _content(self, name: str, content: AbstractContextManager[Readable]) -> None:
        with content as raw:
            scrubbed = self._scrubber(name, raw)
            while scrubbed.read(1 << 20):
                pass

    def names(self, name: str, names: Iterable[str]) -> None:
        self._content(name, nullcontext(BytesIO("\n".join(names).encode("utf-8", "surrogateescape"))))

    def _zip(self, name: str, file: Path) -> None:
        with open_regular(file) as raw:  # its headers and comments; as that of a binary file, which is not packed
            self._content(name, nullcontext(_Joined(chain([b"\0"], iter(partial(raw.read, 1 << 20), b"")))))
        with opened(file) as members:
            self.names(f"{name}: the names in it", (member.path for member in members))
            if sum(member.size for member in members) > _SEARCHED_BYTES:
                raise InputError("It is too large.")
            for member in members:
                self._content(f"{name}: {member.path}", member.open())

    def _source(self, name: str, source: GitSource) -> None:
        with TemporaryDirectory() as folder, open_git(source, Path(folder) / "git", None, _uncancelled) as git:
            git.bring(source.number, _GIT_S)
            seen = list[str]()
            for path, part in files_in(source, git, Path(folder) / "content"):
                self._content(f"{name}: {path}", part)
                seen.append(path)
            self.names(f"{name}: the names in it", seen)

    def told(self) -> Found:
        hits = {name: tuple(sorted(counts)) for name, counts in self._scrubber.hits.items()}
        known = {name: tuple(rule for rule in rules if rule not in PATTERNS) for name, rules in hits.items()}
        like_keys = {
            name: tuple(rule for rule in rules if rule in PATTERNS)
            for name, rules in hits.items()
            if name != LABELS_FILE  # they go as they are cleaned
        }
        return Found(_filled(known), _filled(like_keys), tuple(self._scrubber.unsearched), self._unopened)


def _filled(names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: rules for name, rules in names.items() if rules}


def _is_zip(file: Path) -> bool:
    with open_regular(file) as content:
        return is_zip_content(content.read(4))


class _Joined:
    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces

    def read(self, _: int, /) -> bytes:
        return next(filter(None, self._pieces), b"")


def _uncancelled(_: object) -> AbstractContextManager[None]:
    return nullcontext()

"""Trajectory: labels and a status that a run got after it was recorded (contract §1.8).

Without pydantic, which is slow. They lie in `labels.json` beside the log, and are laid over every fold of it:
`trajectory.json` has them too. A lock on the folder is held while either file is written, so that nothing of two
writers is lost."""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from runbook_runner.core.clock import moment, now_iso
from runbook_runner.core.disk.links import open_regular
from runbook_runner.core.disk.private import FILE
from runbook_runner.core.errors import InputError, RecordingError
from runbook_runner.core.files import write_atomically
from runbook_runner.core.formats.json_toml import has_more_values, plain_json
from runbook_runner.core.text import did_you_mean
from runbook_runner.trajectory.folders import EVENTS_FILE, LABELS_FILE, TRAJECTORY_FILE
from runbook_runner.trajectory.index.own_runs import staying_own

OVERRIDES: Final = ("pending", "completed", "failed", "cancelled", "archived")
"""What a status can be set to; a run itself says that it is running."""
RECORDED: Final = "recorded"
"""Said in the place of one of these, to take back what was set."""
MOST_BYTES: Final = 64 << 20  # of a trajectory.json: a larger one is not of this program
_MOST_SUMMARY_BYTES = 16 << 20
_MOST_LABEL_BYTES = 4 << 20
_MOST_LABELS = 1000
_MOST_FIRST_LINE = 16 << 20
_BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_LONGEST_KEY, _LONGEST_VALUE = 200, 10_000


@dataclass(frozen=True)
class Overlay:
    labels: tuple[dict[str, str], ...] = ()
    """Each has key, value, created and author; no key twice."""
    status: str | None = None
    """It holds once the run is over: one that goes on is never hidden."""
    removed: tuple[str, ...] = ()
    """Keys of recorded labels that were taken away."""
    changed: str = ""
    """When this was last changed; empty: not known."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """What a newer version keeps in the file; it is written back as it is."""

    def over(self, body: dict[str, Any]) -> dict[str, Any]:
        """body: of a trajectory.json. A label of the same key is replaced in its place, others are added."""
        labels = {str(label.get("key")): label for label in body.get("labels") or () if isinstance(label, dict)}
        labels |= {label["key"]: label for label in self.labels}
        removed = frozenset(self.removed)
        kept = [label for key, label in labels.items() if key not in removed]
        return {**body, "labels": kept, **self._updated(body), **self._with_status(body)}

    def over_labels(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """recorded: labels that the log has, key → value."""
        labels = {**recorded, **{label["key"]: label["value"] for label in self.labels}}
        removed = frozenset(self.removed)
        return {key: value for key, value in labels.items() if key not in removed}

    def _updated(self, body: dict[str, Any]) -> dict[str, Any]:
        updated = str(body.get("updated") or "")
        changed = max([self.changed, *(moment(label["created"]) or "" for label in self.labels)])
        return {"updated": max(updated, changed)} if changed else {}

    def _with_status(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.status or body.get("status") == "running":
            return {}
        attributes = body.get("attributes")
        if not isinstance(attributes, dict) or not isinstance(attributes.get("params"), dict):
            return {"status": self.status}
        params = {key: value for key, value in attributes["params"].items() if key != "outcome"}
        return {"status": self.status, "attributes": {**attributes, "params": params}}

    def json(self) -> dict[str, Any]:
        own: dict[str, Any] = {"labels": list(self.labels), "status": self.status}
        own |= {"removed": list(self.removed)} if self.removed else {}
        return {**self.others, **own, **({"changed": self.changed} if self.changed else {})}


def read_overlay(folder: Path) -> Overlay:
    """Raises InputError for a file that can't be read: what is written over it would be lost."""
    path = folder / LABELS_FILE
    try:
        with open_regular(path) as file:
            body = plain_json(json.loads(file.read(_MOST_LABEL_BYTES + 1)))
        return _overlay(body)
    except FileNotFoundError:
        return Overlay()
    except OSError as error:
        raise InputError(f"The labels can't be read: {error.strerror}.", where=str(path)) from error
    except _BROKEN as error:
        hint = "Mend it, or move it away; the run itself is intact."
        raise InputError("The file of labels is damaged.", where=str(path), hint=hint) from error


def overlay_as_far_as_known(folder: Path) -> Overlay:
    """As `read_overlay`, and nothing where that fails: for who only reads."""
    try:
        return read_overlay(folder)
    except InputError:
        return Overlay()


def _overlay(body: dict[str, Any]) -> Overlay:
    labels: dict[str, dict[str, str]] = {}
    for label in body.get("labels") or ():
        kept = {name: str(label.get(name) or "") for name in ("key", "value", "created", "author")}
        labels[kept["key"]] = {**label, **kept}
    status = body.get("status")
    removed = tuple(str(key) for key in body.get("removed") or () if str(key) not in labels)
    changed = moment(body.get("changed")) or ""
    others = {name: value for name, value in body.items() if name not in ("labels", "status", "removed", "changed")}
    if max(len(labels), len(removed)) > _MOST_LABELS:
        raise ValueError("more labels than this program writes")
    return Overlay(tuple(labels.values()), status if status in OVERRIDES else None, removed, changed, others)


def read_trajectory(folder: Path) -> dict[str, Any]:
    """The body of a folder's `trajectory.json`, with what was set since. Raises InputError when there is none, or it is
    damaged."""
    path = folder / TRAJECTORY_FILE
    try:
        with open_regular(path) as file:
            raw = file.read(MOST_BYTES)
        if has_more_values(raw) or not isinstance(body := json.loads(raw), dict):
            raise ValueError("not an object, or too large")
    except FileNotFoundError as error:
        hint = "The run is not over, or its process died; `runbook clean` finishes it then."
        raise InputError("There is no trajectory.json yet.", where=str(folder), hint=hint) from error
    except OSError as error:
        raise InputError(f"The trajectory can't be read: {error.strerror}.", where=str(path)) from error
    except (ArithmeticError, RecursionError, ValueError) as error:
        raise InputError("The trajectory.json is damaged.", where=str(path)) from error
    return overlay_as_far_as_known(folder).over(body)


class TooLargeError(ValueError):
    """A file may be one of this program's, and is too large to be read of each of many runs."""


def read_summary(path: Path) -> dict[str, Any]:
    """The object in a JSON file of one of many runs, which may have come with a clone: what is small on the disk may be
    a hundred times as large in memory. Raises TooLargeError, OSError, and what JSON from outside can raise."""
    with open_regular(path) as file:
        raw = file.read(_MOST_SUMMARY_BYTES + 1)
    if len(raw) > _MOST_SUMMARY_BYTES or has_more_values(raw):
        raise TooLargeError(f"its {path.name} is too large")
    return dict(json.loads(raw))


def first_event(log: BinaryIO) -> dict[str, Any]:
    """The fields of a log's first line. Raises what JSON from outside can raise."""
    raw = log.readline(_MOST_FIRST_LINE)
    if has_more_values(raw):
        raise TooLargeError("its first event is too large")
    return dict(json.loads(raw))


def set_labels(folder: Path, labels: Mapping[str, str], author: str) -> list[dict[str, str]]:
    """Returns the labels that were set (contract §1.8). Raises InputError, RecordingError."""
    for key, value in labels.items():
        _require_label(key, value)
    created = now_iso()
    new = [{"key": key, "value": value, "created": created, "author": author} for key, value in labels.items()]
    with _changing(folder) as overlay:
        kept = {label["key"]: label for label in overlay.labels} | {label["key"]: label for label in new}
        if len(kept) > _MOST_LABELS:
            raise InputError(f"A run has {_MOST_LABELS} labels at most.", where=str(folder))
        removed = tuple(key for key in overlay.removed if key not in labels)
        _write(folder, replace(overlay, labels=tuple(kept.values()), removed=removed))
    return new


def remove_labels(folder: Path, keys: Collection[str]) -> None:
    """Raises InputError for a label that the run does not have, RecordingError."""
    with _changing(folder) as overlay:
        there = _keys(folder, overlay)
        for key in keys:
            if key not in there:
                hint = did_you_mean(key, there) or (f"It has: {', '.join(there)}." if there else "It has none.")
                raise InputError(f"The run has no label {key!r}.", where=str(folder), hint=hint)
        kept = tuple(label for label in overlay.labels if label["key"] not in keys)
        removed = tuple(dict.fromkeys((*overlay.removed, *keys)))
        if len(removed) > _MOST_LABELS:
            raise InputError(f"At most {_MOST_LABELS} labels can be taken from a run.", where=str(folder))
        _write(folder, replace(overlay, labels=kept, removed=removed))


def _keys(folder: Path, overlay: Overlay) -> list[str]:
    """Of the labels that the run has, those that its log has among them."""
    try:
        labels = read_trajectory(folder)["labels"]
    except InputError:  # it goes on
        with open_regular(folder / EVENTS_FILE) as log, suppress(*_BROKEN):
            recorded = dict(first_event(log).get("labels") or {})
            return list(overlay.over_labels(recorded))
        return [label["key"] for label in overlay.labels]
    return [str(label.get("key")) for label in labels]


def unset_status(folder: Path) -> None:
    """The status is the log's again, once `trajectory.json` is folded anew. Raises InputError, RecordingError."""
    with _changing(folder) as overlay:
        _write(folder, replace(overlay, status=None))


def set_status(folder: Path, status: str) -> None:
    """Overrides the status that the log says. Raises InputError, RecordingError."""
    if status not in OVERRIDES:
        hint = did_you_mean(status, OVERRIDES) or f"Known: {', '.join(OVERRIDES)}."
        raise InputError(f"A status can't be set to {status!r}.", hint=hint)
    with _changing(folder) as overlay:
        _write(folder, replace(overlay, status=status))


def keep_overlay(folder: Path, of: Path) -> None:
    """What was set of another record of this run is set of this one, which may have brought labels of its own. Raises
    InputError for labels that can't be read, OSError."""
    kept, brought = read_overlay(of), overlay_as_far_as_known(folder)
    if kept == Overlay():
        return
    labels = {label["key"]: label for label in (*brought.labels, *kept.labels) if label["key"] not in kept.removed}
    removed = tuple(key for key in dict.fromkeys((*brought.removed, *kept.removed)) if key not in labels)
    others = {**brought.others, **kept.others}
    _write(folder, Overlay(tuple(labels.values()), kept.status or brought.status, removed, others=others))


def _require_label(key: str, value: str) -> None:
    if not key.strip() or len(key) > _LONGEST_KEY or not key.isprintable():
        raise InputError(f"The key of a label has 1 to {_LONGEST_KEY} printable characters.")
    if len(value) > _LONGEST_VALUE or "\0" in value:
        raise InputError(f"The value of a label has {_LONGEST_VALUE} characters at most.", where=key)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time writes `trajectory.json` and `labels.json` of a folder. The lock is on the folder
    itself, which may be read-only; where the file system has none, nothing is locked. Raises OSError when the folder is
    gone or a link."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not os.path.samestat(os.fstat(descriptor), folder.lstat()):
            raise FileNotFoundError(2, "the folder was moved or removed", str(folder))
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _changing(folder: Path) -> Iterator[Overlay]:
    try:
        with locked(folder), staying_own(folder):
            yield read_overlay(folder)
    except OSError as error:
        raise RecordingError(f"The run can't be labelled: {error.strerror}.", where=str(folder)) from error


def _write(folder: Path, overlay: Overlay) -> None:
    """First what counts, then the copy in `trajectory.json`: readers need only the first. Raises InputError,
    OSError."""
    text = json.dumps(replace(overlay, changed=now_iso()).json(), indent=1) + "\n"
    if len(text) > _MOST_LABEL_BYTES:
        raise InputError(f"The labels of a run have {_MOST_LABEL_BYTES >> 20} MB at most.", where=str(folder))
    write_atomically(folder / LABELS_FILE, text, mode=FILE)
    with suppress(InputError):  # a run that is not over has none; a damaged one is made again by the next fold
        write_atomically(folder / TRAJECTORY_FILE, json.dumps(read_trajectory(folder), indent=1) + "\n", mode=FILE)
    touch(folder)


def touch(folder: Path) -> None:
    """Tells the index that something has changed in a trajectory folder: whoever looks at the time of the task's folder
    looks at those in it."""
    with suppress(OSError):
        os.utime(folder.parent)

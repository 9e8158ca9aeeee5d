"""Runner, bundles: the manifest of a bundle: which run it is, what it needs, and the digest of each of its files."""

import json
import os
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runbook_runner import __version__
from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.json_toml import has_more_values, read_json
from runbook_runner.core.invalid import problem_of
from runbook_runner.runner.bundles.names import BOUNDS
from runbook_runner.trajectory.folders import CHECKS, INPUTS

MANIFEST: Final = "manifest.json"
FORMAT: Final = "runbook-bundle"
VERSION: Final = 1
MOST_BYTES: Final = 16 << 20

WITHOUT: Final = {INPUTS: "inputs", CHECKS: "check sources"}
"""Folders of a run that a bundle can be made without, and what is in them."""

_Size = Annotated[int, Field(ge=0, le=1 << 50)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """A newer version may have more in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class BundledFile(_Part):
    path: str
    """Below the trajectory folder; for people where `raw_path` has it."""
    raw_path: str | None = Field(None, pattern="^([0-9a-f]{2})+$")
    """In hex, of one that is not UTF-8."""
    member: str
    """Its name in the zip."""
    size: _Size
    sha256: _Sha256

    @property
    def place(self) -> str:
        return os.fsdecode(bytes.fromhex(self.raw_path)) if self.raw_path else self.path


class BundledImage(_Part):
    """What the run's sandbox was started from. A bundle does not hold it."""

    name: str
    digest: str | None
    """The engine's id of it, `sha256:…`."""
    pinned: str | None
    """`NAME@sha256:…`, by which its registry gives the very same image."""


class Manifest(_Part):
    format: Literal["runbook-bundle"] = "runbook-bundle"
    version: int = VERSION
    trajectory_id: str
    collection: str
    task: str
    status: str
    """As the log says it."""
    verdict: str | None
    provisional: bool = False
    """See `trajectory.outcome.is_provisional`."""
    recorded_with: str
    """`runbook-runner/<version>`."""
    bundled_with: str = f"runbook-runner/{__version__}"
    agent: str | None
    agent_version: str | None
    sandbox: str | None
    """The backend."""
    image: BundledImage | None
    not_replayable: str | None
    """Why it can only be looked at; `None`: it can be replayed."""
    unsearched: tuple[str, ...]
    """Sentences about what was not searched for secrets."""
    without: tuple[str, ...] = ()
    """Of `WITHOUT` those that the run has and the bundle was made without."""
    files: tuple[BundledFile, ...] = Field((), max_length=BOUNDS.files)

    @property
    def lacks(self) -> tuple[str, ...]:
        """As `without`; a newer version may leave out more."""
        return tuple(part for part in WITHOUT if part in self.without)

    def text(self) -> str:
        return json.dumps(self.model_dump(mode="python"), indent=1) + "\n"


def is_too_large(raw: bytes) -> bool:
    """Whether it is more than is read: what is small in a zip may be a thousand times as large in memory."""
    return len(raw) > MOST_BYTES or has_more_values(raw)


def read_manifest(raw: bytes, where: str) -> Manifest:
    """Raises InputError for what is not a manifest of this version."""
    if is_too_large(raw):
        raise InputError(f"The {MANIFEST} of this bundle is too large.", where=where, hint=BOUNDS.hint)
    body: Any = read_json(raw, where)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise InputError(f"This zip is not a bundle: its {MANIFEST} is another program's.", where=where)
    version = body.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InputError(
            f"This bundle has the format version {version}; this version of Runbook Runner, {__version__}, reads "
            f"{VERSION}.",
            where=where,
            hint="Update Runbook Runner to one that is as new as the one that made the bundle.",
        )
    try:
        return Manifest.model_validate(body)
    except ValidationError as error:
        raise InputError(f"The {MANIFEST} of this bundle is damaged: {problem_of(error)}", where=where) from error

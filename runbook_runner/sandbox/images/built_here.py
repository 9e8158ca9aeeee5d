"""Docker sandbox: which of an engine's images this program has built or imported for this user. A name or a label
proves nothing: an archive, or whoever else uses the engine, gives an image any. Kept in the user's data folder, a file
for each image, by its id: that is a digest of its content."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.settings import user_data
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.images.recipe import LOCAL_BASE, is_ours

Kind = Literal["own", "foreign", "imported"]
"""Built of nothing but what is this program's own; built here with, or on, what is not; imported."""
_KINDS: Final[tuple[Kind, ...]] = ("own", "foreign", "imported")
_ID: Final = re.compile(r"sha256:([0-9a-f]{64})")


def note(engine: Engine, image: str, kind: Kind) -> None:
    """image: its id. One that was noted before stays what it was. Raises NotReadyError when the data folder can't be
    used."""
    if (match := _ID.fullmatch(image)) and kind_of(engine, image) is None:
        try:
            (_folder(engine, kind) / match[1]).touch(mode=0o600)
        except OSError as error:
            raise NotReadyError(
                f"The data folder can't be used: {error.strerror}.", where=str(error.filename)
            ) from error


def kind_of(engine: Engine, image: str) -> Kind | None:
    """image: its id. `None` for one that was not noted."""
    with suppress(NotReadyError):
        for kind in _KINDS:
            if (match := _ID.fullmatch(image)) and (_folder(engine, kind) / match[1]).is_file():
                return kind
    return None


def is_built_here(engine: Engine, image: str) -> bool:
    return kind_of(engine, image) in ("own", "foreign")


def is_others(engine: Engine, name: str, image: str) -> bool:
    """Whether an image has a name of this program's, and is not known to be its own. image: its id. Any other name,
    and that of the base of all snapshots, the user has chosen, or a Dockerfile."""
    short = name.removeprefix("localhost/").removeprefix("docker.io/")
    return is_ours(name) and short != LOCAL_BASE and kind_of(engine, image) != "own"


def forget_removed(engine: Engine) -> None:
    """Forgets the images that the engine does not have any more. Raises SandboxError, NotReadyError."""
    noted = [file for kind in _KINDS for file in _folder(engine, kind).iterdir()]
    with engine_errors("list images"):  # after the notes were: what is built meanwhile is not forgotten
        there = {str(item["Id"]).removeprefix("sha256:") for item in engine.api.images(all=True)}
    for file in noted:
        if file.name not in there:
            file.unlink(missing_ok=True)


def _folder(engine: Engine, kind: Kind) -> Path:
    which = hashlib.sha256(engine.url.encode(errors="surrogateescape")).hexdigest()[:16]
    return private_folder(user_data(), "images", which, kind)

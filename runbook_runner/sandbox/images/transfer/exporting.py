"""Docker sandbox: exports images of snapshots to a file."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

from docker.errors import APIError

from runbook_runner.core.disk.repository import within_repository
from runbook_runner.core.errors import InputError
from runbook_runner.core.files import opened_atomically
from runbook_runner.sandbox.docker.engine import Engine, engine_errors

_BLOCK = 1 << 20


def export(engine: Engine, tags: Sequence[str], file: Path) -> int:
    """Writes the images to one file, as `docker save` does. Returns its size. Raises InputError when it can't be
    written, also behind a link, see `within_repository`, SandboxError."""
    try:
        place = within_repository(file.parent, links=False) / file.name
        with opened_atomically(place) as out, engine_errors("export the images"):
            for block in _saved(engine, tags):
                _write(out, block, file)
    except OSError as error:
        raise _unwritable(file, error) from error
    return file.stat().st_size


def _saved(engine: Engine, tags: Sequence[str]) -> Iterator[bytes]:
    """Docker Engine API, "export several images"."""
    url = f"{engine.api.base_url}/v{engine.api.api_version}/images/get"
    with closing(
        engine.api.get(url, params={"names": [engine.image_name(tag) for tag in tags]}, stream=True)
    ) as answer:
        if answer.status_code >= 400:
            raise APIError(answer.text, response=answer, explanation=answer.text.strip())
        yield from answer.iter_content(_BLOCK)


def _write(out: IO[bytes], block: bytes, file: Path) -> None:
    """Raises InputError: an OSError would be taken for one of the engine's."""
    try:
        out.write(block)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"The export can't be written: {error.strerror}.", where=str(file))

"""Sandbox: the snapshots we ship, each a folder with a Dockerfile (contract §5.5)."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import runbook_runner
from runbook_runner.errors import InputError

ALIASES = {"python312-uv-node": "python312-uv"}
CA_FILE = "ca-bundle.crt"
"""Name of the CA bundle in a build context; Dockerfiles copy it when it is there."""


@dataclass(frozen=True)
class Snapshot:
    name: str
    folder: Path

    def files(self) -> dict[str, bytes]:
        """The build context, by path below the folder."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}


def known_snapshots() -> tuple[str, ...]:
    names = [file.parent.name for file in _root().glob("*/Dockerfile")]
    return tuple(sorted([*names, *(alias for alias, name in ALIASES.items() if name in names)]))


def find_snapshot(name: str) -> Snapshot:
    """Raises InputError that lists the known ones."""
    if name not in known_snapshots():
        raise InputError(f"Unknown snapshot {name!r}.", hint=f"Known snapshots: {', '.join(known_snapshots())}.")
    real = ALIASES.get(name, name)
    return Snapshot(real, _root() / real)


def context_archive(files: dict[str, bytes]) -> io.BytesIO:
    """The files as an uncompressed tar, the same bytes for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o755 if content.startswith(b"#!") else 0o644
            tar.addfile(info, io.BytesIO(content))
    packed.seek(0)
    return packed


def _root() -> Path:
    """In a wheel below the package; in a checkout at its root."""
    package = Path(runbook_runner.__file__).parent
    packaged = package / "snapshots"
    return packaged if packaged.is_dir() else package.parent / "snapshots"

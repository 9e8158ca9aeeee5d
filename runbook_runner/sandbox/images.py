"""Docker sandbox: the image a run starts from. Built on first use, found by its content ever after.

A snapshot's image is `runbook-runner/<snapshot>:<digest>`, with an agent's install layer on top
`runbook-runner/<snapshot>-<layer>:<digest>`. The digest covers everything the image is made of, so a tag that exists
is right and one `inspect` is all a later run pays.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError, ImageNotFound, NotFound

from runbook_runner import settings
from runbook_runner.errors import NotReadyError
from runbook_runner.sandbox.build import build_image
from runbook_runner.sandbox.engine import Engine, engine_errors
from runbook_runner.sandbox.paths import CONFIG
from runbook_runner.sandbox.snapshots import CA_FILE, find_snapshot
from runbook_runner.settings import Settings

LOCAL_BASE = "runbook-runner/base:python312"
"""What snapshots/airgapped/build-base.sh makes; used instead of a registry's image when the engine has it."""

DEFAULT_BASE = "python:3.12-slim-bookworm"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Layer:
    """What an agent needs on top of a snapshot."""

    name: str
    dockerfile: str
    """Instructions without a FROM; the CA variables are set while they run."""


@dataclass(frozen=True)
class ImageRef:
    tag: str
    digest: str
    """The engine's id of the image, `sha256:…`."""


def ensure(engine: Engine, *, snapshot: str, layer: Layer | None, settings: Settings, report: Report) -> ImageRef:
    """The image of a snapshot, with the layer when one is given, built if it is not there.
    report gets progress lines, none when there is nothing to do. Raises InputError for an unknown snapshot,
    NotReadyError when the build fails or the CA bundle can't be read, SandboxError when the engine is lost."""
    found = find_snapshot(snapshot)
    bundle = _read_bundle(settings.ca_bundle)
    base, identity = _base(engine, settings)
    files = found.files() | bundle
    arguments = _ca_arguments(bundle) | {"BASE_IMAGE": base}
    image = _built(engine, _tag(found.name, files, arguments, identity), files, arguments, report)
    return image if layer is None else _layered(engine, found.name, image, layer, bundle, report)


def add_layer(engine: Engine, base: ImageRef, layer: Layer, settings: Settings, report: Report) -> ImageRef:
    """A user's own image with the layer on top; it runs as the same user. Raises as `ensure`."""
    return _layered(engine, "custom", base, layer, _read_bundle(settings.ca_bundle), report)


def _layered(
    engine: Engine, name: str, base: ImageRef, layer: Layer, bundle: Mapping[str, bytes], report: Report
) -> ImageRef:
    with engine_errors(f"look at the image {base.tag}"):
        user = str(_described(engine, base.digest)["Config"].get("User") or "")
    files = {"Dockerfile": _layer_dockerfile(layer, user).encode(), **bundle}
    arguments = _ca_arguments(bundle) | {"BASE_IMAGE": base.tag}
    tag = _tag(f"{name}-{layer.name}", files, arguments, base.digest)
    return _built(engine, tag, files, arguments, report)


def resolve_image(engine: Engine, reference: str, report: Report) -> ImageRef:
    """A user's own image: the engine's, else pulled. Raises NotReadyError when there is none, SandboxError."""
    if (digest := _inspect(engine, reference)) is not None:
        return ImageRef(reference, digest)
    report(f"Pulling {reference}")
    try:
        with engine_errors(f"pull {reference}"):
            _pull(engine, reference, report)
            digest = _inspect(engine, reference)
    except Exception as error:
        raise NotReadyError(
            f"There is no image {reference!r}: the engine does not have it and could not pull it.",
            hint="Check the name, log in to its registry, or build it first.",
            details=getattr(error, "message", str(error)),
        ) from error
    if digest is None:
        raise NotReadyError(f"The engine pulled {reference!r} and still does not have it.")
    return ImageRef(reference, digest)


def _pull(engine: Engine, reference: str, report: Report) -> None:
    repository, tag = reference, None
    if "@" not in reference and ":" not in reference.rpartition("/")[2]:
        tag = "latest"
    seen = set()
    for line in engine.api.pull(repository, tag=tag, stream=True, decode=True):
        if "error" in line:
            raise NotReadyError(str(line["error"]))
        status = str(line.get("status", ""))
        if line.get("id") and status in ("Pull complete", "Already exists") and line["id"] not in seen:
            seen.add(line["id"])
            report(f"{line['id']}: {status}")


def _built(
    engine: Engine, tag: str, files: Mapping[str, bytes], arguments: Mapping[str, str], report: Report
) -> ImageRef:
    digest = _inspect(engine, tag)
    if digest is None:
        with _lock(tag):
            # Somebody else may have built it while we waited for the lock.
            digest = _inspect(engine, tag)
            if digest is None:
                build_image(engine, tag, dict(files), arguments, report)
                digest = _inspect(engine, tag)
    if digest is None:
        raise NotReadyError(f"The engine built {tag} and does not have it.", hint="Is its disk full?")
    return ImageRef(tag, digest)


def _inspect(engine: Engine, reference: str) -> str | None:
    with engine_errors(f"look for the image {reference}"):
        try:
            return str(_described(engine, reference)["Id"])
        except (ImageNotFound, NotFound):
            return None
        except APIError as error:
            if error.status_code == 400:  # not a valid reference
                raise NotReadyError(f"{reference!r} is no image name.", details=error.explanation) from error
            raise


def _described(engine: Engine, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.api.inspect_image(reference)  # type: ignore[no-untyped-call]
    return found


def _base(engine: Engine, settings: Settings) -> tuple[str, str]:
    """The base image, and what makes it this one: its id when the engine has it, else its name."""
    for reference in (settings.base_image,) if settings.base_image else (LOCAL_BASE, DEFAULT_BASE):
        if (digest := _inspect(engine, reference)) is not None:
            # A registry's image may be there today and not yesterday; that must not rebuild the snapshot.
            return reference, reference if reference == DEFAULT_BASE else digest
    reference = settings.base_image or DEFAULT_BASE
    return reference, reference


def _read_bundle(path: Path | None) -> dict[str, bytes]:
    if path is None:
        return {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotReadyError(
            f"The CA bundle {path} can't be read: {error.strerror}.", hint="RUNBOOK_CA_BUNDLE names it."
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise NotReadyError(f"The CA bundle {path} holds no PEM certificate.", hint="RUNBOOK_CA_BUNDLE names it.")
    return {CA_FILE: content}


def _ca_arguments(bundle: Mapping[str, bytes]) -> dict[str, str]:
    return dict.fromkeys(settings.CA_VARIABLES, settings.SANDBOX_CA_BUNDLE) if bundle else {}


def _layer_dockerfile(layer: Layer, user: str) -> str:
    """user: whom the image runs as, when not root; only root can install."""
    lines = ["ARG BASE_IMAGE", "FROM ${BASE_IMAGE}", *(f"ARG {name}" for name in settings.CA_VARIABLES)]
    # The Dockerfile is named beside the bundle because COPY fails when nothing matches.
    lines += [*(["USER root"] if user else []), f"COPY Dockerfile {CA_FILE}* {CONFIG}/", layer.dockerfile]
    return "\n".join([*lines, *([f"USER {user}"] if user else [])])


def _tag(name: str, files: Mapping[str, bytes], arguments: Mapping[str, str], base: str) -> str:
    digest = hashlib.sha256()
    for part in _parts(files, arguments, base):
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"runbook-runner/{name}:{digest.hexdigest()[:12]}"


def _parts(files: Mapping[str, bytes], arguments: Mapping[str, str], base: str) -> Iterable[bytes]:
    yield base.encode()
    for name, value in sorted(arguments.items()):
        if name != "BASE_IMAGE":
            yield f"{name}={value}".encode()
    for path, content in sorted(files.items()):
        yield path.encode()
        yield content


def _lock(tag: str) -> AbstractContextManager[Any]:
    """One build of a tag at a time, for all of this user's runs whichever folder they write to."""
    folder = Path(tempfile.gettempdir()) / f"runbook-runner-{os.getuid()}" / "locks"
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.parent.stat().st_uid != os.getuid():
            raise PermissionError(13, "it belongs to another user")
    except OSError as error:
        raise NotReadyError(f"Can't use {folder} for locks: {error.strerror}.") from error
    from filelock import FileLock  # its import costs more than everything a run does when the image is there

    return FileLock(folder / (tag.replace("/", "-").replace(":", "-") + ".lock"))

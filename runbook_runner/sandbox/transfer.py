"""Docker sandbox: images of our snapshots to a file, and from there to an engine that reaches no registry."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError

from runbook_runner.errors import InputError, NotReadyError
from runbook_runner.sandbox import recipe
from runbook_runner.sandbox.catalogue import snapshots
from runbook_runner.sandbox.engine import Engine, engine_errors
from runbook_runner.sandbox.images import ImageRef, planned
from runbook_runner.sandbox.recipe import Layer
from runbook_runner.sandbox.snapshots import Near, Snapshot
from runbook_runner.settings import Settings


def export(engine: Engine, images: Sequence[ImageRef], file: Path) -> int:
    """Writes them to one file, as `docker save` does; its size. Nothing half-written is left under its name. Raises
    InputError when it can't be written, SandboxError."""
    aside = file.with_name(f".{file.name}.part")
    try:
        with aside.open("wb") as out, engine_errors("export the images"):
            for block in _saved(engine, [image.tag for image in images]):
                _write(out, block, file)
        aside.replace(file)
    except OSError as error:
        raise InputError(f"The export can't be written: {error.strerror}.", where=str(file)) from error
    finally:
        aside.unlink(missing_ok=True)
    return file.stat().st_size


def _saved(engine: Engine, tags: Sequence[str]) -> Iterator[bytes]:
    """Docker Engine API, "export several images"."""
    url = f"{engine.api.base_url}/v{engine.api.api_version}/images/get"
    with closing(engine.api.get(url, params={"names": list(tags)}, stream=True)) as answer:
        if answer.status_code >= 400:
            raise APIError(answer.text, response=answer, explanation=answer.text.strip())
        yield from answer.iter_content(1 << 20)


def _write(out: IO[bytes], block: bytes, file: Path) -> None:
    """Its error must not be taken for one of the engine's."""
    try:
        out.write(block)
    except OSError as error:
        raise InputError(f"The export can't be written: {error.strerror}.", where=str(file)) from error


def load(engine: Engine, file: Path, layers: Sequence[Layer], settings: Settings, near: Near) -> tuple["Loaded", ...]:
    """Takes in what `export` wrote and names each image so that runs on this machine find it. layers: of the agents we
    know. Raises InputError for a file that holds no such images, SandboxError."""
    tags = _load(engine, file)
    ours = [tag for tag in tags if tag.startswith(recipe.PREFIX)]
    if not ours:
        raise InputError("There is no image of a snapshot in it.", where=str(file))
    found = []
    by_length = sorted(ours, key=lambda tag: len(tag))  # a snapshot before what stands on it
    for tag in by_length:
        found.append(_adopt(engine, tag, layers, settings, near))
    return tuple(found)


@dataclass(frozen=True)
class Loaded:
    tag: str
    used_as: str | None
    """The tag under which runs here look for it; `None`: no run will, for there is no such snapshot here."""
    same: bool
    """It was made of the very files that we have."""


def _load(engine: Engine, file: Path) -> list[str]:
    tags: list[str] = []
    try:
        with file.open("rb") as content, engine_errors(f"load {file}"):
            for line in engine.api.load_image(content):  # type: ignore[no-untyped-call]
                if "error" in line:
                    raise NotReadyError(f"The engine does not take {file}: {line['error']}")
                tags += re.findall(r"Loaded image: (\S+)", str(line.get("stream", "")))
    except OSError as error:
        raise InputError(f"The file can't be read: {error.strerror}.", where=str(file)) from error
    return tags


def _adopt(engine: Engine, tag: str, layers: Sequence[Layer], settings: Settings, near: Near) -> Loaded:
    name = tag.removeprefix(recipe.PREFIX).partition(":")[0]
    for found in snapshots(near):
        for chosen in ([], *([layer] for layer in layers)):
            if name == "-".join([found.name, *(layer.name for layer in chosen)]):
                return _name(engine, tag, found, chosen, settings, near)
    return Loaded(tag, None, same=False)


def _name(
    engine: Engine, tag: str, snapshot: Snapshot, layers: Sequence[Layer], settings: Settings, near: Near
) -> Loaded:
    made_of = recipe.of_snapshot(engine, snapshot, settings, near)
    if layers:
        base = planned(engine, snapshot, [], settings, near)
        if base is None:  # the layer came without what it stands on
            return Loaded(tag, None, same=False)
        bundle = recipe.read_bundle(settings.ca_bundle)
        name = f"{snapshot.name}-{layers[0].name}"
        made_of = recipe.of_layer(engine, name, layers[0], tag=base.tag, digest=base.digest, bundle=bundle)
    labels: dict[str, Any] = engine.image(tag)["Config"].get("Labels") or {}
    repository, _, version = made_of.tag.partition(":")
    with engine_errors(f"name {made_of.tag}"):
        engine.api.tag(tag, repository, version)
    return Loaded(tag, made_of.tag, same=labels.get(recipe.LABEL) == made_of.labels[recipe.LABEL])

"""Docker sandbox: the image a run starts from. Built on first use, later found by its content (see recipe.py)."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runbook_runner.core.disk.lock import locked
from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.events import Report
from runbook_runner.core.settings import Settings, user_data
from runbook_runner.sandbox.docker.creation import refuse_to_build_on
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.images import recipe
from runbook_runner.sandbox.images.build_request import Bounds
from runbook_runner.sandbox.images.built_here import is_others, kind_of, note
from runbook_runner.sandbox.images.recipe import Layer, Recipe
from runbook_runner.sandbox.images.snapshots import Near, Snapshot, find_base

_INSTALLING: Final = (
    1 << 30
)  # bytes of memory: with 192 MB two of our agents could not be installed, with 384 MB all could

_UNCLEAR: Final = (
    "{} was not built or imported by you here, and nothing is built on it: it is built again, as by `runbook snapshots "
    "build --fresh`."
)

MayBuild = Callable[[Snapshot, str], None]
"""Takes a snapshot and the digest of the very files that its image is made of."""


def refuse_projects(snapshot: Snapshot, files: str) -> None:
    """A `MayBuild` without a user to trust anything. Raises NotReadyError for a snapshot of a project."""
    if snapshot.origin == "user":
        raise NotReadyError(f"The snapshot {snapshot.name} is not trusted.", where=str(snapshot.folder))


@dataclass(frozen=True)
class ImageRef:
    tag: str
    digest: str
    """The engine's id of the image, `sha256:…`."""
    pinned: str | None = None
    """`NAME@sha256:…`, by which its registry gives the very same image; `None` when it is from no registry."""


def ensure(
    engine: Engine,
    snapshot: Snapshot,
    layers: Sequence[Layer],
    settings: Settings,
    report: Report,
    near: Near = (),
    *,
    may_build: MayBuild = refuse_projects,
    bounds: Bounds | None = None,
    fresh: bool = False,
) -> ImageRef:
    """Returns the image of a snapshot with the layers on top, built if the engine does not have it.

    near: folders for the snapshots that it builds on. may_build: is called before a
    snapshot is used, and may raise. bounds: for the build of what a project offers. fresh: the snapshot itself is built
    even if the engine has it, for newer packages. Raises InputError when it builds on an unknown one, NotReadyError
    when the build fails or the CA bundle can't be read, SandboxError when the engine is lost.
    """
    bundle = recipe.read_bundle(settings.ca_bundle)
    how = _How(engine, settings, report, near, may_build, bounds)
    image = _snapshot(how, snapshot, fresh=fresh or _builds_on_unclear(how, snapshot, layers))
    return _on_top(how, snapshot.name, image, layers, bundle, foreign=snapshot.origin != "built-in")


def add_layers(
    engine: Engine,
    base: ImageRef,
    layers: Sequence[Layer],
    settings: Settings,
    report: Report,
    bounds: Bounds | None = None,
    *,
    trusted: bool = False,
) -> ImageRef:
    """Returns a user's own image with the layers on top; it runs as the same user. trusted: the user has named it.
    Raises as `ensure`, and NotReadyError for one that might bring instructions of its own into the build."""
    if layers and engine.is_podman and not trusted:
        message = (
            f"Nothing is built on the image {base.tag!r}, which you have not named: Podman does not tell which "
            "instructions (ONBUILD) an image adds to a build, and they can read and change this machine's files."
        )
        named = f"`runbook run --image {shlex.quote(base.tag)}`"
        raise NotReadyError(message, hint=f"If you trust the image, add --trust, or name it yourself: {named}.")
    bundle = recipe.read_bundle(settings.ca_bundle)
    how = _How(engine, settings, report, (), refuse_projects, bounds)
    return replace(_on_top(how, "custom", base, layers, bundle, foreign=True), pinned=base.pinned)


def planned(
    engine: Engine, snapshot: Snapshot, layers: Sequence[Layer], settings: Settings, near: Near = ()
) -> ImageRef | None:
    """Returns what `ensure` would find; `None` when it would build. Raises as `ensure`."""
    tag = recipe.of_snapshot(engine, snapshot, settings, near).tag
    return _found_on_top(engine, snapshot.name, tag, layers, settings)


def planned_on(engine: Engine, base: str, layers: Sequence[Layer], settings: Settings) -> ImageRef | None:
    """Returns what `add_layers` would find on a user's own image; `None` when it is not here, or would be built on.
    Raises as `add_layers`."""
    return _found_on_top(engine, "custom", base, layers, settings)


def _found_on_top(engine: Engine, name: str, tag: str, layers: Sequence[Layer], settings: Settings) -> ImageRef | None:
    bundle = recipe.read_bundle(settings.ca_bundle)
    digest = engine.image_id(tag)
    for depth in range(1, len(layers) + 1):
        if digest is None:
            break
        tag = recipe.of_layer(engine, name, layers[:depth], tag=tag, digest=digest, bundle=bundle).tag
        digest = engine.image_id(tag)
    return ImageRef(tag, digest) if digest else None


@dataclass(frozen=True)
class _How:
    """As `ensure` takes them."""

    engine: Engine
    settings: Settings
    report: Report
    near: Near
    may_build: MayBuild
    bounds: Bounds | None


def _builds_on_unclear(how: _How, snapshot: Snapshot, layers: Sequence[Layer]) -> bool:
    def there(depth: int) -> ImageRef | None:
        return planned(how.engine, snapshot, layers[:depth], how.settings, how.near)

    if not how.engine.is_podman or there(len(layers)):
        return False
    unclear = [image.tag for image in map(there, range(len(layers))) if image and _is_unclear(how.engine, image)]
    if unclear:
        how.report(_UNCLEAR.format(unclear[0]))
    return bool(unclear)


def _snapshot(how: _How, snapshot: Snapshot, above: tuple[str, ...] = (), *, fresh: bool = False) -> ImageRef:
    """Builds its base first, unless the engine has the image itself, as after an import."""
    made_of = recipe.of_snapshot(how.engine, snapshot, how.settings, how.near, above)
    how.may_build(snapshot, made_of.made.files)
    if not fresh and (digest := how.engine.image_id(made_of.tag)):
        return ImageRef(made_of.tag, digest)
    if base := find_base(snapshot, how.near, above):
        below = _snapshot(how, base, (*above, snapshot.name))
        if _is_unclear(how.engine, below):
            how.report(_UNCLEAR.format(below.tag))
            _snapshot(how, base, (*above, snapshot.name), fresh=True)
    return _built(how, made_of, offered=snapshot.origin == "user", fresh=fresh)


def _on_top(
    how: _How, name: str, image: ImageRef, layers: Sequence[Layer], bundle: Mapping[str, bytes], *, foreign: bool
) -> ImageRef:
    for depth in range(1, len(layers) + 1):
        made_of = recipe.of_layer(
            how.engine,
            name,
            layers[:depth],
            tag=image.tag,
            digest=image.digest,
            bundle=bundle,
            foreign=foreign,
        )
        image = _built(how, made_of, offered=bool(layers[depth - 1].origin))
    return image


def _is_foreign(engine: Engine, made_of: Recipe) -> bool:
    """Whether it is built on an image that is not this program's own, whatever that is called."""
    base = engine.image_id(made_of.base) if made_of.base else None
    return bool(base and is_others(engine, made_of.arguments["BASE_IMAGE"], base))


def _refuse_base(engine: Engine, made_of: Recipe) -> None:
    """Raises NotReadyError for an image on which a build would stop the engine. None that was made of our own parts
    does."""
    base = engine.image_id(made_of.base) if made_of.base else None
    if base and kind_of(engine, base) != "own":
        name = made_of.arguments["BASE_IMAGE"]
        with engine_errors(f"look into the image {name}"):
            refuse_to_build_on(engine, base, name)


def _is_unclear(engine: Engine, image: ImageRef | None) -> bool:
    """Whether an image may have instructions (ONBUILD) for what is built on it: Podman does not tell them, and none
    that was built or imported here has any."""
    return engine.is_podman and image is not None and kind_of(engine, image.digest) is None


def _limits(bounds: Bounds | None) -> Bounds | None:
    """Returns what our own installation may use where the programs that do it are an image's of others."""
    return bounds and Bounds(True, bounds.cpus, max(bounds.memory_bytes, _INSTALLING), math.inf)


def _built(how: _How, made_of: Recipe, *, offered: bool, fresh: bool = False) -> ImageRef:
    """offered: a project offers what is to be built."""
    engine, tag = how.engine, made_of.tag
    digest = None if fresh else engine.image_id(tag)
    if digest is None:
        with locked(lock_file(tag), how.report, f"builds {tag}"):
            # Another process may have built it while this one waited for the lock.
            digest = None if fresh else engine.image_id(tag)
            if digest is None:
                foreign = _is_foreign(engine, made_of)
                bounded = foreign or (made_of.foreign and made_of.made.layers)
                bounds = how.bounds if offered else _limits(how.bounds) if bounded else None
                _refuse_base(engine, made_of)
                from runbook_runner.sandbox.images.build import build_image  # most images are there

                build_image(engine, made_of, how.report, fresh=fresh, foreign=foreign, bounds=bounds)
                if digest := engine.image_id(tag):
                    note(engine, digest, "foreign" if foreign or made_of.foreign else "own")
    if digest is None:
        raise NotReadyError(f"The engine built {tag} and does not have it.", hint="Is its disk full?")
    return ImageRef(tag, digest)


def lock_file(tag: str) -> Path:
    """Of this user, for all their processes that build the tag."""
    return private_folder(user_data(), "locks") / (tag.replace("/", "-").replace(":", "-") + ".lock")

"""Docker sandbox: the images of snapshots that an engine has: which of them a run here would use, which are stale, and
which programs are in them."""

import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docker.errors import APIError

from runbook_runner.core.errors import InputError
from runbook_runner.core.programs import VERSION
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.sandbox import DockerSandbox
from runbook_runner.sandbox.images import recipe
from runbook_runner.sandbox.images.built_here import is_built_here
from runbook_runner.sandbox.images.provide import planned
from runbook_runner.sandbox.images.recipe import Layer, Made
from runbook_runner.sandbox.images.snapshots import (
    PREFIX,
    Near,
    Snapshot,
    UnknownSnapshotError,
    find_snapshot,
    known_snapshots,
)

IMPORTED: Final = f"{PREFIX}import/"
"""What the names of images begin with while they are imported; no snapshot's do."""
_BUILDING_S: Final = 3600.0  # an image without a name may be a step of a build that is still running
_PROGRAMS: Final = ("python3", "uv", "node", "npm", "git", "chromium", "playwright")
_ANSWER_S: Final = 60.0
_MOST_SAID: Final = 1 << 20  # bytes: the programs of an image may print without end


_Group = tuple[str, str, bool]
"""Of images: their name, their project, whether they were built here."""


@dataclass(frozen=True)
class Built:
    """An image of a snapshot that the engine has."""

    tag: str
    """Empty when another image has got its name since."""
    digest: str
    size: int
    """Bytes, shared ones included."""
    created: int
    """Seconds since 1970."""
    made: Made | None
    """`None` for an image without labels, of an older version of this program, or with others than this program
    writes."""

    @property
    def name(self) -> str:
        """`python312-uv`, or with its layers `python312-uv-claude-code`."""
        return self.made.name if self.made else self.tag.removeprefix(PREFIX).partition(":")[0]

    @property
    def snapshot(self) -> str:
        return self.made.snapshot if self.made else self.name

    @property
    def reference(self) -> str:
        return self.tag or self.digest


@dataclass(frozen=True)
class RunImages:
    """Which images runs here look for."""

    settings: Settings
    near: Near
    agents: Sequence[Layer]
    """The layers of the agents known here."""

    def tag_for(self, engine: Engine, made: Made) -> str:
        """Returns the tag under which a run looks for an image made so. Raises InputError with the reason why none
        does, SandboxError."""
        snapshot = find_snapshot(made.snapshot, self.near)
        _check_agents(made, {layer.name: layer for layer in self.agents})
        if not made.layers:
            here = recipe.of_snapshot(engine, snapshot, self.settings, self.near)
            if here.made.files != made.files:
                raise InputError(f"The files of the snapshot {snapshot.name} here are not those it was built from.")
            return here.tag
        below = planned(engine, snapshot, made.layers[:-1], self.settings, self.near)
        if below is None:
            raise InputError("The engine does not have the image that it is built on.")
        bundle = recipe.read_bundle(self.settings.ca_bundle)
        return recipe.of_layer(
            engine, snapshot.name, made.layers, tag=below.tag, digest=below.digest, bundle=bundle
        ).tag

    def may_be_of_others(self, made: Made) -> bool:
        """Whether another project's snapshot or agent of the same name may have made it. Raises
        UnknownSnapshotError."""
        snapshot = find_snapshot(made.snapshot, self.near)
        offered = {layer.name: layer.origin for layer in self.agents}
        here = {offered.get(layer.name, "") for layer in made.layers}
        if snapshot.origin != "built-in":
            here.add(recipe.origin_of(snapshot.folder))
        return any(here) and made.origin not in here - {""}


def _check_agents(made: Made, known: Mapping[str, Layer]) -> None:
    for layer in made.layers:
        if known.get(layer.name, layer) != layer:
            raise InputError(f"Its {layer.name} is of another version than runs here use.")


def built(engine: Engine) -> tuple[Built, ...]:
    """Returns every image of a snapshot, newest first. Raises SandboxError."""
    with engine_errors("list images"):
        named = engine.api.images()  # Podman's filter by name does not know its own prefix
        nameless = engine.api.images(filters={"dangling": True, "label": recipe.LAYERS_LABEL})
    images = [
        *(_built(item, tag) for item in named for name in item.get("RepoTags") or [] if (tag := snapshot_tag(name))),
        *(_built(item, "") for item in nameless if time.time() - int(item["Created"]) > _BUILDING_S),
    ]
    return tuple(sorted(images, key=lambda image: -image.created))


def snapshot_tag(name: str) -> str | None:
    """Returns the tag without the registry that Podman puts before it; `None` when it is not one of a snapshot."""
    tag = name.removeprefix("localhost/").removeprefix("docker.io/")
    return tag if tag.startswith(PREFIX) and "@" not in tag and tag != recipe.LOCAL_BASE else None


def _built(item: Mapping[str, Any], tag: str) -> Built:
    made = recipe.read_labels(item.get("Labels"))
    return Built(tag, str(item["Id"]), int(item["Size"]), int(item["Created"]), made)


def stale(engine: Engine, images: Sequence[Built], wanted: RunImages) -> tuple[Built, ...]:
    """Returns those that no run would use any more, the ones that are built on others first. images: newest first. Of
    images that can't be judged here, such as those of another project's snapshots, the newest of each name and project
    is kept; of those built here and of all others: another may say anything of its age, name and project."""
    newest: set[_Group] = set()
    old = [image for image in images if not _is_wanted(engine, image, wanted, newest)]
    return tuple(sorted(old, key=lambda image: -len(image.made.layers) if image.made else 0))


def _is_wanted(engine: Engine, image: Built, wanted: RunImages, newest: set[_Group]) -> bool:
    if not image.tag or image.tag.startswith(IMPORTED):
        return False
    which = (image.name, image.made.origin if image.made else "", is_built_here(engine, image.digest))
    first = which not in newest
    newest.add(which)
    if image.made is None:
        return first
    try:
        return image.tag == _wanted_tag(engine, image.made, wanted) or (first and wanted.may_be_of_others(image.made))
    except UnknownSnapshotError:
        return first


def _wanted_tag(engine: Engine, made: Made, wanted: RunImages) -> str | None:
    """Returns `None` when no run here looks for such an image. Raises UnknownSnapshotError."""
    try:
        return wanted.tag_for(engine, made)
    except UnknownSnapshotError:
        raise
    except InputError:
        return None


def snapshots(near: Near) -> Iterator[Snapshot]:
    """Yields each snapshot once, without its aliases. Raises InputError for a broken one."""
    seen = set()
    for name in known_snapshots(near):
        found = find_snapshot(name, near)
        if found.name not in seen:
            seen.add(found.name)
            yield found


def remove(engine: Engine, image: Built) -> str | None:
    """Removes an image. Returns the reason why it stays; `None` when it is gone. Raises SandboxError."""
    with engine_errors(f"remove {image.reference}"):
        try:
            engine.api.remove_image(engine.image_name(image.reference))
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
            return str(error.explanation).strip() if error.status_code == 409 else None
    return None


def versions(engine: Engine, image: str, programs: Iterable[str] = ()) -> dict[str, str]:
    """Returns program → version of the programs in the image; asks in a container without a network. programs: others
    to ask. Raises NotReadyError when no container starts, SandboxError."""
    ask = "printf '%s\\t' {0}; {{ {0} --version || true; }} 2>/dev/null </dev/null | head -n 1; echo\n"
    asked = dict.fromkeys((*_PROGRAMS, *programs))
    script = "".join(ask.format(shlex.quote(program)) for program in asked)
    spec = SandboxSpec(run_id="inspect", image=image, lifetime_s=_ANSWER_S, network=Network(policy="none"))
    with DockerSandbox(engine, spec) as sandbox:
        process = sandbox.exec(["sh", "-c", script], env={"HOME": "/tmp"}, deadline_s=_ANSWER_S)  # noqa: S108
        said = bytearray()
        for chunk in process:
            said += chunk.data if chunk.stream == "stdout" else b""
            if len(said) > _MOST_SAID:
                break
    text = said[:_MOST_SAID].decode(errors="replace")
    lines = (line.partition("\t") for line in text.splitlines() if "\t" in line)
    return {name: match[0] for name, _, version in lines if name in asked and (match := VERSION.search(version))}

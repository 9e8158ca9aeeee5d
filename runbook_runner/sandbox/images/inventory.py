"""Docker sandbox: the images there are of our snapshots, and which of them a run here would use."""

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

_UNDER_WAY_S: Final = 3600.0  # an image without a name may be the step before last of somebody's build


@dataclass(frozen=True)
class Built:
    """An image of ours on the engine."""

    tag: str
    """Empty: another one has taken its name since."""
    digest: str
    size: int
    """Bytes, shared ones included."""
    created: int
    """Seconds since 1970."""
    made: Made | None
    """`None`: it does not say, for it is of an older version of this program."""

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
class Shelf:
    """What decides which images a run here would look for."""

    settings: Settings
    near: Near
    agents: Sequence[Layer]
    """The layers of the agents known here."""

    def tag_for(self, engine: Engine, made: Made) -> str:
        """Under which a run looks for an image made so. Raises InputError that says why none would look for it,
        SandboxError."""
        snapshot = find_snapshot(made.snapshot, self.near)
        _check_agents(made, {layer.name: layer for layer in self.agents})
        if not made.layers:
            here = recipe.of_snapshot(engine, snapshot, self.settings, self.near)
            if here.made.files != made.files:
                raise InputError(f"The files of the snapshot {snapshot.name} here are not those it was built from.")
            return here.tag
        below = planned(engine, snapshot, made.layers[:-1], self.settings, self.near)
        if below is None:
            raise InputError("The image it stands on is not here.")
        bundle = recipe.read_bundle(self.settings.ca_bundle)
        return recipe.of_layer(
            engine, snapshot.name, made.layers, tag=below.tag, digest=below.digest, bundle=bundle
        ).tag


def _check_agents(made: Made, known: Mapping[str, Layer]) -> None:
    for layer in made.layers:
        if known.get(layer.name, layer) != layer:
            raise InputError(f"Its {layer.name} is of another version than runs here use.")


def built(engine: Engine) -> tuple[Built, ...]:
    """Every image of ours, the base apart, newest first. Raises SandboxError."""
    with engine_errors("list images"):
        named = engine.api.images()  # Podman's filter by name does not know what it has put before it
        nameless = engine.api.images(filters={"dangling": True, "label": recipe.LAYERS_LABEL})
    images = [
        *(_built(item, tag) for item in named for name in item.get("RepoTags") or [] if (tag := our_tag(name))),
        *(_built(item, "") for item in nameless if time.time() - int(item["Created"]) > _UNDER_WAY_S),
    ]
    return tuple(sorted(images, key=lambda image: -image.created))


def our_tag(name: str) -> str | None:
    """The tag as we gave it, if it is one of a snapshot; Podman puts a registry before it."""
    tag = name.removeprefix("localhost/").removeprefix("docker.io/")
    return tag if tag.startswith(PREFIX) and tag != recipe.LOCAL_BASE else None


def _built(item: Mapping[str, Any], tag: str) -> Built:
    made = recipe.read_labels(item.get("Labels"))
    return Built(tag, str(item["Id"]), int(item["Size"]), int(item["Created"]), made)


def stale(engine: Engine, images: Sequence[Built], shelf: Shelf) -> tuple[Built, ...]:
    """Those of the images, newest first, that no run would use any more, those that stand on others first. Of what
    can't be known here, such as another folder's snapshots, the newest of each name is kept."""
    newest: set[str] = set()
    old = [image for image in images if not _is_wanted(engine, image, shelf, newest)]
    return tuple(sorted(old, key=lambda image: -len(image.made.layers) if image.made else 0))


def _is_wanted(engine: Engine, image: Built, shelf: Shelf, newest: set[str]) -> bool:
    if not image.tag:
        return False
    first = image.name not in newest
    newest.add(image.name)
    try:
        if image.made:
            return image.tag == shelf.tag_for(engine, image.made)
    except UnknownSnapshotError:
        return first
    except InputError:
        return False
    return first


def snapshots(near: Near) -> Iterator[Snapshot]:
    """Each once, whatever aliases it has. Raises InputError for a broken one."""
    seen = set()
    for name in known_snapshots(near):
        found = find_snapshot(name, near)
        if found.name not in seen:
            seen.add(found.name)
            yield found


def remove(engine: Engine, image: Built) -> str | None:
    """The reason why it stays; `None`: it is gone. Raises SandboxError when the engine is lost."""
    with engine_errors(f"remove {image.reference}"):
        try:
            engine.api.remove_image(image.reference)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
            return str(error.explanation).strip() if error.status_code == 409 else None
    return None


_PROGRAMS: Final = ("python3", "uv", "node", "npm", "git", "chromium", "playwright")
_ASK_S: Final = 60.0


def versions(engine: Engine, image: str, programs: Iterable[str] = ()) -> dict[str, str]:
    """Program → version, as far as it has them; asked in a container without a network. programs: more to ask. Raises
    NotReadyError when no container starts, SandboxError."""
    ask = "printf '%s\\t' {0}; {{ {0} --version || true; }} 2>/dev/null </dev/null | head -n 1; echo\n"
    script = "".join(ask.format(program) for program in dict.fromkeys((*_PROGRAMS, *programs)))
    spec = SandboxSpec(run_id="inspect", image=image, lifetime_s=_ASK_S, network=Network(policy="none"))
    with DockerSandbox(engine, spec) as sandbox:
        process = sandbox.exec(["sh", "-c", script], env={"HOME": "/tmp"}, deadline_s=_ASK_S)  # noqa: S108
        said = b"".join(chunk.data for chunk in process if chunk.stream == "stdout").decode(errors="replace")
    lines = (line.partition("\t") for line in said.splitlines() if "\t" in line)
    return {name: match[0] for name, _, version in lines if (match := VERSION.search(version))}

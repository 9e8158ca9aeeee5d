"""Docker sandbox: what an image is made of, and the tag that follows from that.

A snapshot's image is `runbook-runner/<snapshot>:<digest>`, with layers on top
`runbook-runner/<snapshot>-<layer>…:<digest>`. The digest covers everything the image is made of, so an image
with that tag is the right one, and a later run only asks whether the engine has it.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook_runner.core import settings
from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.formats.json_toml import read_json
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.docker.engine import Engine
from runbook_runner.sandbox.image_names import is_last_part, repository
from runbook_runner.sandbox.images.snapshots import (
    CA_FILE,
    PREFIX,
    Near,
    Snapshot,
    content_digest,
    files_digest,
    find_base,
)
from runbook_runner.sandbox.paths import CONFIG

FILES_LABEL = "runbook.files"
"""On an image: the digest of its Dockerfile and the files beside it, without its base."""
SNAPSHOT_LABEL = "runbook.snapshot"
ORIGIN_LABEL = "runbook.origin"
"""On an image, and inherited by those on top: which folder or file of this machine offered what was last put on it, as
`origin_of` says; none for built-in parts."""
LAYERS_LABEL = "runbook.layers"
"""JSON list of the layers on top of the snapshot, as `Layer` has them."""

LOCAL_BASE = "runbook-runner/base:python312"
"""What snapshots/airgapped/build-base.sh makes; used instead of a registry's image when the engine has it."""

DEFAULT_BASE = "python:3.12-slim-bookworm"

_DIGITS = 12
_DIGITS_OF_OTHERS = 40  # who writes a snapshot finds two contents with the same 12 digits: one to show, one to be built
_OUR_IMAGE = re.compile(rf"{PREFIX}[^:]+:[0-9a-f]{{{_DIGITS}}}")
_LONGEST_NAME = 255 - len(f"docker.io/{PREFIX}")  # github.com/distribution/reference
_USER = re.compile(r"(?:[\w.-]+(?::[\w.-]+)?)?", re.ASCII)


@dataclass(frozen=True)
class Layer:
    """Instructions on top of a snapshot: an agent, packages."""

    name: str
    dockerfile: str
    """Instructions without a FROM; the CA variables are set while they run."""
    origin: str = field(default="", compare=False)
    """`origin_of` the file in which a project offers it: then it is built within the run's bounds."""


@dataclass(frozen=True)
class Made:
    """What an image was made of, as its labels say."""

    snapshot: str
    layers: tuple[Layer, ...]
    files: str
    """As FILES_LABEL says."""
    origin: str = ""
    """As ORIGIN_LABEL says."""

    @property
    def name(self) -> str:
        """`python312-uv`, or with its layers `python312-uv-claude-code`."""
        return "-".join([self.snapshot, *(layer.name for layer in self.layers)])


@dataclass(frozen=True)
class Recipe:
    made: Made
    files: Mapping[str, bytes]
    arguments: Mapping[str, str]
    base: str
    """Identifies the image that it is built on."""
    foreign: bool = False
    """It is, or is built on, what is not ours."""

    @cached_property
    def tag(self) -> str:
        below = self.arguments.get("BASE_IMAGE", "")  # what is put on an image of others is as easily made to collide
        ours = _OUR_IMAGE.fullmatch(below) if self.made.layers else not self.foreign
        digits = _DIGITS if ours else _DIGITS_OF_OTHERS
        return f"{PREFIX}{self.made.name}:{content_digest(self.files, self.arguments, self.base)[:digits]}"

    @property
    def labels(self) -> dict[str, str]:
        layers = json.dumps([{"name": layer.name, "dockerfile": layer.dockerfile} for layer in self.made.layers])
        origin = {ORIGIN_LABEL: self.made.origin} if self.made.origin else {}
        return {FILES_LABEL: self.made.files, SNAPSHOT_LABEL: self.made.snapshot, LAYERS_LABEL: layers, **origin}


def origin_of(path: Path) -> str:
    """Returns what tells a project's snapshot or agent from another's of the same name; not the path itself, for
    images are given to others."""
    return hashlib.sha256(os.path.realpath(path).encode(errors="surrogateescape")).hexdigest()


def is_ours(image: str) -> bool:
    """Whether a name is, behind any registry, that of an image that is built here."""
    return f"/{PREFIX}" in repository(image)


def read_labels(labels: Mapping[str, str] | None) -> Made | None:
    """Returns what an image's labels say; `None` when they are not those of `Recipe.labels`: whoever made the image may
    have written anything, also what no tag or file can be made of."""
    try:
        found = labels or {}
        listed = read_json(found[LAYERS_LABEL], LAYERS_LABEL)
        made = Made(
            found[SNAPSHOT_LABEL], tuple(map(_read_layer, listed)), found[FILES_LABEL], found.get(ORIGIN_LABEL, "")
        )
        fits = all(map(is_last_part, (made.snapshot, *(layer.name for layer in made.layers))))
        return made if fits and len(made.name) <= _LONGEST_NAME else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _read_layer(item: Any) -> Layer:
    """Raises ValueError for text that is not UTF-8, AttributeError and the like."""
    item["dockerfile"].encode()
    return Layer(item["name"], item["dockerfile"])


def apt_layer(packages: Sequence[str]) -> Layer:
    """packages: names of Debian packages that were checked."""
    apt = "apt-get -o Acquire::Retries=6"  # half a minute in all, which a mirror or a name server sometimes needs
    install = f"{apt} update && {apt} install --yes --no-install-recommends " + " ".join(sorted(packages))
    return Layer("apt", f"RUN {install} && rm -rf /var/lib/apt/lists/*\n")


def of_snapshot(
    engine: Engine, snapshot: Snapshot, settings: Settings, near: Near = (), above: tuple[str, ...] = ()
) -> Recipe:
    """above: the snapshots that build on it. Raises InputError when it builds on an unknown one or on itself,
    NotReadyError when the CA bundle can't be read, SandboxError."""
    bundle = read_bundle(settings.ca_bundle)
    base, identity = _base_of(engine, snapshot, settings, near, above)
    files = snapshot.files()
    arguments = _ca_arguments(bundle) | ({"BASE_IMAGE": base} if base else {})
    foreign = snapshot.origin != "built-in"
    made = Made(snapshot.name, (), files_digest(files), origin_of(snapshot.folder) if foreign else "")
    return Recipe(made, files | bundle, arguments, identity, foreign)


def _base_of(
    engine: Engine, snapshot: Snapshot, settings: Settings, near: Near, above: tuple[str, ...]
) -> tuple[str, str]:
    """Returns the image it is built on and what identifies that; both empty when its Dockerfile names the image."""
    if base := find_base(snapshot, near, above):
        tag = of_snapshot(engine, base, settings, near, (*above, snapshot.name)).tag
        return tag, tag
    if snapshot.base is None or (snapshot.origin != "built-in" and snapshot.base):
        return "", ""
    return _base(engine, settings)


def of_layer(
    engine: Engine,
    snapshot: str,
    layers: Sequence[Layer],
    *,
    tag: str,
    digest: str,
    bundle: Mapping[str, bytes],
    foreign: bool = False,
) -> Recipe:
    """Returns the recipe of the last layer. tag, digest: of the image below it, which the engine has. foreign: so is
    that image. Raises InputError for an image that would have instructions of its own in the build, SandboxError."""
    user = _user_of(engine.image(digest)["Config"], tag)
    files = {"Dockerfile": _layer_dockerfile(layers[-1], user).encode()}
    arguments = _ca_arguments(bundle) | {"BASE_IMAGE": tag}
    foreign = foreign or any(layer.origin for layer in layers)
    made = Made(snapshot, tuple(layers), files_digest(files), layers[-1].origin)
    return Recipe(made, {**files, **bundle}, arguments, digest, foreign)


def _user_of(config: Mapping[str, Any], tag: str) -> str:
    """config: of the image, in which whoever made it may have written anything."""
    user = str(config.get("User") or "")
    problem = "has ONBUILD instructions" if config.get("OnBuild") else None
    problem = problem if _USER.fullmatch(user) else f"has the user {user[:100]!r}"
    if problem:
        raise InputError(f"Nothing can be put on the image {tag}, which {problem}.", hint="Use an image without.")
    return user


def _base(engine: Engine, settings: Settings) -> tuple[str, str]:
    """Returns the base image, and what identifies it: its id when the engine has it, else its name."""
    for reference in (settings.base_image,) if settings.base_image else (LOCAL_BASE, DEFAULT_BASE):
        if (digest := engine.image_id(reference)) is not None:
            # Pulling a registry's image must not change the identity of the snapshots built on it.
            return reference, reference if reference == DEFAULT_BASE else digest
    reference = settings.base_image or DEFAULT_BASE
    return reference, reference


def read_bundle(path: Path | None) -> dict[str, bytes]:
    """Returns the CA bundle as a file of a build context; no file for `None`. Raises NotReadyError."""
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
    """user: the image's user; empty for root. Only root can install."""
    lines = ["ARG BASE_IMAGE", "FROM ${BASE_IMAGE}", *(f"ARG {name}" for name in settings.CA_VARIABLES)]
    # The Dockerfile is named beside the bundle because COPY fails when nothing matches.
    lines += [*(["USER root"] if user else []), f"COPY Dockerfile {CA_FILE}* {CONFIG}/", layer.dockerfile]
    return "\n".join([*lines, *([f"USER {user}"] if user else [])])

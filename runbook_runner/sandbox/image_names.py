"""Sandbox: the names of images: which words are one, what one is in full, and whether an image has it."""

import re
from collections.abc import Mapping
from typing import Any, Final

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::\d+)?"
_PART: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_TAG, _DIGEST = r"\w[\w.-]{0,127}", r"[A-Za-z0-9+._-]+:[0-9a-f]{32,}"
_NAME: Final = re.compile(rf"(?:{_REGISTRY}/)?{_PART}(?:/{_PART})*(?::{_TAG})?(?:@{_DIGEST})?", re.ASCII)
"""https://pkg.go.dev/github.com/distribution/reference, which every engine follows."""
_WHOLE_ID: Final = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_ID: Final = re.compile(rf"[0-9a-f]{{12,64}}|{_WHOLE_ID.pattern}")
_HUB: Final = ("docker.io/", "index.docker.io/")
_HERE: Final = "localhost/"
"""To Podman the registry of what was built or loaded here under a short name."""

TRANSPORTS: Final = (
    *("atomic", "containers-storage", "dir", "docker-archive", "docker-daemon"),
    *("oci", "oci-archive", "ostree", "sif", "tarball"),
)
"""github.com/containers/image, transports: what Podman reads `dir:x` as, before it looks for an image of that name."""


def is_image_name(name: str) -> bool:
    """Also for an image's id. Not for one whose registry, with its port, is to Podman a file of its machine."""
    registry, slash, _ = name.partition("/")
    host, port, _ = registry.partition(":")
    return bool(_NAME.fullmatch(name)) and not (slash and port and host in TRANSPORTS)


def is_last_part(text: str) -> bool:
    """Whether a repository may be called so, behind its registry and folder."""
    return bool(re.fullmatch(_PART, text))


def full_name(name: str) -> str:
    """Returns `REGISTRY/REPOSITORY:TAG`, with a digest `REGISTRY/REPOSITORY@DIGEST`: the tag does not count then. name:
    of an image, not its id."""
    _, at, digest = name.partition("@")
    _, colon, tag = name.partition("@")[0].rpartition("/")[2].partition(":")
    return repository(name) + (at + digest if at else f":{tag if colon else 'latest'}")


def repository(name: str) -> str:
    """Returns `REGISTRY/REPOSITORY`."""
    path, slash, last = name.partition("@")[0].rpartition("/")
    short = path + slash + last.partition(":")[0]
    if not _has_registry(short):
        short = _HUB[0] + short
    elif short.startswith(_HUB[1]):
        short = short.removeprefix("index.")
    rest = short.removeprefix(_HUB[0])
    return short if rest == short or "/" in rest else f"{_HUB[0]}library/{rest}"


def _has_registry(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return bool(slash) and (first == "localhost" or first != first.lower() or any(sign in first for sign in ".:"))


def full_names(name: str, *, built_here: bool) -> tuple[str, ...]:
    """Returns by which full names, or ids, an engine is to be asked for an image. built_here: what it built or loaded
    under a short name may be in Podman's `localhost/`."""
    if _WHOLE_ID.fullmatch(name):
        return (name,)
    local = (full_name(_HERE + name),) if built_here and not _has_registry(name) else ()
    return (*local, full_name(name), *((name,) if _ID.fullmatch(name) else ()))


def is_named(found: Mapping[str, Any], name: str) -> bool:
    """Whether an image, as the engine describes it, has this very full name, or this id."""
    if _ID.fullmatch(name):
        return str(found["Id"]).removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
    _, at, digest = name.partition("@")
    if at:
        return any(str(own).endswith(at + digest) for own in found.get("RepoDigests") or ())
    return name in (full_name(str(own)) for own in found.get("RepoTags") or ())


def shown_name(found: Mapping[str, Any], asked: str = "") -> str:
    """Returns, for people, the name that was asked for, or another one when that is the image's id."""
    names = [str(name) for name in found.get("RepoTags") or ()]
    return asked if asked in names else next(iter(names), str(found["Id"]))

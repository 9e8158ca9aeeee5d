"""Docker sandbox: the one place where containers are created, so that no image chooses how its container is held, and
the user of an image.

Docker Engine reads no annotations of an image (moby/moby#45025). Podman before 4.5.1 copies them into the container,
and its runtime may obey them: crun takes `run.oci.seccomp_bpf_data` in place of our list of system calls, and opens the
file that `run.oci.hooks.stdout` names on the host.
"""

import base64
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.text import counted, printable_name
from runbook_runner.sandbox.docker.engine import Engine
from runbook_runner.sandbox.docker.seccomp_profile import filtered
from runbook_runner.sandbox.image_names import shown_name

_NO_HEALTHCHECK: Final = {"test": ["NONE"]}
"""The engine starts an image's own as often as a hundred times a second, and that work is not the container's."""
_NO_UPDATE: Final = {"io.containers.autoupdate": "disabled"}
"""Podman gives a container the labels of its image, and `podman auto-update` restarts the unit that such a label names
(CVE-2026-121885)."""
_COPIES_NONE: Final = (4, 5, 1)
"""The first Podman that copies no annotations of images (containers/podman#18542)."""
_DESCRIBING: Final = ("org.opencontainers.image.", "com.docker.", "vnd.docker.")
"""How names of annotations begin that no runtime obeys. The first are those of the OCI image specification; images of
Docker Hub have `com.docker.official-images.bashbrew.arch` and the like."""
_OF_PODMAN: Final = (
    *("io.container.manager", "io.kubernetes.cri-o.Created", "io.kubernetes.cri-o.TTY"),
    *(
        f"io.podman.annotations.{name}"
        for name in ("apparmor", "autoremove", "init", "label", "privileged", "publish-all", "seccomp")
    ),
)
"""What Podman itself notes at a container. No runtime obeys it, and Podman takes what it reads of it from no image."""
_OF_USERS: Final = ("/etc/passwd", "/etc/group")
"""What an engine itself opens when it starts a container. Of those that it writes for containers (`/etc/hosts`), it
opens none of an image's own."""
_MODE_LINK: Final = 1 << 27
_MODE_TYPE: Final = 0x8F280000  # https://pkg.go.dev/io/fs#FileMode: neither of these bits for a plain file
_MOST_LINKS: Final = 5
_NAMED: Final = 5
_WIDTH: Final = 80  # characters of a name
_MOST_OF_USERS: Final = 4 << 20  # bytes of /etc/passwd


@dataclass(frozen=True)
class ImageUser:
    """The user whom an image's commands run as, in numbers: an agent may be able to write to /etc/passwd, where an
    engine looks for a name when it starts a command."""

    ids: str
    """`uid:gid`; the name when the image does not have that user, empty for root."""
    home: str = ""
    """Value of HOME; empty when it is the engine's or the image's to choose."""
    groups: tuple[int, ...] = ()
    """Further ones. Docker gives them to commands when the container has them; Podman does not."""

    @property
    def variables(self) -> dict[str, str]:
        return {"HOME": self.home} if self.home else {}


def create_container(
    engine: Engine,
    image: str,
    host_config: Callable[[list[str]], Any],
    *,
    labels: Mapping[str, str] | None = None,
    **asked: Any,
) -> str:
    """Returns the id of a container that was not started. host_config: is given security options. asked: as docker-py
    takes it. Raises NotReadyError for an image that would choose what is not its own to choose; the container is there
    then. Raises SandboxError, one of `BROKEN`."""
    own = {**(labels or {}), **(_NO_UPDATE if engine.is_podman else {})}

    def make(options: list[str]) -> dict[str, Any]:
        made: dict[str, Any] = engine.api.create_container(
            image, labels=own, healthcheck=_NO_HEALTHCHECK, host_config=host_config(options), **asked
        )
        return made

    container = str(filtered(engine, make)["Id"])
    _refuse_pipes(engine, container, image)
    if engine.is_podman:
        about = engine.image(engine.api.inspect_container(container)["Image"])
        _refuse_variables(about, shown_name(about, image))
        if _copies_annotations(engine):
            _refuse_annotations(engine, container, shown_name(about, image))
    return container


def refuse_to_build_on(engine: Engine, image: str, name: str) -> None:
    """image: its id. name: for messages. Raises NotReadyError for an image whose containers would stop the engine: a
    build starts some of its own. Raises SandboxError, one of `BROKEN`."""
    with _unstarted(engine, image, name):
        pass


def image_user(engine: Engine, image: str) -> ImageUser:
    """image: its id. Asks the image, not a container that an agent has. Raises what `refuse_to_build_on` raises."""
    about = engine.image(image)
    name, _, group = str(about["Config"].get("User") or "").partition(":")
    if not name:
        return ImageUser("")
    with _unstarted(engine, image, image) as container:
        users, groups = (_entries(engine, container, path) for path in _OF_USERS)
    return _looked_up(name, group, users, groups, variables=about["Config"].get("Env") or ())


def _looked_up(
    name: str, group: str, users: list[list[str]], groups: list[list[str]], *, variables: Iterable[str]
) -> ImageUser:
    """As the engines do: https://pkg.go.dev/github.com/moby/sys/user#GetExecUser."""
    entry = next(
        (user for user in users if (_number(user[2]) == _number(name) if name.isdecimal() else user[0] == name)), None
    )
    if entry is None and not name.isdecimal():
        return ImageUser(f"{name}:{group}" if group else name)
    login, _, uid, gid, _, home = (entry or ["", "", name, "0", "", "/"])[:6]
    further: tuple[int, ...] = ()
    if group:
        known = (each[2] for each in groups if (each[2] if group.isdecimal() else each[0]) == group)
        found = next(known, group if group.isdecimal() else None)
        if found is None:
            return ImageUser(f"{name}:{group}")
        gid = found
    elif entry:
        further = tuple(sorted({_number(each[2]) for each in groups if login in each[3].split(",")}))
    own = any(variable.startswith("HOME=") and variable != "HOME=" for variable in variables)
    return ImageUser(f"{_number(uid)}:{_number(gid)}", "" if own else home or "/", further)


def _number(text: str) -> int:
    """The engines take what is no number for 0."""
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _entries(engine: Engine, container: str, path: str) -> list[list[str]]:
    """Returns the fields of each line, those missing empty."""
    if not (found := _plain_path(engine, container, path)):
        return []
    archive = io.BytesIO()
    chunks, _ = engine.api.get_archive(container, found)
    with closing(chunks):
        for chunk in chunks:
            if archive.tell() > _MOST_OF_USERS:
                raise NotReadyError(f"In the image, {path} has more than {_MOST_OF_USERS >> 20} MB.")
            archive.write(chunk)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as files:
        member = files.next()
        content = member and files.extractfile(member)
        lines = content.read().decode(errors="replace").split("\n") if content else []
    return [(line.strip().split(":") + [""] * 6)[:7] for line in lines if line.strip()]


@contextmanager
def _unstarted(engine: Engine, image: str, name: str) -> Iterator[str]:
    """A container of the image in which nothing runs."""
    held = engine.api.create_host_config(network_mode="none")
    made = engine.api.create_container(image, ["none"], labels=_NO_UPDATE, host_config=held)
    try:
        _refuse_pipes(engine, made["Id"], name)
        yield made["Id"]
    finally:
        engine.api.remove_container(made["Id"], force=True, v=True)


def _refuse_pipes(engine: Engine, container: str, image: str) -> None:
    """An engine that opens a pipe waits for a writer, for good: it would neither start the container nor remove it."""
    for path in _OF_USERS:
        if _plain_path(engine, container, path) is None:
            raise NotReadyError(
                f"In the image {shown_name(engine.image(image), image)!r}, {path} is not a plain file: "
                "the engine would hang when it opens it.",
                hint="Use another image.",
            )


def _plain_path(engine: Engine, container: str, path: str) -> str | None:
    """Returns the path of the plain file that this is, or leads to; empty when that is missing, `None` when it is not a
    plain file."""
    url = f"{engine.api.base_url}/v{engine.api.api_version}/containers/{container}/archive"
    for _ in range(_MOST_LINKS):
        answer = engine.api.head(url, params={"path": path}, timeout=engine.api.timeout)
        if answer.status_code == 404:
            return ""
        if answer.status_code != 200:
            raise SandboxError(f"The engine does not tell what {path} is in the container: {answer.status_code}.")
        about = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        if not about["mode"] & _MODE_LINK:
            return path if not about["mode"] & _MODE_TYPE else None
        path = about["linkTarget"]
    return None


def _refuse_variables(about: Mapping[str, Any], image: str) -> None:
    """A variable without a value gets, from Podman before 5.8.4, that of Podman's own environment; `*` gets them all
    (CVE-2026-57231)."""
    if found := [entry for entry in (about["Config"] or {}).get("Env") or () if "=" not in entry]:
        raise NotReadyError(
            f"The image {image!r} has variables without a value, which Podman takes from its own environment: "
            f"{_named(found)}.",
            hint="Use an image without.",
        )


def _copies_annotations(engine: Engine) -> bool:
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", str(engine.info.get("ServerVersion")))
    return version is None or tuple(map(int, version.groups())) < _COPIES_NONE


def _refuse_annotations(engine: Engine, container: str, image: str) -> None:
    """What counts is what the container has. An image's id says nothing of its annotations: whoever pulls the same
    content with others changes them."""
    url = f"{engine.api.base_url}/v4.0.0/libpod/containers/{container}/json"
    answer = engine.api.get(url, timeout=engine.api.timeout)
    if answer.status_code != 200:
        raise NotReadyError(
            f"Podman does not tell the annotations of its containers: {answer.text.strip()[:200]}",
            hint="Update it to 4.5.1 or newer.",
        )
    has = answer.json()["Config"].get("Annotations") or {}
    if found := [name for name in has if not name.startswith(_DESCRIBING) and name not in _OF_PODMAN]:
        raise NotReadyError(
            f"The image {image!r} has annotations that a runtime may obey: {_named(found)}.",
            hint="Podman before 4.5.1 copies them into the container. Update it, or put a snapshot on the image "
            f"(`FROM {printable_name(image)}`): what is built has none. Annotations of containers.conf count as well.",
        )


def _named(names: list[str]) -> str:
    shown = ", ".join(printable_name(name)[:_WIDTH] for name in sorted(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} … ({counted(len(names), 'name')})"

"""Docker sandbox: a user's own image: pulled if need be, pinned by digest, and of a platform that the engine runs."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from docker import auth
from docker.utils import parse_repository_tag

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.events import Report
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import Engine, engine_errors
from runbook_runner.sandbox.docker.sandbox import DockerSandbox
from runbook_runner.sandbox.image_names import full_name, repository
from runbook_runner.sandbox.images.provide import ImageRef
from runbook_runner.sandbox.images.recipe import is_ours
from runbook_runner.sandbox.images.records import LONGEST_S, RefusedError, dialled, records

_SAME_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}  # as `uname -m` says it, as images do
_LATE = "It took more than"
_PROBE_S = 60
_PROBE_MEMORY = 256 << 20


def resolve_image(
    engine: Engine, reference: str, report: Report, *, trusted: bool = False, left_s: float = LONGEST_S
) -> ImageRef:
    """trusted: the user has named it, so it may be pulled with the user's logins: a stranger who names a private image
    wants its content. left_s: seconds that its pull may take when the user has not. Raises NotReadyError when the image
    does not exist or can't run here, SandboxError."""
    if engine.image_id(reference) is None:
        if is_ours(reference):
            raise NotReadyError(
                f"There is no image {reference!r}, and none of that name is pulled: runs would take it for one that "
                "was built here.",
                hint="Name it with --snapshot, or build it with `runbook snapshots build`.",
            )
        report(f"Pulling {reference}")
        _pull(engine, reference, report, LONGEST_S if trusted else min(left_s, LONGEST_S), logins=trusted)
    found = engine.image(reference)
    _check_platform(engine, reference, found, report)
    return ImageRef(reference, str(found["Id"]), _pinned(reference, found))


def how_to_get(engine: Engine, reference: str) -> str:
    """With what a person gets an image, without a full stop."""
    program = "podman" if engine.is_podman else "docker"
    pull = f"`{program} pull {shlex.quote(reference)}` gets it where there is a network"
    return f"{pull}, and `{program} save` and `{program} load` bring it from a machine that has it"


def _pinned(reference: str, found: dict[str, Any]) -> str | None:
    """Returns the pinned name; by the reference's own registry if several have the image."""
    names = [str(name) for name in found.get("RepoDigests") or []]
    own = [name for name in names if repository(name) == repository(reference)]
    return next(iter(own or names), None)


# --- pulling -------------------------------------------------------------------------------------------------------


def _pull(engine: Engine, reference: str, report: Report, left_s: float, *, logins: bool) -> None:
    """left_s: seconds until it is ended. logins: those that Docker keeps for the registry are used."""
    progress = _Progress(report)
    try:
        with engine_errors(f"pull {reference}"):
            for line in _pulled(engine, full_name(reference), left_s, logins=logins):
                if "error" in line:
                    raise RefusedError(str(line["error"]))
                progress.note(line)
    except (RefusedError, SandboxError) as error:
        said = str(error) if isinstance(error, RefusedError) else error.message
        raise NotReadyError(
            f"There is no image {reference!r}: the engine does not have it and could not pull it.",
            hint=_pull_hint(said, reference, logins=logins),
            details=said,
        ) from error


def _pulled(engine: Engine, name: str, left_s: float, *, logins: bool) -> Iterator[dict[str, Any]]:
    """Yields what the engine says (Docker Engine API, "create an image"). Raises RefusedError, also when it takes too
    long, OSError."""
    repository, tag = parse_repository_tag(name)
    registry, _ = auth.resolve_repository_name(repository)
    login = auth.get_config_header(engine.api, registry) if logins else auth.encode_header({})
    parameters = urlencode({"fromImage": repository, "tag": tag or "latest"})
    headers = {"X-Registry-Auth": login} if login else {}
    with dialled(engine, left_s) as to_engine:
        try:
            url = f"/v{engine.api.api_version}/images/create?{parameters}"
            to_engine.connection.request("POST", url, headers=headers)
            yield from records(to_engine.connection.getresponse())
        except (HTTPException, OSError) as error:
            if not to_engine.late.is_set():
                raise ConnectionError(str(error)) from error
    if to_engine.late.is_set():
        raise RefusedError(f"{_LATE} {left_s:.0f} s, and was ended.")


def _pull_hint(said: str, reference: str, *, logins: bool) -> str:
    if said.startswith(_LATE):
        pull = f"docker pull {shlex.quote(reference)}"
        return f"If its registry is slow, `{pull}` first, or give the run a longer --timeout."
    if "no matching manifest" in said:
        return "It is not built for this engine's platform. Name an image that is, or build it here."
    if any(word in said for word in ("unauthorized", "denied", "authentication required", "no basic auth")):
        if not logins:
            return (
                "You have not named this image, so none of your logins was used. If it may have the content of the "
                f"image, type `--image {shlex.quote(reference)}`, or `docker pull` it first."
            )
        return "Log in to its registry (docker login), or check the name."
    return "Check the name, log in to its registry, or build it first."


@dataclass
class _Progress:
    """Reports each layer that was pulled, with its size and how many there are."""

    report: Report
    sizes: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def note(self, line: dict[str, Any]) -> None:
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        if status in ("Pulling fs layer", "Waiting", "Downloading"):
            total = (line.get("progressDetail") or {}).get("total") or self.sizes.get(layer, 0)
            self.sizes[layer] = int(total)
        elif status in ("Pull complete", "Already exists") and layer not in self.done:
            self.done.add(layer)
            self.sizes.setdefault(layer, 0)
            size = f" ({self.sizes[layer] / 1e6:.1f} MB)" if self.sizes[layer] else ""
            self.report(f"{layer}: {status}{size}, {len(self.done)} of {len(self.sizes)}", detail=True)


# --- platform ------------------------------------------------------------------------------------------------------


def _check_platform(engine: Engine, reference: str, found: dict[str, Any], report: Report) -> None:
    """Another platform's image runs only where the engine emulates that platform, which a try shows."""
    wanted, here = _platform(found), f"{engine.info.get('OSType', 'linux')}/{_architecture(engine)}"
    if wanted == here:
        return
    if failure := _try(engine, str(found["Id"])):
        raise NotReadyError(
            f"The image {reference!r} is for {wanted}, this engine runs {here}.",
            hint=f"Name an image for {here}, or let the engine emulate {wanted} (binfmt_misc and QEMU).",
            details=failure,
        )
    report(f"The image {reference!r} is for {wanted}; on {here} it may run slowly.")


def _platform(found: dict[str, Any]) -> str:
    return f"{found.get('Os') or 'linux'}/{found.get('Architecture')}"


def _architecture(engine: Engine) -> str:
    name = str(engine.info.get("Architecture"))
    return _SAME_ARCHITECTURE.get(name, name)


def _try(engine: Engine, image: str) -> str | None:
    """Starts a command of the image, in a sandbox like any other: whoever made the image chose the platform. Returns
    what goes wrong; `None` when nothing does."""
    spec = SandboxSpec(
        run_id="try",
        image=image,
        network=Network(policy="none"),
        memory_bytes=_PROBE_MEMORY,
        pids=64,
        lifetime_s=2 * _PROBE_S,
    )
    try:
        with DockerSandbox(engine, spec) as sandbox:
            ended = sandbox.exec(["sleep", "0"], cwd="/", deadline_s=_PROBE_S).wait()
    except (NotReadyError, SandboxError) as error:
        return error.message
    return None if ended.code == 0 else f"exit status {ended.code}"

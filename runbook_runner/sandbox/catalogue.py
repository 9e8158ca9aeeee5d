"""Docker sandbox: the images there are of our snapshots: what they hold, and which are of no use any more."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from docker.errors import APIError

from runbook_runner.sandbox import SandboxSpec, recipe
from runbook_runner.sandbox.docker import DockerSandbox
from runbook_runner.sandbox.engine import Engine, engine_errors
from runbook_runner.sandbox.snapshots import Near, Snapshot, find_snapshot, known_snapshots
from runbook_runner.settings import Settings
from runbook_runner.spec import Network

# Name → command whose first line tells its version. What is not there is left out.
_TOOLS: Final = {
    "python": "python3 --version",
    "uv": "uv --version",
    "node": "node --version",
    "npm": "npm --version",
    "git": "git --version",
    "chromium": "chromium --version",
    "playwright": "playwright --version",
}
_INSPECT_S: Final = 60.0
_VERSION = re.compile(r"\d+(\.\d+)+\S*")


@dataclass(frozen=True)
class Built:
    """An image of ours on the engine."""

    tag: str
    digest: str
    size: int
    """Bytes, shared ones included."""
    created: int
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        """`python312-uv`, or with its layers `python312-uv-claude-code`."""
        return self.tag.removeprefix(recipe.PREFIX).partition(":")[0]


def built(engine: Engine) -> tuple[Built, ...]:
    """Every image of ours, the base apart, newest first. Raises SandboxError."""
    with engine_errors("list images"):
        found = engine.api.images(filters={"reference": f"{recipe.PREFIX}*"})
    images = [
        Built(tag, str(item["Id"]), int(item["Size"]), int(item["Created"]))
        for item in found
        for tag in item.get("RepoTags") or []
        if tag.startswith(recipe.PREFIX) and tag != recipe.LOCAL_BASE
    ]
    return tuple(sorted(images, key=lambda image: -image.created))


def versions(engine: Engine, image: str, programs: Iterable[str] = ()) -> dict[str, str]:
    """What is in an image, asked in a container without a network. programs: agents' own, asked as well."""
    asked = _TOOLS | {program: f"{program} --version" for program in programs}
    ask = "printf '%s\\t' '{}'; {{ {} || true; }} 2>/dev/null | head -n 1; echo\n"
    script = "".join(ask.format(name, say) for name, say in asked.items())
    spec = SandboxSpec(run_id="inspect", image=image, lifetime_s=_INSPECT_S, network=Network(policy="none"))
    with DockerSandbox(engine, spec) as sandbox:
        process = sandbox.exec(["sh", "-c", script], env={"HOME": "/tmp"}, deadline_s=_INSPECT_S)  # noqa: S108
        said = b"".join(chunk.data for chunk in process if chunk.stream == "stdout").decode(errors="replace")
    lines = (line.partition("\t") for line in said.splitlines() if "\t" in line)
    return {name: match[0] for name, _, version in lines if (match := _VERSION.search(version))}


def stale(engine: Engine, settings: Settings, near: Near) -> tuple[Built, ...]:
    """Images that no run would use any more: of known snapshots all but the present one, of everything else all but
    the newest of its name; those that stand on others first."""
    images = built(engine)
    wanted = {recipe.of_snapshot(engine, found, settings, near).tag for found in snapshots(near)}
    bases = {found.name for found in snapshots(near)}
    newest: set[str] = set()
    old = []
    for image in images:
        if image.name not in bases:
            if image.name not in newest:
                newest.add(image.name)
                continue
        elif image.tag in wanted:
            continue
        old.append(image)
    return tuple(sorted(old, key=lambda image: (image.name in bases, -image.created)))


def snapshots(near: Near) -> Iterator[Snapshot]:
    """Each once, whatever aliases it has."""
    seen = set()
    for name in known_snapshots(near):
        found = find_snapshot(name, near)
        if found.name not in seen:
            seen.add(found.name)
            yield found


def remove(engine: Engine, image: Built) -> str | None:
    """The reason why it stays; `None`: it is gone. Raises SandboxError when the engine is lost."""
    with engine_errors(f"remove {image.tag}"):
        try:
            engine.api.remove_image(image.tag)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
            return str(error.explanation).strip() if error.status_code == 409 else None
    return None

"""What a stranger's image in Podman's store can't do: be taken for another by its name, or for a step of a build. What
Podman's builds can't do: begin for a project when the run's network is narrowed, reach this machine's own servers."""

import io
import json
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docker.errors import NotFound

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.images import recipe
from runbook_runner.sandbox.images.build import build_image
from runbook_runner.sandbox.images.build_group import MOUNT
from runbook_runner.sandbox.images.build_request import Bounds
from runbook_runner.sandbox.images.inventory import RunImages
from runbook_runner.sandbox.images.provide import Layer, add_layers, ensure
from runbook_runner.sandbox.images.snapshots import Snapshot, context_archive, find_snapshot
from runbook_runner.sandbox.images.transfer.exporting import export
from runbook_runner.sandbox.images.transfer.importing import load
from runbook_runner.sandbox.images.user_image import resolve_image

pytestmark = [pytest.mark.needs("podman", "docker"), pytest.mark.xdist_group("podman")]

ALL, NONE = (Bounds(network, cpus=1, memory_bytes=256 << 20, deadline_s=120) for network in (True, False))
REGISTRY = "stranger.test/"


@pytest.fixture
def there(podman: Any) -> Any:
    return podman.connect()


@pytest.fixture
def here(there: Any, base_image: str) -> str:
    """The base image, by a name that is good for a Dockerfile."""
    name = there.image_name(base_image)
    assert isinstance(name, str)
    return name


@pytest.fixture
def name() -> str:
    return f"acme/t{uuid4().hex[:8]}:1"


@pytest.fixture
def pulled(there: Any) -> Iterator[Callable[..., str]]:
    """Puts an image into the store, as if it was pulled from a stranger's registry under this name there. Its id."""
    names = []

    def put(name: str, dockerfile: str = f"FROM scratch\nLABEL who={uuid4()}\n", **variables: str) -> str:
        names.append(REGISTRY + name)
        archive = context_archive({"Dockerfile": dockerfile.encode()})
        said = list(there.api.build(fileobj=archive, custom_context=True, tag=names[-1], rm=True, decode=True))
        assert not any("error" in line for line in said), said
        if variables:
            saved = b"".join(there.api.get_image(names[-1]))
            there.api.remove_image(names[-1], force=True)
            there.api.load_image(_with(saved, variables))
        return str(there.image_id(names[-1]))

    yield put
    for name in names:
        there.api.remove_image(name, force=True)


def _with(saved: bytes, variables: dict[str, str]) -> bytes:
    """The archive of an image, with more variables in its configuration."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(saved)) as old, tarfile.open(fileobj=packed, mode="w") as new:
        files = {member.name: old.extractfile(member) for member in old if member.isreg()}
        contents = {name: file.read() for name, file in files.items() if file}
        config = json.loads(contents["manifest.json"])[0]["Config"]
        image = json.loads(contents[config])
        image["config"]["Env"] += [f"{name}={value}" for name, value in variables.items()]
        for name, content in (contents | {config: json.dumps(image).encode()}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Snapshot]:
    def make(dockerfile: str) -> Snapshot:
        own = tmp_path / ".runbook/snapshots" / f"t{uuid4().hex[:8]}"
        own.mkdir(parents=True)
        (own / "Dockerfile").write_bytes(dockerfile.encode("utf-8", "surrogateescape"))
        return find_snapshot(own.name, [tmp_path])

    return make


@pytest.fixture
def build(there: Any, lines: Any) -> Iterator[Callable[..., str]]:
    """Builds a project's snapshot, with this base image. The image's id."""
    tags = []

    def run(snapshot: Snapshot, base: str | None = None, bounds: Bounds = ALL) -> str:
        asked = Settings.load()._replace(base_image=base)
        image = ensure(there, snapshot, [], asked, lines, [snapshot.folder], may_build=lambda *_: None, bounds=bounds)
        tags.append(image.tag)
        return image.digest

    yield run
    for tag in tags:
        with suppress(NotFound):
            there.api.remove_image(there.image_name(tag), force=True)


def test_a_short_name_means_docker_hub_or_this_machine_and_no_other_registry(there, pulled, here, name):
    theirs = pulled(name)
    assert there.image_id(name) is None
    assert there.image_id(REGISTRY + name) == there.image_id(theirs) == theirs
    for registry in ("docker.io/", "localhost/"):
        ours = f"{registry}{name}"
        there.api.tag(here, *ours.rsplit(":", 1))
        assert (there.image_id(name), there.image_name(name)) == (there.image_id(here), ours)
        there.api.remove_image(ours)


def test_an_image_of_another_registry_is_not_the_one_that_was_built_here(there, pulled, write, build):
    snapshot = write("FROM scratch\nCOPY Dockerfile /\n")
    theirs = pulled(recipe.of_snapshot(there, snapshot, Settings.load()).tag)
    ours = build(snapshot)
    assert ours != theirs
    assert build(snapshot) == ours


@pytest.mark.parametrize(
    "dockerfile", ["ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n", "FROM NAME\n", "COPY --from=NAME / /\n"]
)
def test_nothing_is_built_on_an_image_of_another_registry_than_the_one_named(pulled, write, build, dockerfile, name):
    pulled(name)
    first = "" if "FROM" in dockerfile else "FROM scratch\n"
    with pytest.raises(NotReadyError):
        build(write(first + dockerfile.replace("NAME", name) + "COPY Dockerfile /own\n"), base=name)


def test_no_image_that_was_pulled_is_a_step_of_a_build(pulled, write, build, here, lines, name):
    step = f"FROM {here}\nRUN echo {name} > /made\n"
    pulled(name, step, STRANGER="inside")
    build(write(f"{step}RUN echo is=$STRANGER=\n"))
    assert "is==" in [line.rpartition(": ")[2] for line in lines]


def test_nothing_is_built_on_an_image_that_only_a_runbook_or_a_recording_names(
    podman, there, pulled, here, name, runbook, shell_runbook, lines
):
    """Its ONBUILD lines, which Podman does not tell, would be part of our build."""
    pulled(name, f"FROM {here}\nONBUILD RUN touch /by-the-image\n")
    path = shell_runbook("test ! -e /by-the-image && echo x > /app/results/out.txt")
    document = path / "RUNBOOK.md"
    plain = document.read_text().replace("agent: shell", f"agent: shell\nimage: {REGISTRY}{name}")
    document.write_text(plain)
    ran = runbook("run", path, "--sandbox", "docker", env=podman.env)
    assert ran.code == 0, ran.out + ran.err  # with nothing to put on it
    document.write_text(plain.replace("image:", "runbook_runner: {apt_packages: [jq]}\nimage:"))
    recording = next(path.parent.glob(".runbook/trajectories/*/*/*"))
    spec = json.loads((recording / "spec.json").read_text())
    (recording / "spec.json").write_text(json.dumps({**spec, "apt_packages": ["jq"]}))
    for command in ("run", path), ("replay", recording):
        ran = runbook(*command, "--sandbox", "docker", env=podman.env)
        assert (ran.code, "Building" in ran.out) == (3, False), ran.out + ran.err
        said = " ".join((ran.out + ran.err).split())
        assert "Podman does not tell" in said
        assert f"--trust, or name it yourself: `runbook run --image {REGISTRY}{name[:-2]}" in said
    image, layer = resolve_image(there, REGISTRY + name, lines), Layer("t", "RUN test -e /by-the-image\n")
    with pytest.raises(NotReadyError, match="Podman does not tell"):
        add_layers(there, image, [layer], Settings.load(), lines, NONE)
    built = add_layers(there, image, [layer], Settings.load(), lines, NONE, trusted=True)
    there.api.remove_image(built.digest, force=True)


@pytest.fixture
def knocks() -> Iterator[tuple[str, Callable[[], bool]]]:
    """A server's address on this machine, and whether somebody has come."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        def knocked() -> bool:
            with suppress(BlockingIOError):
                server.accept()[0].close()
                return True
            return False

        yield f"127.0.0.1:{server.getsockname()[1]}", knocked


def test_a_run_with_a_narrowed_network_builds_nothing_that_a_project_offers(write, build, base_image):
    snapshot = write(f"FROM {base_image}\nRUN true\n")
    with pytest.raises(NotReadyError, match="Podman can't hold a build to that"):
        build(snapshot, bounds=NONE)
    assert build(snapshot, bounds=None) == build(snapshot, bounds=NONE)  # it is there now


@pytest.mark.parametrize("bounds", [ALL, None])
@pytest.mark.parametrize(
    "instruction",
    [
        "RUN --mount=type=cache,target=/c,id=UP/HOST touch /c/written",
        "RUN \udca0--mount=type=cache,target=/c,id=UP/HOST touch /c/written",
        "RUN ln -s / /top\nFROM runbook-runner/none\nRUN --mount=type=bind,from=0,source=/top,target=/t,rw=true true",
        "COPY --from=docker-archive:/HOST/private.tar / /",
        "FROM docker-archive:/HOST/private.tar",
        "ONBUILD RUN --mount=type=cache,target=/c,id=UP/HOST touch /c/written",
        "VOLUME /v/HOST",
    ],
)
def test_a_project_gets_no_file_of_podmans_machine(write, build, base_image, tmp_path, instruction, bounds):
    host = tmp_path / "host"
    host.mkdir()
    places = instruction.replace("UP", "/".join([".."] * 9)).replace("HOST", str(host).lstrip("/"))
    with pytest.raises((NotReadyError, InputError), match=r"files of its machine|not UTF-8"):
        build(write(f"FROM {base_image}\n{places}\n"), bounds=bounds)
    assert not list(host.iterdir())


@pytest.mark.needs("linux", "root")
@pytest.mark.parametrize(
    ("step", "deadline_s", "why"),
    [
        ("trap '' TERM; (setsid sleep TOKEN &); sleep TOKEN", 5, "took too long"),
        ("yes TOKEN", 300, "printed more than"),
    ],
)
def test_nothing_of_a_build_that_was_ended_goes_on(
    there, write, build, base_image, step, deadline_s, why, monkeypatch, eventually
):
    monkeypatch.setattr("runbook_runner.sandbox.images.build._MOST_SAID", 1 << 20)
    token = f"3{uuid4().int % 10**8}"
    monkeypatch.setattr("runbook_runner.sandbox.images.build_request.token_hex", lambda _: token)
    snapshot = write(f"FROM {base_image}\nRUN {step.replace('TOKEN', token)}\nRUN sleep {token}\n")
    with pytest.raises(NotReadyError, match=why):
        build(snapshot, bounds=replace(ALL, deadline_s=deadline_s))
    left = [file for file in Path("/proc").glob("[0-9]*/cmdline") if token in _text(file)]
    assert not left
    eventually(lambda: not list(MOUNT.glob(f"**/runbook-build-{token}")))
    eventually(lambda: f"{there.info['DockerRootDir']}/overlay/" not in Path("/proc/mounts").read_text())


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:  # it has ended
        return ""


def test_a_build_with_a_network_does_not_reach_this_machines_own_servers(write, build, here, knocks, lines):
    address, knocked = knocks
    host, port = address.split(":")
    code = f"import socket; socket.create_connection(('{host}', {port}), 5)"
    build(write(f'FROM {here}\nRUN tail -n +3 /proc/net/dev | wc -l; python3 -c "{code}" || echo nobody\n'))
    said = [line.rpartition(": ")[2] for line in lines]
    assert ("nobody" in said, knocked()) == (True, False)
    assert "1" not in said  # more than loopback


# --- snapshots' images that others brought ---------------------------------------------------------------------------


@pytest.fixture
def small(there: Any, here: str, write: Callable[[str], Snapshot], tmp_path: Path, monkeypatch: Any) -> Iterator[Any]:
    """A snapshot, and a function that puts a layer on its image and returns the layer's image."""
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    snapshot, tags = write(f"FROM {here}\nRUN true\n"), []

    def layered(lines: Any, commands: str) -> str:
        lines.clear()
        asked, layers = Settings.load(), [Layer(f"t{uuid4().hex[:8]}", f"RUN {commands}\n")]
        image = ensure(there, snapshot, layers, asked, lines, [tmp_path], may_build=lambda *_: None, bounds=ALL)
        tags.append(image.tag)
        return image.tag

    yield snapshot, layered
    for tag in (*tags, recipe.of_snapshot(there, snapshot, Settings.load(), [tmp_path]).tag):
        with suppress(NotFound):
            there.api.remove_image(there.image_name(tag), force=True)


def test_what_an_image_under_the_name_of_a_snapshots_adds_to_builds_does_not_run(there, here, small, lines, tmp_path):
    """Somebody has loaded or built it. Podman does not tell its ONBUILD instructions."""
    snapshot, layered = small
    tag = recipe.of_snapshot(there, snapshot, Settings.load(), [tmp_path]).tag
    dockerfile = f"FROM {here}\nONBUILD RUN touch /by-the-image\n".encode()
    archive = context_archive({"Dockerfile": dockerfile})
    assert list(there.api.build(fileobj=archive, custom_context=True, tag=f"localhost/{tag}", rm=True, decode=True))
    theirs = there.image_id(tag)
    with pytest.raises(NotReadyError, match="not built or imported by you"):
        build_image(
            there,
            replace(
                recipe.of_snapshot(there, snapshot, Settings.load(), [tmp_path]),
                files={"Dockerfile": f"FROM {tag}\nRUN true\n".encode()},
            ),
            lines,
        )
    layered(lines, "test ! -e /by-the-image")
    assert any(line.startswith(f"{tag} was not built or imported by you") for line in lines)
    assert there.image_id(tag) != theirs
    layered(lines, "test ! -e /by-the-image; true")
    assert len([line for line in lines if line.startswith("Building")]) == 1, "it is known now"


def test_layers_are_put_on_what_was_imported(there, small, lines, tmp_path):
    snapshot, layered = small
    asked = Settings.load()
    image = ensure(there, snapshot, [], asked, lines, [tmp_path], may_build=lambda *_: None)
    export(there, [image.tag], tmp_path / "images.tar")
    there.api.remove_image(there.image_name(image.tag))
    (loaded,) = load(there, tmp_path / "images.tar", RunImages(asked, [tmp_path], ()))
    assert (loaded.used_as, there.image_id(image.tag) != image.digest) == (image.tag, True)
    layered(lines, "touch /layer")
    assert len([line for line in lines if line.startswith("Building")]) == 1
    assert not [name for item in there.api.images() for name in item["RepoTags"] or () if "/import/" in name]

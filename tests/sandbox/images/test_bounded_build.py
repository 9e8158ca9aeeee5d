"""The build of what a project offers has the run's network, its limits, and an end; nothing of the Docker
configuration's passwords gets into a build or a container."""

import hashlib
import io
import json
import os
import socket
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.docker.sandbox import DockerSandbox
from runbook_runner.sandbox.images.build_request import Bounds
from runbook_runner.sandbox.images.snapshots import find_snapshot

pytestmark = pytest.mark.needs("docker")

NONE, ALL = (Bounds(network, cpus=1, memory_bytes=256 << 20, deadline_s=120) for network in (False, True))
Build = Callable[..., list[str]]


@pytest.fixture
def build(engine: Any, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Any) -> Iterator[Build]:
    """Builds a project's snapshot on the default one. Returns what the build says."""
    from runbook_runner.sandbox.images import provide

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = f"t{os.getpid()}-{uuid4().hex[:8]}"
    own = tmp_path / ".runbook" / "snapshots" / name
    own.mkdir(parents=True)

    def run(commands: str, bounds: Bounds | None, on: Any = engine) -> list[str]:
        (own / "Dockerfile").write_text(f"FROM {image}\n{commands}\n")
        lines.clear()
        snapshot = find_snapshot(name, [tmp_path])
        provide.ensure(on, snapshot, [], Settings.load(), lines, [tmp_path], may_build=lambda *_: None, bounds=bounds)
        return [line.rpartition(": ")[2] for line in lines]

    yield run
    for found in engine.api.images(filters={"reference": f"runbook-runner/{name}"}):
        for tag in found["RepoTags"]:
            engine.api.remove_image(tag, force=True)


_ROUTES = "RUN echo routes $(tail -n +2 /proc/net/route | wc -l)"


def test_a_narrowed_network_is_the_builds_as_well(build: Build) -> None:
    assert "routes 0" in build(_ROUTES, NONE)
    assert "routes 0" not in build(_ROUTES + " again", None)


@pytest.mark.parametrize("bounds", [NONE, ALL, None])
def test_no_image_brings_instructions_of_its_own_into_a_build(build: Build, bounds: Bounds | None) -> None:
    tag = build("ONBUILD RUN echo by the image", None)[0].removeprefix("Building ")
    with pytest.raises(NotReadyError, match="ONBUILD"):
        build(f"FROM {tag}\nRUN true", bounds)


@pytest.mark.needs("groups")
def test_a_build_keeps_the_runs_memory_limit(build: Build) -> None:
    show = "RUN cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true"
    assert str(256 << 20) in build(show, NONE)


@pytest.mark.needs("groups")
def test_what_is_put_on_an_image_of_others_has_limits_and_the_engines_network(
    engine: Any, image: str, lines: Any
) -> None:
    from runbook_runner.sandbox.images import provide

    show = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true"
    layer = provide.Layer(f"t{uuid4().hex[:8]}", f"RUN {show}\n{_ROUTES}\n")
    base = provide.ImageRef(image, engine.image_id(image))
    layered = provide.add_layers(engine, base, [layer], Settings.load(), lines, NONE)
    engine.api.remove_image(layered.tag)
    said = [line.rpartition(": ")[2] for line in lines]
    assert str(1 << 30) in said
    assert "routes 0" not in said


@pytest.mark.parametrize("instruction", ["FROM .", "FROM x/..", "COPY --from=-1 /a /a", "COPY --from=.. /a /a"])
def test_what_no_image_can_be_called_is_refused(build: Build, instruction: str) -> None:
    with pytest.raises(NotReadyError, match="which is not the name of an image"):
        build(instruction, NONE)


@pytest.mark.parametrize("registry", ["", "docker.io/", "registry.test/"])
@pytest.mark.parametrize("instruction", ["FROM {}", "COPY --from={} /a /a"])
def test_a_build_pulls_nothing_under_a_name_of_the_images_built_here(
    build: Build, registry: str, instruction: str
) -> None:
    with pytest.raises(NotReadyError, match="none of that name is pulled"):
        build(instruction.format(f"{registry}runbook-runner/python312-uv:0123456789ab"), ALL)


@pytest.mark.parametrize("written", ["'{}'", "${{Q:-{}}}"])
def test_a_build_has_no_image_whose_name_can_not_be_read(build: Build, written: str) -> None:
    with pytest.raises(NotReadyError, match="can't be told"):
        build(f"FROM {written.format('runbook-runner/python312-uv:0123456789ab')}\n", None)


def test_no_image_that_was_pulled_is_a_step_of_a_build_on_nothing(engine: Any, build: Build) -> None:
    """Docker before 25.0.2 takes one: CVE-2024-24557."""
    dockerfile = "FROM scratch\nCOPY Dockerfile /made\n"
    tag = build(dockerfile, ALL)[0].removeprefix("Building ")
    step = next(item["Id"] for item in engine.api.history(tag) if "COPY" in item["CreatedBy"])
    archive = _of_another_layer(b"".join(engine.api.get_image(step)), "stranger.test/tools:1")
    engine.api.remove_image(tag)
    engine.api.load_image(archive)
    try:
        build(dockerfile, ALL)
        container = engine.api.create_container(tag, ["none"])["Id"]
        made = b"".join(engine.api.get_archive(container, "/made")[0])
        engine.api.remove_container(container)
    finally:
        engine.api.remove_image("stranger.test/tools:1", force=True)
    assert b"COPY Dockerfile /made" in made


def _of_another_layer(saved: bytes, name: str) -> bytes:
    """The archive of an image, with all that it says about itself but the content."""
    layer, packed = io.BytesIO(), io.BytesIO()
    _pack(layer, {"made": b"of a stranger\n"})
    with tarfile.open(fileobj=io.BytesIO(saved)) as old:
        (manifest,) = json.loads(_read(old, "manifest.json"))
        image = json.loads(_read(old, manifest["Config"]))
    image["rootfs"]["diff_ids"] = [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]
    listed = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(image).encode(), "manifest.json": json.dumps(listed).encode()}
    _pack(packed, {**files, "layer.tar": layer.getvalue()})
    return packed.getvalue()


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file
    return file.read()


def _pack(out: io.BytesIO, files: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_a_build_that_takes_too_long_is_ended_and_says_how_to_build_it(build: Build) -> None:
    with pytest.raises(NotReadyError, match="took too long") as caught:
        build("RUN echo begun; sleep 600", Bounds(network=False, cpus=1, memory_bytes=256 << 20, deadline_s=3))
    assert "runbook snapshots build" in str(caught.value)


def test_a_build_that_prints_without_end_is_ended(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook_runner.sandbox.images.build._MOST_SAID", 1 << 20)
    with pytest.raises(NotReadyError, match="printed more than"):
        build("RUN yes", NONE)


def test_a_build_that_ends_no_line_is_told_in_parts(build: Build) -> None:
    said = build("RUN head -c 500000 /dev/zero | tr '\\0' x", None)
    assert 4 <= len([line for line in said if line.startswith("xxx")]) <= 8


@pytest.mark.parametrize("network", [True, False])
def test_proxy_passwords_of_the_docker_configuration_stay_out(
    build: Build, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: bool
) -> None:
    proxy = "http://user:Raw/PassCANARY@/CANARY@proxy.test:1"
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": proxy}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    behind = connect()
    bounds = Bounds(network=network, cpus=1, memory_bytes=256 << 20, deadline_s=120)
    said = "\n".join(build("RUN env; echo", bounds, behind))
    assert "CANARY" not in said
    assert ("HTTP_PROXY=http://proxy.test:1" in said) is network
    policy = "full" if network else "none"
    with DockerSandbox(behind, SandboxSpec(run_id="t", image=image, network=Network(policy=policy))) as sandbox:
        gateway = sandbox.gateway_host().reach if network else ""
        process = sandbox.exec(["env"], env={}, deadline_s=60)
        seen = b"".join(chunk.data for chunk in process).decode()
    assert "CANARY" not in seen
    assert ("HTTP_PROXY=http://proxy.test:1" in seen) is network
    assert (f"no_proxy={gateway},localhost" in seen) is network  # a proxy would take the calls to the gateway


# --- on an image that was imported ---------------------------------------------------------------------------------


class Relay:
    """A way to an engine's socket that keeps what is said to it, and passes on nothing after a word."""

    def __init__(self, path: Path, target: str):
        self.heard, self.holds = bytearray(), b""
        self._target, self._server = target, socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, there = self._server.accept()[0], socket.socket(socket.AF_UNIX)
                there.connect(self._target)
                for ends in ((here, there, self.heard), (there, here, bytearray())):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, heard: bytearray) -> None:
        held = False
        with suppress(OSError):
            while block := source.recv(1 << 16):
                heard += block
                held = held or bool(self.holds and self.holds in block)
                if not held:
                    target.sendall(block)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Connections of this test lead through it."""
    if not engine.url.startswith("unix://"):
        pytest.skip("needs an engine with a socket of this machine")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        way = Relay(Path(folder, "s"), engine.url.removeprefix("unix://"))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/s")
        yield way
        way.close()


_SHOW = "env | grep -i proxy; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"


@pytest.fixture
def imported(
    engine: Any, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Any, relay: Relay
) -> Iterator[Any]:
    """The default snapshot as another machine exports it: the engine knows it, and this user has not built it. Builds a
    layer on it with a proxy that has a password, and returns what the build says."""
    from runbook_runner.sandbox.images import provide
    from runbook_runner.sandbox.images.inventory import RunImages
    from runbook_runner.sandbox.images.transfer.exporting import export
    from runbook_runner.sandbox.images.transfer.importing import load

    proxies = {"default": {"httpProxy": "http://user:CANARY@proxy.test:1"}}
    auths = {"registry.test": {"auth": "dXNlcjpwYXNz"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies, "auths": auths}))
    (tmp_path / "ca.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{uuid4()}\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_DATA", str(tmp_path / "data"))
    behind, settings = connect(), Settings.load()._replace(ca_bundle=tmp_path / "ca.pem")
    export(engine, [image], tmp_path / "images.tar")
    (loaded,) = load(behind, tmp_path / "images.tar", RunImages(settings, (), ()))
    assert loaded.used_as
    tags = [loaded.used_as]

    def build(bounds: Bounds | None, *names: str) -> str:
        lines.clear()
        layers = [provide.Layer(name, f"RUN {_SHOW}; echo {name}\n") for name in names]
        tags.append(provide.ensure(behind, find_snapshot("python312-uv"), layers, settings, lines, bounds=bounds).tag)
        return "\n".join(lines)

    yield behind, loaded.used_as, build
    for tag in reversed(tags):
        engine.api.remove_image(tag)


@pytest.mark.needs("groups")
def test_the_programs_of_an_imported_image_get_no_password_and_the_runs_limits(imported: Any, relay: Relay) -> None:
    _, _, build = imported
    own = f"t{uuid4().hex[:8]}"
    for names in ([own], [own, "upon"]):  # what is built on it is no more this program's own
        said = build(NONE, *names)
        assert ("CANARY" in said, "proxy.test" in said) == (False, True)
        assert str(1 << 30) in said
    assert "CANARY" not in build(None, own, "without-bounds")
    assert (b"/build?" in relay.heard, b"X-Registry-Config" in relay.heard) == (True, False)


def test_what_was_built_of_our_own_parts_alone_gets_the_password(imported: Any) -> None:
    from runbook_runner.sandbox.images import built_here

    there, tag, build = imported
    (noted,) = Path(os.environ["RUNBOOK_DATA"]).glob("images/*/imported/*")
    noted.unlink()
    built_here.note(there, there.image_id(tag), "own")
    assert "CANARY" in build(NONE, f"t{uuid4().hex[:8]}")


def test_a_load_is_ended_when_the_engine_takes_too_long(
    engine: Any, image: str, tmp_path: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbook_runner.sandbox.images.inventory import RunImages
    from runbook_runner.sandbox.images.transfer import importing
    from runbook_runner.sandbox.images.transfer.exporting import export

    export(engine, [image], tmp_path / "images.tar")
    monkeypatch.setattr(importing, "LONGEST_S", 1.0)
    relay.holds = b"/images/load"
    with pytest.raises(InputError, match="took more than 1 s"):
        importing.load(connect(), tmp_path / "images.tar", RunImages(Settings.load(), (), ()))

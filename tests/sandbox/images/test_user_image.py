"""A user's own image: pulled from a real registry with progress, pinned by digest, run as its own user, refused when it
is made for another machine."""

import base64
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from docker.errors import NotFound

from runbook_runner.core.errors import NotReadyError
from runbook_runner.sandbox.docker.engine import connect
from runbook_runner.sandbox.images import recipe, user_image
from runbook_runner.sandbox.images.build_request import build_records
from runbook_runner.sandbox.images.snapshots import context_archive
from runbook_runner.sandbox.images.user_image import resolve_image

pytestmark = pytest.mark.needs("docker")

CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


ACCESS = """\
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""
WHO = {"username": "ada", "password": "open sesame"}
HTPASSWD = "ada:$2b$04$jo/sgWoQDoBGt/c/nSxkduXOZB8Jii14PWDLmCOGJ9xARbd5auhWq\n"  # the same


@contextmanager
def serving(folder: Path, config: str, eventually: Callable[..., Any]) -> Iterator[str]:
    """HOST:PORT of a registry of this module's own; engines accept one on 127.0.0.1 without TLS."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config.yml").write_text(config.format(folder=folder, port=port))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _answers(port))
        assert process.poll() is None, (folder / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, eventually: Callable[..., Any]) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("registry"), CONFIG, eventually) as address:
        yield address


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code in (200, 401)
    except httpx.HTTPError:
        return False


@pytest.fixture
def base(engine: Any, image: str) -> str:
    """What the default snapshot is built on: it has a shell and is not large."""
    return recipe.LOCAL_BASE if engine.image_id(recipe.LOCAL_BASE) else recipe.DEFAULT_BASE


@pytest.fixture
def pushed(engine: Any, registry: str) -> Iterator[Callable[..., tuple[str, str]]]:
    """Builds an image of this, pushes it and forgets it; its name and its digest in the registry."""
    names = []

    def push(dockerfile: str, **files: bytes) -> tuple[str, str]:
        name = f"{registry}/team/own-{uuid4().hex[:8]}"
        names.append(name)
        archive = context_archive({"Dockerfile": dockerfile.encode(), **files})
        said = list(engine.api.build(fileobj=archive, custom_context=True, tag=f"{name}:1", rm=True, decode=True))
        assert not any("error" in line for line in said), said
        answers = list(engine.api.push(f"{name}:1", stream=True, decode=True))
        assert not any("error" in line for line in answers), answers
        digest = next(line["aux"]["Digest"] for line in answers if "Digest" in line.get("aux", {}))
        forget(engine, name)
        return name, digest

    yield push
    for name in names:
        forget(engine, name)


def forget(engine: Any, name: str) -> None:
    for found in engine.api.images(name):
        for reference in (*(found["RepoTags"] or []), *(found["RepoDigests"] or [])):
            if reference.startswith(name) and "<none>" not in reference:
                with suppress(NotFound):  # the last name takes the digest with it
                    engine.api.remove_image(reference, force=True)


@pytest.mark.needs("registry")
def test_image_is_pulled_with_progress_and_pinned(engine: Any, pushed: Any, lines: Any) -> None:
    name, digest = pushed("FROM scratch\nCOPY one /\nCOPY two /\n", one=b"one", two=os.urandom(3_000_000))
    found = resolve_image(engine, f"{name}:1", lines)
    assert lines[0] == f"Pulling {name}:1"
    assert any("Pull complete (3.0 MB)" in line for line in lines), lines
    layers = len(engine.image(found.digest)["RootFS"]["Layers"])
    assert lines[-1].endswith(f"{layers} of {layers}")
    assert found.pinned == f"{name}@{digest}"
    lines.clear()
    assert resolve_image(engine, f"{name}:1", lines) == found
    assert lines == []


@pytest.mark.needs("registry")
def test_image_can_be_asked_for_by_digest(engine: Any, pushed: Any, lines: Any) -> None:
    name, digest = pushed("FROM scratch\nCOPY one /\n", one=b"by digest")
    found = resolve_image(engine, f"{name}@{digest}", lines)
    assert found.pinned == f"{name}@{digest}"


@pytest.mark.needs("registry")
def test_run_records_the_pinned_image_and_works_as_its_user(
    base: str, pushed: Any, runbook: Any, shell_runbook: Any
) -> None:
    name, digest = pushed(f"FROM {base}\nRUN useradd --create-home worker\nUSER worker\nENV FLAVOUR=own\n")
    path = shell_runbook("id -un; echo $FLAVOUR; test -w /app/work; cp /app/RUNBOOK.md /app/results/out.txt")
    ran = runbook("run", path, "--sandbox", "docker", "--image", f"{name}:1", "--json")
    assert ran.code == 0, ran.err
    (started,) = ran.events("sandbox.started")
    assert (started["image"], started["image_pinned"]) == (f"{name}:1", f"{name}@{digest}")
    assert ran.trajectory["attributes"]["params"]["sandbox"]["image_pinned"] == f"{name}@{digest}"
    assert ran.events("tool.returned")[0]["output"] == "worker\nown"
    result = ran.folder / "results/out.txt"
    assert result.stat().st_uid == ran.folder.stat().st_uid, "it belongs to whoever started the run"


@pytest.mark.needs("registry")
def test_image_the_registry_does_not_have_is_told_with_its_own_words(engine: Any, registry: str, lines: Any) -> None:
    with pytest.raises(NotReadyError, match=r"(?s)could not pull it.*not found") as caught:
        resolve_image(engine, f"{registry}/team/none:1", lines)
    assert caught.value.exit_code == 3


def test_a_pull_is_ended_when_it_takes_too_long(engine: Any, silent_registry: Any, lines: Any) -> None:
    with pytest.raises(NotReadyError, match=r"(?s)could not pull it.*longer --timeout") as caught:
        resolve_image(engine, f"{silent_registry.address}/team/slow:1", lines, left_s=1.0)
    assert caught.value.details == "It took more than 1 s, and was ended."
    silent_registry.await_end()


@pytest.mark.needs("registry")
def test_private_registry_wants_the_login_that_docker_keeps_and_the_user_grants(
    engine: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
    lines: Any,
    runbook: Any,
    shell_runbook: Any,
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with serving(tmp_path, CONFIG + ACCESS, eventually) as registry:
        name = f"{registry}/team/private:1"
        archive = context_archive({"Dockerfile": b"FROM scratch\nCOPY one /\n", "one": uuid4().bytes})
        assert list(engine.api.build(fileobj=archive, custom_context=True, tag=name, rm=True, decode=True))
        said = list(engine.api.push(name, stream=True, decode=True, auth_config=WHO))
        assert not any("error" in line for line in said), said
        engine.api.remove_image(name)
        with pytest.raises(NotReadyError, match="docker login"):
            resolve_image(engine, name, lines, trusted=True)
        login = base64.b64encode(f"{WHO['username']}:{WHO['password']}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: {"auth": login}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(NotReadyError, match=f"not named this image.*--image {name}"):
            resolve_image(connect(), name, lines)
        path = shell_runbook("true")
        document = path / "RUNBOOK.md"
        document.write_text(document.read_text().replace("agent: shell", f"agent: shell\nimage: {name}"))
        runbook.env["DOCKER_CONFIG"] = str(tmp_path)
        ran = runbook("run", path, "--sandbox", "docker")
        assert ran.code == 3, ran.err
        assert f"type `--image {name}`" in " ".join(ran.out.split())
        for granted in ("--image", name), ("--trust",):
            ran = runbook("run", path, "--sandbox", "docker", *granted)
            assert engine.image_id(name), ran.out + ran.err  # nothing in it can run
            engine.api.remove_image(name)
        found = resolve_image(connect(), name, lines, trusted=True)
        engine.api.remove_image(name)
    assert found.pinned is not None
    assert found.pinned.startswith(f"{registry}/team/private@sha256:")


@pytest.fixture
def made_for_arm(engine: Any) -> Iterator[str]:
    """An image of one file, a program's beginning, that says it is for another platform than this engine's."""
    name = f"runbook-test/other-platform:{uuid4().hex[:8]}"
    other = "amd64" if engine.info["Architecture"] == "aarch64" else "arm64"
    engine.api.load_image(_image_archive(name, other))
    yield name
    engine.api.remove_image(name, force=True)


def _image_archive(name: str, architecture: str) -> bytes:
    """As `docker save` writes it."""
    layer = _tar({"bin/sleep": b"\x7fELF" + bytes(60)}, mode=0o755)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"layer.tar": layer, "config.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    return _tar({path: body if isinstance(body, bytes) else body.encode() for path, body in files.items()})


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_image_for_another_platform_is_refused_before_anything_starts(
    engine: Any, made_for_arm: str, runbook: Any, shell_runbook: Any, tmp_path: Path
) -> None:
    ran = runbook("run", shell_runbook("true"), "--sandbox", "docker", "--image", made_for_arm, "--json")
    assert ran.code == 3
    assert "this engine runs linux/" in ran.json["error"]
    assert "is for linux/" in ran.json["error"]
    assert ran.events("sandbox.started") == []
    assert not [item for item in engine.api.containers(all=True) if item["Image"] == made_for_arm]


def test_image_that_is_tried_has_the_bounds_of_a_sandbox(engine: Any, base: str) -> None:
    """It says itself that it is for another platform, and what it starts then need not be `sleep`."""
    name = f"runbook-test/tried:{uuid4().hex[:8]}"
    program = """\
#!/bin/sh
grep -q '^CapBnd:.00000000000000eb' /proc/self/status || exit 3
[ "$1" = 0 ] && { yes | head -c 400000000; exit 0; }
exec python3 -c 'import time; time.sleep(60)'
"""
    dockerfile = f"FROM {base}\nRUN rm $(command -v sleep)\nCOPY sleep /usr/bin/sleep\nRUN chmod 755 /usr/bin/sleep\n"
    archive = context_archive({"Dockerfile": dockerfile.encode(), "sleep": program.encode()})
    assert list(engine.api.build(fileobj=archive, custom_context=True, tag=name, rm=True, decode=True))
    tracemalloc.start()
    try:
        assert user_image._try(engine, name) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
        engine.api.remove_image(name, force=True)


@pytest.mark.needs("registry")
def test_replay_takes_the_recorded_image_though_its_tag_has_moved_on(
    engine: Any, base: str, pushed: Any, runbook: Any, shell_runbook: Any
) -> None:
    name, _ = pushed(f"FROM {base}\nENV FLAVOUR=first\n")
    path = shell_runbook("echo $FLAVOUR > /app/results/out.txt")
    first = runbook("run", path, "--sandbox", "docker", "--image", f"{name}:1", "--json")
    engine.api.tag(base, name, "1")
    again = runbook("replay", first.folder, "--json")
    assert again.code == 0, again.err
    assert again.json["environment"] == []
    assert again.json["image_digest"] == first.json["image_digest"]
    assert (again.folder / "results/out.txt").read_text() == "first\n"


@pytest.mark.parametrize(
    "made",
    [
        {"User": "nobody\nCOPY --from=private /etc/passwd /stolen"},
        {"User": "nobody\r\nRUN id"},
        {"OnBuild": ["COPY --from=private /etc/passwd /stolen"]},
    ],
)
def test_an_image_has_no_instructions_in_the_build_of_what_is_put_on_it(
    engine: Any, base: str, runbook: Any, shell_runbook: Any, made: dict[str, Any]
) -> None:
    name = f"own-{uuid4().hex[:8]}"
    container = engine.api.create_container(base, ["true"])["Id"]
    try:
        engine.api.commit(container, repository=name, tag="1", conf=made)
        run = ("run", shell_runbook("true"), "--sandbox", "docker", "--image", f"{name}:1", "--apt", "jq")
        ran = runbook(*run)
        assert (ran.code, "Nothing can be put on the image" in ran.out + ran.err) == (2, True), ran.err
    finally:
        engine.api.remove_container(container)
        forget(engine, name)


@pytest.mark.parametrize("registry", ["", "docker.io/", "index.docker.io/", "localhost/", "registry.test:5000/deep/"])
def test_no_image_is_pulled_under_a_name_of_those_built_here(engine: Any, registry: str, lines: Any) -> None:
    with pytest.raises(NotReadyError, match="none of that name is pulled"):
        resolve_image(engine, f"{registry}runbook-runner/python312-uv:0123456789ab", lines)


@pytest.mark.filterwarnings("ignore:docker-credential-absent")
def test_a_missing_credential_helper_is_no_reason_not_to_build(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "absent"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    archive = context_archive({"Dockerfile": b"FROM scratch\nLABEL a=b\n"}).getvalue()
    name = f"own-{uuid4().hex[:8]}"
    said = list(build_records(connect(), archive, {"t": f"{name}:1"}, None, 60.0))
    assert not any("error" in line for line in said), said
    forget(engine, name)

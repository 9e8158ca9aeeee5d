"""Images: built once, found ever after; failures show what the build said."""

import os
import re
import tempfile
import threading
from uuid import uuid4

import pytest

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.images.snapshots import find_snapshot
from runbook_runner.sandbox.images.user_image import resolve_image

pytestmark = pytest.mark.needs("docker")

LAYERS = f"t{os.getpid()}"
"""Marks this process' layers: tests of another process use the same engine at the same time."""


@pytest.fixture
def images(engine, image):
    """The module under test; the layers this test made are removed afterwards, another's are left alone."""

    from runbook_runner.sandbox.images import provide

    yield provide
    for found in engine.api.images(filters={"reference": f"runbook-runner/*-{LAYERS}-*"}):
        for tag in found["RepoTags"]:
            engine.api.remove_image(tag, force=True)


@pytest.fixture
def logs_here(monkeypatch, tmp_path):
    """Kept build logs go where pytest cleans up."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def settings():
    return Settings.load()


def layer_of(images, commands):
    return images.Layer(f"{LAYERS}-{uuid4().hex[:8]}", commands)


def test_image_is_built_with_progress_once_and_found_silently_after(engine, images, settings, lines):
    layer = layer_of(images, "RUN echo installing the agent && touch /agent\n")
    first = images.ensure(engine, find_snapshot("python312-uv"), [layer], settings, lines)
    assert lines[0] == f"Building {first.tag}"
    assert re.search(r"Step \d+/\d+: installing the agent", "\n".join(lines))
    lines.clear()
    again = images.ensure(engine, find_snapshot("python312-uv"), [layer], settings, lines)
    assert again == first
    assert lines == []
    assert first.tag.startswith(f"runbook-runner/python312-uv-{layer.name}:")
    assert first.digest.startswith("sha256:")


def test_two_runs_at_once_build_once(engine, images, settings, lines):
    layer = layer_of(images, "RUN sleep 1\n")
    found = []

    def run():
        found.append(images.ensure(engine, find_snapshot("python312-uv"), [layer], settings, lines))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len([line for line in lines if line.startswith("Building")]) == 1
    assert f"Waiting for another process, which builds {found[0].tag}." in lines


def test_failed_build_shows_its_last_lines_and_keeps_the_log(engine, images, settings, logs_here, lines):
    layer = layer_of(images, "RUN for i in $(seq 50); do echo line $i; done; echo the real reason >&2; exit 7\n")
    with pytest.raises(NotReadyError) as caught:
        images.ensure(engine, find_snapshot("python312-uv"), [layer], settings, lines)
    said = str(caught.value)
    assert "returned a non-zero code: 7" in said
    assert "the real reason" in said
    assert "line 10\n" not in said
    log = next(word for word in said.split() if word.endswith(".log."))[:-1]
    with open(log) as file:  # noqa: PTH123
        assert "line 10\n" in file.read()


def test_broken_dockerfile_is_a_failed_build(engine, images, settings, logs_here, lines):
    layer = layer_of(images, "NONSENSE here\n")
    with pytest.raises(NotReadyError, match=r"could not be built.*NONSENSE"):
        images.ensure(engine, find_snapshot("python312-uv"), [layer], settings, lines)


def test_unknown_snapshot_lists_the_known_ones():
    with pytest.raises(InputError, match=r"(?s)'prism'.*python312-uv, python312-uv-node"):
        find_snapshot("prism")


def test_alias_is_the_same_image(engine, images, settings, image, lines):
    found = images.ensure(engine, find_snapshot("python312-uv-node"), [], settings, lines)
    assert found.tag == image


def test_ca_bundle_that_is_missing_or_none_is_named(engine, images, settings, tmp_path, lines):
    for path in (tmp_path / "missing.pem", tmp_path / "not-a-bundle.pem"):
        if path.name.startswith("not"):
            path.write_text("hello")
        with pytest.raises(NotReadyError, match=path.name):
            images.ensure(engine, find_snapshot("python312-uv"), [], settings._replace(ca_bundle=path), lines)


def test_ca_bundle_is_not_left_in_the_images_environment(engine, image):
    names = {entry.split("=")[0] for entry in engine.api.inspect_image(image)["Config"]["Env"]}
    assert not names & {"SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS"}


def test_snapshot_has_its_tools(make_docker, shell):
    sandbox = make_docker()
    sandbox.start()
    ran = shell(sandbox, "python3 --version; uv --version; node --version; npm --version; npx --version; git --version")
    assert ran.exit.code == 0, ran
    assert ran.stdout.startswith(b"Python 3.12.")
    major = int(ran.stdout.split(b"\nv")[1].split(b".")[0])
    assert major >= 22


def test_users_own_image_is_used_when_the_engine_has_it(engine, images, image, lines):
    found = resolve_image(engine, image, lines)
    assert found.tag == image
    assert found.digest.startswith("sha256:")
    assert lines == []


@pytest.mark.parametrize("reference", ["localhost:9/no/such:1", "Not A Name"])
def test_users_image_that_does_not_exist_is_named(engine, images, reference, lines):
    with pytest.raises(NotReadyError, match=reference):
        resolve_image(engine, reference, lines)


def test_layer_on_a_users_image_installs_as_root_and_runs_as_its_user(
    engine, images, settings, image, make_docker, shell, lines
):
    from runbook_runner.sandbox.images.snapshots import context_archive

    dockerfile = f"FROM {image}\nRUN useradd worker\nUSER worker\n".encode()
    archive = context_archive({"Dockerfile": dockerfile})
    assert list(engine.api.build(fileobj=archive, custom_context=True, tag="runbook-test/own:1", rm=True, decode=True))
    own = resolve_image(engine, "runbook-test/own:1", lines)
    layered = images.add_layers(engine, own, [layer_of(images, "RUN touch /usr/bin/agent")], settings, lines)
    sandbox = make_docker(image=layered.tag)
    sandbox.start()
    assert shell(sandbox, "id -un; ls /usr/bin/agent").stdout == b"worker\n/usr/bin/agent\n"
    sandbox.stop()
    engine.api.remove_image(layered.tag)
    engine.api.remove_image("runbook-test/own:1")

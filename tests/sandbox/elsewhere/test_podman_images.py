"""To Podman an image says more than to Docker Engine: none chooses how its container is held."""

import hashlib
import io
import json
import socket
import tarfile
from contextlib import nullcontext
from threading import Lock
from uuid import uuid4

import pytest

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.core.spec import Network
from runbook_runner.sandbox.base import SandboxSpec
from runbook_runner.sandbox.docker.creation import create_container, refuse_to_build_on
from runbook_runner.sandbox.docker.limits.container_disk import ContainerDisk
from runbook_runner.sandbox.docker.sandbox import DockerSandbox
from runbook_runner.sandbox.images.provide import ensure
from runbook_runner.sandbox.images.snapshots import find_snapshot
from runbook_runner.sandbox.images.user_image import resolve_image

pytestmark = [pytest.mark.needs("podman", "docker"), pytest.mark.xdist_group("podman")]

OBEYED = {"run.oci.seccomp_bpf_data": "BgAAAAAA/38=", "zz\x1b[31m" + "z" * 100: "1"}
DESCRIBING = {"com.docker.official-images.bashbrew.arch": "amd64", "org.opencontainers.image.title": "tools"}


@pytest.fixture
def there(podman):
    return podman.connect()


def copies_annotations(engine):
    return tuple(map(int, engine.info["ServerVersion"].split("-")[0].split("."))) < (4, 5, 1)


def sandbox_of(engine, image, **asked):
    return DockerSandbox(engine, SandboxSpec(run_id="test", image=image, network=Network(policy="none"), **asked))


def about(engine, sandbox):
    answer = engine.api.get(f"{engine.api.base_url}/v4.0.0/libpod/containers/{sandbox.sandbox_id}/json")
    return answer.json()["Config"]


def packed(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def built(engine, dockerfile, annotations=None):
    """In the format of OCI, which alone has annotations. Returns the name of an image with content of its own."""
    name = f"localhost/t{uuid4().hex[:8]}:1"
    notes = [f"{key}={value}" for key, value in (annotations or {}).items()]
    asked = {"t": name, "annotations": json.dumps(notes), "outputformat": "application/vnd.oci.image.manifest.v1+json"}
    content = packed({"Dockerfile": f"{dockerfile}\nLABEL own={name}\n".encode()})
    headers = {"Content-Type": "application/x-tar"}
    said = engine.api.post(f"{engine.api.base_url}/v4.0.0/libpod/build", params=asked, data=content, headers=headers)
    assert engine.image_id(name), said.text
    return name


def load(engine, content):
    for line in engine.api.load_image(content):
        assert "error" not in line


def pull_again_with(engine, image, annotations):
    """What a registry may do: the very same content, under a manifest with other annotations."""
    url = f"{engine.api.base_url}/v4.0.0/libpod/images/{image}/get"
    with tarfile.open(fileobj=io.BytesIO(engine.api.get(url, params={"format": "oci-archive"}).content)) as tar:
        files = {item.name: tar.extractfile(item).read() for item in tar if item.isreg()}
    index = json.loads(files["index.json"])
    (entry,) = index["manifests"]
    manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
    changed = json.dumps({**manifest, "annotations": annotations}).encode()
    entry |= {"digest": f"sha256:{hashlib.sha256(changed).hexdigest()}", "size": len(changed)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": f"localhost/t{uuid4().hex[:8]}:1"}
    files |= {f"blobs/{entry['digest'].replace(':', '/')}": changed, "index.json": json.dumps(index).encode()}
    load(engine, packed(files))


def has_containers(engine):
    return bool(engine.api.containers(all=True))


def check_refused_or_without(engine, image):
    """A newer Podman copies no annotations, so there is nothing to refuse."""
    if copies_annotations(engine):
        with pytest.raises(NotReadyError) as caught, sandbox_of(engine, image):
            pass
        assert "run.oci.seccomp_bpf_data, zz\\x1b[31mzzz" in caught.value.message
        assert "z" * 81 not in caught.value.message
        assert f"FROM {image}" in caught.value.hint
    else:
        with sandbox_of(engine, image) as sandbox:
            assert not {*OBEYED} & {*about(engine, sandbox)["Annotations"]}
    assert not has_containers(engine)


def test_no_container_starts_with_annotations_of_its_image_that_a_runtime_may_obey(there, base_image):
    check_refused_or_without(there, built(there, f"FROM {base_image}", DESCRIBING | OBEYED))


def test_annotations_that_come_with_a_later_pull_of_the_same_content_count(there, base_image):
    image = built(there, f"FROM {base_image}")
    content = there.image_id(image)
    pull_again_with(there, image, OBEYED)
    assert there.image_id(image) == content
    check_refused_or_without(there, image)


def test_the_container_that_measures_a_sandbox_is_no_way_around(there, base_image):
    image = built(there, f"FROM {base_image}")
    with sandbox_of(there, image) as sandbox:
        disk = ContainerDisk(there, SandboxSpec(run_id="test", image=image), Lock())
        with disk.standing_still(sandbox.sandbox_id):
            assert disk.measure() < 1 << 20
        pull_again_with(there, image, OBEYED)
        refused = pytest.raises(NotReadyError) if copies_annotations(there) else nullcontext()
        with refused, disk.standing_still(sandbox.sandbox_id):
            disk.measure()
    assert not has_containers(there)


def test_annotations_that_describe_an_image_are_no_hindrance(there, base_image):
    with sandbox_of(there, built(there, f"FROM {base_image}", DESCRIBING)) as sandbox:
        assert sandbox.exec(["true"], cwd="/", deadline_s=60).wait().code == 0


def test_a_snapshot_on_an_image_with_annotations_has_none(there, base_image, lines, tmp_path):
    image = built(there, f"FROM {base_image}", OBEYED)
    own = tmp_path / ".runbook/snapshots" / f"t{uuid4().hex[:8]}"
    own.mkdir(parents=True)
    (own / "Dockerfile").write_text(f"FROM {image}\nRUN true\n")
    snapshot = find_snapshot(own.name, [tmp_path])
    tag = ensure(there, snapshot, [], Settings.load(), lines, may_build=lambda *_: None).tag
    with sandbox_of(there, tag) as sandbox:
        assert not {*OBEYED} & {*about(there, sandbox)["Annotations"]}


def test_no_image_gets_variables_of_podmans_own_environment(there):
    layer = packed({"file": b""})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "EMPTY=", "*", "SECRET_OF_HOST"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    name = f"localhost/t{uuid4().hex[:8]}:1"
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(config).encode(), "layer.tar": layer}
    load(there, packed({**files, "manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(NotReadyError, match=r"its own environment: \*, SECRET_OF_HOST\."), sandbox_of(there, name):
        pass
    assert not has_containers(there)


def test_no_label_of_an_image_restarts_a_unit_of_the_machine(there, base_image):
    labels = "io.containers.autoupdate=registry PODMAN_SYSTEMD_UNIT=any.service"
    with sandbox_of(there, built(there, f"FROM {base_image}\nLABEL {labels}")) as sandbox:
        assert about(there, sandbox)["Labels"]["io.containers.autoupdate"] == "disabled"


def test_a_pull_is_ended_when_it_takes_too_long(there, silent_registry, lines):
    with pytest.raises(NotReadyError, match="could not pull it") as caught:
        resolve_image(there, f"{silent_registry.address}/team/slow:1", lines, left_s=1.0)
    assert caught.value.details == "It took more than 1 s, and was ended."
    silent_registry.await_end()


@pytest.fixture
def saved_by_newer_docker():
    """Makes the archive of an image as Docker has written it since 25: with a layout of OCI beside its own list."""

    def make(name, annotations=None, **of_layer):
        layer = packed({f"own-{uuid4().hex}": b""})
        root = {"type": "layers", "diff_ids": [digest(layer)]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
        manifest = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json"}
        manifest["config"] = {"mediaType": f"{OCI}.config.v1+json", "digest": digest(config), "size": len(config)}
        about = {"mediaType": f"{OCI}.layer.v1.tar", "digest": digest(layer), "size": len(layer)}
        text = json.dumps({**manifest, "layers": [about | of_layer]}).encode()
        entry = {"mediaType": manifest["mediaType"], "digest": digest(text), "size": len(text)}
        named = {**entry, "annotations": {REF: name} if annotations is None else annotations}
        lists = {
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "index.json": {"schemaVersion": 2, "manifests": [named]},
            "manifest.json": [{"Config": place(config), "RepoTags": [name], "Layers": [place(layer)]}],
        }
        files = {path: json.dumps(content).encode() for path, content in lists.items()}
        return packed({**files, **{place(content): content for content in (layer, config, text)}})

    return make


OCI, REF = "application/vnd.oci.image", "org.opencontainers.image.ref.name"


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def place(content):
    return f"blobs/{digest(content).replace(':', '/')}"


def imported(there, podman, runbook, name, content):
    """Whether Podman had it, as it was read here: no run looks for it, so it is not kept."""
    (runbook.cwd / "images.tar").write_bytes(content)
    ran = runbook("snapshots", "import", "images.tar", env=podman.env)
    assert there.image_id(name) is None
    return (ran.code, f"! {name}: no run here will use it. It does not say" in ran.out), ran.err


def test_an_import_fetches_nothing_that_the_file_names(there, podman, runbook, saved_by_newer_docker):
    name = f"runbook-runner/t{uuid4().hex[:8]}:1"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/internal/action"
        found, said = imported(there, podman, runbook, name, saved_by_newer_docker(name, urls=[url]))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert found == (1, True), said


def test_an_import_has_the_names_of_the_list_that_was_checked(there, podman, runbook, saved_by_newer_docker):
    name = f"runbook-runner/t{uuid4().hex[:8]}:1"
    found, said = imported(there, podman, runbook, name, saved_by_newer_docker(name, {}))
    assert found == (1, True), said


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_of_the_forms_that_podman_saves_the_one_with_a_list_is_imported(there, podman, runbook, form):
    name = f"runbook-runner/t{uuid4().hex[:8]}:1"
    said = there.api.build(fileobj=io.BytesIO(b"FROM scratch\nLABEL a=b\n"), tag=f"localhost/{name}", decode=True)
    assert not any("error" in line for line in said)
    url = f"{there.api.base_url}/v4.0.0/libpod/images/localhost/{name}/get"
    content = there.api.get(url, params={"format": form}).content
    there.api.remove_image(there.image_id(name), force=True)
    found, said = imported(there, podman, runbook, name, content)
    if form == "docker-archive":
        assert found == (1, True), said
    else:
        assert (found[0], "without manifest.json" in said) == (2, True)


def test_an_image_with_a_pipe_where_podman_reads_is_refused(there):
    """Nothing is started: where the check failed, Podman would hang for good."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, kind, link in (("etc/passwd", tarfile.SYMTYPE, "/x"), ("x", tarfile.FIFOTYPE, "")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            tar.addfile(member)
    image = json.loads(there.api.import_image_from_data(content.getvalue()).splitlines()[-1])["status"]
    image, name = image.removeprefix("sha256:"), f"t{uuid4().hex[:8]}"
    try:
        with pytest.raises(NotReadyError, match="/etc/passwd is not a plain file"):
            refuse_to_build_on(there, f"sha256:{image}", image)
        with pytest.raises(NotReadyError, match="/etc/passwd is not a plain file"):
            create_container(there, image, lambda _: there.api.create_host_config(), name=name, command=["x"])
    finally:
        there.api.remove_container(name, force=True)
        there.api.remove_image(image, force=True)

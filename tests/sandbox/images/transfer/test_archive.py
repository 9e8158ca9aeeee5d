"""An archive of images from anywhere: what is read of it, and what an engine gets, is bounded by what is in it."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images.transfer.archive import opened


def listing(*layers: str) -> bytes:
    return json.dumps([{"Config": "c.json", "RepoTags": ["runbook-runner/mine:1"], "Layers": layers}]).encode()


MANIFEST = listing()
BLOCK = tarfile.BLOCKSIZE


def entry(
    name: str, data: bytes = b"", pax: dict[str, str] | None = None, *, size: int | None = None, kind: bytes = b"0"
) -> bytes:
    """pax: records of a header before it. size: what its header says, when that is not true."""
    member = tarfile.TarInfo(name)
    member.type, member.size, member.pax_headers = kind, len(data) if size is None else size, pax or {}
    return member.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


def sparse(data: bytes = b"", **records: str) -> bytes:
    return entry("a", data, {f"GNU.sparse.{key}": value for key, value in records.items()})


def archive(*entries: bytes, manifest: bytes = MANIFEST, **said: object) -> bytes:
    """said: by the image of itself."""
    layers = json.loads(manifest)[0].get("Layers") or []
    config = {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{number:064}" for number in range(len(layers))]}}
    c = entry("c.json", json.dumps(config | said).encode())
    return b"".join((entry("manifest.json", manifest), c, *entries, bytes(2 * BLOCK)))


def said(got: bytes) -> Any:
    """What an engine gets that the image says of itself."""
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        return json.load(tar.extractfile("config0"))


def received(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    with opened(path) as found:
        assert found.names == ["runbook-runner/mine:1"]
        return b"".join(found.blocks(found.names))


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], bytes]:
    """Returns what an engine gets."""
    return lambda content: received(tmp_path / "images.tar", content)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_engine_gets_the_files_and_links_packed_or_not(read: Callable[[bytes], bytes], pack: Callable) -> None:
    link = tarfile.TarInfo("b/link")
    link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
    data = bytes(range(256)) * 9
    files = (entry("a/", kind=b"5"), entry("./a/layer.tar", data), entry("n" * 4000), link.tobuf())
    got = read(pack(archive(*files, manifest=listing("b/link", "n" * 4000))))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert tar.getnames() == ["manifest.json", "config0", "blob0", "blob1"]
        assert json.load(tar.extractfile("manifest.json"))[0]["Layers"] == ["blob0", "blob1"]
        assert tar.extractfile("blob0").read() == data


def test_an_engine_gets_no_more_of_the_list_of_images_than_it_needs(tmp_path: Path) -> None:
    image = {"config": "c.json", "RepoTags": ["runbook-runner/mine:1"], "Layers": None}
    listed = [{**image, "Parent": "sha256:" + "0" * 64, "LayerSources": {}}]
    got = received(tmp_path / "images.tar", archive(manifest=json.dumps(listed).encode()))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert json.load(tar.extractfile("manifest.json")) == [
            {"Config": "config0", "RepoTags": ["runbook-runner/mine:1"], "Layers": []}
        ]


def test_an_engine_gets_no_other_list_of_images_and_no_file_that_is_not_named(read: Callable[[bytes], bytes]) -> None:
    others = [entry(name, b"{}") for name in ("index.json", "oci-layout", "repositories", "blobs/sha256/manifest", "x")]
    got = read(archive(*others, entry("blobs/sha256/layer", b"x"), manifest=listing("blobs/sha256/layer")))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert tar.getnames() == ["manifest.json", "config0", "blob0"]


def test_no_name_in_the_list_is_one_that_an_engine_knows(read: Callable[[bytes], bytes]) -> None:
    names = ("index.json", "oci-layout", "repositories")
    got = read(archive(*(entry(name, name.encode()) for name in names), manifest=listing(*names, "manifest.json")))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert sorted(tar.getnames()) == ["blob0", "blob1", "blob2", "blob3", "config0", "manifest.json"]


def test_of_two_files_of_one_name_an_engine_gets_the_last(read: Callable[[bytes], bytes]) -> None:
    got = read(archive(entry("a", b"first"), entry("./a", b"last"), manifest=listing("a")))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert (tar.getnames(), tar.extractfile("blob0").read()) == (["manifest.json", "config0", "blob0"], b"last")


@pytest.mark.parametrize("layer", ["gone", "folder", "../c.json/x", "/", ""])
def test_a_list_that_names_what_is_no_file_of_the_archive_is_refused(
    read: Callable[[bytes], bytes], layer: str
) -> None:
    """The engine would take the layer from an image that it has."""
    with pytest.raises(InputError, match="no export of images") as caught:
        read(archive(entry("folder", kind=b"5"), manifest=listing(layer)))
    assert "without a file that it names" in str(caught.value.details)


@pytest.mark.parametrize("changed", [{"RepoTags": None}, {"RepoTags": []}, {"Layers": [{}]}, {"Config": 1}])
def test_an_image_without_a_name_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    first = json.loads(MANIFEST)[0]
    content = archive(manifest=json.dumps([first, {**first, **changed}]).encode())
    with pytest.raises(InputError, match="no export of images"):
        received(tmp_path / "images.tar", content)


BIG = 10**9
HOSTILE = {
    "a long path": entry("a/" * 3000 + "x"),
    "sparse, of GNU": entry("a", kind=b"S"),
    "sparse, PAX 0.0": sparse(size=str(BIG), offset="0", numbytes="0"),
    "sparse, PAX 0.1": sparse(map="0,0", size=str(BIG)),
    "sparse, PAX 1.0": sparse(b"0\n".ljust(BLOCK), major="1", minor="0", realsize=str(BIG)),
    "each with what is behind it": sparse(realsize=str(20 * BLOCK)) * 20 + entry("b", bytes(20 * BLOCK)),
    "a header for all": entry("a", b"9 size=9\n", kind=b"g") + entry("b") * 20,
    "too large": entry("a", size=BIG),
    "larger than any": entry("a", size=1 << 80),
    "smaller than none": entry("a", size=-1024),
    "a large PAX header": entry("a", bytes(1 << 20), kind=b"x") + entry("b"),
    "a larger one": entry("a", size=BIG, kind=b"x"),
    "a smaller one": entry("a", size=-1024, kind=b"x"),
    "a large name": entry("a", size=BIG, kind=b"L"),
    "a name with a NUL": entry("a", b"11 path=\0ab\n", kind=b"x") + entry("b"),
    "headers of headers": entry("a", kind=b"x") * 5000,
    "too many": entry("a") * 20_000,
    "too many that are long": (entry("a", b"4 a=" * 4090, kind=b"x") + entry("b")) * 20,
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_what_no_engine_writes_is_refused_before_an_engine_gets_any(
    read: Callable[[bytes], bytes], hostile: bytes
) -> None:
    with pytest.raises(InputError, match=r"images\.tar: The file (is no export of images|ends too early)"):
        read(archive(hostile))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_file_that_is_packed_many_times_is_refused(read: Callable[[bytes], bytes], pack: Callable) -> None:
    content = archive(entry("a", bytes(8 << 20)), manifest=listing("a"))
    with pytest.raises(InputError, match="packed more than 100 times"):
        read(pack(content))
    assert len(read(content)) > 8 << 20


def test_a_file_that_was_cut_is_refused(read: Callable[[bytes], bytes]) -> None:
    whole = archive(entry("a", bytes(range(256)) * 100))
    for cut in (whole[:600], whole[:4000], gzip.compress(whole)[:-60], b"", b"noise" * 1000, b"\x1f\x8b\x08noise"):
        with pytest.raises(InputError, match=r"images\.tar: The file "):
            read(cut)


@pytest.mark.parametrize(
    ("kind", "name", "target"),
    [
        (tarfile.LNKTYPE, "b", "/etc/passwd"),
        (tarfile.LNKTYPE, "b", "a/layer.tar"),
        (tarfile.SYMTYPE, "tmp", "/tmp"),
        (tarfile.SYMTYPE, "b/link", "../../etc/passwd"),
        (tarfile.SYMTYPE, "b/link", "../a"),
        (tarfile.SYMTYPE, "b/link", "gone"),
    ],
)
def test_a_link_to_what_is_no_file_of_the_archive_is_refused(
    read: Callable[[bytes], bytes], kind: bytes, name: str, target: str
) -> None:
    """Podman unpacks it as root of its machine, and follows it."""
    link = tarfile.TarInfo(name)
    link.type, link.linkname = kind, target
    with pytest.raises(InputError, match="no export of images"):
        read(archive(entry("a/layer.tar", b"x"), link.tobuf()))


# --- what an image says of itself ----------------------------------------------------------------------------------

HONEST = {
    "architecture": "arm64",
    "os": "linux",
    "created": "2026-01-02T03:04:05.678Z",
    "config": {
        "User": "worker",
        "Env": ["PATH=/bin", "EMPTY="],
        "Entrypoint": ["sh"],
        "Cmd": ["-c", "true"],
        "WorkingDir": "/app",
        "Labels": {"runbook.files": "0", "runbook.snapshot": "mine", "runbook.layers": "[]", "runbook.origin": "1"},
    },
}


def test_an_engine_gets_of_an_image_what_runs_need_of_it(read: Callable[[bytes], bytes]) -> None:
    got = said(read(archive(entry("a", b"x"), manifest=listing("a"), **HONEST)))
    assert {key: got[key] for key in HONEST} == HONEST
    assert got["rootfs"] == {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}
    assert [step["created_by"] for step in got["history"]] == ["runbook snapshots import"]
    again = said(read(archive(entry("a", b"x"), manifest=listing("a"), **got)))
    assert json.dumps(again) == json.dumps(got), "the same image has the same id when it is exported again"


def test_an_engine_gets_nothing_else(read: Callable[[bytes], bytes]) -> None:
    other = {"Volumes": {"/v": {}}, "Healthcheck": {"Test": ["CMD", "x"]}, "Shell": ["x"], "StopSignal": "9"}
    other |= {"Labels": {"io.containers.capabilities": "x", "n": "1"}, "Env": ["*", "SECRET_OF_HOST", "=x", "A=b"]}
    top = {"container_config": {"OnBuild": ["RUN id"]}, "parent": "sha256:" + "1" * 64, "variant": "x"}
    got = said(read(archive(config=other, history=[{"created_by": "x" * 1000}], architecture="../x", **top)))
    assert got["config"] == {"Env": ["A=b"]}
    assert sorted(got) == ["architecture", "config", "created", "history", "os", "rootfs"]
    assert (got["architecture"], got["os"], got["history"]) == ("", "linux", [])


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        *[
            (path, "/")
            for path in ("../../../tmp/x", "/proc/self/fd/7", "//proc/1", "/a/../proc", "/dev", "/sys/x", "a")
        ],
        *[(path, "/a/b") for path in ("/a/b", "/a/b/", "//a/./b")],
        ("/", "/"),
        ("/process", "/process"),
    ],
)
def test_an_image_begins_in_a_folder_of_its_own(read: Callable[[bytes], bytes], found: str, kept: str) -> None:
    assert said(read(archive(config={"WorkingDir": found})))["config"]["WorkingDir"] == kept


@pytest.mark.parametrize("name", ["OnBuild", "onbuild", "ONBUILD", "onBuild"])
@pytest.mark.parametrize("around", ["config", "Config", "CONFIG"])
def test_an_image_with_triggers_of_builds_is_refused(read: Callable[[bytes], bytes], name: str, around: str) -> None:
    with pytest.raises(InputError, match=r"runbook-runner/mine:1 has ONBUILD instructions"):
        read(archive(**{around: {name: ["RUN id"]}}))


@pytest.mark.parametrize(
    "created", ["0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "now", None, 3]
)
def test_an_image_is_of_no_impossible_time(read: Callable[[bytes], bytes], created: object) -> None:
    assert said(read(archive(created=created)))["created"] == "1970-01-01T00:00:00Z"


ODD: dict[str, dict[str, Any]] = {
    "layers of another kind": {"rootfs": "layers"},
    "other layers": {"rootfs": {"diff_ids": ["sha256:" + "0" * 64]}},
    "a layer of no digest": {"rootfs": {"diff_ids": "x"}},
    "numbers": {"config": {"Env": [1]}},
    "a list": {"config": {"Labels": ["runbook.files"]}},
    "a surrogate": {"config": {"User": "\ud800"}},
    "two of one name": {"config": {"User": "a", "user": "b"}},
    "more than 4 MB": {"x": "A" * (4 << 20)},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_image_that_says_what_none_says_is_refused(read: Callable[[bytes], bytes], odd: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no export of images"):
        read(archive(**odd))


def test_all_images_together_say_no_more_than_an_engine_has_room_for(tmp_path: Path) -> None:
    image = json.loads(MANIFEST)[0]
    many = [{**image, "RepoTags": [f"runbook-runner/mine:{number}"]} for number in range(17)]
    content = archive(manifest=json.dumps(many).encode(), x="A" * (4_000_000))
    with pytest.raises(InputError, match="no export of images") as caught:
        received(tmp_path / "images.tar", content)
    assert "or all too much" in str(caught.value.details)


@pytest.mark.parametrize(("images", "names", "why"), [(1001, 1, "more than 1000 images"), (1, 2, "more than one name")])
def test_a_file_has_no_more_images_and_names_than_an_export(tmp_path: Path, images: int, names: int, why: str) -> None:
    image = {**json.loads(MANIFEST)[0], "RepoTags": [f"runbook-runner/mine:{number}" for number in range(names)]}
    with pytest.raises(InputError, match="no export of images") as caught:
        received(tmp_path / "images.tar", archive(manifest=json.dumps([image] * images).encode()))
    assert why in str(caught.value.details)


def layered(path: Path, images: list[list[str]], size: int) -> None:
    """Opens an archive of images with these layers, each of that many bytes."""
    listed = [{"Config": f"c{len(names)}", "RepoTags": ["runbook-runner/mine:1"], "Layers": names} for names in images]
    configs = [
        entry(f"c{count}", json.dumps({"rootfs": {"diff_ids": ["sha256:" + "0" * 64] * count}}).encode())
        for count in set(map(len, images))
    ]
    layers = [entry(name, bytes(size)) for name in sorted({name for names in images for name in names})]
    path.write_bytes(archive(*configs, *layers, manifest=json.dumps(listed).encode()))
    with opened(path) as found:
        assert len(found.names) == len(images)


def test_an_engine_makes_no_more_layers_than_images_have(tmp_path: Path) -> None:
    path, names = tmp_path / "images.tar", [f"l{number}" for number in range(126)]
    layered(path, [names[:125]] * 100, 1)  # 100 names of one image
    layered(path, [[name, *names[:99]] for name in names[100:120]], 1)
    layered(path, [["l0", "l1", "l0"]], 1024)  # one that is empty, of `WORKDIR`
    for images, size, why in (
        ([names], 1, "an image of more than 125 layers"),
        ([[*names[:125], "l0"]], 1, "an image of more than 125 layers"),
        ([["l0", "l1", "l0"]], 20_000, "an image with one layer twice"),
        ([[name, *names[:99]] for name in names[100:121]], 1, "more than 2000 layers"),
    ):
        with pytest.raises(InputError, match="no export of images") as caught:
            layered(path, images, size)
        assert why in str(caught.value.details)


def test_an_import_waits_for_no_one_who_writes_to_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images.tar")
    with pytest.raises(InputError, match="not a regular file"), opened(tmp_path / "images.tar"):
        pass

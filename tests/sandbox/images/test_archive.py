"""An archive of images from anywhere: what is read of it, and what an engine gets, is bounded by what is in it."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images.archive import opened


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


def archive(*entries: bytes, manifest: bytes = MANIFEST) -> bytes:
    return b"".join((entry("manifest.json", manifest), entry("c.json", b"{}"), *entries, bytes(2 * BLOCK)))


def received(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    with opened(path) as found:
        assert found.names == ["runbook-runner/mine:1"]
        return b"".join(found.blocks())


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
        assert tar.getnames() == ["manifest.json", "blob0", "blob1", "blob2"]
        assert json.load(tar.extractfile("manifest.json"))[0]["Layers"] == ["blob1", "blob2"]
        assert tar.extractfile("blob1").read() == data


def test_an_engine_gets_no_more_of_the_list_of_images_than_it_needs(tmp_path: Path) -> None:
    image = {"config": "c.json", "RepoTags": ["runbook-runner/mine:1"], "Layers": None}
    listed = [{**image, "Parent": "sha256:" + "0" * 64, "LayerSources": {}}]
    got = received(tmp_path / "images.tar", archive(manifest=json.dumps(listed).encode()))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert json.load(tar.extractfile("manifest.json")) == [
            {"Config": "blob0", "RepoTags": ["runbook-runner/mine:1"], "Layers": []}
        ]


def test_an_engine_gets_no_other_list_of_images_and_no_file_that_is_not_named(read: Callable[[bytes], bytes]) -> None:
    others = [entry(name, b"{}") for name in ("index.json", "oci-layout", "repositories", "blobs/sha256/manifest", "x")]
    got = read(archive(*others, entry("blobs/sha256/layer", b"x"), manifest=listing("blobs/sha256/layer")))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert tar.getnames() == ["manifest.json", "blob0", "blob1"]


def test_no_name_in_the_list_is_one_that_an_engine_knows(read: Callable[[bytes], bytes]) -> None:
    names = ("index.json", "oci-layout", "repositories")
    got = read(archive(*(entry(name, name.encode()) for name in names), manifest=listing(*names, "manifest.json")))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert sorted(tar.getnames()) == ["blob0", "blob1", "blob2", "blob3", "blob4", "manifest.json"]


def test_of_two_files_of_one_name_an_engine_gets_the_last(read: Callable[[bytes], bytes]) -> None:
    got = read(archive(entry("a", b"first"), entry("./a", b"last"), manifest=listing("a")))
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert (tar.getnames(), tar.extractfile("blob1").read()) == (["manifest.json", "blob0", "blob1"], b"last")


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
    assert len(read(content)) == len(content)


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

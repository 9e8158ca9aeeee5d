"""Archives from an engine are hostile until checked; these are made by hand to be worse than any engine's."""

import io
import tarfile

import pytest

from runbook_runner.core.errors import NotReadyError, SandboxError
from runbook_runner.core.text import decoded_name
from runbook_runner.sandbox.base import PutFile, Wanted
from runbook_runner.sandbox.docker.archive import pack, unpack
from runbook_runner.sandbox.extract import MAX_DEPTH, Extraction


def archive(*members):
    """members: (name, content or type[, link target])"""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content, *target in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
                continue
            info.type = content
            info.linkname = target[0] if target else ""
            tar.addfile(info)
    return packed.getvalue().replace(b"21 hdrcharset=BINARY\n", b"21 comment=no engine\n")


def fetch(data, into, step=7, **limits):
    limits = {"max_bytes": 10_000, "max_files": 500} | limits
    extraction = Extraction(into, "/app/results", Wanted(**limits), streamed=True)
    unpack((data[at : at + step] for at in range(0, len(data), step)), extraction, "/app/results")
    return extraction.received()


@pytest.mark.parametrize(
    "name", ["results/../../evil", "/etc/evil", "results//evil", "results/./evil", "../../../evil"]
)
def test_member_that_leads_out_is_skipped(tmp_path, name):
    received = fetch(archive((name, "x"), ("results/good", "y")), tmp_path / "a/b/into")
    assert [file.path for file in received.files] == ["good"]
    assert [reason for _, reason in received.skipped] == ["its name leads out of the results"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["good"]


def test_thousands_of_files_get_one_name_without_looking_at_each_number_again(tmp_path):
    class Names(dict):
        looked = 0

        def __contains__(self, name):
            self.looked += 1
            return super().__contains__(name)

    class Redacted:
        def name(self, name):
            return "x"

        def __call__(self, name, content):
            return content

    extraction = Extraction(tmp_path, "/app/results", Wanted(max_bytes=1, max_files=999, scrub=Redacted()))
    extraction._files = Names()
    for number in range(500):
        extraction.file([f"secret{number}"], io.BytesIO(), (0, 0.0))
    assert {file.path for file in extraction.received().files} == {"x", *(f"x-{n}" for n in range(2, 501))}
    assert extraction._files.looked < 2000


def test_links_devices_and_pipes_are_skipped_with_their_kind(tmp_path):
    data = archive(
        ("results/soft", tarfile.SYMTYPE, "/etc/passwd"),
        ("results/soft/below", "written through a link?"),
        ("results/hard", tarfile.LNKTYPE, "results/../../etc/passwd"),
        ("results/absolute", tarfile.LNKTYPE, "/etc/passwd"),
        ("results/disk", tarfile.BLKTYPE),
        ("results/tty", tarfile.CHRTYPE),
        ("results/pipe", tarfile.FIFOTYPE),
    )
    received = fetch(data, tmp_path)
    assert [file.path for file in received.files] == ["soft/below"]
    assert (tmp_path / "soft").is_dir()
    assert not (tmp_path / "soft").is_symlink()
    assert {name: reason.split()[1] for name, reason in received.skipped} == {
        "soft": "symbolic", "hard": "hard", "absolute": "hard", "disk": "device", "tty": "device", "pipe": "pipe",
    }  # fmt: skip


@pytest.mark.parametrize("charset", ["\udcff", "BINARY", "1" * 100])
def test_a_name_is_no_field_of_a_header(tmp_path, charset):
    name = f"1 hdrcharset={charset}\n"
    received = fetch(archive((f"results/{name}", "x"), ("results/ü", "y")), tmp_path)
    assert [file.path for file in received.files] == [decoded_name(name), "ü"]


def test_hard_link_chain_counts_towards_the_limit(tmp_path):
    data = archive(("results/a", "x" * 600), ("results/b", tarfile.LNKTYPE, "results/a"))
    received = fetch(data, tmp_path, max_bytes=1000)
    assert [file.path for file in received.files] == ["a"]
    assert [name for name, _ in received.skipped] == ["b"]


def test_second_file_of_one_name_is_skipped(tmp_path):
    received = fetch(archive(("results/a", "first"), ("results/a", "second")), tmp_path)
    assert (tmp_path / "a").read_text() == "first"
    assert len(received.skipped) == 1


def test_file_below_a_file_is_skipped(tmp_path):
    received = fetch(archive(("results/a", "file"), ("results/a/b", "below")), tmp_path)
    assert [file.path for file in received.files] == ["a"]
    assert received.skipped[0][0] == "a/b"


def test_name_too_long_for_this_disk_and_tree_too_deep_are_skipped(tmp_path):
    deep = "/".join(["d"] * (MAX_DEPTH + 1))
    received = fetch(archive(("results/" + "n" * 300, "x"), (f"results/{deep}", "x"), ("results/ok", "x")), tmp_path)
    assert [file.path for file in received.files] == ["ok"]
    assert len(received.skipped) == 2


@pytest.mark.parametrize("cut", [700, 513, 100])
def test_torn_archive_is_an_error_and_leaves_no_half_file(tmp_path, cut):
    data = archive(("results/a", "x" * 4000))
    with pytest.raises(SandboxError, match="can't be read"):
        fetch(data[:cut], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_a_clear_error(tmp_path):
    class Full(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    extraction = Extraction(tmp_path, "/app/results", Wanted(max_bytes=99, max_files=9))
    with pytest.raises(NotReadyError, match="No space left on device"):
        extraction.file(["a"], Full(), (5, 0.0))
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_get_left_is_replaced_and_its_names_are_the_sandboxs(tmp_path):
    into = tmp_path / "results"
    fetch(archive(("results/a", "half"), ("results/.results.0a1b2c3d4e5f.part", "mine")), into)
    received = fetch(archive(("results/a", "whole"), ("results/A/b", "new"), ("results/a", "again")), into)
    assert [file.path for file in received.files] == ["a", "A/b"]
    assert received.skipped == (("a", "another file has the same name here"),)
    assert (into / "a").read_text() == "whole"
    assert (into / ".results.0a1b2c3d4e5f.part").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_packed_files_come_back_as_they_were(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"\0\xff" * 700_000)
    long_path = "/app/assets/" + "long-folder-name/" * 12 + "ü.bin"
    data = b"".join(pack([PutFile(long_path, source), PutFile("/app/x", b"y", mode=0o600)], ["/app"]))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name: member for member in tar}
        assert members["app"].mode == 0o777
        assert members["app/x"].mode == 0o600
        assert members["app/assets"].mode == 0o777
        content = tar.extractfile(long_path.lstrip("/"))
        assert content is not None
        assert content.read() == source.read_bytes()

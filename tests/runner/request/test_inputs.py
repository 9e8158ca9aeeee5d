"""Input files of `runbook run`: a zip is unpacked in the sandbox, and one that could do harm is refused beforehand."""

import hashlib
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.redaction import Redactor
from runbook_runner.core.settings import KEPT_INPUTS_BYTES
from runbook_runner.core.spec import InputFile, RunSpec
from runbook_runner.runner.request.inputs import (
    keep_inputs,
    read_inputs,
    require_unchanged,
    shown_names,
    unpacked,
    with_kept_inputs,
)

SHOW = 'cd /app/assets; find . -type f -printf "%P\\n" | sort > /app/results/out.txt; cat "$ASSETS_DIR/top.txt" || true'

Fill = Callable[[zipfile.ZipFile], object]


@pytest.fixture
def make_zip(runbook: Any) -> Callable[..., Path]:
    def make(*names: str | zipfile.ZipInfo, name: str = "given.zip", text: str = "text") -> Path:
        with zipfile.ZipFile(runbook.cwd / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in names:
                archive.writestr(member, text)
        return Path(runbook.cwd / name)

    return make


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def refused(runbook: Any, shell_runbook: Any, path: Path, *parts: str) -> None:
    ran = runbook("run", shell_runbook("true"), "--sandbox", "host", "-f", path)
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    for part in parts:
        assert part in ran.err
    assert not (runbook.cwd / ".runbook" / "trajectories").exists()


def test_zip_keeps_its_tree_and_programs_stay_programs(
    runbook: Any, shell_runbook: Any, make_zip: Any, backend: str
) -> None:
    path = make_zip("top.txt", "a/b/deep.txt", "a/empty/", "./dot.txt", special("run.sh", 0o100755))
    (runbook.cwd / "plain.csv").write_text("1,2\n")
    code = f"{SHOW}; test -x run.sh; test ! -x top.txt; echo changed > a/b/deep.txt"
    ran = runbook("run", shell_runbook(code), "--sandbox", backend, "-f", path, "-f", "plain.csv", "--json")
    assert ran.code == 0, ran.err
    found = (ran.folder / "results/out.txt").read_text().splitlines()
    assert found == ["a/b/deep.txt", "dot.txt", "plain.csv", "run.sh", "top.txt"]
    assert ran.events("tool.returned")[0]["output"].endswith("text")
    assert ran.trajectory["init_params"]["file_paths"] == ["given.zip", "plain.csv"]


def test_agent_is_told_every_name_unless_they_are_too_many(make_zip: Any) -> None:
    few = read_inputs([("few.zip", make_zip("a/1.txt", "2.txt", name="few.zip"))])
    many = read_inputs([("many.zip", make_zip(*map(str, range(150)), name="many.zip"))])
    with unpacked(few) as files:
        assert shown_names(few, files) == ("a/1.txt", "2.txt")
    with unpacked(many) as files:
        assert len(files) == 150
        assert shown_names(many, files) == ("many.zip (unpacked)",)


def test_dry_run_says_that_a_zip_is_unpacked(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    ran = runbook("run", shell_runbook("true"), "--sandbox", "host", "-f", make_zip("top.txt"), "--dry-run", "--json")
    assert ran.json["plan"][0].startswith("unpack given.zip (")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_by_a_method_without_a_bound_is_refused(runbook: Any, method: int) -> None:
    """`zipfile` unpacks all that it has read at once, whatever the zip says of the size."""
    path = runbook.cwd / "small.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", bytes(1 << 20))
    with pytest.raises(InputError, match=rf"'a' in this zip is packed by method {int(method)}, and only deflate"):
        read_inputs([("small.zip", path)])


def test_replay_unpacks_the_zip_that_was_kept(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    path = make_zip("top.txt", "a/b.txt")
    first = runbook("run", shell_runbook(SHOW), "--sandbox", "host", "-f", path, "--json")
    path.unlink()
    again = runbook("replay", first.folder, "--sandbox", "host", "--json")
    assert again.code == 0, again.err
    assert (again.folder / "results/out.txt").read_text() == "a/b.txt\ntop.txt\n"


def test_zip_that_holds_a_secret_is_not_kept(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    path = make_zip("top.txt", text="the token is canary-Zq7Xw41kD9pp")
    environ = {"SERVICE_TOKEN": "canary-Zq7Xw41kD9pp"}
    arguments = ("--sandbox", "host", "-f", path, "--secret", "SERVICE_TOKEN", "--json")
    ran = runbook("run", shell_runbook(SHOW), *arguments, env=environ)
    assert ran.code == 0, ran.err
    assert not list((ran.folder / "inputs").glob("*"))
    assert any("given.zip is not kept with the run: it holds SERVICE_TOKEN" in e["message"] for e in ran.events("log"))


def test_names_in_utf8_without_the_mark_and_with_backslashes_are_understood(
    runbook: Any, shell_runbook: Any, make_zip: Any
) -> None:
    path = make_zip("Größe.txt", "dir\\file.txt")
    body = path.read_bytes()
    path.write_bytes(body.replace(struct.pack("<HH", 20, 0x800), struct.pack("<HH", 20, 0)))
    with zipfile.ZipFile(path) as archive:
        assert "Größe.txt" not in archive.namelist()
    ran = runbook("run", shell_runbook(SHOW), "--sandbox", "host", "-f", path, "--json")
    assert ran.code == 0, ran.err
    assert (ran.folder / "results/out.txt").read_text() == "Größe.txt\ndir/file.txt\n"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../up.txt", "'../up.txt' in this zip leads out"),
        ("a/../../up.txt", "leads out"),
        ("a\\..\\..\\up.txt", "leads out"),
        ("/etc/passwd", "has an absolute path"),
        ("C:\\up.txt", "has an absolute path"),
        ("a\nb.txt", r"'a\nb.txt' in this zip has a control character"),
        ("a\x1b[2J.txt", "has a control character"),
        ("x" * 300, "has a name that is too long"),
    ],
)
def test_member_with_a_harmful_name_is_refused(
    runbook: Any, shell_runbook: Any, make_zip: Any, name: str, problem: str
) -> None:
    refused(runbook, shell_runbook, make_zip("top.txt", name), "given.zip: ", problem)


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140666])
def test_links_devices_pipes_and_sockets_are_refused(
    runbook: Any, shell_runbook: Any, make_zip: Any, mode: int
) -> None:
    refused(runbook, shell_runbook, make_zip(special("link", mode)), "'link' in this zip is a link or a device")


def test_name_that_is_not_utf8_is_refused(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    path = make_zip("Größe.txt")
    path.write_bytes(path.read_bytes().replace("Größe".encode(), b"Gr\xff\xfe\xfd\xfce"))
    refused(runbook, shell_runbook, path, "A name in this zip is not UTF-8")


def test_encrypted_zip_is_refused(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    path = make_zip("top.txt")
    body = path.read_bytes()
    path.write_bytes(body.replace(struct.pack("<HH", 20, 0), struct.pack("<HH", 20, 1)))
    refused(runbook, shell_runbook, path, "'top.txt' in this zip is encrypted")


def test_bomb_is_refused_by_its_ratio(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    refused(
        runbook, shell_runbook, make_zip("zeros", text="0" * (70 << 20)), "times its size, which real files never do"
    )


def test_zip_that_says_it_unpacks_to_too_much_is_refused(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    path = make_zip("huge", text="a few bytes")
    sizes = struct.pack("<L", len(b"a few bytes"))
    crc = struct.pack("<L", zlib.crc32(b"a few bytes"))
    body = path.read_bytes()
    at = [place for place in range(len(body)) if body.startswith(crc, place)]
    for place in at:  # checksum, packed size, size
        assert body[place + 8 : place + 12] == sizes
        body = body[: place + 8] + struct.pack("<L", 3 << 30) + body[place + 12 :]
    path.write_bytes(body)
    refused(runbook, shell_runbook, path, "unpacks to 3072 MB; 2048 MB is the limit", "Unpack it")


def test_too_many_files_are_refused(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    refused(
        runbook,
        shell_runbook,
        make_zip(*map(str, range(20_001))),
        "holds 20,001 files and folders; 20,000 is the limit",
    )


@pytest.mark.parametrize("folders", ["{}" + "/a" * 500, "a/" * 400 + "{}" + "/a" * 90], ids=["apart", "below others"])
def test_too_many_folders_are_refused_before_one_is_made(
    runbook: Any, shell_runbook: Any, make_zip: Any, folders: str
) -> None:
    path = make_zip(*(f"{folders.format(number)}/x" for number in range(1200)), text="")
    refused(runbook, shell_runbook, path, "more than 100000 files and folders")


def test_an_input_is_read_once_however_many_links_of_a_clone_lead_to_it(runbook: Any, monkeypatch: Any) -> None:
    (runbook.cwd / "large").write_bytes(b"x")
    links = [runbook.cwd / f"link{number}" for number in range(1000)]
    for link in links:
        link.symlink_to("large")
    digest = Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    assert len(read_inputs((link.name, link) for link in links)) == 1000
    digest.assert_called_once()


def test_a_list_of_members_is_counted_before_it_is_parsed(runbook: Any, shell_runbook: Any) -> None:
    """Entries of folders, which take 54 bytes each in the file and 600 as objects."""
    entry = b"PK\x01\x02" + struct.pack("<6H3I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0x10, 0) + b"folder0/"
    listed = entry * 600_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, len(listed), 4, 0)
    (runbook.cwd / "many.zip").write_bytes(b"PK\x03\x04" + listed + end)
    runbook.under = ("sh", "-c", 'ulimit -v 500000; exec "$@"', "sh")
    told = "holds 600,000 files and folders; 20,000 is the limit"
    refused(runbook, shell_runbook, runbook.cwd / "many.zip", told)


def test_a_truncated_zip_says_what_to_do(runbook: Any, shell_runbook: Any, make_zip: Any) -> None:
    path = make_zip("a.txt", "b.txt")
    path.write_bytes(path.read_bytes()[:-30])
    told = f"{path}: This zip is incomplete: its end is missing.\nCopy or download it again"
    refused(runbook, shell_runbook, path, told)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x05\x07 and no end"])
def test_broken_zip_is_refused(runbook: Any, shell_runbook: Any, content: bytes) -> None:
    (runbook.cwd / "broken.zip").write_bytes(content)
    refused(runbook, shell_runbook, runbook.cwd / "broken.zip", "broken.zip: This zip can't be read")


def test_member_that_is_damaged_ends_the_run_with_its_name(
    runbook: Any, shell_runbook: Any, make_zip: Any, backend: str
) -> None:
    path = make_zip("whole.txt", "torn.txt", text="some text that packs into a few bytes")
    body = bytearray(path.read_bytes())
    at = body.index(b"torn.txt") + len(b"torn.txt")
    body[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(body))
    ran = runbook("run", shell_runbook("true"), "--sandbox", backend, "-f", path, "--json")
    assert (ran.code, ran.json["status"]) == (2, "failed")
    assert "'torn.txt' in this zip can't be read" in ran.json["error"]


def test_members_that_would_overwrite_another_input_are_refused(
    runbook: Any, shell_runbook: Any, make_zip: Any
) -> None:
    (runbook.cwd / "top.txt").write_text("another")
    one, two = make_zip("top.txt"), make_zip("top.txt", name="second.zip")
    shell = shell_runbook("true")
    for pair in ((one, runbook.cwd / "top.txt"), (one, two)):
        ran = runbook("run", shell, "--sandbox", "host", "-f", pair[0], "-f", pair[1])
        assert ran.code == 2
        assert "Two inputs have one path, /app/assets/top.txt: top.txt in " in ran.err
    refused(runbook, shell_runbook, make_zip("a", "a/b"), "is a file where", "needs a folder")


def recorded(folder: Path, size: int, *names: str, recorded_size: int = 1) -> RunSpec:
    """A spec with inputs of this content under these names; the folder keeps it."""
    (folder / "inputs").mkdir()
    content = bytes(size)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "inputs" / digest).write_bytes(content)
    items = (InputFile(name=name, sha256=digest, size=recorded_size, source="/gone") for name in names)
    return RunSpec(title="x", collection="x", task="x", agent="shell", mission="", inputs=tuple(items))


def test_a_file_with_any_number_of_names_is_read_and_kept_once(tmp_path: Path) -> None:
    spec = recorded(tmp_path, 20 << 20, *(f"{n}.csv" for n in range(2000)))
    (tmp_path / "run").mkdir()
    started = time.process_time()
    found = with_kept_inputs(spec, tmp_path, [tmp_path])
    kept = keep_inputs(found, tmp_path / "run", Redactor({}), lambda _: None)
    require_unchanged(kept)
    assert time.process_time() - started < 5
    assert {item.source for item in kept} == {str(next((tmp_path / "run" / "inputs").iterdir()))}


def test_the_size_of_an_input_is_its_files_whatever_is_recorded(tmp_path: Path) -> None:
    found = with_kept_inputs(recorded(tmp_path, KEPT_INPUTS_BYTES + 1, "a.bin"), tmp_path, [tmp_path])
    told: list[Any] = []
    keep_inputs(found, tmp_path, Redactor({}), told.append)
    assert "a.bin is not kept with the run: it is too large" in told[0].message


@pytest.mark.parametrize("name", ["data.bin", "data.zip"])
def test_inputs_that_the_sandbox_has_no_room_for_are_refused(
    runbook: Any, shell_runbook: Any, make_zip: Any, name: str
) -> None:
    path = make_zip("a", "b", name=name, text="0" * (2 << 20))
    if name == "data.bin":
        path.write_bytes(bytes(3 << 20))
    ran = runbook("run", shell_runbook("true"), "--sandbox", "host", "-f", path, "--disk", "2M")
    assert (ran.code, "The inputs of this run take" in ran.err, "--disk" in ran.err) == (2, True, True), ran.err


def test_in_a_long_list_only_the_wrong_item_has_its_line_looked_for(runbook: Any) -> None:
    hosts = " - a\n" * 50_000
    head = f"---\nversion: 1.0.0\nagent: shell\nrunbook_runner:\n allow_hosts:\n{hosts} - no host\n---\n"
    (runbook.cwd / "RUNBOOK.md").write_text(f"{head}# n\n\n## Step 1\n\n```bash\ntrue\n```\n" + "text\n" * 600_000)
    ran = runbook("run", "--dry-run", "--sandbox", "host", ".")
    assert (ran.code, "RUNBOOK.md:50006: 'no host' is not a host." in ran.err) == (2, True), ran.err

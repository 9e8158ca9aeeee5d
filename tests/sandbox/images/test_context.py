"""The build context of a snapshot that came with a clone: regular files of its folder, and nothing else."""

import os
import socket
from pathlib import Path

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images import context
from runbook_runner.sandbox.images.context import Room
from runbook_runner.sandbox.images.snapshots import Snapshot, find_snapshot, known_snapshots


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "clone" / ".runbook" / "snapshots" / "mine"
    own.mkdir(parents=True)
    (own / "Dockerfile").write_text("FROM scratch\n")
    return own


def of_project(folder: Path) -> Snapshot:
    return Snapshot(folder.name, folder, "user")


@pytest.mark.parametrize("target", ["../../../../key", "{outside}", "sub", "absent", "../mine/Dockerfile/.."])
def test_a_link_out_of_the_folder_is_refused_by_name(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "key").write_text("KEY")
    (folder / "sub").mkdir()
    (folder / "data").symlink_to(target.format(outside=tmp_path / "key"))
    with pytest.raises(InputError, match="is a link") as caught:
        of_project(folder).files()
    assert caught.value.where == str(folder / "data")


def test_a_link_within_the_folder_and_a_hard_link_are_the_files_content(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "real").write_bytes(b"content")
    (folder / "sub" / "near").symlink_to("real")
    (folder / "far").symlink_to("sub/../sub/real")
    os.link(folder / "sub" / "real", folder / "hard")
    files = of_project(folder).files()
    assert {files[name] for name in ("sub/real", "sub/near", "far", "hard")} == {b"content"}


@pytest.mark.parametrize("path", ["pipe", "socket", "Dockerfile", ".dockerignore"])
def test_a_pipe_or_a_socket_is_refused_and_not_waited_for(folder: Path, path: str) -> None:
    (folder / path).unlink(missing_ok=True)
    if path == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            here = Path.cwd()
            os.chdir(folder)  # the path of a socket is short
            try:
                made.bind(path)
            finally:
                os.chdir(here)
    else:
        os.mkfifo(folder / path)
    with pytest.raises(InputError) as caught:
        of_project(folder).files()
    assert caught.value.where == str(folder / path)


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_a_file_of_endless_size_behind_a_link_is_not_read(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a link"):
        of_project(folder).files()
    if name == "Dockerfile":
        with pytest.raises(InputError, match="is a link"):
            _ = of_project(folder).base


def test_the_dockerfile_has_at_most_one_megabyte(folder: Path) -> None:
    (folder / "Dockerfile").write_bytes(b"#" * 1_000_001)
    with pytest.raises(InputError, match="more than 1000 kB"):
        _ = of_project(folder).base


@pytest.mark.parametrize("linked", [0, 1, 2])
def test_a_folder_behind_a_link_is_not_the_projects(folder: Path, tmp_path: Path, linked: int) -> None:
    clone = tmp_path / "clone"
    place = (folder, folder.parent, folder.parent.parent)[linked]
    moved = tmp_path / "elsewhere"
    place.rename(moved)
    place.symlink_to(moved)
    with pytest.raises(InputError, match="behind a link") as caught:
        of_project(folder).files()
    assert caught.value.where == str(place)
    assert ("mine" in known_snapshots([clone])) is (linked == 0)  # whoever names it is told why it is refused


def test_files_are_bounded_in_number_depth_and_bytes_through_links_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = folder.joinpath(*(["d"] * 60))
    deep.mkdir(parents=True)
    with pytest.raises(InputError, match="folders in each other"):
        of_project(folder).files()
    (folder / ".dockerignore").write_text("d\n")
    (folder / "data").write_bytes(bytes(600))
    (folder / "again").symlink_to("data")
    assert "again" in of_project(folder).files()
    monkeypatch.setattr(context, "MAX_FILES_BYTES", 1000)
    with pytest.raises(InputError, match="too large"):
        of_project(folder).files()
    monkeypatch.setattr(context, "MAX_FILES", 2)
    with pytest.raises(InputError, match="more than 2 files"):
        of_project(folder).files()


def test_a_name_that_is_not_utf_8_is_refused(folder: Path) -> None:
    try:
        Path(os.fsdecode(bytes(folder) + b"/\xff")).touch()
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    with pytest.raises(InputError, match="not UTF-8"):
        of_project(folder).files()


def test_what_is_ignored_is_not_looked_at(folder: Path) -> None:
    (folder / ".dockerignore").write_text("**/*.log\nout\n!out/kept\nlinks/**\n")
    for name in ("a/b/x.log", "x.log", "out/kept", "out/not", "a/b/y"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "links").mkdir()
    (folder / "links" / "home").symlink_to("/")
    assert sorted(of_project(folder).files()) == [".dockerignore", "Dockerfile", "a/b/y", "out/kept"]


@pytest.mark.timeout(20)
def test_patterns_of_a_clone_take_linear_time(folder: Path) -> None:
    (folder / ".dockerignore").write_text("\n".join(["*a" * 60 + "b", "**/" * 60 + "c"] * 15))
    (folder / ("a" * 250)).touch()
    assert "a" * 250 in of_project(folder).files()
    for much in ("x\n" * 1001, "**/*/" * 501):  # each file is matched by each of them
        (folder / ".dockerignore").write_text(much)
        with pytest.raises(InputError, match="names") as caught:
            of_project(folder).files()
        assert caught.value.where == str(folder / ".dockerignore")


@pytest.mark.timeout(60)
def test_many_patterns_for_many_deep_files_are_refused(folder: Path) -> None:
    (folder / ".dockerignore").write_text("**/*x*y\n" * 500)
    deep = folder.joinpath(*"x" * 45)
    deep.mkdir(parents=True)
    for number in range(250):
        (deep / str(number)).touch()
    with pytest.raises(InputError, match="too many names for so many files"):
        of_project(folder).files()


@pytest.mark.parametrize("room", [Room(files=5), Room(content=50), Room(compared=3)], ids=["files", "bytes", "names"])
def test_what_is_read_of_several_counts_together(folder: Path, room: Room) -> None:
    (folder / ".dockerignore").write_text("x\ny\n")
    (folder / "data").write_bytes(bytes(20))
    assert of_project(folder).files(room)
    with pytest.raises(InputError, match=r"more than|too many"):
        of_project(folder).files(room)


def test_links_of_a_package_manager_are_followed_in_built_in_snapshots(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("FROM scratch\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Dockerfile").symlink_to(tmp_path / "cache")
    assert Snapshot("own", tmp_path / "own", "built-in").files() == {"Dockerfile": b"FROM scratch\n"}


def test_a_snapshot_of_a_project_is_found(folder: Path, tmp_path: Path) -> None:
    assert find_snapshot("mine", [tmp_path / "clone"]).origin == "user"

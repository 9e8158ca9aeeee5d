"""Temporary folders: none where nothing can be written; gone in the end, whatever is in them, or they would be
in every later run's way."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runbook_runner.core.errors import SandboxError
from runbook_runner.sandbox.base import Wanted
from runbook_runner.sandbox.extract import Extraction
from runbook_runner.sandbox.local.tree import fetch
from runbook_runner.sandbox.temp_folders import MEMORY, make_folder, memory_folder, own_folders, remove_folder


@pytest.fixture
def as_nobody():
    """Files that rights count for: not those of root."""
    folder = Path(tempfile.mkdtemp())  # tests' own folders are root's alone
    folder.chmod(0o777)
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
    shutil.rmtree(folder)


def deep(folder, levels):
    """Deeper than a path can say."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_tree_of_any_depth_goes(tmp_path):
    deep(tmp_path / "tree", 2500)
    remove_folder(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    remove_folder(tmp_path / "tree")


def test_what_links_lead_to_stays(tmp_path):
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "file").write_text("gold")
    (tmp_path / "tree" / "d").mkdir(parents=True)
    for place in (tmp_path / "tree" / "link", tmp_path / "tree" / "d" / "link"):
        place.symlink_to(treasure)
    remove_folder(tmp_path / "tree")
    assert (treasure / "file").read_text() == "gold"
    (tmp_path / "tree").symlink_to(treasure)
    with pytest.raises(SandboxError, match="Can't remove the temporary folder"):
        remove_folder(tmp_path / "tree")
    assert (treasure / "file").read_text() == "gold"


def test_what_a_dying_command_still_writes_goes_too(tmp_path, eventually):
    (tmp_path / "tree" / "d").mkdir(parents=True)
    script = "i=0; while mkdir -p d && : >d/$i && : >$i; do i=$((i + 1)); done"
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path / "tree", stderr=subprocess.DEVNULL) as writer:
        eventually((tmp_path / "tree" / "9").exists)
        assert writer.poll() is None
        remove_folder(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@pytest.mark.needs("root", "linux")
@pytest.mark.parametrize("closed", ["tree", "tree/d", "tree/d/file"])
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_rights_taken_away_keep_nothing_from_coming_home_nor_from_going(as_nobody, closed, mode):
    (as_nobody / "tree" / "d").mkdir(parents=True)
    (as_nobody / "tree" / "d" / "file").write_text("made")
    (as_nobody / closed).chmod(mode)
    extraction = Extraction(as_nobody / "home", "/app/results", Wanted(max_bytes=100, max_files=10))
    fetch(as_nobody, ("tree",), extraction, "/app/results")
    assert (as_nobody / "home" / "d" / "file").read_text() == "made"
    (as_nobody / closed).chmod(mode)
    remove_folder(as_nobody / "tree")
    assert not (as_nobody / "tree").exists()


def test_a_folder_that_is_there_already_is_not_taken(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for name in ("other", "link"):
        with pytest.raises(FileExistsError):
            make_folder(tmp_path / name)
    assert own_folders(tmp_path / "link") == ()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_a_folder_is_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        assert make_folder(tmp_path / "work").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("has_memory", [True, False])
def test_copies_are_found_by_the_name_of_the_work_folder(tmp_path, monkeypatch, has_memory):
    if not has_memory:
        monkeypatch.setattr("runbook_runner.sandbox.temp_folders.MEMORY", tmp_path / "missing")
    elif not MEMORY.is_dir():
        pytest.skip(f"there is no {MEMORY}")
    work = tmp_path / f"runbook-{os.urandom(8).hex()}"
    with memory_folder(work) as copies:
        (copies / "secret").write_text("x")
        assert own_folders(work) == (copies,)
        assert copies.stat().st_mode & 0o777 == 0o700
        with memory_folder(work) as again:
            assert list(again.iterdir()) == [], "those of a process that died are gone"
    assert own_folders(work) == ()


@pytest.mark.needs("root")
def test_what_another_user_has_put_where_copies_are_kept_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("runbook_runner.sandbox.temp_folders.MEMORY", tmp_path)
    work = tmp_path / "work" / "runbook-1"
    work.parent.mkdir()
    planted = tmp_path / "runbook-1.copies"
    planted.mkdir()
    os.chown(planted, 65534, 65534)
    assert own_folders(work) == ()
    with memory_folder(work) as copies:
        assert copies.parent == work.parent
    assert planted.is_dir()


KILLED = """\
import os, pathlib, sys
import runbook_runner.sandbox.temp_folders as t

left = int(sys.argv[2])

def counted(call):
    def count(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return call(*args, **options)
    return count

os.unlink, os.rmdir, os.rename = counted(os.unlink), counted(os.rmdir), counted(os.rename)
t.remove_folder(pathlib.Path(sys.argv[1]))
"""


def test_a_removal_that_was_killed_at_any_step_is_found_and_finished(tmp_path):
    steps = 0
    while True:
        folder = make_folder(tmp_path / "runbook-1")
        for place in (folder / "work", folder / ".runbook" / "deep"):
            place.mkdir(parents=True)
            for number in range(3):
                (place / str(number)).touch()
        (folder / ".runbook" / "beside").touch()
        if subprocess.run([sys.executable, "-c", KILLED, folder, str(steps)]).returncode == 0:
            break
        (there,) = own_folders(folder)
        remove_folder(there)
        steps += 1
    assert steps > 10
    assert not list(tmp_path.iterdir())

"""What is below a folder that others may have filled: looked at without recursion, and never without an end."""

import os
from pathlib import Path

import pytest

from runbook_runner.core.disk.walk import MOST_LEVELS, files_below, walk
from runbook_runner.core.errors import InputError


def test_each_folder_comes_before_what_is_in_it_and_no_link_is_followed(tmp_path):
    for name in ("b/2", "b/1", "a", "c/x/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "d").symlink_to(tmp_path / "c")
    names = [os.path.relpath(entry.path, tmp_path) for entry in walk(tmp_path)]
    assert names == ["a", "b", "b/1", "b/2", "c", "c/x", "c/x/y", "d"]
    assert files_below(tmp_path) == [tmp_path / name for name in ("a", "b/1", "b/2", "c/x/y")]
    assert [entry.name for entry in walk(tmp_path, enters=lambda folder: folder.name == "b")] == [*"ab12cd"]


def test_no_folder_and_a_file_have_nothing_below_them(tmp_path):
    assert [*walk(tmp_path / "none")] == [*walk(Path(__file__))] == []


@pytest.mark.parametrize("more", [1, 1000])  # of the latter, a function that calls itself would see an end of its own
def test_folders_in_each_other_are_followed_to_a_limit(tmp_path, nested, more):
    nested(tmp_path / "one", MOST_LEVELS)
    assert len([*walk(tmp_path / "one")]) == MOST_LEVELS
    nested(tmp_path / "two", MOST_LEVELS + more)
    with pytest.raises(InputError, match=f"more than {MOST_LEVELS} folders in each other"):
        [*walk(tmp_path / "two")]


def test_files_are_counted_together_with_folders(tmp_path):
    (tmp_path / "a").mkdir()
    for name in "12345":
        (tmp_path / "a" / name).touch()
    assert len([*walk(tmp_path, most=6)]) == 6
    with pytest.raises(InputError, match="more than 5 files and folders in it"):
        [*walk(tmp_path, most=5)]


def test_a_folder_that_cant_be_read_is_not_an_empty_one(tmp_path):
    (tmp_path / ("a" * 255)).mkdir()
    there = os.open(tmp_path / ("a" * 255), os.O_RDONLY)
    try:
        for _ in range(17):  # so that its whole path is longer than a system call takes
            os.mkdir("b" * 255, dir_fd=there)
            there, before = os.open("b" * 255, os.O_RDONLY, dir_fd=there), there
            os.close(before)
    finally:
        os.close(there)
    with pytest.raises(InputError, match="This folder can't be read: File name too long"):
        [*walk(tmp_path)]

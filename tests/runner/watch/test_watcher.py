"""What the system tells of a save, however an editor does it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Seen:
    def __init__(self) -> None:
        self.touched: set[Path] = set()
        self.looks = 0
        self.failed: list[str] = []

    def __call__(self, touched: frozenset[Path]) -> None:
        self.touched |= touched
        self.looks += 1


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def follow(seen: Seen, eventually: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """Watches these, once it is certain that it does."""
    from runbook_runner.runner.watch.watcher import Watcher

    with Watcher(seen, seen.failed.append) as watcher:

        def start(*files: Path, trees: tuple[Path, ...] = ()) -> None:
            looks = seen.looks
            watcher.follow(files, trees)
            eventually(lambda: seen.looks > looks)
            seen.touched.clear()

        yield start


def writes(file: Path) -> Path:
    """Something else each time."""
    file.write_text(f"{os.urandom(3)!r}")
    return file


def test_a_file_is_followed_through_every_way_to_save_it(
    tmp_path: Path, seen: Seen, follow: Callable[..., None], eventually: Callable[..., Any]
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    follow(file)
    for number in range(3):
        aside = tmp_path / "aside"
        aside.write_text(f"{number}")
        aside.rename(file)
        eventually(lambda: file in seen.touched)
        seen.touched.clear()
        file.unlink()
        file.write_text("anew")
        eventually(lambda: file in seen.touched)
        seen.touched.clear()
    assert tmp_path / "aside" not in seen.touched


def test_a_folder_that_is_replaced_is_followed(
    tmp_path: Path, seen: Seen, follow: Callable[..., None], eventually: Callable[..., Any]
) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    file = folder / "a.txt"
    file.write_text("one")
    follow(file)
    shutil.rmtree(folder)
    eventually(lambda: folder in seen.touched or file in seen.touched)
    looks = seen.looks
    folder.mkdir()
    file.write_text("two")
    eventually(lambda: seen.looks > looks)
    seen.touched.clear()
    eventually(lambda: writes(file) in seen.touched, every=0.5)


def test_what_a_link_leads_to_is_followed(
    tmp_path: Path, seen: Seen, follow: Callable[..., None], eventually: Callable[..., Any]
) -> None:
    real = tmp_path / "far" / "real.txt"
    real.parent.mkdir()
    real.write_text("one")
    link = tmp_path / "near" / "link.txt"
    link.parent.mkdir()
    link.symlink_to(real)
    follow(link)
    real.write_text("two")
    eventually(lambda: real in seen.touched)


def test_all_that_is_in_a_folder_is_followed_new_folders_too(
    tmp_path: Path, seen: Seen, follow: Callable[..., None], eventually: Callable[..., Any]
) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    follow(trees=(tree,))
    (tree / "a" / "b" / "c.txt").write_text("one")
    eventually(lambda: tree / "a" / "b" / "c.txt" in seen.touched)
    new = tree / "new" / "inner"
    new.mkdir(parents=True)
    eventually(lambda: writes(new / "d.txt") in seen.touched, every=0.5)


def test_what_does_not_count_is_not_told(
    tmp_path: Path, seen: Seen, follow: Callable[..., None], eventually: Callable[..., Any]
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    follow(file)
    for number in range(50):
        (tmp_path / f"{number}.tmp").write_text("x")
    (tmp_path / ".runbook").mkdir()
    file.write_text("two")
    eventually(lambda: file in seen.touched)
    assert seen.touched == {file}

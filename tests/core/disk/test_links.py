"""Trees are copied without links, and without what would make a folder of their user a repository."""

from pathlib import Path

from runbook_runner.core.disk.links import copy_tree


def test_a_copied_tree_brings_no_repository(tmp_path: Path) -> None:
    names = ["a.txt", "b/.git/config", "b/c", "d/.Hg", "HEAD", "e/HEAD"]
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text("ref: x" if name == "HEAD" else "x")
    copy = tmp_path / "copy"
    copy.mkdir()
    copy_tree(tmp_path / "source", copy)
    assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()) == [
        "a.txt",
        "b/c",
        "e/HEAD",
    ]

"""What counts as a change of a file, and how it is shown."""

import os
from pathlib import Path

from runbook_runner.runner.watch.contents import Contents
from runbook_runner.runner.watch.parts import lines_of_change, parts_of
from runbook_runner.runner.watch.recordings import Recordings


def test_contents_count_and_not_times(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n")
    contents = Contents()
    contents.follow([file])
    os.utime(file, ns=(1, 1))
    assert contents.changes([file]) == []
    file.unlink()
    file.write_text("one\n")
    assert contents.changes([file]) == []
    file.write_text("two\n")
    (change,) = contents.changes([file])
    assert (change.kind, change.before, change.after, change.size) == ("changed", "one\n", "two\n", 4)
    assert contents.changes([file]) == []


def test_a_change_with_the_same_size_and_time_is_seen_when_the_system_tells_of_it(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    os.utime(file, ns=(1, 1))
    contents = Contents()
    contents.follow([file])
    with file.open("r+") as content:
        content.write("two")
    os.utime(file, ns=(1, 1))
    assert contents.changes([file]) == []
    (change,) = contents.changes([file], touched=[file])
    assert change.after == "two"


def test_files_come_and_go(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    contents = Contents()
    contents.follow([file])
    assert contents.changes([file]) == []
    file.write_text("one")
    assert [change.kind for change in contents.changes([file])] == ["new"]
    file.unlink()
    assert [change.kind for change in contents.changes([])] == ["gone"]
    file.mkdir()
    assert contents.changes([file]) == []


def test_a_file_that_is_skipped_is_seen_later(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    contents = Contents()
    contents.follow([file])
    file.write_text("one")
    assert contents.changes([file], skipped=[file]) == []
    assert len(contents.changes([file])) == 1


def test_what_is_private_or_no_text_is_not_kept(tmp_path: Path) -> None:
    private, binary = tmp_path / ".env", tmp_path / "a.bin"
    private.write_text("TOKEN=one")
    binary.write_bytes(b"\xff\x00")
    contents = Contents()
    contents.follow([private, binary], private=[private])
    private.write_text("TOKEN=two")
    binary.write_bytes(b"\xff\x01")
    changes = contents.changes([private, binary])
    assert [change.path for change in changes] == [private, binary]
    assert all(change.before is None and change.after is None for change in changes)
    assert [list(lines_of_change(change, 5)) for change in changes] == [[], []]


BOOK = '---\nversion: "1.0.0"\n---\n# T\n\n## Objective\n\nx\n\n## Step 1: A\n\na\n\n## Step 2: B\n\nb\n'


def test_the_touched_sections_are_named_and_secrets_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "RUNBOOK.md"
    file.write_text(BOOK)
    contents = Contents()
    contents.follow([file])
    key = "sk-ant-api03-" + "a1B2c3D4" * 10
    file.write_text(BOOK.replace("\nb\n", f"\nb {key}\nc\n").replace("1.0.0", "2.0.0"))
    (change,) = contents.changes([file])
    assert parts_of(change) == ("frontmatter", "Step 2: B")
    lines = list(lines_of_change(change, 3))
    assert lines[:3] == ['- version: "1.0.0"', '+ version: "2.0.0"', "- b"]
    assert lines[3] == "… 2 more lines"
    assert key not in "".join(lines_of_change(change, 10))
    file.write_text(BOOK.replace("## Step 1: A\n\na\n\n", "").replace("1.0.0", "2.0.0"))
    (change,) = contents.changes([file])
    assert "Step 1: A" in parts_of(change)


def test_what_a_run_would_not_open_or_not_show_is_not_shown(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    (clone / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (clone / ".git" / "objects").mkdir()
    (clone / ".git" / "refs").mkdir()
    (clone / ".env").write_text("SHOP=hunter2")
    (tmp_path / "diary.txt").write_text("of nobody else")
    files = [clone / name for name in ("a.csv", "b.csv", "c.csv", "d.csv")]
    for file in files:
        file.write_text("one")
    contents = Contents()
    contents.follow(files, [clone / ".env"])
    for file in files:
        file.unlink()
    for file, target in zip(files, (".env", "../diary.txt", "/dev/zero", ".git/HEAD"), strict=True):
        file.symlink_to(target)
    changes = contents.changes(files)
    assert [change.after for change in changes] == [None] * 4
    assert [change.kind for change in changes] == ["gone"] * 4


def test_a_script_that_has_become_a_device_is_not_read(tmp_path: Path) -> None:
    script = tmp_path / "model.yaml"
    script.write_text("- say: Done.")
    recordings = Recordings(tmp_path, (), script)
    before = recordings.scripts_now()
    script.unlink()
    script.symlink_to("/dev/zero")
    assert recordings.scripts_now() != before

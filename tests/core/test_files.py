"""Whole files or none: what is half written never has the file's name."""

import os
import stat
from pathlib import Path

import pytest

from runbook_runner.core.files import opened_atomically, rewrite, write_atomically


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_atomically(file, "é")
    write_atomically(file, b"\xff", mode=0o600)
    assert file.read_bytes() == b"\xff"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_block_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")

    def write_half() -> None:
        with opened_atomically(file) as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_half_a_file_is_hidden_beside_another_path(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with opened_atomically(tmp_path / "results" / "a", beside=tmp_path / "results"):
        (hidden,) = tmp_path.glob(".results.*.part")
        assert list((tmp_path / "results").iterdir()) == []
    assert not hidden.exists()


def test_a_name_as_long_as_may_be_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / ("é" * 127)
    write_atomically(file, "x")
    assert file.read_text() == "x"


def test_a_link_and_its_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    rewrite(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="it is not a regular file"):
        write_atomically(pipe, "text")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]

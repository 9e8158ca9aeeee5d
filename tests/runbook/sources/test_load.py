"""Where a runbook may come from on this machine."""

import subprocess
import sys

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.sources.load import load

TEXT = "---\nversion: 1.0.0\n---\n# Café\n"


def test_file_is_read_and_its_folder_known(tmp_path):
    file = tmp_path / "other.md"
    file.write_text(TEXT, encoding="utf-8")
    source = load(str(file))
    assert (source.text, source.name, source.folder) == (TEXT, str(file), tmp_path.resolve())


def test_folder_means_the_runbook_in_it(tmp_path):
    (tmp_path / "RUNBOOK.md").write_text(TEXT, encoding="utf-8")
    source = load(str(tmp_path))
    assert source.text == TEXT
    assert source.name == str(tmp_path / "RUNBOOK.md")


def test_line_ends_stay_and_the_byte_order_mark_goes(tmp_path):
    file = tmp_path / "RUNBOOK.md"
    file.write_bytes(b"\xef\xbb\xbf---\r\na: 1\r\n---\r\n")
    assert load(str(file)).text == "---\r\na: 1\r\n---\r\n"


def test_dash_means_stdin():
    code = "from runbook_runner.runbook.sources.load import load; print(ascii(load('-')))"
    done = subprocess.run([sys.executable, "-c", code], input=TEXT.encode(), capture_output=True, check=True)
    assert done.stdout.decode().strip() == f"Source(text={TEXT!a}, name='<stdin>', folder=None)"


@pytest.mark.parametrize("name", ["absent.md", "absent/RUNBOOK.md", "x" * 5000, "a\0b"])
def test_missing_file_is_said_with_what_may_be_given(tmp_path, name):
    with pytest.raises(InputError, match="folder that holds one"):
        load(str(tmp_path / name))


def test_folder_without_a_runbook_is_said(tmp_path):
    with pytest.raises(InputError, match=r"This folder holds no RUNBOOK\.md"):
        load(str(tmp_path))


def test_dangling_link_and_odd_files_are_refused(tmp_path):
    (tmp_path / "link.md").symlink_to("nowhere")
    with pytest.raises(InputError, match="can't be read"):
        load(str(tmp_path / "link.md"))
    (tmp_path / "RUNBOOK.md").mkdir()
    with pytest.raises(InputError, match="can't be read"):
        load(str(tmp_path))


def test_text_in_another_encoding_is_refused_with_its_line(tmp_path):
    file = tmp_path / "RUNBOOK.md"
    file.write_bytes(b"---\na: 1\n---\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"RUNBOOK\.md:4: This is not UTF-8 text"):
        load(str(file))


def test_binary_file_is_refused(tmp_path):
    file = tmp_path / "RUNBOOK.md"
    file.write_bytes(b"---\na: \0\n---\n")
    with pytest.raises(InputError, match=r"RUNBOOK\.md:2: There is a NUL byte"):
        load(str(file))


def test_more_than_five_megabytes_are_refused_without_reading_them_all(tmp_path):
    file = tmp_path / "RUNBOOK.md"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(InputError, match="more than 5 MB"):
        load(str(file))

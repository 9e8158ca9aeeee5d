"""The user's data folder: made for this user alone; one that others could have prepared is refused."""

import os
from pathlib import Path

import pytest

from runbook_runner.core.disk.private import private_folder
from runbook_runner.core.errors import NotReadyError


@pytest.fixture(params=[0o000, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_it_is_made_for_this_user_alone_whatever_the_umask(tmp_path, umask):
    made = private_folder(tmp_path / "a" / "data", "runs")
    assert made == tmp_path / "a" / "data" / "runs"
    assert [folder.stat().st_mode & 0o777 for folder in (made, made.parent)] == [0o700, 0o700]
    assert private_folder(tmp_path / "a" / "data", "runs") == made


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("names", [(), ("runs",)])
def test_one_that_others_may_write_to_is_refused_with_the_command_that_helps(tmp_path, mode, names):
    folder = private_folder(tmp_path / "data", *names)
    folder.chmod(mode)
    with pytest.raises(NotReadyError, match="can be written to by other users") as caught:
        private_folder(tmp_path / "data", *names)
    assert f"chmod go-w {folder}" in str(caught.value)


def test_a_folder_below_it_that_others_may_enter_came_from_elsewhere(tmp_path):
    private_folder(tmp_path / "data", "runs").chmod(0o755)
    with pytest.raises(NotReadyError, match="runs is open to other users") as caught:
        private_folder(tmp_path / "data", "runs")
    assert f"chmod 700 {tmp_path / 'data' / 'runs'}" in str(caught.value)


def test_a_file_and_a_link_in_its_place_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotReadyError, match="is not a folder"):
        private_folder(tmp_path / "file")
    data = private_folder(tmp_path / "data")
    (data / "runs").symlink_to(tmp_path)
    with pytest.raises(NotReadyError, match="runs is a link"):
        private_folder(data, "runs")


def test_a_link_of_the_users_own_leads_to_it(tmp_path):
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert private_folder(tmp_path / "data", "runs") == tmp_path / "disk" / "runs"


@pytest.mark.needs("root")
def test_another_users_folder_and_a_link_of_theirs_are_refused(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(NotReadyError, match="theirs belongs to another user"):
        private_folder(tmp_path / "theirs")
    (tmp_path / "link").symlink_to(tmp_path)
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    with pytest.raises(NotReadyError, match="link is a link of another user"):
        private_folder(tmp_path / "link" / "data")
    assert not Path(tmp_path, "data").exists()


def test_a_place_where_no_folder_can_be_made_says_so():
    with pytest.raises(NotReadyError, match="The data folder can't be used"):
        private_folder(Path("/dev/null/data"))

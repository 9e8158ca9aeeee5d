"""Which platform is asked, and which token it gets."""

from pathlib import Path

import pytest

from runbook_runner.client.access import find_access
from runbook_runner.client.addresses import HOSTED_API
from runbook_runner.core.errors import InputError


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JETTY_API_URL", raising=False)
    monkeypatch.delenv("JETTY_API_TOKEN", raising=False)
    folder = tmp_path / ".config/jetty"
    folder.mkdir(parents=True)
    return folder


def test_the_option_wins_over_the_variable_and_that_over_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_access(None).api == HOSTED_API
    (config / "api_base").write_text("https://kept.example.org/\n")
    assert find_access(None).api == "https://kept.example.org"
    monkeypatch.setenv("JETTY_API_URL", "https://set.example.org/api/v1")
    assert find_access(None).api == "https://set.example.org"
    assert find_access("http://127.0.0.1:8000").api == "http://127.0.0.1:8000"


def test_the_token_of_the_variable_wins_over_the_files_and_is_not_shown(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_access(None).token is None
    (config / "token").write_text("mlc_kept\n")
    assert find_access(None).token == "mlc_kept"
    monkeypatch.setenv("JETTY_API_TOKEN", "mlc_set")
    access = find_access(None)
    assert access.token == "mlc_set"
    assert "mlc_set" not in repr(access)


@pytest.mark.parametrize(
    "api",
    [
        "http://example.org",
        "http://127.0.0.1.example.org",
        "https://me:secret@example.org",
        "https://example.org/?key=secret",
        "example.org",
        "http://[::1",
        "https://example.org/a b",
    ],
)
def test_an_api_that_can_not_be_or_is_asked_in_the_open_is_refused(api: str) -> None:
    with pytest.raises(InputError) as caught:
        find_access(api)
    assert "secret" not in str(caught.value)


def test_a_token_of_two_lines_is_refused_without_being_shown(config: Path) -> None:
    (config / "token").write_text("mlc_kept\nEvil: header")
    with pytest.raises(InputError) as caught:
        find_access(None)
    assert "mlc_kept" not in str(caught.value)
    assert str(config / "token") in str(caught.value)


def test_a_home_that_is_relative_is_none(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config / "token").write_text("mlc_kept")
    monkeypatch.chdir(config.parent.parent)
    monkeypatch.setenv("HOME", ".")
    assert find_access(None).token is None

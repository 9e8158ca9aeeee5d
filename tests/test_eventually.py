"""`eventually`, the one way in which tests wait."""

import pytest


def test_first_true_value_is_returned(eventually):
    values = iter([0, "", [], "there", "later"])
    assert eventually(lambda: next(values)) == "there"


def test_exception_means_not_yet(eventually, tmp_path):
    def read_late():
        text = (tmp_path / "file").read_text() if (tmp_path / "file").exists() else None
        (tmp_path / "file").write_text("written")
        assert text is not None
        return text

    assert eventually(read_late) == "written"


def test_failure_says_what_was_waited_for_and_its_last_value(eventually, tmp_path):
    with pytest.raises(pytest.fail.Exception, match=r"(?s)within 0\.1 s: .*list\(tmp_path\.iterdir.*last value: \[\]"):
        eventually(lambda: list(tmp_path.iterdir()), within=0.1)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)read_text.*FileNotFoundError"):
        eventually(lambda: (tmp_path / "none").read_text(), within=0.1)


def test_condition_that_fails_the_test_ends_the_waiting(eventually):
    def process_died():
        pytest.fail("the process is dead")

    with pytest.raises(pytest.fail.Exception, match="the process is dead"):
        eventually(process_died)

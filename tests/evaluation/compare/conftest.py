"""What the tests of comparing files share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.evaluation.compare.folders import compare_folders
from runbook_runner.evaluation.compare.rule import Rule


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., list[str]]:
    """Compares two files of this name by a rule, or by none, and returns the messages."""

    def compare(name: str, expected: str | bytes, found: str | bytes, *, clean: Any = str, **rule: Any) -> list[str]:
        for folder, content in (("expected", expected), ("found", found)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        rules = [Rule("**", **rule)] if rule else []
        differences = compare_folders(tmp_path / "expected", tmp_path / "found", rules, clean=clean)
        (tmp_path / "expected" / name).unlink()
        assert {difference.path for difference in differences} <= {name}
        return [difference.message for difference in differences]

    return compare

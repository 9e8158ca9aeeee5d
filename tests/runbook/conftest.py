from collections.abc import Callable
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
MINIMAL = "---\nversion: 1.0.0\n---\n"


@pytest.fixture
def corpus() -> Callable[[str], str]:
    """Text of one of the runbooks in `corpus/`."""
    return lambda name: (CORPUS / f"{name}.md").read_text(encoding="utf-8")


@pytest.fixture
def with_body() -> Callable[[str], str]:
    """A runbook with the smallest frontmatter (three lines) and this body."""
    return lambda body: MINIMAL + body

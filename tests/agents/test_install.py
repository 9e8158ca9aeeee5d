"""What installs a CLI on an image: the same Node and uv as in our own snapshot."""

import re
from pathlib import Path

from runbook_runner.agents.install import NODE_VERSION, UV_VERSION

SNAPSHOT = Path(__file__).parents[2] / "snapshots" / "python312-uv" / "Dockerfile"


def test_a_foreign_image_gets_the_versions_of_our_snapshot() -> None:
    pinned = dict(re.findall(r"^ARG (\w+)_VERSION=(\S+)$", SNAPSHOT.read_text(), re.MULTILINE))
    assert pinned == {"NODE": NODE_VERSION, "UV": UV_VERSION}

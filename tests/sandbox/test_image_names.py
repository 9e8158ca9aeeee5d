"""An image is the one that was asked for only when it has that very name."""

from typing import Any

import pytest

from runbook_runner.sandbox.image_names import full_name, is_image_name, is_named

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("acme/tools:1", "docker.io/acme/tools:1"),
        ("docker.io/debian:12", "docker.io/library/debian:12"),
        ("index.docker.io/acme/tools", "docker.io/acme/tools:latest"),
        ("localhost/tools", "localhost/tools:latest"),
        ("localhost:5000/tools:1", "localhost:5000/tools:1"),
        ("ghcr.io/acme/tools", "ghcr.io/acme/tools:latest"),
        ("123/tools", "docker.io/123/tools:latest"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
    ],
)
def test_a_name_in_full_has_its_registry_and_a_tag(name: str, full: str) -> None:
    assert is_image_name(name)
    assert full_name(name) == full
    assert full_name(full) == full


@pytest.mark.parametrize(
    "name", ["", ".", "..", "x/..", "../info", "-1", "Debian", "a b", "a/json?x", "a//b", "é", "dir:1/a"]
)
def test_what_an_engine_would_read_as_another_address_is_not_a_name(name: str) -> None:
    assert not is_image_name(name)


@pytest.mark.parametrize(
    ("name", "found", "named"),
    [
        ("docker.io/library/debian:12", {"RepoTags": ["ghcr.io/debian:12", "debian:12"]}, True),
        ("docker.io/library/debian:12", {"RepoTags": ["ghcr.io/library/debian:12"]}, False),
        ("docker.io/library/debian:12", {"RepoTags": None}, False),
        (f"docker.io/library/debian@{DIGEST}", {"RepoDigests": [f"debian@{DIGEST}"]}, True),
        (f"docker.io/library/debian@{DIGEST}", {"RepoTags": ["debian:12"]}, False),
        (DIGEST, {"Id": DIGEST}, True),
        (DIGEST[7:19], {"Id": DIGEST}, True),
        (DIGEST[7:19], {"Id": f"sha256:{'b' * 64}"}, False),
        ("docker.io/library/aaa:latest", {"Id": DIGEST}, False),
    ],
)
def test_an_image_has_a_name_only_as_a_whole(name: str, found: dict[str, Any], named: bool) -> None:
    assert is_named(found, name) is named

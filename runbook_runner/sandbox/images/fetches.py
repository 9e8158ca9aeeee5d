"""Docker sandbox: which images a Dockerfile names, and what the engine itself would fetch or read for it, which no
network of the build's containers holds back. A project's Dockerfile may have none of that: with a narrowed network
nothing that fetches, on Podman no file of the engine's machine. One reader for all: what it can't read as every engine
does is refused."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runbook_runner.core.errors import InputError, NotReadyError
from runbook_runner.sandbox.image_names import TRANSPORTS, is_image_name

_CONTINUED: Final = re.compile(r"\\[ \t]*$")
_ESCAPE: Final = re.compile(r"^[ \t]*+#\s*escape\s*=", re.IGNORECASE | re.MULTILINE)
_ONBUILD: Final = re.compile(r"^(?:ONBUILD\s+)+", re.IGNORECASE)
_FROM: Final = re.compile(r"(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?\s*", re.IGNORECASE)
_STAGE: Final = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII | re.IGNORECASE)  # Docker takes no others, Podman does
# One variable a line and none of the engine's quoting, which is not that of any shell.
_ARG: Final = re.compile(r"(?P<name>[a-z_]\w*)(?:=(?P<quote>[\"']?)(?P<default>[^\s\"'\\]*)(?P=quote))?", re.A | re.I)
_VARIABLE: Final = re.compile(r"\$(?:\{([a-z_]\w*)\}|([a-z_]\w*))", re.ASCII | re.IGNORECASE)
_LONGEST_VALUE: Final = 500  # no image has a longer name, and a long value that is named often would fill the memory
_SET_BY_ENGINES: Final = ("TARGET", "BUILD")  # ARG TARGETARCH: Podman's value, not the one of the Dockerfile
_MOST_STAGES: Final = 1000
_COPIED: Final = re.compile(r"--from=(\S+)", re.IGNORECASE)
_PLATFORM: Final = re.compile(r"^--platform=[\w/]+\s+", re.ASCII)
_UNCLEAR_FROM: Final = re.compile(r"--from(?!=)", re.IGNORECASE)
_FETCHED: Final = re.compile(r"://|git@|\$|\.git\b|\\", re.IGNORECASE)
_WITH_HEREDOCS: Final = (
    "RUN",
    "COPY",
    "ADD",
    "ONBUILD",
)  # some engines know them: their lines are no instructions, nor continued
_QUOTES: Final = re.compile(r"[\"']")  # the engine drops them, also within a word
# To the engine a space, or the end of a line, or not: not as to us.
_UNUSUAL: Final = re.compile(r"[^\S \t\r\n]|[\x00-\x08\x0e-\x1f]|\r(?!\n)|\\\\(?=[ \t]*\r?$)", re.MULTILINE)
_SHOWN: Final = 100  # characters of an instruction, and of a name


def read_dockerfile_text(dockerfile: bytes, where: str) -> str:
    """Raises InputError for what is not UTF-8: single bytes are blanks to some engines."""
    try:
        return dockerfile.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = dockerfile.count(b"\n", 0, error.start) + 1
        raise InputError("The Dockerfile is not UTF-8 text.", where=f"{where}:{line}") from error


def images_of(text: str, arguments: Mapping[str, str], where: str) -> set[str]:
    """Returns the images that a Dockerfile names. arguments: of the build. Raises NotReadyError when that can't be
    said."""
    try:
        return {image for _, _, images in _read(text, arguments) for image in images}
    except _RefusedError as error:
        raise NotReadyError(
            f"Which images this Dockerfile names can't be told: {error}.",
            where=where,
            hint="Name images as REPOSITORY[:TAG], or by a variable with a plain `ARG NAME=VALUE` before the FROM.",
        ) from error


def _is_long(values: Iterable[str]) -> bool:
    return sum(map(len, values)) > _LONGEST_VALUE


class _RefusedError(Exception):
    def __init__(self, instruction: str, why: str):
        super().__init__(f"`{instruction[:_SHOWN]}` {why}")


def refuse_fetches(text: str, arguments: Mapping[str, str], has: Callable[[str], bool], where: str) -> None:
    """arguments: of the build. has: whether the engine has an image. Raises NotReadyError for the first instruction of
    a Dockerfile that fetches, or of which that can't be said."""
    try:
        for word, rest, images in _read(text, arguments):
            _refuse_hidden(word, rest)
            if missing := [image for image in images if not has(image)]:
                raise _RefusedError(f"{word} {rest}", f"needs the image {missing[0]}, which the engine does not have")
            if word == "FROM" and _PLATFORM.match(rest):
                raise _RefusedError(f"FROM {rest}", "may need the image of another platform")
            if word == "ADD" and _FETCHED.search(_QUOTES.sub("", rest)):
                raise _RefusedError(f"ADD {rest}", "fetches from an address")
    except _RefusedError as error:
        raise NotReadyError(
            f"The run's network is narrowed, and the build may fetch nothing: {error}.",
            where=where,
            hint="Build it first with `runbook snapshots build`, which has a network, or use --network full.",
        ) from error


def refuse_host_files(text: str, arguments: Mapping[str, str], where: str) -> None:
    """For Podman, which mounts and reads files of its machine for a build. arguments: of the build. Raises
    NotReadyError for the first instruction of a Dockerfile that may have one, or of which that can't be said."""
    try:
        for word, rest, _ in _read(text, arguments):
            _refuse_hidden(word, rest)
            if word == "VOLUME":
                raise _RefusedError(f"VOLUME {rest}", "mounts what a link there leads to")
    except _RefusedError as error:
        raise NotReadyError(
            f"Podman could read or change files of its machine for this build: {error}.",
            where=where,
            hint="Name images as REPOSITORY[:TAG], and use no options of RUN.",
        ) from error


@dataclass
class _Values:
    """Of the variables that a FROM may have: those of each ARG before the first stage."""

    arguments: Mapping[str, str]
    found: dict[str, str | None] = field(default_factory=dict)
    """`None` for a value that engines do not agree about."""
    are_clear: bool = True

    def add(self, rest: str) -> None:
        """rest: of an ARG."""
        match = _ARG.fullmatch(rest)
        if match is None:
            self.are_clear = False
            return
        name = match["name"]
        agreed = name not in self.found and not name.startswith(_SET_BY_ENGINES)
        self.found[name] = self.arguments.get(name, match["default"]) if agreed else None

    def get(self, name: str) -> tuple[str | None, str]:
        """Returns a value, or `None` and why there is none."""
        if not self.are_clear:
            return None, "stands after an ARG that can't be read here: write one `ARG NAME=VALUE` a line"
        return self.found.get(name), "needs one ARG of its own before it that gives {} a value"


@dataclass
class _Earlier:
    """The stages before the one that is read."""

    numbers: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    lowered: set[str] = field(default_factory=set)

    def add(self, name: str) -> None:
        """name: empty for a stage without one."""
        self.numbers.add(str(len(self.numbers)))
        if name:
            self.names.add(name)
            self.lowered.add(name.lower())


def _refuse_hidden(word: str, rest: str) -> None:
    """Raises _RefusedError for an instruction that may have files or images that its words don't say."""
    if word == "ONBUILD":
        raise _RefusedError(f"{word} {rest}", "is for other builds, which do not see it")
    if word == "RUN" and rest.startswith("--"):
        raise _RefusedError(f"RUN {rest}", "has an option, which may mount files or have another network")


def _read(text: str, arguments: Mapping[str, str]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yields each instruction's word, the rest of it, and the images that it names. Raises _RefusedError for one that
    engines read differently."""
    if _ESCAPE.search(text):
        raise _RefusedError("# escape=", "can't be read here")
    if found := _UNUSUAL.search(text):
        raise _RefusedError(repr(found[0]), "can't be read here")
    values, earlier, stage = _Values(arguments), _Earlier(), None
    for word, rest in map(_instruction, _whole_lines(text)):
        images: Sequence[str] = ()
        if not word.isascii():  # to engines, ONBUİLD is ONBUILD
            raise _RefusedError(f"{word} {rest}", "can't be read here")
        if "<<" in rest and word in _WITH_HEREDOCS:
            raise _RefusedError(f"{word} {rest}", "may have a here-document (`<<`), which can't be read here")
        if word == "ARG" and stage is None:
            values.add(rest)
        elif word == "FROM":
            if stage is not None:
                earlier.add(stage)
            if len(earlier.numbers) == _MOST_STAGES:
                raise _RefusedError(f"FROM {rest}", f"begins more than {_MOST_STAGES} stages")
            images, stage = _from(_PLATFORM.sub("", rest), values, earlier)
        elif word in ("COPY", "ONBUILD"):
            images = _copied_from(word, rest, earlier)
        yield word, rest, images


def _from(rest: str, values: _Values, earlier: _Earlier) -> tuple[Sequence[str], str]:
    """Returns the image, none for a stage, and the name of this stage; empty when it has none."""

    def value(match: re.Match[str]) -> str:
        found, why = values.get(match[1] or match[2])
        if found is None:
            raise _RefusedError(f"FROM {rest}", why.format(match[0]))
        return found

    if _is_long(map(value, _VARIABLE.finditer(rest))):
        raise _RefusedError(f"FROM {rest}", "is too long")
    match = _FROM.fullmatch(_VARIABLE.sub(value, rest))
    if match is None:
        raise _RefusedError(f"FROM {rest}", "can't be read here")
    images = _images((match["image"],), earlier, f"FROM {rest}")
    stage = match["stage"] or ""
    if stage and not _STAGE.fullmatch(stage):
        raise _RefusedError(f"FROM {rest}", "has a stage whose name may be an image's")
    if _in_another_case(stage, earlier):
        raise _RefusedError(f"FROM {rest}", "names a stage that only differs in case from another")
    return images, stage


def _copied_from(word: str, rest: str, earlier: _Earlier) -> Sequence[str]:
    """Also for the COPY in an ONBUILD."""
    plain, instruction = _QUOTES.sub("", rest.replace("\\", "")), f"{word} {rest[:_SHOWN]}"
    if word == "ONBUILD":
        inner, plain = _instruction(_ONBUILD.sub("", plain))
        if inner != "COPY":
            return ()
    if any(map(_is_unclear_flag, plain.split())):
        raise _RefusedError(instruction, "has a flag that can't be read here")
    return _images((image for image in _COPIED.findall(plain) if image not in earlier.numbers), earlier, instruction)


def _images(names: Iterable[str], earlier: _Earlier, instruction: str) -> Sequence[str]:
    """Returns those that are no stages."""
    images = [name for name in names if name != "scratch" and name not in earlier.names]
    for image in images:
        shown = image[:_SHOWN]
        if _in_another_case(image, earlier):
            raise _RefusedError(instruction, f"names the stage {shown} in another case")
        if not is_image_name(image) or image.partition(":")[0] in TRANSPORTS:
            raise _RefusedError(instruction, f"names {shown}, which is not the name of an image")
    return images


def _in_another_case(name: str, earlier: _Earlier) -> bool:
    """To Docker it is the same stage, to Podman another, or an image."""
    return name not in earlier.names and name.lower() in earlier.lowered


def _instruction(line: str) -> tuple[str, str]:
    """Returns its word, in capital letters, and the rest; both empty when it has none."""
    word, *rest = line.split(None, 1) or [""]
    return (word.upper(), rest[0].strip()) if rest else ("", "")


def _whole_lines(text: str) -> Iterator[str]:
    """Yields the lines that the engine reads as one; also the last, when the file ends within it."""
    whole = ""
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        if line.strip().startswith("#") or (whole and not line.strip()):
            continue
        whole += _CONTINUED.sub("", line)
        if not _CONTINUED.search(line):
            yield whole
            whole = ""
    yield whole


def _is_unclear_flag(word: str) -> bool:
    return word.startswith("--") and ("$" in word.partition("=")[0] or bool(_UNCLEAR_FROM.match(word)))

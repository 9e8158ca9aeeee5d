"""Docker sandbox: which images a Dockerfile names, and what else the engine itself would fetch for it, which no network
of the build's containers holds back. With a narrowed network a project's Dockerfile may have none of it, nor anything
that engines read differently."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from runbook_runner.core.errors import NotReadyError

_CONTINUED: Final = re.compile(r"\\[ \t]*$")
_ESCAPE: Final = re.compile(r"^[ \t]*+#\s*escape\s*=", re.IGNORECASE | re.MULTILINE)
_FROM: Final = re.compile(r"(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?\s*", re.IGNORECASE)
_STAGE: Final = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII | re.IGNORECASE)  # Docker takes no others, Podman does
# One variable a line and none of the engine's quoting, which is not that of any shell.
_ARG: Final = re.compile(r"(?P<name>[a-z_]\w*)(?:=(?P<quote>[\"']?)(?P<default>[^\s\"'\\]*)(?P=quote))?", re.A | re.I)
_VARIABLE: Final = re.compile(r"\$(?:\{([a-z_]\w*)\}|([a-z_]\w*))", re.ASCII | re.IGNORECASE)
_LONGEST_VALUE: Final = 500  # no image has a longer name, and a long value that is named often would fill the memory
_SET_BY_ENGINES: Final = ("TARGET", "BUILD")  # ARG TARGETARCH: Podman's value, not the one of the Dockerfile
_MOST_STAGES: Final = 1000
_COPIED: Final = re.compile(r"--from=(\S+)", re.IGNORECASE)
_FLAGS: Final = re.compile(r"^(?:--\S+\s+)*")
_UNCLEAR_FROM: Final = re.compile(r"--from(?!=)", re.IGNORECASE)
_RUN_OPTIONS: Final = re.compile(r"(?:--[^\s\"'\\$]+\s+)*")  # without what the engine could read otherwise
_MOUNT: Final = re.compile(r"--mount=(\S+)")
_MOUNTED: Final = re.compile(r"\bfrom=([^\s,]+)")
_OTHER_NETWORK: Final = re.compile(r"--network(?!=none\s)")
_FETCHED: Final = re.compile(r"://|git@|\$|\.git\b|\\", re.IGNORECASE)
_WITH_HEREDOCS: Final = ("RUN", "COPY", "ADD")  # some engines know them: their lines are no instructions, nor continued
_QUOTES: Final = re.compile(r"[\"']")  # the engine drops them, also within a word
# To the engine a space, or the end of a line, or not: not as to us.
_UNUSUAL: Final = re.compile(r"[^\S \t\r\n]|[\x00-\x08\x0e-\x1f]|\r(?!\n)|\\\\(?=[ \t]*\r?$)", re.MULTILINE)


def images_of(dockerfile: bytes, arguments: Mapping[str, str]) -> set[str]:
    """Returns the images that it names, `scratch` among them, as far as that can be said. arguments: of the build."""
    values: dict[str, str] = {}
    stages, images = set[str](), set[str]()
    for word, rest in _instructions(dockerfile.decode("utf-8-sig", "replace")):
        if word == "ARG" and not images:
            found = [match for part in rest.split() if (match := _ARG.fullmatch(part))]
            given = {match["name"]: arguments.get(match["name"], match["default"] or "") for match in found}
            values |= {name: value for name, value in given.items() if len(value) <= _LONGEST_VALUE}
        elif word == "FROM":
            image, *stage = _FLAGS.sub("", _filled(rest, values)).split() or [""]
            images |= {image} - stages
            stages |= set(stage[1:])
        elif word == "COPY":
            images |= {*_COPIED.findall(rest)} - stages
        elif word == "RUN":
            images |= {*_MOUNTED.findall(" ".join(_MOUNT.findall(rest)))} - stages
    return {image for image in images if not image.isdecimal() and "$" not in image}


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Variables without a value are left."""
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), text)


def refuse_fetches(dockerfile: bytes, arguments: Mapping[str, str], has: Callable[[str], bool], where: str) -> None:
    """arguments: of the build. has: whether the engine has an image. Raises NotReadyError for the first instruction
    that fetches, or of which that can't be said."""
    text = dockerfile.decode("utf-8-sig", "replace")
    if _ESCAPE.search(text):
        raise _refused("# escape=", "can't be read here", where)
    if found := _UNUSUAL.search(text):
        raise _refused(repr(found[0]), "can't be read here", where)
    values: dict[str, str | None] = {}
    stages: list[str] = []
    for word, rest in _instructions(text):
        if not word.isascii() or ("<<" in rest and word in _WITH_HEREDOCS):  # to engines, ONBUİLD is ONBUILD
            raise _refused(f"{word} {rest}", "can't be read here", where)
        if word == "ARG" and not stages:
            name, value = _argument(rest, arguments, where)
            values[name] = None if name in values else value
        elif word == "FROM":
            if len(stages) == _MOST_STAGES:
                raise _refused(f"FROM {rest}", f"begins more than {_MOST_STAGES} stages", where)
            stages.append(_from(rest, values, stages, has, where))
        elif word == "COPY":
            plain = _QUOTES.sub("", rest.replace("\\", ""))
            if any(map(_is_unclear_flag, plain.split())):
                raise _refused(f"COPY {rest}", "has a flag that can't be read here", where)
            for image in _COPIED.findall(plain):
                if not _is_stage(image, stages[:-1]):  # of itself a stage can have nothing
                    _require(image, stages[:-1], has, f"COPY {rest}", where)
        elif word == "ADD" and _FETCHED.search(_QUOTES.sub("", rest)):
            raise _refused(f"ADD {rest}", "fetches from an address", where)
        elif word == "RUN" and (may := _option(rest)):
            raise _refused(f"RUN {rest}", may, where)


def _argument(rest: str, arguments: Mapping[str, str], where: str) -> tuple[str, str | None]:
    """Returns what an ARG before the first stage sets: those after it are not for FROM. `None` for a value that engines
    do not agree about."""
    match = _ARG.fullmatch(rest)
    if match is None:
        raise _refused(f"ARG {rest}", "can't be read here: write one `ARG NAME=VALUE` a line", where)
    name = match["name"]
    return name, None if name.startswith(_SET_BY_ENGINES) else arguments.get(name, match["default"])


def _from(
    rest: str, values: Mapping[str, str | None], stages: list[str], has: Callable[[str], bool], where: str
) -> str:
    """Returns the name of the stage; empty when it has none."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1] or match[2])
        if found is None or len(found) > _LONGEST_VALUE:
            raise _refused(f"FROM {rest}", f"needs one ARG of its own before it that gives {match[0]} a value", where)
        return found

    match = _FROM.fullmatch(_VARIABLE.sub(value, rest))
    if match is None:
        raise _refused(f"FROM {rest}", "can't be read here", where)
    _require(match["image"], stages, has, f"FROM {rest}", where)
    stage = match["stage"] or ""
    if stage and not _STAGE.fullmatch(stage):
        raise _refused(f"FROM {rest}", "has a stage whose name may be an image's", where)
    if _in_another_case(stage, stages):
        raise _refused(f"FROM {rest}", "names a stage that only differs in case from another", where)
    return stage


def _require(image: str, stages: list[str], has: Callable[[str], bool], instruction: str, where: str) -> None:
    if image == "scratch" or (image and image in stages):
        return
    if _in_another_case(image, stages):
        raise _refused(instruction, f"names the stage {image} in another case", where)
    if "$" in image or not has(image):
        raise _refused(instruction, f"needs the image {image}, which the engine does not have", where)


def _in_another_case(name: str, stages: list[str]) -> bool:
    """To Docker it is the same stage, to Podman another, or an image."""
    return name not in stages and name.lower() in map(str.lower, stages)


def _option(rest: str) -> str | None:
    """What an option of RUN may do that only Podman knows: `--mount=…,from=IMAGE` or `--network=host`; else `None`."""
    read = _RUN_OPTIONS.match(rest)
    options = read[0] if read else ""
    if "from=" in options or rest.startswith("--", len(options)):
        return "may mount an image"
    return "may have another network" if _OTHER_NETWORK.search(options) else None


def _is_stage(number: str, stages: list[str]) -> bool:
    """Whether it is the number of a stage. A larger one than the engine can read is to it the name of an image."""
    return number in map(str, range(len(stages)))


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    for line in _whole_lines(text):
        words = line.split(None, 1)
        while len(words) == 2 and words[0].upper() == "ONBUILD":
            words = words[1].split(None, 1)
        if len(words) == 2:
            yield words[0].upper(), words[1].strip()


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


def _refused(instruction: str, why: str, where: str) -> NotReadyError:
    return NotReadyError(
        f"The run's network is narrowed, and the build may fetch nothing: `{instruction[:100]}` {why}.",
        where=where,
        hint="Build it first with `runbook snapshots build`, which has a network, or use --network full.",
    )


def _is_unclear_flag(word: str) -> bool:
    return word.startswith("--") and ("$" in word or bool(_UNCLEAR_FROM.match(word)))

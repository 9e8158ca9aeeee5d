"""Evaluation, compare: the parts of an Office Open XML file (ECMA-376, part 2). Readers find a part by its content
type, by the relation that leads to it or by its usual name: a part is read where all of them find the same one."""

import os
import posixpath
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, BinaryIO, Final, NamedTuple
from xml.etree.ElementTree import Element, iterparse
from xml.parsers import expat

from runbook_runner.evaluation.compare.rule import UnreadableError

_NAMESPACE: Final = "{http://schemas.openxmlformats.org/package/2006/"
_HEAD: Final = struct.Struct("<4s5H3I2H")
"""What stands before each entry of a zip file."""
_END: Final = struct.Struct("<4s4H2LH")
"""What stands at the end of one without a comment."""
_STREAMED: Final = 8
"""The flag of an entry whose sizes stand behind it."""
_MOST_BEHIND: Final = 24
"""Bytes of these sizes."""
_UNKNOWN: Final = 0xFFFFFFFF


class Relation(NamedTuple):
    kind: str
    """The last word of its type, in lower case."""
    part: str


class Package:
    """Raises UnreadableError, here and in each method, for what is read in several ways."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file)
        _require_one_reading(file, self._zip)
        self._names = frozenset(self._zip.namelist())
        self._types = _types_of(self.read("[Content_Types].xml"))

    def read(self, name: str, each: str = "", take: Callable[[Element], object] = id) -> Element:
        """The root of a part. each: a tag, whose elements are given to `take` and emptied."""
        with self._zip.open(name) as part:
            _require_plain_xml(part)
        with self._zip.open(name) as part:
            for _, element in iterparse(part):  # noqa: S314 - it has no DTD, and this process is bounded
                if element.tag == each:
                    take(element)
                    element.clear()
        return element

    def relations(self, name: str = "") -> Mapping[str, Relation]:
        """By their id, those of a part, or of the package, with other parts."""
        folder, base = posixpath.split(name)
        found = dict[str, Relation]()
        root = self.read(posixpath.join(folder, "_rels", f"{base}.rels"))
        for one in _children(root, "relationships", "Relationship"):
            key, target, mode = one.get("Id", ""), one.get("Target", ""), one.get("TargetMode", "Internal")
            if mode == "External":
                continue
            part = posixpath.join("/", folder, target)[1:]
            if key in found or mode != "Internal" or part != posixpath.normpath(part):
                raise UnreadableError(f"its relation {key!r} is there twice, or has no plain target")
            found[key] = Relation(one.get("Type", "").rpartition("/")[2].lower(), part)
        return found

    def parts(self, relations: Mapping[str, Relation], kind: str, type_: str, usual: str = "") -> list[str]:
        """Those of a kind of relation, which are those with this piece in their content type. usual: the only name that
        such a part may have, where there is one."""
        related = sorted(relation.part for relation in relations.values() if relation.kind == kind.lower())
        typed = sorted(name for name in self._names if type_.lower() in self._type_of(name))
        named = [name for name in self._names if name.lower() == usual.lower()] if usual else related
        if not (related == typed == named and {*related} <= self._names):
            raise UnreadableError(f"not all readers find the same parts of the kind {kind} in it")
        return related

    def _type_of(self, name: str) -> str:
        name = name.lower()
        return self._types.get(f"/{name}") or self._types.get(name.rpartition(".")[2], "")


def _require_one_reading(file: BinaryIO, book: zipfile.ZipFile) -> None:
    """Some readers go by the list at the end of the file, others by what stands before each entry."""
    entries = sorted(book.infolist(), key=lambda entry: entry.header_offset)
    if not all(map(_is_plain, entries)) or len({e.filename.casefold().rstrip("/") for e in entries}) < len(entries):
        raise UnreadableError("one of its parts has no plain name, or two have the same")
    begins, ends = [*(entry.header_offset for entry in entries), book.start_dir], [0]
    for entry in entries:
        file.seek(entry.header_offset)
        _, _, flags, method, _, _, _, size, _, *lengths = _HEAD.unpack(file.read(_HEAD.size))
        is_open = method == zipfile.ZIP_DEFLATED and (size == _UNKNOWN or (flags & _STREAMED and size == 0))
        if method != entry.compress_type or not (is_open or size == entry.compress_size):
            raise UnreadableError("it says two things of the size of a part")
        ends.append(entry.header_offset + _HEAD.size + sum(lengths) + entry.compress_size)
    last = file.seek(-_END.size, os.SEEK_END)
    end = _END.unpack(file.read(_END.size))
    count = len(entries)
    if (
        end != (b"PK\5\6", 0, 0, count, count, last - book.start_dir, book.start_dir, 0)
        or begins[0] != 0
        or any(not 0 <= begin - end <= _MOST_BEHIND for begin, end in zip(begins, ends, strict=True))
    ):
        raise UnreadableError("it has something beside its parts")


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    plain = not name.startswith("/") and posixpath.normpath(name) == name.rstrip("/")
    return plain and entry.orig_filename == name and not {"\\", "%"} & {*name}


def _types_of(root: Element) -> Mapping[str, str]:
    """Content types by ending, and by name from `/` on, all in lower case."""
    found = dict[str, str]()
    for one in _children(root, "content-types", "Default", "Override"):
        key = (one.get("PartName") if one.tag.endswith("Override") else one.get("Extension", "").lstrip("/")) or ""
        key = key.lower()
        if key in found or "%" in key or posixpath.normpath(key) != key:
            raise UnreadableError("it has two content types for a part, or one for what is no plain name")
        found[key] = one.get("ContentType", "").lower()
    return found


def _children(root: Element, namespace: str, *names: str) -> list[Element]:
    """Of a root that has no others, and these no more."""
    tags = {f"{_NAMESPACE}{namespace}}}{name}" for name in names}
    if any(one.tag not in tags or len(one) for one in root):
        raise UnreadableError(f"its {namespace} are not plain")
    return [*root]


def _require_plain_xml(part: IO[bytes]) -> None:
    def declared(version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower() != "utf-8":
            raise UnreadableError(f"a part of it is written in {encoding}")

    def refuse(*_: object) -> None:
        raise UnreadableError("a part of it has what only some readers read: a DTD, a comment, an instruction or CDATA")

    parser = expat.ParserCreate()
    parser.XmlDeclHandler, parser.StartDoctypeDeclHandler, parser.StartCdataSectionHandler = declared, refuse, refuse
    parser.CommentHandler = parser.ProcessingInstructionHandler = refuse
    try:
        parser.ParseFile(part)
    except expat.ExpatError as error:
        raise UnreadableError(f"a part of it is not XML: {error}") from error

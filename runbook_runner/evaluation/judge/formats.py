"""Evaluation, judge: what a file is, by its name, and by its first bytes only where they fit its name: a runbook
chooses the name of a required output, the agent chooses all else."""

import codecs
from pathlib import PurePosixPath
from typing import Final, NamedTuple

_TEXT: Final = (
    ".md .markdown .txt .text .rst .tex .log .csv .tsv .json .jsonl .ndjson .yaml .yml .toml .ini .cfg .conf .xml .htm "
    ".html .svg .css .py .js .ts .tsx .jsx .sh .sql .r .rb .go .rs .java .c .h .cpp .ipynb .diff .patch"
)
_PICTURES: Final = ".png .jpg .jpeg .gif .webp"
_PICTURES_BEGIN: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_ZIP: Final = ".zip .xlsx .xlsm .docx .pptx .ods .odt .odp .epub .jar .whl .npz .pt .keras"
_BINARY: Final = (
    (0, b"PK\x03\x04", _ZIP),
    (0, b"PK\x05\x06", _ZIP),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls .doc .ppt .msg"),
    (0, b"\x1f\x8b", ".gz .tgz"),
    (0, b"BZh", ".bz2"),
    (0, b"\xfd7zXZ\0", ".xz"),
    (0, b"\x28\xb5\x2f\xfd", ".zst"),
    (0, b"7z\xbc\xaf\x27\x1c", ".7z"),
    (257, b"ustar", ".tar"),
    (0, b"PAR1", ".parquet"),
    (0, b"ARROW1", ".arrow .feather"),
    (0, b"SQLite format 3\0", ".sqlite .sqlite3 .db"),
    (0, b"\x93NUMPY", ".npy"),
    (0, b"\x89HDF\r\n\x1a\n", ".h5 .hdf5 .nc"),
    (0, b"\x80", ".pkl .pickle .joblib"),
    (0, b"RIFF", ".wav .avi"),
    (0, b"ID3", ".mp3"),
    (0, b"\xff\xfb", ".mp3"),
    (0, b"OggS", ".ogg .opus"),
    (0, b"fLaC", ".flac"),
    (4, b"ftyp", ".mp4 .m4a .mov"),
    (0, b"\x1a\x45\xdf\xa3", ".webm .mkv"),
    (0, b"II*\0", ".tif .tiff"),
    (0, b"MM\0*", ".tif .tiff"),
    (0, b"BM", ".bmp"),
    (0, b"\0\0\1\0", ".ico"),
    (0, b"\x7fELF", ".so"),
    (0, b"\0asm", ".wasm"),
)
"""At such a byte these ones, in files of such names."""
_REPLACED: Final = "\ufffd"


class Text(NamedTuple):
    text: str
    replaced: int = 0
    """So many characters of it stand for bytes that are no text, or for NUL."""


def has_text_name(name: str) -> bool:
    """Such a file is text, whatever it begins with."""
    return _suffix(name) in _TEXT.split()


def is_pdf(name: str, data: bytes) -> bool:
    return _suffix(name) == ".pdf" and data.startswith(b"%PDF-")


def picture_kind(name: str, data: bytes) -> str | None:
    """`None`: it has not the name of a picture, or is none."""
    if _suffix(name) not in _PICTURES.split():
        return None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _PICTURES_BEGIN if data.startswith(begin)), None)


def is_binary(name: str, data: bytes) -> bool:
    """Whether it is of a known binary format by its name and by what it begins with."""
    return any(data.startswith(begin, at) and _suffix(name) in names.split() for at, begin, names in _BINARY)


def text_of(data: bytes, *, is_cut: bool) -> Text:
    """is_cut: a character at its end may be incomplete."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = codecs.getincrementaldecoder(encoding)("replace").decode(data, final=not is_cut)
    own = data.count(_REPLACED.encode()) if encoding == "utf-8-sig" else 0
    text = text.replace("\0", _REPLACED)
    return Text(text, text.count(_REPLACED) - own)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()

"""Atheris target: any bytes through what reads an archive of images. Only our own errors may come out, and an engine
gets no more than the archive holds.

By hand, for as long as you like: `python tests/fuzz/fuzz_images.py CORPUS_FOLDER`.
"""

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["runbook_runner.sandbox.images.transfer.archive", "tarfile"]):
    from runbook_runner.core.errors import InputError
    from runbook_runner.sandbox.images.transfer.archive import opened

BLOCK = tarfile.BLOCKSIZE
FILE = Path(tempfile.mkdtemp(prefix="fuzz-images-"), "images.tar")


def with_checksums(data: bytes) -> bytes:
    """Every block that looks like a header gets its checksum: else hardly an input would be read further."""
    blocks = [bytearray(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    for block in blocks:
        if len(block) == BLOCK and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def one_input(data: bytes) -> None:
    FILE.write_bytes(with_checksums(data))
    try:
        with opened(FILE) as archive:
            got = b"".join(archive.blocks(archive.names))
    except InputError:
        return
    most = (100 if data.startswith((b"\x1f\x8b", b"BZ", b"\xfd7z")) else 1) * len(data)
    with tarfile.open(fileobj=io.BytesIO(got)) as read:
        assert sum(member.size for member in read) <= most


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

"""Run by `pages.py` in a process of its own: stdin is a PDF file; writes each page as a line of JSON. The last line
says how many pages there are, or why they can't be read, and what processor time it took."""

import base64
import json
import struct
import sys
import time
import zlib
from typing import Any

LONGEST_TEXT = 100_000  # characters of a page; fewer are shown: `pages.py`
LONGEST_SIDE = 1200  # pixels


def main() -> None:
    folder, most, pictures = sys.argv[1:]
    sys.path.append(folder)
    import pypdfium2

    data = sys.stdin.buffer.read()
    try:
        document = pypdfium2.PdfDocument(data)
        for number in range(min(len(document), int(most))):
            write(page_of(document[number], is_drawn=number < int(pictures)))
    except (pypdfium2.PdfiumError, MemoryError, ValueError, OSError) as error:
        write({"pages": 0, "problem": str(error) or type(error).__name__, "seconds": time.process_time()})
        return
    write({"pages": len(document), "seconds": time.process_time()})


def page_of(page: Any, *, is_drawn: bool) -> dict[str, str]:
    text = page.get_textpage().get_text_bounded()[:LONGEST_TEXT]
    picture = base64.b64encode(picture_of(page)).decode() if is_drawn else ""
    return {"text": text.encode("utf-8", "replace").decode(), "picture": picture}


def picture_of(page: Any) -> bytes:
    width, height = page.get_size()
    scale = min(2.0, LONGEST_SIDE / max(width, height, 1.0))
    bitmap = page.render(scale=scale, rev_byteorder=True)
    channels = bitmap.n_channels
    rows, line = bytes(bitmap.buffer), bitmap.width * channels
    pixels = (rows[at : at + line] for at in range(0, bitmap.stride * bitmap.height, bitmap.stride))
    return png(bitmap.width, bitmap.height, channels, b"".join(b"\0" + row for row in pixels))


def png(width: int, height: int, channels: int, rows: bytes) -> bytes:
    """rows: each begins with the filter 0. https://www.w3.org/TR/png-3/"""
    kind = {1: 0, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

"""A result that is packed, so that nobody sees what is in it."""

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def packed_pdf(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a PDF file with this line of text, in a compressed stream."""

    def write(text: str) -> Path:
        drawn = zlib.compress(b"BT /F1 12 Tf 40 100 Td (%s) Tj ET" % text.encode())
        page = b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>/MediaBox[0 0 900 200]"
        objects = (
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R%s/Contents 4 0 R>>" % page,
            b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(drawn), drawn),
        )
        body = b"".join(b"%d 0 obj\n%s\nendobj\n" % one for one in enumerate(objects, 1))
        path = tmp_path / f"{zlib.crc32(drawn)}.pdf"
        path.write_bytes(b"%PDF-1.4\n" + body + b"trailer<</Size 5/Root 1 0 R>>\n%%EOF")
        return path

    return write

"""Expected against actual files: tables, workbooks, images and PDF files, each a real one."""

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.redaction import Redactor

Compared = Callable[..., list[str]]


# --- CSV -----------------------------------------------------------------------------------------------------------

PRICES = "name,price,at\nApple,1.50,10:00\nPear,2,10:01\n"


@pytest.mark.parametrize(("found", "rule", "messages"), [
    ('\ufeff"name";"price";"at"\r\n"Apple";1.5;"10:00"\r\n\r\nPear;2.0;10:01', {}, []),
    (PRICES.replace("2,", "2.1,"), {}, ['Row 3, column "price": expected "2", found "2.1".']),
    (PRICES.replace("2,", "2.1,"), {"tolerance": 0.1}, []),
    (PRICES.replace("2,", "2.00,"), {}, []),
    (PRICES.replace("2,", "2.00000000000000001,"), {}, [
        'Row 3, column "price": expected "2", found "2.00000000000000001".']),
    (PRICES.replace("2,", "9,"), {"tolerance": 1}, ['Row 3, column "price": expected "2", found "9".']),
    (PRICES.replace("2,", "two,"), {"tolerance": 0.1}, ['Row 3, column "price": expected "2", found "two".']),
    (PRICES.replace("2,", "02,"), {"tolerance": 0.1}, ['Row 3, column "price": expected "2", found "02".']),
    (PRICES.replace("10:0", "11:0"), {"ignore": ("at", "more")}, []),
    (PRICES.replace("price", "cost"), {}, ['Row 1, column "price": expected "price", found "cost".']),
    ("name,price\nApple,1\nPear,2\n", {}, ["Row 1: expected 3 cells, found 2."]),
    ("name,price\nApple,1.5\nPear,2\n", {"ignore": ("at",)}, []),
    (PRICES + "Fig,3\n", {}, ["Rows: expected 3, found 4."]),
    ("name,price,at\n", {}, ["Rows: expected 3, found 1."]),
    (PRICES.replace("Pear,2", "Pear"), {}, ["Row 3: expected 3 cells, found 2."]),
    ("", {}, ["Rows: expected 3, found 0."]),
    ('name,price,at\n"Apple,1.5', {}, ["Row 2: expected 3 cells, found 1.", "Rows: expected 3, found 2."]),
    (b"name,price,at\n\xff,1.5,10:00\nP\0,2,10:01\n", {}, [
        'Row 2, column "name": expected "Apple", found "\\udcff".',
        'Row 3, column "name": expected "Pear", found "P\\x00".']),
])  # fmt: skip
def test_csv(compared: Compared, found: str | bytes, rule: dict[str, Any], messages: list[str]) -> None:
    assert compared("a.csv", PRICES, found, **rule) == messages


@pytest.mark.parametrize(("expected", "found", "messages"), [
    ("id\n12345678901234567\n", "id\n12345678901234568\n", [
        'Row 2, column "id": expected "12345678901234567", found "12345678901234568".']),
    ("id\n1\n", f"id\n{'1' * 5000}\n", [f'Row 2, column "id": expected "1", found "{"1" * 80}…".']),
    ("note\nall is well; really\n", 'note\n"all is well; really"\n', []),
    ("a b\tc\n1\t2\n", "a b\tc\n1\t3\n", ['Row 2, column "c": expected "2", found "3".']),
    ("a\n1\n", 'a\n"' + '","' * 4000, ['Row 2: expected 1 cell, found 4001.']),
    ("a,b\n", f"a,{'b' * 2_000_000}\n", [f'Row 1, column "b": expected "b", found "{"b" * 80}…".']),
    (",b\n1,2\n", ",b\n2,2\n", ['Row 2, column 1: expected "1", found "2".']),
])  # fmt: skip
def test_csv_of_other_kinds(compared: Compared, expected: str, found: str, messages: list[str]) -> None:
    assert compared("a.csv", expected, found) == messages


# --- workbooks -----------------------------------------------------------------------------------------------------

CONTENT = "http://schemas.openxmlformats.org"
MAIN = f"{CONTENT}/spreadsheetml/2006/main"
RELATIONS = f"{CONTENT}/package/2006/relationships"
DOCUMENT = f"{CONTENT}/officeDocument/2006/relationships"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def xlsx(sheets: Mapping[str, Sequence[Sequence[Any]] | str]) -> bytes:
    """The smallest workbook that has these cells. str: the rows of a sheet as they stand in the file."""
    return zipped(parts_of(sheets))


def zipped(parts: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, text)
    return out.getvalue()


def parts_of(sheets: Mapping[str, Sequence[Sequence[Any]] | str]) -> dict[str, str]:
    names = {name: f"sheet{number}" for number, name in enumerate(sheets, 1)}
    related = "".join(
        f'<Relationship Id="{i}" Type="{DOCUMENT}/worksheet" Target="worksheets/{i}.xml"/>' for i in names.values()
    )
    typed = "".join(
        f'<Override PartName="/xl/{part}.xml" ContentType="{TYPE}.{kind}+xml"/>'
        for part, kind in [("workbook", "sheet.main"), *((f"worksheets/{i}", "worksheet") for i in names.values())]
    )
    listed = "".join(f'<sheet name="{n}" sheetId="{i[5:]}" r:id="{i}"/>' for n, i in names.items())
    start = f'<Relationship Id="book" Type="{DOCUMENT}/officeDocument" Target="xl/workbook.xml"/>'
    return {
        "[Content_Types].xml": f'<Types xmlns="{CONTENT}/package/2006/content-types">{typed}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{RELATIONS}">{start}</Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{RELATIONS}">{related}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><sheets>{listed}</sheets></workbook>',
        **{f"xl/worksheets/{names[name]}.xml": sheet_of(rows) for name, rows in sheets.items()},
    }


def sheet_of(rows: Sequence[Sequence[Any]] | str) -> str:
    data = rows if isinstance(rows, str) else "".join(row_of(number, row) for number, row in enumerate(rows, 1))
    return f'<worksheet xmlns="{MAIN}"><sheetData>{data}</sheetData></worksheet>'


def row_of(number: int, cells: Sequence[Any]) -> str:
    return f'<row r="{number}">{"".join(cell_of(f"{c}{number}", v) for c, v in zip("ABC", cells, strict=False))}</row>'


def cell_of(place: str, value: Any) -> str:
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{value:d}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


BOOK = {"Prices": [["name", "price", "at"], ["Apple", 1.5, 40_000], ["Pear", 2, True]], "Empty": []}


@pytest.mark.parametrize(("found", "rule", "messages"), [
    ({"Empty": [["", ""]], "Prices": [*BOOK["Prices"], ["", ""], []]}, {}, []),
    ({"Prices": BOOK["Prices"], "More": []}, {}, ['Sheet "Empty" is missing.', 'Sheet "More" is not expected.']),
    ({"Prices": [["name", "price", "at"], ["Apple", 1.6, 40_000], ["Fig", 2, 1]], "Empty": []}, {}, [
        'Sheet "Prices", row 2, column "price": expected 1.5, found 1.6.',
        'Sheet "Prices", row 3, column "name": expected "Pear", found "Fig".',
        'Sheet "Prices", row 3, column "at": expected true, found 1.']),
    ({"Prices": [["name", "price"], ["Apple", 1.51], ["Pear", 2]], "Empty": []},
     {"ignore": ("at",), "tolerance": 0.1}, []),
    ({"Prices": BOOK["Prices"][:2], "Empty": []}, {}, ['Sheet "Prices", rows: expected 3, found 2.']),
])  # fmt: skip
def test_workbooks(compared: Compared, found: Any, rule: dict[str, Any], messages: list[str]) -> None:
    assert compared("a.xlsx", xlsx(BOOK), xlsx(found), **rule) == messages


@pytest.mark.parametrize("make", ["openpyxl", "xlsxwriter"])
def test_workbooks_of_the_usual_libraries(compared: Compared, make: str) -> None:
    """Texts of several kinds, numbers, dates, a formula, merged cells, a comment, a chart and a hidden sheet."""
    found = written_by_openpyxl(4) if make == "openpyxl" else written_by_xlsxwriter(4)
    assert compared("a.xlsx", written_by_openpyxl(4), found) == []
    assert compared("a.xlsx", written_by_xlsxwriter(4), found) == []
    assert compared("a.xlsx", written_by_xlsxwriter(5), found) == [
        'Sheet "S", row 5, column 4: expected 2024-01-05 03:00:00, found 2024-01-04 03:00:00.'
    ]


AT = datetime(2024, 1, 4, 3)


def written_by_openpyxl(day: int) -> bytes:
    from openpyxl import Workbook
    from openpyxl.comments import Comment

    book, out = Workbook(), io.BytesIO()
    sheet = book.active
    sheet.title = "S"
    for place, value in {"A1": " a\nb", "B2": 1.5, "C2": True, "D5": AT.replace(day=day), "E6": 0.5, "A9": "m"}.items():
        sheet[place] = value
    sheet["E6"].number_format = '0.0 "days"'
    sheet["A1"].comment = Comment("No text of a cell", "me")
    sheet.merge_cells("A9:B10")
    book.create_sheet("Hidden").sheet_state = "hidden"
    book.save(out)
    return out.getvalue()


def written_by_xlsxwriter(day: int) -> bytes:
    from xlsxwriter import Workbook

    out = io.BytesIO()
    with Workbook(out) as book:
        sheet = book.add_worksheet("S")
        sheet.write_rich_string("A1", " a", book.add_format({"bold": True}), "\nb")
        sheet.write_formula("B2", "=3/2", None, 1.5)
        sheet.write("C2", True)
        date = book.add_format({"num_format": "[$-409]d/mmm/yy h:mm AM/PM;@"})
        sheet.write_datetime("D5", AT.replace(day=day), date)
        sheet.write("E6", 0.5)
        sheet.merge_range("A9:B10", "m")
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=S!$B$2:$B$3"})
        sheet.insert_chart("F1", chart)
        book.add_worksheet("Hidden").hide()
    return out.getvalue()


GOOD = '<row r="1"><c r="A1"><v>1</v></c><c r="B1" t="s"><v>0</v></c></row>'
STRINGS = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{TYPE}.sharedStrings+xml"/>'
RELATED = f'<Relationship Id="strings" Type="{DOCUMENT}/sharedStrings" Target="sharedStrings.xml"/>'


def workbook() -> dict[str, str]:
    """The parts of one with a shared text."""
    parts = parts_of({"S": GOOD})
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace("</Types>", f"{STRINGS}</Types>")
    related = parts["xl/_rels/workbook.xml.rels"].replace("</Relationships>", f"{RELATED}</Relationships>")
    text = f'<sst xmlns="{MAIN}"><si><t>approved</t></si></sst>'
    return parts | {"xl/_rels/workbook.xml.rels": related, "xl/sharedStrings.xml": text}


FORMULA = "its cell A1 has a formula without a result"
TWICE = "is there twice, or not where it has to be"
VALUES = "its cell A1 has two values, or what is none"
NO_TYPE = "its cell A1 has a value that is not of its type"
PLAIN = "a text of it is not plain"
ONLY_SOME = "a part of it has what only some readers read"
NOT_ALL = "not all readers find the same parts of the kind"
TWO_PLACES = "in two places, or in an unusual one"


@pytest.mark.parametrize(("old", "new", "message"), [
    ('<c r="A1"><v>1</v>', '<c r="A1" t="e"><v>#REF!</v>', "its cell A1 has an error"),
    ('<c r="A1">', '<c r="A1"><v>666</v></c><c r="A1">', f"its cell A1 {TWICE}"),
    ('<c r="A1">', '<c r="a1"><v>666</v></c><c r="A1">', f"its cell a1 {TWICE}"),
    ('<c r="A1">', '<c r="A01"><v>666</v></c><c r="A1">', f"its cell A01 {TWICE}"),
    ('<c r="A1">', "<c>", f"its cell without a place {TWICE}"),
    ('<c r="A1">', '<c r="A2">', f"its cell A2 {TWICE}"),
    ('<c r="A1">', '<c r="XFE1">', f"its cell XFE1 {TWICE}"),
    ('<row r="1">', "<row>", "its row without a number is not where it has to be"),
    ('<row r="1">', '<row r="1"/><row r="1">', "its row 1 is not where it has to be"),
    ("<sheetData>", "<sheetData/><sheetData>", f"it has sheetData {TWO_PLACES}"),
    ("<sheetData>", '<a:b xmlns:a="urn:a"><a:sheetData/></a:b><sheetData>', f"it has sheetData {TWO_PLACES}"),
    ("<v>1</v>", "<v>1</v><v>2</v>", VALUES),
    ("<v>1</v>", "<v>1</v><is><t>2</t></is>", VALUES),
    ("<v>1</v>", "<v>1<v>2</v></v>", VALUES),
    ("<v>1</v>", '<v xmlns="urn:a">1</v>', VALUES),
    ("<v>1</v>", "<v>01x</v>", NO_TYPE),
    ("<v>0</v>", "<v>1</v>", NO_TYPE.replace("A1", "B1")),
    ('<c r="A1">', '<c r="A1" t="x">', NO_TYPE),
    ('<c r="A1">', '<c r="A1" s="1">', NO_TYPE),
    ("<v>1</v>", "<v>1e999</v>", "its cell A1 has a number that readers show in several ways"),
    ("<v>1</v>", "<f>1/0</f><v/>", FORMULA),
    ("<v>1</v>", "<v>1<!-- --></v>", ONLY_SOME),
    ("<v>1</v>", "<v><![CDATA[1]]></v>", ONLY_SOME),
    ("<worksheet", "<!DOCTYPE worksheet><worksheet", ONLY_SOME),
    ("<worksheet", '<?xml version="1.0" encoding="utf-16"?><worksheet', "a part of it "),
    ("<worksheet", '<?xml version="1.0" encoding="latin-1"?><worksheet', "a part of it "),
    ("<t>approved</t>", "<t>approved</t><r><t>not </t></r>", "it has another element where r has to be"),
    ("<t>approved</t>", "<t>approved</t><t>not</t>", "it has another element where r has to be"),
    ("<t>approved</t>", "<r><t>approved</t><t>not</t></r>", PLAIN),
    ("<t>approved</t>", "<t>approved </t>", "a text of it has blanks at an end that not every reader keeps"),
    ("<t>approved</t>", '<x:t xmlns:x="urn:x">approved</x:t>', "it has another element where r has to be"),
    ('Target="sharedStrings.xml"', 'Target="more.xml"', f"{NOT_ALL} sharedStrings"),
    ('Target="sharedStrings.xml"', 'Target="a/../sharedStrings.xml"', "its relation 'strings' is there twice"),
    (RELATED, "", f"{NOT_ALL} sharedStrings"),
    (RELATED, RELATED + RELATED.replace('"strings"', '"2"').replace('"shared', '"2/'), f"{NOT_ALL} sharedStrings"),
    (STRINGS, "", f"{NOT_ALL} sharedStrings"),
    ('"/xl/sharedStrings.xml"', '"/xl/more.xml"', f"{NOT_ALL} sharedStrings"),
    ('"sheet1" Type="', '"sheet1" TargetMode="External" Type="', f"{NOT_ALL} worksheet"),
    ('"xl/workbook.xml"', '"xl/book.xml"', f"{NOT_ALL} officeDocument"),
    ("<sheets>", '<workbookPr date1904="1"/><sheets>', "it counts dates from 1904"),
    ("</sheets>", '<sheet name="s" sheetId="2" r:id="sheet1"/></sheets>', "two of its sheets have the same name"),
    ("</sheets>", '<sheet name="T" sheetId="2" r:id="sheet1"/></sheets>', "two of its sheets are the same part"),
    ('<sheet name="S" sheetId="1" r:id="sheet1"/>', "", "it has the part of a sheet that it does not list"),
])  # fmt: skip
def test_what_readers_of_workbooks_read_in_several_ways_is_not_compared(
    compared: Compared, old: str, new: str, message: str
) -> None:
    parts = workbook()
    changed = {name: text.replace(old, new, 1) for name, text in parts.items()}
    assert changed != parts
    changed["xl/more.xml"] = parts["xl/sharedStrings.xml"].replace("approved", "REJECTED")
    (said,) = compared("a.xlsx", zipped(parts), zipped(changed))
    assert said.startswith("The file can't be read as xlsx: ")
    assert message in said


def styled(formats: str, style: int = 0) -> bytes:
    """A workbook with the number 45,000 in this style. formats: numbers of formats, or their codes."""
    own = [form for form in formats.split("|") if not form.isdecimal()]
    ids = [int(form) if form.isdecimal() else 164 + own.index(form) for form in formats.split("|")]
    codes = "".join(f'<numFmt numFmtId="{164 + n}" formatCode="{code}"/>' for n, code in enumerate(own))
    xfs = "".join(f'<xf numFmtId="{number}"/>' for number in ids)
    parts = parts_of({"S": f'<row r="1"><c r="A1" s="{style}"><v>45000</v></c></row>'})
    type_ = f'<Override PartName="/xl/styles.xml" ContentType="{TYPE}.styles+xml"/></Types>'
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace("</Types>", type_)
    relation = f'<Relationship Id="styles" Type="{DOCUMENT}/styles" Target="/xl/styles.xml"/></Relationships>'
    related = parts["xl/_rels/workbook.xml.rels"].replace("</Relationships>", relation)
    styles = f'<styleSheet xmlns="{MAIN}"><numFmts>{codes}</numFmts><cellXfs>{xfs}</cellXfs></styleSheet>'
    return zipped(parts | {"xl/_rels/workbook.xml.rels": related, "xl/styles.xml": styles})


NO_DATES = ("0", "General", "0.00E+00", "[Red]0", "&quot;days&quot; 0", r"0 \d", "0_d", "0;yy")


@pytest.mark.parametrize(("formats", "style", "message"), [
    ("0|14", 1, ""), ("yy-mm-dd", 0, ""), ("[h]:mm", 0, ""), ("dd", 0, ""), ("[$-409]m/d/yy;@", 0, ""), ("14|0", 0, ""),
    *((form, 0, "expected 2023-03-15 00:00:00, found 45000.") for form in NO_DATES),
    ("58", 0, "its cell A1 has a number that readers show in several ways"),
    ("14", 1, "its cell A1 has a value that is not of its type"),
])  # fmt: skip
def test_a_number_of_a_workbook_is_a_date_by_its_format(
    compared: Compared, formats: str, style: int, message: str
) -> None:
    told = compared("a.xlsx", styled("14"), styled(formats, style))
    assert [message in one for one in told] == ([True] if message else [])


@pytest.mark.parametrize(
    "name", ["xl/SharedStrings.xml", r"xl\sharedStrings.xml", "xl/./a", "/xl/a", "xl/%61", "xl/a\0b"]
)
def test_parts_whose_names_are_not_plain_are_refused(compared: Compared, name: str) -> None:
    stand_in = "@" * len(name)
    content = zipped(workbook() | {stand_in: "x"}).replace(stand_in.encode(), name.encode())
    (said,) = compared("a.xlsx", zipped(workbook()), content)
    assert "one of its parts has no plain name, or two have the same" in said


def test_what_a_workbook_has_beside_its_parts_is_refused(compared: Compared) -> None:
    """Some readers begin at the start of the file, some at the end."""
    good, other = zipped(workbook()), zipped({"xl/workbook.xml": "other"})
    twice, removed = io.BytesIO(good), io.BytesIO(good)
    with zipfile.ZipFile(twice, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("xl/workbook.xml", "other")
    with zipfile.ZipFile(removed, "a") as file:
        file.writestr("xl/more.xml", "other")
        file.filelist.pop()
    for content in (twice.getvalue(), removed.getvalue(), other + good, b"PK" + good, good + b"more", good + other):
        (said,) = compared("a.xlsx", good, content)
        assert said.startswith("The file can't be read as xlsx: "), said


@pytest.mark.parametrize("name", ["a.ods", "a.xls", "a.xlsb"])
def test_other_workbooks_are_compared_by_bytes(compared: Compared, name: str) -> None:
    (said,) = compared(name, zipped({"content.xml": "1"}), zipped({"content.xml": "2"}))
    assert said.startswith("Byte ")


def test_a_hidden_sheet_is_not_the_same_as_one_that_is_shown(compared: Compared) -> None:
    found = {name: text.replace('r:id="', 'state="veryHidden" r:id="') for name, text in parts_of({"S": []}).items()}
    assert compared("a.xlsx", xlsx({"S": []}), zipped(found)) == ['Sheet "S": expected "visible", found "veryHidden".']


WIDE = "".join(f'<row r="{number}"><c r="XFD{number}"><v>1</v></c></row>' for number in range(1, 20_000))


@pytest.mark.needs("linux")
@pytest.mark.parametrize(("part", "times", "message"), [
    (WIDE, 1, "The comparison as xlsx was ended: "),
    ("<row>", 1_000_000, "The file can't be read as xlsx: a part of it is not XML: "),
])  # fmt: skip
def test_workbooks_that_are_hostile(compared: Compared, part: str, times: int, message: str) -> None:
    assert compared("a.xlsx", xlsx(BOOK), xlsx({"Prices": part * times, "Empty": []}))[0].startswith(message)


# --- images --------------------------------------------------------------------------------------------------------

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (250, 255, 255)


def image(*points: tuple[int, int, tuple[int, ...]], size: tuple[int, int] = (10, 10), mode: str = "RGB") -> Any:
    """A white image with points of other colours."""
    from PIL import Image

    made = Image.new(mode, size, "white")
    for x, y, colour in points:
        made.putpixel((x, y), colour)
    return made


def saved(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(("points", "rule", "messages"), [
    ([], {}, []),
    ([(3, 4, BLACK), (5, 4, GREY)], {}, ["2 of 100 pixels (2.00%) differ, between (3, 4) and (5, 4)."]),
    ([(3, 4, BLACK), (5, 4, GREY)], {"tolerance": 0.02}, []),
    ([(3, 4, BLACK), (5, 4, GREY)], {"pixel_distance": 0.02}, [
        "1 of 100 pixels (1.00%) differ, between (3, 4) and (3, 4)."]),
    ([(3, 4, BLACK)], {"pixel_distance": 1}, []),
])  # fmt: skip
def test_images(compared: Compared, points: Any, rule: dict[str, Any], messages: list[str]) -> None:
    found = saved(image(*points).convert("RGBA"), "TIFF")
    assert compared("a", saved(image()), found, how="image", **rule) == messages


@pytest.mark.needs("pillow")
def test_images_in_other_modes(compared: Compared) -> None:
    from PIL import Image

    grey = Image.new("I;16", (10, 10), 40_000)
    other = grey.copy()
    other.putpixel((9, 9), 50_000)
    frames = [image(), image((1, 1, BLACK)), image((2, 2, BLACK))]
    clear = Image.new("RGBA", (10, 10), (9, 9, 9, 0))
    told = "1 of 100 pixels (1.00%) differ, between"
    for number, (expected, found, messages) in enumerate([
        (saved(grey), saved(grey, compress_level=0), []),
        (saved(grey), saved(other), [f"{told} (9, 9) and (9, 9)."]),
        (saved(grey), saved(Image.new("L", (10, 10), 155)), []),
        (saved(image()), saved(image().convert("P")), []),
        (saved(image()), saved(image().convert("CMYK"), "TIFF"), []),
        (saved(clear), saved(Image.new("RGBA", (10, 10))), []),
        (saved(image()), saved(clear), ["100 of 100 pixels (100.00%) differ, between (0, 0) and (9, 9)."]),
        (saved(image()), saved(image(size=(1200, 800))), [
            "The size: expected 10 × 10 pixels, found 1,200 × 800 pixels."]),
        (saved(image(size=(10, 800_000))), saved(image((1, 700_000, BLACK), size=(10, 800_000))), [
            "1 of 8,000,000 pixels (0.00%) differ, between (1, 700000) and (1, 700000)."]),
        (saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
         saved(frames[0], "GIF", save_all=True, append_images=[frames[1], frames[0]]), [
            f"Frame 3: {told} (2, 2) and (2, 2)."]),
        (saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), saved(frames[0]), [
            "Expected 3 frames, found 1."]),
        (saved(image()), saved(Image.new("F", (10, 10)), "TIFF"), [
            "The file can't be read as image: its pixels are numbers of 32 bits; it can be compared by bytes."]),
    ]):  # fmt: skip
        assert compared(f"{number}", expected, found, how="image") == messages, number


@pytest.mark.needs("pillow")
def test_images_are_compared_as_they_are_shown(compared: Compared) -> None:
    """Orientation 6 of EXIF: turned to the right when it is shown."""
    from PIL import Image, ImageCms

    turned = Image.Exif()
    turned[0x0112] = 6
    wide, high = image((0, 0, BLACK), size=(20, 10)), image((9, 0, BLACK), size=(10, 20))
    assert compared("a.png", saved(high), saved(wide, exif=turned)) == []
    assert compared("a.png", saved(wide), saved(wide, exif=turned)) == [
        "The size: expected 20 × 10 pixels, found 10 × 20 pixels."
    ]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert compared("a.png", saved(wide, icc_profile=profile), saved(wide, icc_profile=profile, compress_level=0)) == []
    assert compared("a.png", saved(wide), saved(wide, icc_profile=profile)) == [
        "The image: the colour profiles differ, so that equal pixels are other colours."
    ]


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.needs("pillow")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "raw profile"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_an_orientation_that_viewers_do_not_obey_turns_no_image(compared: Compared, kind: str, with_exif: bool) -> None:
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    profile = PngImagePlugin.PngInfo()
    profile.add_text(
        "Raw profile type exif", "\nexif\n32\n" + b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0".hex()
    )
    exif = Image.Exif()
    exif[0x010E] = "a title"
    how = {
        "PNG": {"pnginfo": info},
        "JPEG": {"xmp": XMP.encode(), "quality": 100},
        "TIFF": {"tiffinfo": {700: XMP.encode()}},
        "WEBP": {"xmp": XMP.encode(), "lossless": True},
        "raw profile": {"pnginfo": profile},
    }[kind] | ({"exif": exif} if with_exif and kind in ("PNG", "JPEG", "WEBP") else {})
    half = Image.new("RGB", (16, 16), "white")
    half.paste((0, 0, 0), (0, 0, 16, 8))
    told = [saved(one, "PNG" if kind == "raw profile" else kind, **how) for one in (half, half.rotate(180))]
    assert compared("a", saved(half), told[0], how="image", pixel_distance=0.1) == []
    assert compared("a", saved(half), told[1], how="image", pixel_distance=0.1) == [
        "256 of 256 pixels (100.00%) differ, between (0, 0) and (15, 15)."
    ]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


GAMMA = chunk(b"gAMA", struct.pack(">I", 1000))
SRGB = [
    chunk(b"sRGB", b"\0"),
    chunk(b"gAMA", struct.pack(">I", 45455)),
    chunk(b"cICP", bytes((1, 13, 0, 1))),
    chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
]


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(
    ("expected", "found", "kinds"),
    [
        (b"", GAMMA, "gAMA"),
        (GAMMA, GAMMA, ""),
        (GAMMA, SRGB[1], "gAMA"),
        (b"", chunk(b"cICP", bytes((9, 16, 0, 1))), "cICP"),
        (b"", SRGB[0] + chunk(b"cHRM", bytes(32)) + GAMMA, "cHRM, gAMA"),
        (b"", b"".join(SRGB), ""),
    ],
)
def test_what_a_png_file_says_of_its_colours_counts(
    compared: Compared, expected: bytes, found: bytes, kinds: str
) -> None:
    plain = saved(image((1, 1, BLACK)))
    files = [plain[:33] + chunks + plain[33:] for chunks in (expected, found)]
    message = f"The image: what is said of colours differs ({kinds}), so that equal pixels are other colours."
    assert compared("a.png", *files) == ([message] if kinds else [])


@pytest.mark.needs("pillow")
def test_png_file_that_says_two_things_of_its_colours_is_not_compared(compared: Compared) -> None:
    plain = saved(image())
    twice = plain[:33] + GAMMA + SRGB[1] + plain[33:]
    assert compared("a.png", plain, twice) == ["The file can't be read as image: it has more than one gAMA chunk."]


PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def built_png(
    before: bytes = b"",
    behind: bytes = b"",
    *,
    depth: int = 8,
    colour: int = 0,
    row: bytes = b"\xff\xff",
    methods: bytes = bytes(3),
) -> bytes:
    """Two pixels with chunks before and behind them."""
    head = chunk(b"IHDR", struct.pack(">IIBB", 2, 1, depth, colour) + methods)
    return PNG_HEAD + head + before + chunk(b"IDAT", zlib.compress(b"\0" + row)) + behind + chunk(b"IEND", b"")


def exif(*entries: tuple[int, int, int]) -> bytes:
    """EXIF data with an orientation, its type and count, for each."""
    said = b"".join(struct.pack("<HHIHH", 0x112, kind, count, value, 0) for value, kind, count in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + said + bytes(4)


def frame(number: int, size: tuple[int, int] = (2, 1)) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *size, 0, 0, 1, 100, 0, 0))


ACTL = [chunk(b"acTL", struct.pack(">II", frames, 0)) for frames in range(3)]
FDAT = chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes(3)))
TURNED, UPRIGHT = (chunk(b"eXIf", exif((value, 3, 1))) for value in (3, 1))
PALETTE = chunk(b"PLTE", bytes(6))
PACKED = zlib.compress(b"a profile")
TWO_COLOURS = {"colour": 3, "row": b"\0\1"}


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (built_png(ACTL[2] + ACTL[0] + frame(0), frame(1) + FDAT), "it has more than one acTL chunk"),
        (built_png(ACTL[0] + frame(0), frame(1) + FDAT), "it says two things of how many frames it has"),
        (built_png(ACTL[0]), "it has an animation without frames"),
        (built_png(frame(0)), "it has frames, and no acTL chunk before them"),
        (built_png(b"", ACTL[1]), "its acTL chunk stands behind its pixels"),
        (built_png(ACTL[1] + frame(0, (1, 1))), "its first frame does not cover the whole picture"),
        (built_png(ACTL[2] + frame(0), frame(1)), "a frame of it has no pixels"),
        (built_png(TURNED + UPRIGHT), "it has more than one eXIf chunk"),
        (built_png(TURNED, UPRIGHT), "it has more than one eXIf chunk"),
        (built_png(b"", TURNED), "its eXIf chunk stands behind its pixels"),
        (built_png(b"", GAMMA), "its gAMA chunk stands behind its pixels"),
        (built_png(chunk(b"CgBI", bytes(4))), "it has a CgBI chunk, which not all readers know"),
        (built_png(b"", chunk(b"tIME", bytes(7)) + chunk(b"IDAT", b"")), "its pixels are not in one piece"),
        (built_png(methods=b"\1\0\0"), "its pixels are written in a way that not all readers know"),
        (built_png(chunk(b"iCCP", b"a\0\0" + PACKED[:-4])), "its colour profile can't be read"),
        (built_png(chunk(b"iCCP", b"a\0\0" + PACKED[:-4] + bytes(4))), "its colour profile can't be read"),
        (built_png(chunk(b"tRNS", b"\0\1"), depth=16, row=b"\0\1\0\1"), "it has a transparent colour in pixels of 16"),
        (built_png(chunk(b"tRNS", b"\0\1" * 3), depth=16, colour=2, row=bytes(12)), "it has a transparent colour in"),
        (built_png(chunk(b"tRNS", b"\0\x0f"), depth=4, row=b"\xff"), "it has a transparent colour in pixels of 4 bits"),
        (built_png(chunk(b"tRNS", b"\1\xff")), "its transparent colour is none of its colours"),
        (built_png(chunk(b"tRNS", b"\0\1"), colour=4, row=bytes(4)), "its tRNS chunk does not belong"),
        (built_png(chunk(b"tRNS", b"\0") + PALETTE, **TWO_COLOURS), "its tRNS chunk stands before its palette"),
        (built_png(PALETTE + chunk(b"tRNS", bytes(3)), **TWO_COLOURS), "more of its colours are transparent than"),
        (built_png(chunk(b"PLTE", bytes(7)), **TWO_COLOURS), "its palette is not plain"),
        (built_png(PALETTE, colour=3, row=b"\0\2"), "it has pixels with a colour that its palette does not have"),
    ],
)
def test_png_file_that_readers_show_differently_is_not_compared(compared: Compared, found: bytes, reason: str) -> None:
    ((message),) = compared("a.png", saved(image(size=(2, 1))), found)
    assert message.startswith(f"The file can't be read as image: {reason}")


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ([b"Exif\0\0" + exif((3, 3, 1)), b"Exif\0\0" + exif((1, 3, 1))], "it has EXIF data more than once"),
        ([b"Exif\0\1" + exif((3, 3, 1))], "its EXIF data do not begin as they should"),
        ([b"EXIF\0\0" + exif((3, 3, 1))], "its EXIF data do not begin as they should"),
        ([b"Exif\0\0" + exif((1, 3, 1), (3, 3, 1))], "its EXIF data say more than one orientation, or one that is no"),
        ([b"Exif\0\0" + exif((3, 4, 1))], "its EXIF data say more than one orientation, or one that is no number"),
        ([b"Exif\0\0nothing"], "its EXIF data are not plain"),
        ([b"Exif\0\0" + exif((3, 3, 1))[:18]], "its EXIF data are cut off"),
    ],
)
def test_jpeg_file_that_readers_show_differently_is_not_compared(
    compared: Compared, segments: list[bytes], reason: str
) -> None:
    plain = saved(image(), "JPEG")
    more = b"".join(b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data for data in segments)
    ((message),) = compared("a.jpg", plain, plain[:2] + more + plain[2:])
    assert message.startswith(f"The file can't be read as image: {reason}")
    ((message),) = compared("a.jpg", plain[:2] + more + plain[2:], plain)
    assert message.startswith(f"The expected file can't be read as image: {reason}")


@pytest.mark.needs("pillow")
def test_parts_of_a_colour_profile_of_a_jpeg_file_are_each_there_once(compared: Compared) -> None:
    plain = saved(image(), "JPEG", icc_profile=bytes(100_000))
    assert compared("a.jpg", plain, plain) == []
    twice = plain.replace(b"ICC_PROFILE\0\2\2", b"ICC_PROFILE\0\1\2")
    assert compared("a.jpg", plain, twice) == [
        "The file can't be read as image: the parts of its colour profile do not fit."
    ]


def gif(*frames: tuple[int, int, int]) -> bytes:
    """Of 2 × 1 pixels. frames: of each the width, the disposal, and whether it has a transparent colour."""
    told = b""
    for width, disposal, transparent in frames:
        control = b"!\xf9\4" + bytes((disposal << 2 | transparent, 1, 0, 1, 0))
        pixels = b"\2\2" + (b"\x04\x0a" if width == 2 else b"\x44\1") + b"\0"
        told += control + b"," + struct.pack("<4HB", 0, 0, width, 1, 0) + pixels
    return b"GIF89a" + struct.pack("<HHBBB", 2, 1, 0x81, 0, 0) + bytes(12) + told + b";"


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (gif((1, 0, 0)), "its first frame does not cover the whole picture"),
        (gif((3, 0, 0)), "a frame of it is larger than the picture"),
        (gif((2, 2, 0), (1, 0, 0)), "it does not say plainly what is seen behind a frame"),
        (gif((2, 2, 1), (1, 0, 0), (1, 0, 0)), "it does not say plainly what is seen behind a frame"),
        (gif((2, 0, 0)).replace(b"!\xf9\4", b"!\xf9\4" + bytes(5) + b"!\xf9\4"), "it says two things of a frame"),
    ],
)
def test_gif_file_that_readers_show_differently_is_not_compared(compared: Compared, found: bytes, reason: str) -> None:
    ((message),) = compared("a.gif", saved(image(size=(2, 1)), "GIF"), found)
    assert message.startswith(f"The file can't be read as image: {reason}")


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    told = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(told) + 4) + b"WEBP" + told


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(
    ("flags", "behind", "reason"),
    [
        (8, [exif((3, 3, 1)), exif((1, 3, 1))], "it has more than one EXIF chunk"),
        (0, [exif((3, 3, 1))], "its head does not say the same of EXIF as the rest"),
        (8, [b"Exif\0\0" + exif((3, 3, 1))], "its EXIF data are not plain"),
    ],
)
def test_webp_file_that_readers_show_differently_is_not_compared(
    compared: Compared, flags: int, behind: list[bytes], reason: str
) -> None:
    plain = saved(image(), "WEBP", lossless=True)
    head = bytes((flags, 0, 0, 0, 9, 0, 0, 9, 0, 0))
    pixels = plain[20 : 20 + struct.unpack("<I", plain[16:20])[0]]
    found = webp((b"VP8X", head), (plain[12:16], pixels), *((b"EXIF", data) for data in behind))
    assert compared("a.webp", plain, found) == [f"The file can't be read as image: {reason}."]


def bmp(colours: bytes, *, size: int = 124, profile: int = 0) -> bytes:
    """A white one with a longer head."""
    plain = saved(image(), "BMP")
    head = struct.pack("<I", size) + plain[18:54] + bytes(16) + colours + bytes(48)
    head += struct.pack("<IIII", 4, profile and size + 320, profile, 0)
    at = struct.pack("<IHHI", 14 + size + 320 + profile, 0, 0, 14 + size)
    return b"BM" + at + head[:size] + plain[54:] + bytes(profile)


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (bmp(b"BGRs"), ""),
        (bmp(b"BGRs", size=108), ""),
        (bmp(b"DEBM", profile=8), "its head may say more of its colours than that they are sRGB"),
        (bmp(b"BGRs", profile=8), "its head may say more of its colours than that they are sRGB"),
        (bmp(bytes(4), size=108), "its head may say more of its colours than that they are sRGB"),
        (bmp(bytes(4), size=56), "its head may say more of its colours than that they are sRGB"),
        (
            b"BM" + struct.pack("<IHHI", 64, 0, 0, 62)
            + struct.pack("<IiiHHIIiiII", 40, 10, 10, 1, 8, 1, 2, 0, 0, 2, 0) + b"\xff\xff\xff\0" * 2 + b"\0\1",
            "its pixels are compressed, which not all readers show alike",
        ),
    ],
)  # fmt: skip
def test_bmp_file_that_readers_show_differently_is_not_compared(compared: Compared, found: bytes, reason: str) -> None:
    told = [f"The file can't be read as image: {reason}."] if reason else []
    assert compared("a.bmp", saved(image(), "BMP"), found) == told


@pytest.mark.needs("pillow")
def test_tiff_file_that_says_something_twice_is_not_compared(compared: Compared) -> None:
    plain = saved(image(), "TIFF", tiffinfo={274: 1, 269: "a"})
    at = struct.unpack("<I", plain[4:8])[0]
    tags = [plain[at + 2 + 12 * number : at + 14 + 12 * number] for number in range(plain[at])]
    document = next(tag for tag in tags if tag[:2] == struct.pack("<H", 269))
    twice = plain.replace(document, struct.pack("<HHIHH", 274, 3, 1, 3, 0))
    assert compared("a.tif", plain, plain) == []
    assert compared("a.tif", plain, twice) == ["The file can't be read as image: a page of it says something twice."]


@pytest.mark.needs("pillow")
def test_image_of_another_format_than_its_name_says_is_not_compared(compared: Compared) -> None:
    told = ["The file can't be read as image: it is a GIF file, and its name says PNG."]
    assert compared("a.png", saved(image()), saved(image(), "GIF")) == told
    assert compared("a", saved(image()), saved(image(), "GIF"), how="image") == []


@pytest.mark.needs("pillow")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_images_as_programs_write_them_are_compared(compared: Compared, kind: str) -> None:
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = Image.Exif()
    turned[0x0112], turned[0x010F] = 6, "a phone"
    ways: dict[str, dict[str, Any]] = {
        "PNG": {"exif": turned, "icc_profile": profile, "dpi": (72, 72), "optimize": True},
        "JPEG": {"exif": turned, "icc_profile": profile, "dpi": (72, 72), "progressive": True, "comment": b"a"},
        "GIF": {"transparency": 0, "comment": b"a"},
        "WEBP": {"exif": turned, "icc_profile": profile, "xmp": b"<x/>"},
        "BMP": {"dpi": (72, 72)},
        "TIFF": {"exif": turned, "icc_profile": profile, "compression": "tiff_lzw"},
    }
    modes = {"BMP": ("1", "L", "P", "RGB", "RGBA"), "JPEG": ("L", "RGB", "CMYK"), "GIF": ("1", "L", "P", "RGB", "RGBA")}
    for mode in modes.get(kind, ("1", "L", "LA", "P", "RGB", "RGBA")):
        made = [image((1, 1, BLACK)).convert(mode), image((2, 2, BLACK)).convert(mode)]
        for options in ({}, ways[kind]):
            written = saved(made[0], kind, **options)
            assert compared(f"a.{kind.lower()}", written, written) == [], (mode, options)
        if kind in ("PNG", "GIF", "WEBP", "TIFF"):
            moving = saved(made[0], kind, save_all=True, append_images=made[1:])
            assert compared(f"a.{kind.lower()}", moving, moving) == [], mode


def png(width: int, height: int) -> bytes:
    """A head without pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.needs("pillow")
@pytest.mark.parametrize(("found", "reason"), [
    (png(40_000, 25_000), "it has 40,000 × 25,000 pixels, and 40 million are compared at most"),
    (png(100, 100), "image file is truncated"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "cannot identify image file"),
])  # fmt: skip
def test_images_that_are_hostile(compared: Compared, found: bytes, reason: str) -> None:
    ((message),) = compared("a.png", saved(image()), found)
    assert message.startswith(f"The file can't be read as image: {reason}")


@pytest.mark.needs("pillow")
def test_a_later_frame_of_a_giant_is_not_decoded(compared: Compared) -> None:
    from PIL import Image

    frames = [Image.new("1", size, "white") for size in ((10, 10), (40_000, 25_000))]
    giant = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="group4")
    expected = saved(image(), "TIFF", save_all=True, append_images=[image()])
    assert compared("a.tiff", expected, giant) == [
        "The files can't be compared as image: it has 40,000 × 25,000 pixels, and 40 million are compared at most."
    ]


# --- PDF -----------------------------------------------------------------------------------------------------------


def pdf(*pages: str) -> bytes:
    """Each page has lines of text."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages)))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(pages))]
    objects.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number, text in enumerate(pages):
        shown = b" ".join(b"(%s) Tj 0 -30 Td" % line.encode() for line in text.splitlines())
        drawn = b"BT /F1 24 Tf 40 150 Td %s ET" % shown
        fonts = b"/Resources<</Font<</F1 3 0 R>>>>/MediaBox[0 0 300 200]"
        objects.append(b"<</Type/Page/Parent 2 0 R%s/Contents %d 0 R>>" % (fonts, 5 + 2 * number))
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn))
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % one for one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Size %d/Root 1 0 R>>\n%%%%EOF" % (len(objects) + 1)


@pytest.mark.needs("pdfium")
@pytest.mark.parametrize(("found", "rule", "messages"), [
    (pdf("Report\nof 2026", "The end").replace(b"Helvetica", b"Courier"), {}, []),
    (pdf("Report\nof 2027", "The end"), {}, ['Page 1, line 2: expected "of 2026", found "of 2027".']),
    (pdf("Report\nof 2027", "The end"), {"ignore": (r"\d+",)}, []),
    (pdf("Report\nof 2026", "The end\nor not"), {}, ['Page 2, line 2 is not expected: "or not".']),
    (pdf("Report"), {}, ["Expected 2 pages, found 1.", 'Page 1, line 2 is missing: "of 2026".']),
    (pdf("", ""), {}, ['Page 1, line 1 is missing: "Report".', 'Page 2, line 1 is missing: "The end".']),
    (pdf(*("x" * 3000)), {}, [
        "The file can't be read as pdf: it has 3,000 pages, and 2,000 are compared at most."]),
    (pdf("a").replace(b"/Count 1", b"/Count 999999999"), {}, [
        "Expected 2 pages, found 1.", 'Page 1, line 1: expected "Report", found "a".']),
])  # fmt: skip
def test_pages(compared: Compared, found: bytes, rule: dict[str, Any], messages: list[str]) -> None:
    assert compared("a.pdf", pdf("Report\nof 2026", "The end"), found, **rule) == messages


# --- secrets -------------------------------------------------------------------------------------------------------

SECRET, PIN = "Zq7-hunter2-Kx9w-0123456789", 9_127_384_650
MARK = "***REDACTED:DB***"
CLEAN = Redactor({"DB": SECRET, "PIN": str(PIN)}).clean
LONG = "x" * 70


@pytest.mark.parametrize(("expected", "found", "message"), [
    ({"S": [["a"], [1]]}, {"S": [["a"], [f"is {SECRET}"]]},
     f'Sheet "S", row 2, column "a": expected 1, found "is {MARK}".'),
    ({"S": [["a"], ["a"]]}, {"S": [["a"], [LONG + SECRET]]},
     f'Sheet "S", row 2, column "a": expected "a", found "{LONG}***REDACTE…".'),
    ({"S": [["a"], [LONG + "b"]]}, {"S": [["a"], [LONG + SECRET + "b" * 9]]},
     f'Sheet "S", row 2, column "a": expected "…{LONG[:20]}b", found "…{LONG[:20]}{MARK}bbbbbbbbb".'),
    ({"S": [[SECRET], [1]]}, {"S": [[SECRET], [2]]}, f'Sheet "S", row 2, column "{MARK}": expected 1, found 2.'),
    ({"S": [["a"], [1]]}, {"S": [["a"], [PIN]]},
     'Sheet "S", row 2, column "a": expected 1, found ***REDACTED:PIN***.'),
    ({"S": []}, {"S": [], SECRET: []}, f'Sheet "{MARK}" is not expected.'),
])  # fmt: skip
def test_what_a_workbook_had_packed_is_told_without_secrets(
    compared: Compared, expected: Any, found: Any, message: str
) -> None:
    assert compared("a.xlsx", xlsx(expected), xlsx(found), clean=CLEAN) == [message]


@pytest.mark.needs("pdfium")
def test_what_a_pdf_had_packed_is_told_without_secrets(compared: Compared) -> None:
    assert compared("a.pdf", pdf("The end"), pdf(f"The {SECRET}"), clean=CLEAN) == [
        f'Page 1, line 1: expected "The end", found "The {MARK}".'
    ]


@pytest.mark.needs("pdfium")
def test_what_is_ignored_cuts_no_secret(compared: Compared) -> None:
    found = pdf(f"The {SECRET} 2").replace(b"[0 0 300 200]", b"[0 0 900 200]")
    assert compared("a.pdf", pdf("The end 1"), found, clean=CLEAN, ignore=(r"\d+",)) == [
        f'Page 1, line 1: expected "The end", found "The {MARK} 2".'
    ]


@pytest.mark.parametrize("before", range(0, 200_000, 16_384))
def test_no_part_of_a_long_text_has_half_a_secret(compared: Compared, before: int) -> None:
    """Two spellings of a secret are the same mark: the first difference of what is told lies behind."""
    expected = f"{'x' * before}{SECRET}{(SECRET + 'y') * 5000}"
    found = f"{'x' * before}{SECRET.upper()}{(SECRET + 'y') * 5000}"
    (message,) = compared("a.txt", expected, found, clean=CLEAN)
    assert not {piece for piece in ("Zq7", "hunt", "Kx9w", "0123", "6789") if piece in message}, message
    assert len(message) < 300


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.needs("pdfium", "pillow")
@pytest.mark.parametrize(("name", "how"), [("a.png", "image"), ("a.pdf", "pdf"), ("a.xlsx", "xlsx")])
@pytest.mark.parametrize("found", ["", "nothing", "PK\3\4 nothing", "\x89PNG\r\n\x1a\n", "%PDF-1.4 nothing"])
def test_what_is_not_of_its_type_is_told(compared: Compared, name: str, how: str, found: str) -> None:
    assert compared(name, "something", found)[0].startswith(f"The expected file can't be read as {how}: ")


@pytest.mark.parametrize(("name", "how"), [("a.png", "image"), ("a.pdf", "pdf")])
def test_without_the_extra_the_remedy_is_told(tmp_path: Path, name: str, how: str) -> None:
    installed = Path(find_spec("pydantic").origin).parents[1]
    (tmp_path / "installed").mkdir()
    for package in installed.iterdir():
        if package.name not in ("PIL", "pypdfium2"):
            (tmp_path / "installed" / package.name).symlink_to(package)
    for folder in ("expected", "found"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(folder)
    code = f"""import sys; sys.path += {str(Path(__file__).parents[3])!r}, "installed"
from pathlib import Path
from runbook_runner.evaluation.compare.folders import compare_folders
print(compare_folders(Path("expected"), Path("found"), clean=str)[0].message)"""
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == f"To compare it as {how}, run `pip install '.[eval]'` in the clone of Runbook Runner.\n"

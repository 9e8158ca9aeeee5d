"""Expected against actual files: which are compared, how, and what is told of texts, JSON and bytes."""

import os
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.errors import CancelledError, InputError
from runbook_runner.evaluation.compare.folders import compare_folders
from runbook_runner.evaluation.compare.rule import Rule
from runbook_runner.evaluation.outputs import ResultsFolder
from runbook_runner.trajectory.diff.results import compare_results

Content = str | bytes


def put(folder: Path, name: str, content: Content) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


# --- which files ---------------------------------------------------------------------------------------------------


def test_what_is_expected_must_be_there_and_more_does_not_matter(tmp_path: Path) -> None:
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt"):
        put(tmp_path / "expected", name, name)
    for name in ("deep/b.txt", "more.txt", "a.txt/inner.txt"):
        put(tmp_path / "found", name, name)
    assert compare_folders(tmp_path / "expected", tmp_path / "found", clean=str) == (
        ("a.txt", "The file can't be read: it is not a regular file."),
        ("deep/er/c.txt", "The file is missing."),
    )


def test_the_first_rule_that_fits_counts(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "logs/a.log", "logs/in/a.log", "c.txt"):
        put(tmp_path / "expected", name, "1 \n")
        put(tmp_path / "found", name, "1\n")
    rules = [Rule("b.*", "text"), Rule("*.log", "bytes"), Rule("logs/**", "ignore"), Rule("**", "bytes")]
    found = compare_folders(tmp_path / "expected", tmp_path / "found", rules, clean=str)
    assert [difference.path for difference in found] == ["a.log", "c.txt"]
    assert found[0].message == "Byte 2 differs: expected 3 bytes, found 2."


@pytest.mark.parametrize("rule", [
    {"files": ""}, {"files": "/a"}, {"files": "a/../b"}, {"files": "a", "how": "jsn"}, {"files": "a", "tolerance": -1},
    {"files": "a", "tolerance": float("nan")}, {"files": "a", "how": "image", "tolerance": 1.5},
    {"files": "a", "pixel_distance": 2}, {"files": "a", "how": "text", "ignore": ("(",)},
    {"files": "a", "how": "json", "ignore": ("key",)},
])  # fmt: skip
def test_a_rule_that_cannot_be_used_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        Rule(**rule)


def test_the_rest_is_not_compared_after_many_differences(tmp_path: Path) -> None:
    for number in range(200):
        put(tmp_path / "expected", f"{number:03}", "x")
    found = compare_folders(tmp_path / "expected", tmp_path, clean=str)
    assert len(found) == 101
    assert found[-1] == ("100", "This and what follows is not told: there are too many differences.")


def test_a_comparison_can_be_cancelled(tmp_path: Path) -> None:
    @contextmanager
    def cancelled(stop: Callable[[], None]) -> Any:
        stop()
        yield
        raise CancelledError("The run was cancelled.")

    folders = put(tmp_path / "expected", "a.txt", "a"), put(tmp_path / "found", "a.txt", "b")
    on_cancel: Callable[[Callable[[], None]], AbstractContextManager[None]] = cancelled
    with pytest.raises(CancelledError):
        compare_folders(*folders, clean=str, on_cancel=on_cancel)


def test_all_comparisons_have_one_time_together(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        put(tmp_path / "expected", name, "a \n" * 10_000_000)
        put(tmp_path / "found", name, "a\n" * 10_000_000)
    rules = [Rule("**", "text", ignore=("b",))]
    found = compare_folders(tmp_path / "expected", tmp_path / "found", rules, clean=str, seconds=2)
    assert [message for _, message in found] == [
        "The comparison as text was ended: it takes longer than 2 s.",
        *["It was not compared as text: all comparisons together take longer than is allowed."] * 2,
    ]


# --- texts and bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expected", "found", "rule", "messages"), [
    ("a\nb\n", "a\r\nb \t\r\n", {}, []),
    ("a\nb\n", "\ufeffa\rb", {}, []),
    ("a\nb\n", "a\nb\n\n", {}, ['Line 3 is not expected: "".']),
    ("a\nb\nc", "a\n", {}, ['Line 2 is missing: "b".']),
    ("a\nb\nc", "a\nB\nC", {}, ['Line 2: expected "b", found "B".']),
    ("a\tb", "a b", {}, ['Line 1: expected "a\\tb", found "a b".']),
    ("x" * 500 + "a", "x" * 500 + "b", {}, [f'Line 1: expected "…{"x" * 20}a", found "…{"x" * 20}b".']),
    ("a\n", "a \n", {"how": "bytes"}, ["Byte 2 differs: expected 2 bytes, found 3."]),
    ("a", b"\xff", {}, ['Line 1: expected "a", found "\\udcff".']),
    (r"a\xff", b"a\xff", {"how": "text"}, [r'Line 1: expected "a\xff", found "a\udcff".']),
    (b"1 \xff", b"2 \xfe", {"how": "text", "ignore": (r"\d",)}, [r'Line 1: expected " \udcff", found " \udcfe".']),
    (b"\xff\xfe", b"\xff\xfd", {}, ["Byte 2 differs: expected 2 bytes, found 2."]),
    (b"a\0b", b"a\0b", {}, []),
    ("at 10:30 by me", "at 9:5 by you", {"ignore": (r"\d+:\d+", "me|you")}, []),
    ("at 10:30 by me", "on 9:5 by you", {"how": "text", "ignore": (r"\d+:\d+", "me|you")},
     ['Line 1: expected "at  by", found "on  by".']),
    ("a", "b", {"ignore": ("(",)},
     ["This is not a regular expression of RE2 (which has no look-around and no back-references): missing ): (."]),
])  # fmt: skip
def test_texts(
    compared: Callable[..., list[str]], expected: Content, found: Content, rule: dict[str, Any], messages: list[str]
) -> None:
    assert compared("a.txt", expected, found, **rule) == messages


def test_two_large_texts_take_little_time(compared: Callable[..., list[str]]) -> None:
    """A line in a thousand differs in nothing that counts."""
    lines = [f"{number:07} {'word ' * 10}\n" for number in range(85_000)]
    expected = "".join(lines)
    found = "".join(f"{line[:-1]} \n" if number % 1000 == 0 else line for number, line in enumerate(lines))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert compared("a.txt", expected, found + "more") == ['Line 85001 is not expected: "more".']
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 2


# --- JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expected", "found", "rule", "messages"), [
    ('{"a": 1, "b": [2, NaN]}', '{"b":[2.0,NaN],"a":0,"a":1.0}', {}, []),
    ('{"a": 1}', '\ufeff{"a": true}', {}, ["/a: expected 1, found true."]),
    ('{"a": 1, "b": "2"}', '{"a": 1.5, "b": 2}', {}, ["/a: expected 1, found 1.5.", '/b: expected "2", found 2.']),
    ("10000000000000001", "10000000000000002", {}, [
        "The document: expected 10000000000000001, found 10000000000000002."]),
    ("[1000, 0.001]", "[1009, 0.009]", {"tolerance": 0.01}, []),
    ("[1000, 0]", "[1011, 0.011]", {"tolerance": 0.01}, [
        "/0: expected 1000, found 1011.", "/1: expected 0, found 0.011."]),
    ("[1000, 0, 100]", "[1001, 1, 99]", {"tolerance": 1}, []),
    ("[1000, 4242, 5]", "[0, 99999999, -5]", {"tolerance": 1}, [
        "/0: expected 1000, found 0.", "/1: expected 4242, found 99999999.", "/2: expected 5, found -5."]),
    ("[0.1, 1.0, 1e2, 1e23, 100.0]", f"[0.10, 1, 100, 1{'0' * 23}, 1.00e2]", {}, []),
    ("[90071992547409930.10, 1e400]", "[90071992547409934.90, 1e999]", {}, [
        "/0: expected 90071992547409930.10, found 90071992547409934.90.", "/1: expected 1E+400, found 1E+999."]),
    ("[90071992547409930.10, 1e400, 10e399]", "[90071992547409934.90, 1e999, 1e400]", {"tolerance": 0.1}, [
        "/1: expected 1E+400, found 1E+999."]),
    ("[1e99999999999999999999, 1.0, 0.1]", "[2e99999999999999999999, 1.0000000000000001, 0.1]", {}, [
        '/0: expected "1e99999999999999999999", found "2e99999999999999999999".',
        "/1: expected 1, found 1.0000000000000001."]),
    ("[1000]", "[995]", {"tolerance": 4.5}, ["/0: expected 1000, found 995."]),
    ("[NaN, Infinity]", "[NaN, -Infinity]", {"tolerance": 0.1}, ["/1: expected inf, found -inf."]),
    (f"[1{'0' * 400}]", "[1.5]", {"tolerance": 0.1}, [f"/0: expected 1{'0' * 79}…, found 1.5."]),
    ('{"a": null, "c/d~e": {}}', '{"b": 1, "c/d~e": []}', {}, [
        "/a is missing: null.", "/c~1d~0e: expected an object with 0 keys, found a list of 0 items.",
        "/b is not expected: 1."]),
    ("[1, 2, 3]", "[1, 4]", {}, [
        "The document: expected a list of 3 items, found a list of 2 items.", "/1: expected 2, found 4."]),
    ('{"runs": [{"id": 1, "n": 1}, {"id": 2, "n": 1}], "at": 1}', '{"runs": [{"id": 3, "n": 1}, {"n": 2}]}',
     {"ignore": ("/runs/*/id", "/at")}, ["/runs/1/n: expected 1, found 2."]),
    ('{"a/b": 1}', '{"a/b": 2}', {"how": "json", "ignore": ("/a~1b",)}, []),
    ('{"a": {"b": 1, "c": {"d": 1}}}', '{"a": {"b": 2, "c": 2}}', {"ignore": ("/a/c", "/a/*/d", "/a/c/d", "/*/b/x")}, [
        "/a/b: expected 1, found 2."]),
    ("1", "2", {"ignore": ("a",)}, ["ignore has JSON pointers, which begin with a slash, not 'a'."]),
    ("[]", "[1,\n2,,]", {}, ["The file can't be read as json: line 2: The JSON is broken: Expecting value."]),
    ("{", "[]", {}, ["The expected file can't be read as json: line 1: The JSON is broken: "
                     "Expecting property name enclosed in double quotes."]),
    ("[]", "[" * 200_000, {}, ["The file can't be read as json: This is nested deeper than 100 levels."]),
    ("[]", b"\xff", {}, ["The file can't be read as json: The JSON is not UTF-8 text."]),
    ("[]", "1" * 5000, {}, ["The file can't be read as json: The JSON holds a number that is too long."]),
    (str([0] * 50), str([1] * 50), {}, [
        *(f"/{number}: expected 0, found 1." for number in range(10)), "There are more differences."]),
    ('["\\ud800"]', '["\\udfff\\n"]', {}, ['/0: expected "\\ud800", found "\\udfff\\n".']),
])  # fmt: skip
def test_json(
    compared: Callable[..., list[str]], expected: Content, found: Content, rule: dict[str, Any], messages: list[str]
) -> None:
    assert compared("a.json", expected, found, **rule) == messages


@pytest.mark.parametrize(("found", "messages"), [
    ('{"a":1.0}\n\n{"a":2}', []),
    ('{"a":1}\n{"a":3}', ["/1/a: expected 2, found 3."]),
    ('{"a":1}\n{', ["The file can't be read as json: line 2: The JSON is broken: "
                    "Expecting property name enclosed in double quotes."]),
])  # fmt: skip
def test_json_lines(compared: Callable[..., list[str]], found: str, messages: list[str]) -> None:
    assert compared("a.jsonl", '{"a": 1}\n{"a": 2}\n', found) == messages


# --- files that are hostile ----------------------------------------------------------------------------------------


def test_nothing_but_a_regular_file_in_its_folder_is_read(tmp_path: Path) -> None:
    secret = put(tmp_path / "elsewhere", "in/a.txt", "expected")
    expected, found = tmp_path / "expected", tmp_path / "found"
    for name in ("link.txt", "pipe.txt", "in/a.txt"):
        put(expected, name, "expected")
    found.mkdir()
    (found / "link.txt").symlink_to(secret / "in/a.txt")
    (found / "in").symlink_to(secret / "in")
    os.mkfifo(found / "pipe.txt")
    assert compare_folders(expected, found, clean=str) == (
        ("in/a.txt", "The file can't be read: its folder is a link."),
        ("link.txt", "The file can't be read: it is a link, not a regular file."),
        ("pipe.txt", "The file can't be read: it is not a regular file."),
    )


def test_very_many_folders_in_each_other_are_refused(tmp_path: Path, nested: Callable[[Path, int], Path]) -> None:
    for name in ("expected", "found", "results"):
        put(nested(tmp_path / name, 1000), "a.txt", name)
    with pytest.raises(InputError, match="more than 200 folders in each other"):
        compare_folders(tmp_path / "expected", tmp_path / "found", clean=str)
    with pytest.raises(InputError, match="more than 200 folders in each other"):
        list(ResultsFolder(tmp_path / "found").matching("**/a.txt"))
    with pytest.raises(InputError, match="more than 200 folders in each other"):
        compare_results(tmp_path / "results", tmp_path / "results", str)


def test_a_file_of_10_gb_is_not_read(tmp_path: Path) -> None:
    expected, found = put(tmp_path / "expected", "a.json", "[]"), put(tmp_path / "found", "a.json", "[1]")
    os.truncate(found / "a.json", 10_000_000_000)
    ((_, message),) = compare_folders(expected, found, clean=str)
    assert message == "The file has more than 50 MB, too many to be compared as json."


@pytest.mark.needs("linux")
def test_what_needs_too_much_memory_is_ended(compared: Callable[..., list[str]]) -> None:
    """The small lists of 50 MB are a gigabyte."""
    assert compared("a.json", "[]", f"[{'[0],' * 12_000_000}[]]") == [
        "The comparison as json was ended: it needs more memory than is allowed."
    ]

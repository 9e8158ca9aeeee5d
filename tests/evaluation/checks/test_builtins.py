"""The six built-in checks, on real files."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from runbook_runner.core.criteria import BuiltIn
from runbook_runner.evaluation.checks.builtins import MOST_BYTES, Answer, builtin_answer
from runbook_runner.evaluation.checks.content import Ends, without_match
from runbook_runner.evaluation.outputs import ResultsFolder
from runbook_runner.runbook.document import parse


def answer(results: Path, yaml: str, timeout_s: float = 20) -> Answer:
    (check,) = parse(
        f"---\nagent: shell\n---\n# T\n\n## Code Checks\n\n### x — X\n\n```yaml\n{yaml}\n```\n"
    ).criteria.code_checks
    assert isinstance(check.builtin, BuiltIn), check.problem
    return builtin_answer(check.builtin, ResultsFolder(results), Ends(timeout_s, lambda _: nullcontext()))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, content in {
        "a.md": "# Title\n\nSee [b](deep/b.md#x), [site](https://example.org/x.md), [top](#title).\n",
        "deep/b.md": "Up: [a](../a.md), ![p](<../pic ture.png>), [abs](/app/results/a.md)\n",
        "dangling.md": "[x](gone.md) [y](../../../etc/passwd) [z](/app/results/no.md) [u](http://[::1)\n",
        "pic ture.png": "png",
        "good.json": '{"a": [1, 2]}',
        "bad.json": '{"a": 1,}',
        "nan.json": "[NaN]",
        "lines.jsonl": '{"a": 1}\n{"b": 2}\n',
        "torn.jsonl": '{"a": 1}\n{"b"\n',
        "empty.json": "",
        "deep.json": "[" * 100_000,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(("yaml", "status", "said"), [
    ("use: file_exists\npath: a.md", "pass", "1 file."),
    ("use: file_exists\npath: gone.md", "fail", "there is no file gone.md."),
    ("use: file_exists\npath: deep", "fail", "there is no file deep."),
    ("use: file_exists\npath: ../a.md", "fail", "there is no file ../a.md."),
    ("use: file_exists\nglob: '*.md'", "pass", "1 file."),
    ("use: file_exists\nglob: '**/*.md'", "pass", "3 files."),
    ("use: file_exists\nglob: '**/**/**/*.md'", "pass", "3 files."),
    ("use: file_exists\nglob: '**/**'", "pass", "11 files."),
    ("use: file_exists\nglob: '*.pdf'", "fail", "nothing matches *.pdf."),
    ("use: min_size\npath: good.json\nbytes: 13", "pass", "1 file."),
    ("use: min_size\npath: good.json\nmin_bytes: 14", "fail", "below 14 bytes: good.json has 13."),
    ("use: min_size\nglob: '*.jsonl'\nsize: 1000", "fail", "below 1,000 bytes: lines.jsonl has 18"),
    ("use: min_size\nglob: '*.pdf'\nsize: 1", "fail", "nothing matches"),
    ("use: json_valid\npath: good.json", "pass", "1 file."),
    ("use: json_valid\npath: bad.json", "fail", "not JSON: bad.json: line 1: "),
    ("use: json_valid\npath: nan.json", "fail", "NaN is no JSON"),
    ("use: json_valid\npath: empty.json", "fail", "not JSON: empty.json"),
    ("use: json_valid\npath: deep.json", "fail", "deep.json: it is nested too deeply"),
    ("use: json_valid\npath: lines.jsonl", "pass", "1 file."),
    ("use: json_valid\npath: torn.jsonl", "fail", "torn.jsonl: line 2:"),
    ("use: regex_present\npath: a.md\npattern: '^# Title$'", "pass", "1 file."),
    ("use: regex_present\npath: a.md\nregex: 'See (?=\\[b)'", "pass", "1 file."),
    ("use: regex_present\nglob: '**/*.md'\npattern: '^# '", "fail", "no match of ^# : "),
    ("use: regex_present\nglob: '*.pdf'\npattern: x", "fail", "nothing matches"),
    ("use: regex_absent\npath: a.md\npattern: TODO", "pass", "1 file."),
    ("use: regex_absent\nglob: '*.md'\npattern: Title", "fail", "a match of Title: a.md."),
    ("use: regex_absent\nglob: '*.pdf'\npattern: x", "pass", "nothing matches"),
    ("use: regex_absent\npath: a.mdd\npattern: x", "fail", "there is no file a.mdd."),
    ("use: regex_present\npath: a.md\npattern: '(unclosed'", "error", "is not a regular expression"),
    ("use: markdown_relative_links_resolve\npath: a.md", "pass", "1 file."),
    ("use: markdown_relative_links_resolve\npath: deep/b.md", "pass", "1 file."),
    ("use: markdown_relative_links_resolve\npath: dangling.md", "fail",
     "a link that leads nowhere: dangling.md: gone.md; dangling.md: ../../../etc/passwd; dangling.md: "
     "/app/results/no.md."),
])  # fmt: skip
def test_each_says_what_it_found(results: Path, yaml: str, status: str, said: str) -> None:
    if "'*.md'" in yaml:
        (results / "dangling.md").unlink()
    found = answer(results, yaml)
    assert (found.status, said in found.message) == (status, True), found


@pytest.mark.parametrize("content", ["TODO".encode("utf-16"), b'"\xff"'])
@pytest.mark.parametrize("use", ["json_valid", "regex_absent\npattern: TODO", "regex_present\npattern: TODO"])
def test_what_is_not_utf_8_is_an_error(tmp_path: Path, use: str, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert answer(tmp_path, f"use: {use}\npath: a.json") == ("error", "a.json is not UTF-8.")


@pytest.mark.parametrize("use", ["regex_present\npath: a.md\npattern: {}", "regex_absent\nglob: '*{}*'\npattern: x"])
def test_an_endless_pattern_is_told_by_its_beginning(results: Path, use: str) -> None:
    found = answer(results, f"use: {use.format('x' * 180_000)}")
    assert "x" * 400 in found.message
    assert len(found.message) < 600


@pytest.mark.parametrize("prefix", ["/app/results/", "/app/results/%2f", "%2e%2e/", "deep/..//../", "a.md/../../"])
def test_a_link_does_not_tell_which_files_this_machine_has(results: Path, tmp_path: Path, prefix: str) -> None:
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.write_text("x")
    target = outside if prefix.startswith("/") else outside.name
    (results / "a.md").write_text(f"[x]({prefix}{target})")
    assert answer(results, "use: markdown_relative_links_resolve\npath: a.md").status == "fail"


def test_what_too_many_results_hide_is_an_error_and_not_absent(tmp_path: Path) -> None:
    chain = tmp_path.joinpath(*["d"] * 90)
    chain.mkdir(parents=True)
    for number in range(4000):
        (chain / f"{number}.md").write_text("TODO")
    found = answer(tmp_path, f"use: regex_absent\nglob: '{'**/d*/' * 40}**/*.md'\npattern: TODO")
    assert found == ("error", "there are too many results to look for it.")


def test_an_expression_that_never_ends_is_an_error_and_nothing_runs_on(results: Path) -> None:
    (results / "a.md").write_text("a" * 5000 + "!")
    found = answer(results, "use: regex_present\npath: a.md\npattern: '^(a+)+$'", timeout_s=1)
    assert found == ("error", "it took longer than 1 s.")
    assert b"(a+)+" not in subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_search_ends_with_the_run_that_is_killed(tmp_path: Path, eventually: Any) -> None:
    (tmp_path / "a.md").write_text("a" * 5000 + "!")
    search = f"without_match('^(a+)+$', {{'a.md': {str(tmp_path / 'a.md')!r}}}, Ends(600, lambda _: nullcontext()))"
    imports = "from contextlib import nullcontext; from runbook_runner.evaluation.checks.content import *"
    code = f"{imports}; {search}"
    with subprocess.Popen([sys.executable, "-c", code]) as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        searcher = Path("/proc", eventually(lambda: children.read_text().split())[0], "stat")
        eventually(lambda: int(searcher.read_text().rsplit(")", 1)[1].split()[11]) > 20)  # it has used 0.2 s
        run.kill()
    eventually(lambda: not searcher.exists() or searcher.read_text().rsplit(")", 1)[1].split()[0] == "Z", within=10)


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
def test_a_search_is_bounded_in_processor_time() -> None:
    limits = {"limits": Path("/proc/self/limits")}  # of the process that reads them
    assert without_match("^Max cpu time +4 +4 +seconds", limits, Ends(2.5, lambda _: nullcontext())) == []


@pytest.mark.parametrize("use", ["json_valid", "regex_absent\npattern: x", "markdown_relative_links_resolve"])
def test_the_content_of_a_very_large_file_is_not_read(tmp_path: Path, use: str) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    found: Any = answer(tmp_path, f"use: {use}\npath: big")
    assert found.status == "error"
    assert found.message.endswith(" MB, so its content is not read.")


def test_a_document_that_needs_too_much_memory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text("[" + '{"":{}},' * 5_000_000 + "1]")
    found = answer(tmp_path, "use: json_valid\npath: big.json", timeout_s=120)
    assert found == ("error", "big.json needs too much memory.")

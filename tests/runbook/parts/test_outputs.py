"""The manifest: which files a run must produce."""

import pytest

from runbook_runner.runbook.describe import describe
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.parts.outputs import in_results


def paths(text: str) -> list[str]:
    return [output.path for output in parse(text).outputs]


def manifest(rows: str, header: str = "| File | Description |\n|---|---|\n") -> str:
    return f"---\na: 1\n---\n## REQUIRED OUTPUT FILES (MANDATORY)\n\n{header}{rows}"


def test_every_spelling_of_a_path_is_relative_to_the_results_directory(corpus):
    assert paths(corpus("classic")) == [
        "report.md",
        "charts/*.png",
        "summary.md",
        "<shop>/notes.txt",
        "validation_report.json",
    ]


def test_description_is_plain_text(corpus):
    outputs = parse(corpus("classic")).outputs
    assert outputs[0].description == "The page"
    assert outputs[1].description == "One chart per <region>"
    assert outputs[3].description == "Notes, a or b"


def test_rows_of_an_operation_table_are_alternatives_so_only_what_all_of_them_name_is_required(corpus):
    header = "| Operation | Required files in /app/results |\n|---|---|\n"
    rows = "| `audit` | `audit.md` · `summary.md` |\n| polish | `/app/results/page.html` and `summary.md` |\n"
    assert paths(manifest(rows, header)) == ["summary.md"]
    assert paths(manifest(rows + "| rebuild | none |\n", header)) == []
    assert paths(corpus("operations")) == []


def test_table_keyed_by_a_label_names_its_files_in_the_second_column():
    header = "| Deliverable | File |\n|---|---|\n"
    rows = "| The page | `page.html` |\n| Notes | `/app/results/notes.md` |\n"
    outputs = parse(manifest(rows, header)).outputs
    assert [(o.path, o.description) for o in outputs] == [("page.html", "The page"), ("notes.md", "Notes")]


def test_numbered_table_works_too():
    header = "| # | File | Description |\n|---|---|---|\n"
    text = manifest("| 1 | `/app/results/a.csv` | Rows |\n", header)
    assert [(o.path, o.description) for o in parse(text).outputs] == [("a.csv", "Rows")]


def test_several_files_in_one_cell_all_count():
    assert paths(manifest("| `a.md`, `b.md` | both |\n")) == ["a.md", "b.md"]


def test_file_without_back_ticks_or_extension_counts():
    assert paths(manifest("| report.md | x |\n| `Makefile` | y |\n| some words | z |\n")) == ["report.md", "Makefile"]


def test_files_outside_the_results_directory_stay_required_as_they_are_spelled():
    rows = "| `/app/work/x.txt` | x |\n| `../secret.txt` | y |\n| `/app/results/` | z |\n| `/app/results/../up` | u |\n"
    elsewhere = ["/app/work/x.txt", "../secret.txt", "/app/results/../up"]
    runbook = parse(manifest(f"{rows}| `~/x` | Optional |\n| `/app/results//a.md` | in it |\n"))
    assert [output.path for output in runbook.outputs] == [*elsewhere, "a.md"]
    assert [output.path for output in runbook.outputs if output.is_elsewhere] == elsewhere
    assert [output["line"] for output in describe(runbook)["outputs"]] == [8, 9, 11, 13]


def test_optional_files_are_not_required():
    header = "| File | Required | Description |\n|---|---|---|\n"
    rows = "| `a.md` | Yes | x |\n| `b.md` | No | y |\n"
    more = "\n### Optional files\n\n| File | Description |\n|---|---|\n| `c.md` | z |\n"
    assert paths(manifest(rows, header) + more) == ["a.md"]


def test_tables_elsewhere_are_no_manifest():
    text = manifest("| `a.md` | x |\n") + "\n## Other\n\n| File | Description |\n|---|---|\n| `b.md` | y |\n"
    assert paths(text) == ["a.md"]


def test_table_in_a_fence_is_no_manifest():
    assert paths(manifest("", "```\n| File | Description |\n|---|---|\n| `a.md` | x |\n```\n")) == []


@pytest.mark.parametrize(
    ("spelled", "path"),
    [
        ("/app/results/a/b.md", "a/b.md"),
        ("{{results_dir}}/a.md", "a.md"),
        ("{{ results_dir }}/a.md", "a.md"),
        ("./results/a.md", "a.md"),
        ("results/a.md", "a.md"),
        ("./a.md", "a.md"),
        ("a/../b.md", "b.md"),
        ("results.md", "results.md"),
        ("/app/assets/../results/a.md", "a.md"),
        ("screens/", "screens"),
        ("<slug>/*.md", "<slug>/*.md"),
        ("/app/results", None),
        ("/etc/passwd", None),
        ("../x", None),
        ("results/../../x", None),
        ("~/x", None),
        ("", None),
        (".", None),
    ],
)
def test_result_path(spelled, path):
    assert in_results(spelled) == path


@pytest.mark.parametrize(
    ("row", "is_required"),
    [
        ("| `a.md` | The report |", True),
        ("| `a.md` | Which orders came in when the shop was closed, and if they were paid |", True),
        ("| `a.md` | Optional notes |", False),
        ("| `a.md` (optional) | Notes |", False),
        ("| `a.md` | The chart, if requested |", False),
        ("| `a.md` | The chart — only if the data has dates |", False),
        ("| `a.md` | The chart (when the data has dates) |", False),
        ("| `a.md` | When `mode` is deep: the log |", False),
        ("| `a.md` | The log. Only for failed runs |", False),
    ],
)
def test_a_row_that_names_a_condition_is_not_required(row, is_required):
    assert paths(manifest(f"{row}\n")) == (["a.md"] if is_required else [])


@pytest.mark.parametrize(
    ("said", "is_required"),
    [("Yes", True), ("Always", True), ("", True), ("✓", True), ("No", False), ("If requested", False),
     ("Only with `deep`", False), ("Required if deep", False), ("Optional", False)],
)  # fmt: skip
def test_the_column_of_required_files_wins(said, is_required):
    header = "| File | Required | Description |\n|---|---|---|\n"
    assert paths(manifest(f"| `a.md` | {said} | Any |\n", header)) == (["a.md"] if is_required else [])

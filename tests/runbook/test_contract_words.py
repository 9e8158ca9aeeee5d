"""The words of contract §3.5 and §3.6, copied from there by hand: what our own corpus expects is not asked."""

import pytest

from runbook_runner.runbook.document import parse

RESULTS = "/app/results"
# Cell, then what it is read as: a value, or one of the words of the contract's last column.
CELLS = [
    ("`x`", "value", "x"),
    ("`two words`", "value", "two words"),
    ("`/app/results`", "value", RESULTS),
    ("`/app/results` (Jetty) / `./results` (local)", "value", RESULTS),
    ("`/app/results/report.html`", "value", "/app/results/report.html"),
    *((word, "required", None) for word in ("*(required)*", "required", "Required")),
    *((word, "optional", None) for word in ("optional", "*(optional)*", "Optional")),
    *((word, "optional", None) for word in ("none", "*(none)*", "None")),
    *((word, "optional", None) for word in ("empty", "—", "--", "")),
    ("Source default", "agent", None),
    *(
        (word, "conditional", None)
        for word in ("*(required if …)*", "*(required for build/redesign)*", "*(required — prompt user)*")
    ),
    *(
        (word, "agent", None)
        for word in (
            *("*(inferred)*", "auto-detect", "inferred from data", "today's date", "30 days ago"),
            *("first `*.xlsx` in `/app/assets/`", "`APOLLO_API_KEY` env var"),
        )
    ),
]
# The nine headers, with the cells of a row around the default's.
HEADERS = [
    ("Parameter | Default | Description", "`thing` | {} | About it"),
    ("Parameter | Template Variable | Default | Description", "The thing | `{{{{thing}}}}` | {} | About it"),
    ("Parameter | Value | Description", "`thing` | {} | About it"),
    ("Parameter | Default | Required | Description", "thing | {} | | About it"),
    ("Parameter | Required | Default | Description", "Thing | | {} | About it"),
    ("Parameter | Environment / Path | Description", "`thing` | {} | About it"),
    ("Parameter | Type | Required | Default | Description", "`thing` | text | | {} | About it"),
    ("Parameter | Value / Default | Description", "thing | {} | About it"),
    ("Parameter | Description | Default", "`thing` | About it | {}"),
]


def only_parameter(header, row):
    columns = header.count("|") + 1
    table = f"| {header} |\n|{'---|' * columns}\n| {row} |\n"
    (parameter,) = parse(f"---\nversion: 1.0.0\n---\n# T\n\n## Parameters\n\n{table}").parameters
    return parameter


def verdict(parameter):
    if parameter.default is not None:
        return "value", parameter.default
    if parameter.conditional:
        return "conditional", None
    if parameter.must_be_given:
        return "required", None
    return ("agent" if parameter.prose else "optional"), None


@pytest.mark.parametrize("header", [header for header, _ in HEADERS])
def test_every_default_cell_means_the_same_below_every_header(header):
    row = dict(HEADERS)[header]
    read = {cell: only_parameter(header, row.format(cell)) for cell, _, _ in CELLS}
    assert {parameter.name for cell, parameter in read.items() if parameter.name != "results_dir"} == {"thing"}
    assert {cell: verdict(parameter) for cell, parameter in read.items()} == {
        cell: (meaning, value) for cell, meaning, value in CELLS
    }


@pytest.mark.parametrize(("word", "required"), [("Yes", True), ("No", False), ("yes", True), ("no", False)])
def test_a_required_column_wins_over_the_default_cell(word, required):
    header, row = "Parameter | Default | Required | Description", "`a` | {} | {} | x"
    assert only_parameter(header, row.format("*(required)*", word)).must_be_given is required
    assert only_parameter(header, row.format("none", word)).must_be_given is required
    assert not only_parameter(header, row.format("`x`", word)).must_be_given


def test_a_table_without_a_default_column_is_optional_unless_its_text_says_required():
    assert not only_parameter("Parameter | Description", "`a` | The shop").must_be_given
    assert only_parameter("Parameter | Description", "`a` | The shop (required)").must_be_given


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("Case text | `{{case_text}}` | x", "case_text"),
        ("`brand_url` | `x` | y", "brand_url"),
        ("days | `30` | y", "days"),
        ("Results directory | see below | y", "results_directory"),
        ("Results directory | `/app/results` | y", "results_dir"),
    ],
)
def test_names_are_found_in_the_contracts_order(row, name):
    assert only_parameter("Parameter | Default | Description", row).name == name


def outputs(path, title="REQUIRED OUTPUT FILES (MANDATORY)"):
    table = f"| File | Description |\n|---|---|\n| `{path}` | It |\n"
    return [output.path for output in parse(f"---\na: 1\n---\n## {title}\n\n{table}").outputs]


@pytest.mark.parametrize(
    "spelled", ["/app/results/x.md", "{{results_dir}}/x.md", "x.md", "./results/x.md", "results/x.md"]
)
def test_every_path_form_of_the_manifest_is_the_same_file(spelled):
    assert outputs(spelled) == outputs(spelled, "Required Output Files") == ["x.md"]


@pytest.mark.parametrize("pattern", ["<slug>.md", "charts/*.png"])
def test_patterns_of_the_manifest_stay_patterns(pattern):
    assert outputs(f"/app/results/{pattern}") == [pattern]

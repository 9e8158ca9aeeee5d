"""The Parameters table: all header forms and the default vocabulary of contract §3.6."""

import pytest

from runbook_runner.runbook.document import parse

FORMS = [
    ("Parameter | Default | Description", "`topic` | `x` | About"),
    ("Parameter | Template Variable | Default | Description", "The topic | `{{topic}}` | `x` | About"),
    ("Parameter | Value | Description", "`topic` | `x` | About"),
    ("Parameter | Default | Required | Description", "`topic` | `x` | No | About"),
    ("Parameter | Required | Default | Description", "`topic` | No | `x` | About"),
    ("Parameter | Environment / Path | Description", "`topic` | `x` | About"),
    ("Parameter | Type | Required | Default | Description", "`topic` | text | No | `x` | About"),
    ("Parameter | Value / Default | Description", "`topic` | `x` | About"),
    ("Parameter | Description | Default", "`topic` | About | `x`"),
]


def parameters(header: str, *rows: str, body: str = ""):
    rule = "|".join("---" for _ in header.split("|"))
    table = "\n".join(f"| {row} |" for row in (header, rule, *rows))
    return parse(f"---\na: 1\n---\n{body}\n## Parameters\n\n{table}\n").parameters


def one(default: str, name: str = "`topic`"):
    (parameter,) = parameters("Parameter | Default | Description", f"{name} | {default} | About")
    return parameter


@pytest.mark.parametrize(("header", "row"), FORMS)
def test_every_header_form_gives_the_same_parameter(header, row):
    (parameter,) = parameters(header, row)
    assert (parameter.name, parameter.default, parameter.description) == ("topic", "x", "About")
    assert not parameter.required


def test_row_knows_its_line_in_the_file(corpus):
    text = corpus("classic")
    parameters, lines = parse(text).parameters, text.splitlines()
    assert [one.label for one in parameters if one.label in lines[one.line - 1]] == [one.label for one in parameters]
    assert len(parameters) > 1


@pytest.mark.parametrize("cell", ["*(required)*", "required", "Required", "**Required**", "`required`"])
def test_required_words(cell):
    parameter = one(cell)
    assert (parameter.kind, parameter.required, parameter.must_be_given) == ("required", True, True)


@pytest.mark.parametrize(
    "cell",
    ["optional", "*(optional)*", "Optional", "none", "*(none)*", "None", "empty", "*(empty)*", "—", "--", "–", "-", ""],
)
def test_optional_words(cell):
    parameter = one(cell)
    assert (parameter.kind, parameter.default, parameter.required) == ("optional", None, False)


@pytest.mark.parametrize(
    "cell", ["*(required if no url)*", "*(required for build/redesign)*", "*(required — prompt user)*"]
)
def test_conditionally_required_never_blocks(cell):
    parameter = one(cell)
    assert (parameter.kind, parameter.conditional, parameter.required) == ("conditional", True, False)
    assert parameter.prose.startswith("(required")


@pytest.mark.parametrize(
    "cell",
    [
        "Source default",
        "*(inferred)*",
        "auto-detect",
        "inferred from data",
        "today's date",
        "30 days ago",
        "first `*.xlsx` in `/app/assets/`",
        "`APOLLO_API_KEY` env var",
        "`en` or `de`",
    ],
)
def test_prose_is_left_to_the_agent(cell):
    parameter = one(cell)
    assert (parameter.kind, parameter.default, parameter.must_be_given) == ("prose", None, False)
    assert parameter.prose == cell.replace("`", "").replace("*(", "(").replace(")*", ")")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("`x`", "x"),
        ("`two words`", "two words"),
        ("`x` (for now)", "x"),
        ('`""`', ""),
        ("`/app/results/report.md`", "/app/results/report.md"),
        ("`{{results_dir}}/report.md`", "/app/results/report.md"),
        ("`/app/results` (Jetty) / `./results` (local)", "/app/results"),
        ("/app/results (Jetty) / ./results (local)", "/app/results"),
        ("`./results` (local) / `/app/results` (Jetty)", "/app/results"),
        ("30", "30"),
        ("2.5", "2.5"),
        ("true", "true"),
        ("https://example.org/a", "https://example.org/a"),
        ('"quoted text"', "quoted text"),
    ],
)
def test_value_defaults(cell, value):
    parameter = one(cell)
    assert (parameter.kind, parameter.default) == ("value", value)


@pytest.mark.parametrize(
    ("required", "default", "expected"),
    [
        ("Yes", "—", (True, False, True)),
        ("Yes", "`x`", (True, False, False)),
        ("**Yes**", "", (True, False, True)),
        ("✅", "auto-detect", (True, False, True)),
        ("No", "*(required)*", (False, False, False)),
        ("No (see below)", "`x`", (False, False, False)),
        ("optional", "required", (False, False, False)),
        ("Yes, if no file is given", "—", (False, True, False)),
        ("One of the two", "—", (False, True, False)),
    ],
)
def test_required_column_wins_over_the_default_cell(required, default, expected):
    (parameter,) = parameters("Parameter | Required | Default | Description", f"`p` | {required} | {default} | x")
    assert (parameter.required, parameter.conditional, parameter.must_be_given) == expected


def test_without_a_default_column_the_text_decides(corpus):
    rows = {p.name: p for p in parse(corpus("operations")).parameters}
    assert {name: (p.required, p.conditional) for name, p in rows.items()} == {
        "operation": (True, False),
        "page_address": (True, False),
        "theme": (False, True),
        "palette": (False, False),
    }


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("Brand | {{brand_name}} | x", "brand_name"),
        ("`{{brand}}` | `x` | x", "brand"),
        ("Where to | `x` | fills `{{target}}`", "target"),
        ("`brand_url` | `x` | like {{other}}", "brand_url"),
        ("`brand_url` (the site) | `x` | x", "brand_url"),
        ("brand_url | `x` | x", "brand_url"),
        ("API_BASE | `x` | x", "API_BASE"),
        ("Topic | `x` | x", "topic"),
        ("Target audience | `x` | x", "target_audience"),
        ("Max. items (per page) | `x` | x", "max_items"),
        ("3D model | `x` | x", "_3d_model"),
        ("`assets/*.csv` | `x` | x", "assets_csv"),
        ("Results directory | `/app/results` | x", "results_dir"),
        ("Output folder | `./results` | x", "results_dir"),
        ("`out_dir` | `/app/results` | x", "out_dir"),
    ],
)
def test_name_resolution(row, name):
    (parameter,) = parameters("Parameter | Default | Description", row)
    assert parameter.name == name


def test_one_word_label_keeps_its_spelling_when_the_text_uses_it():
    (parameter,) = parameters("Parameter | Default | Description", "Topic | `x` | y", body="About {{Topic}}.")
    assert parameter.name == "Topic"


def test_label_without_latin_letters_still_has_a_name():
    (parameter,) = parameters("Parameter | Default | Description", "Марка | `x` | y")
    assert (parameter.name, parameter.label) == (f"parameter_{parameter.line}", "Марка")


@pytest.mark.parametrize("cell", ["*(required)*", "`./results`", "—", "`/app/results`"])
def test_results_directory_always_has_its_value(cell):
    parameter = one(cell, "`results_dir`")
    assert (parameter.default, parameter.must_be_given) == ("/app/results", False)


def test_results_directory_elsewhere_has_the_value_that_counts_and_is_told():
    parameter = one("`/tmp/out`", "`results_dir`")
    assert (parameter.default, parameter.prose) == ("/app/results", "/tmp/out")


def test_first_of_two_rows_of_one_name_counts():
    rows = parameters("Parameter | Default | Description", "`a` | `1` | x", "`a` | `2` | y")
    assert [(p.name, p.default) for p in rows] == [("a", "1")]


def test_only_parameter_tables_of_the_section_count(corpus):
    (sheet,) = parse(corpus("nested")).parameters
    assert (sheet.name, sheet.must_be_given) == ("sheet", True)
    two = "| Parameter | Default |\n|---|---|\n| `a` | `1` |\n\n| Example | Result |\n|---|---|\n| `b` | `2` |\n"
    assert [p.name for p in parse(f"---\na: 1\n---\n## Parameters\n\n{two}").parameters] == ["a"]


def test_runbook_without_parameters_has_none(corpus):
    assert parse(corpus("docs_variant")).parameters == ()


def test_variable_named_in_an_environment_column_is_no_default():
    rows = parameters(
        "Parameter | Environment / Path | Description",
        "Company pages | `COMPANY_URLS` | Which",
        "Results directory | `/app/results` | Where",
        "Table path | `/app/results/people.csv` | Rows",
    )
    assert [(p.name, p.default, p.kind) for p in rows] == [
        ("company_pages", None, "prose"),
        ("results_dir", "/app/results", "value"),
        ("table_path", "/app/results/people.csv", "value"),
    ]


def test_name_with_hyphens_becomes_one_that_a_placeholder_can_have():
    (parameter,) = parameters("Parameter | Type | Required | Default | Description", "site-url | text | Yes |  | Where")
    assert (parameter.name, parameter.must_be_given) == ("site_url", True)

"""`{{name}}`: known names are filled in, everything else stays byte for byte."""

import pytest

from runbook_runner.runbook.document import parse
from runbook_runner.runbook.mission import render, undeclared
from runbook_runner.runbook.parts.substitution import Placeholder, placeholders, substitute


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{name}}", "v"),
        ("{{ name }} and {{name}}", "v and v"),
        ("{{{name}}}", "{v}"),
        ("${{name}}", "$v"),
    ],
)
def test_known_names_are_filled_in(text, result):
    assert substitute(text, {"name": "v"}) == result


@pytest.mark.parametrize(
    "text",
    [
        "{{unknown}}",
        "{{ na me }}",
        "{{name",
        "{name}",
        "{% name %}",
        "{{name|upper}}",
        "{{name.x}}",
        "${{AGENTMAIL_API_KEY:-}}",
        "${{ github.token }}",
        "<div style={{color: 'red'}}>",
        'f"{{literal}} {x}"',
        "{{secrets.UNKNOWN}}",
        "{{secrets.name}}",
        "{{Name}}",
    ],
)
def test_everything_else_stays(text):
    assert substitute(text, {"name": "v"}, {"TOKEN": "T"}) == text


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("text", "text"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (2.5, "2.5"),
        ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
        (["x", None], '["x", null]'),
    ],
)
def test_values_are_spelled_like_json(value, spelled):
    assert substitute("<{{x}}>", {"x": value}) == f"<{spelled}>"


def test_values_are_not_looked_at_again():
    assert substitute("{{a}}{{b}}", {"a": "{{b}}", "b": r"\1{{a}}"}) == r"{{b}}\1{{a}}"


def test_secret_becomes_the_name_of_its_variable():
    envs = {"TOKEN": "SHOP_TOKEN"}
    assert substitute("{{secrets.TOKEN}} ${{secrets.TOKEN}}", {}, envs) == "$SHOP_TOKEN ${SHOP_TOKEN}"
    assert substitute("{{ secrets.TOKEN }}", {}, envs) == "$SHOP_TOKEN"


def test_placeholders_know_their_lines():
    found = placeholders("{{a}}\n\n{{ b }} {{secrets.C}}\n{{a}} {{1x}} {{x y}}")
    assert found == (Placeholder("a", 1), Placeholder("b", 3), Placeholder("C", 3, is_secret=True), Placeholder("a", 4))


def test_rendering_leaves_the_frontmatter_alone(corpus):
    text = corpus("persona")
    rendered = render(parse(text), {"color": "red", "literal": "x"})
    assert 'primary_outputs: "{{results_dir}}/persona.png"' in rendered
    assert '<div style=red>` and f"x".' in rendered


def test_rendering_fills_in_values_built_ins_and_secrets(corpus):
    rendered = render(parse(corpus("classic")), {"shop_name": "Corner", "days": 7})
    assert "orders of `Corner`" in rendered
    assert "mkdir -p /app/results/charts" in rendered
    assert 'echo "${SHOP_API_TOKEN}"' in rendered
    assert parse(rendered).outputs[1].path == "charts/*.png"


def test_given_results_directory_wins(corpus):
    rendered = render(parse(corpus("classic")), {"results_dir": "/app/results/run 1"})
    assert "mkdir -p /app/results/run 1/charts" in rendered
    assert "{{shop_name}}" in rendered


def test_output_paths_get_their_values(with_body):
    text = with_body("## REQUIRED OUTPUT FILES\n\n| File | D |\n|---|---|\n| `{{results_dir}}/{{brand}}/a.md` | x |\n")
    assert [o.path for o in parse(text).outputs] == ["{{brand}}/a.md"]
    assert [o.path for o in parse(render(parse(text), {"brand": "acme"})).outputs] == ["acme/a.md"]


def test_undeclared_names_are_listed_with_their_lines(corpus):
    assert undeclared(parse(corpus("classic"))) == ()
    assert undeclared(parse(corpus("docs_variant"))) == (Placeholder("name", 11),)

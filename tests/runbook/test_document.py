"""What a parsed runbook knows, and where it says a broken one is broken."""

import subprocess
import sys

import pytest

from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.runbook.document import parse


def test_classic_runbook_is_read_whole(corpus):
    runbook = parse(corpus("classic"), "shop/RUNBOOK.md")
    assert runbook.source == "shop/RUNBOOK.md"
    assert runbook.title == "Order Digest — Agent Runbook"
    assert runbook.primary_outputs == ("report.md", "charts/overview.png")
    assert [p.name for p in runbook.parameters] == ["results_dir", "shop_name", "days"]
    assert runbook.outputs[0].path == "report.md"
    assert runbook.text.endswith(runbook.body)


def test_every_section_knows_its_lines_in_the_file(corpus):
    text = corpus("classic")
    lines = text.splitlines()
    runbook = parse(text)
    assert len(runbook.sections) == 9
    for section in runbook.sections:
        assert lines[section.line - 1] == "#" * section.level + " " + section.title
        below = "\n".join(lines[section.line : section.end_line])
        assert section.text.strip() == below.strip()
    assert runbook.sections[0].end_line == len(lines)
    assert runbook.body_line == lines.index("---", 1) + 2


def test_step_section_holds_its_subsections(corpus):
    section = parse(corpus("classic")).section("environment setup")
    assert section is not None
    assert section.title == "Step 1: Environment Setup"
    assert "### A closer look" in section.text
    assert "Iterate" not in section.text


def test_headings_in_fences_quotes_and_lists_open_no_section(corpus):
    titles = [section.title for section in parse(corpus("nested")).sections]
    assert titles == ["Sheets", "Parameter precedence", "Step 1: Parameters", "EVAL CONFIG", "Changelog"]


@pytest.mark.parametrize("name", ["classic", "operations", "persona", "docs_variant", "nested"])
def test_odd_runbooks_survive(corpus, name):
    runbook = parse(corpus(name))
    assert runbook.title
    assert runbook.frontmatter.agent


def test_runbook_without_standard_sections_has_none_of_their_content(corpus):
    runbook = parse(corpus("persona"))
    assert (runbook.title, runbook.parameters, runbook.outputs) == ("Persona", (), ())
    assert runbook.frontmatter.evaluation == "visual"
    assert runbook.primary_outputs == ("persona.png",)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing_but_themselves(corpus):
    unix = parse(corpus("classic"))
    windows = parse("\ufeff" + corpus("classic").replace("\n", "\r\n"))
    assert windows.frontmatter == unix.frontmatter
    assert windows.parameters == unix.parameters
    assert windows.outputs == unix.outputs
    assert [(s.title, s.line, s.end_line) for s in windows.sections] == [
        (s.title, s.line, s.end_line) for s in unix.sections
    ]


def test_missing_frontmatter_is_refused_with_the_smallest_one_shown():
    with pytest.raises(InputError) as caught:
        parse("# Title\n\nWork.\n", "RUNBOOK.md")
    assert str(caught.value).startswith("RUNBOOK.md:1: There is no YAML frontmatter.")
    assert "evaluation: programmatic" in str(caught.value)
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_frontmatter_below_a_blank_line_is_refused_with_the_reason():
    with pytest.raises(InputError, match="very first line"):
        parse("\n---\nversion: 1.0.0\n---\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("----\nversion: 1.0.0\n----\n", "The first line must be `---` and nothing else"),
        ("---\rversion: 1.0.0\r---\r# T\r", "The lines end in CR alone"),
    ],
)
def test_frontmatter_that_nearly_is_one_is_refused_with_the_reason(text, reason):
    with pytest.raises(InputError, match=reason):
        parse(text)


def test_unclosed_frontmatter_is_refused():
    with pytest.raises(InputError, match=r"RUNBOOK.md:1: .*never closed"):
        parse("---\nversion: 1.0.0\n# Title\n")


def test_half_a_character_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"RUNBOOK.md:4: .*half a character"):
        parse("---\na: 1\n---\n\ud800\n")


def test_parsing_needs_no_network_library():
    code = (
        "import sys\nfrom runbook_runner.runbook import document, mission\n"
        "from runbook_runner.runbook.sources import load\n"
        "print([m for m in ('ssl', 'asyncio', 'docker', 'starlette', 'uvicorn', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

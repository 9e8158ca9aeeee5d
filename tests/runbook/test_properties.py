"""What holds for any text whatever."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.mission import render
from runbook_runner.runbook.parts.frontmatter import cut
from runbook_runner.runbook.parts.steps import step_blocks
from runbook_runner.runbook.parts.substitution import substitute

any_text = st.text(st.characters(exclude_categories=()))
PIECES = [
    *("---\n", "---", "\n", "\r\n", " ", "  ", "\t", ": ", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: ", "!!int "),
    *("version: 1", "secrets:\n", "primary_outputs: ", "agent: x\n", "'", '"', "|\n", "# ", "## ", "### ", "> "),
    *("## Parameters\n", "## REQUIRED OUTPUT FILES\n", "| Parameter | Default |\n", "|---|---|\n", "| `a` | `b` |\n"),
    *("| File | D |\n", "| `/app/results/x` | *(required)* |\n", "```bash\n", "```\n", "~~~", "## Step 1\n", "{{a}}"),
    *("{{results_dir}}", "{{secrets.A}}", "$", "<br>", "é", "\u2028", "\x85", "\0", "\ufeff", "\ud800", "*(none)*"),
]
document_like = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=60).map("".join)
with_frontmatter = document_like.map(lambda text: "---\n" + text) | document_like.map(lambda t: "---\na: 1\n---\n" + t)


def check_parse(text: str) -> None:
    with contextlib.suppress(InputError):
        runbook = parse(text)
        last = runbook.text.count("\n") + 1
        assert runbook.text.endswith(runbook.body)
        assert all(1 <= s.line <= s.end_line <= last for s in runbook.sections)
        assert all(1 <= p.line <= last for p in runbook.parameters)
        assert render(runbook, {"results_dir": "{{results_dir}}"}).startswith("---")
        step_blocks(runbook.text)


@given(any_text)
def test_any_text_parses_or_is_refused_politely(text):
    check_parse(text)


@given(with_frontmatter)
def test_anything_like_a_runbook_parses_or_is_refused_politely(text):
    check_parse(text)


@given(document_like)
def test_cutting_loses_nothing(text):
    parts = cut(text)
    assert parts.head + parts.body == text
    assert parts.body_line == parts.head.count("\n") + 1


@given(any_text | document_like)
def test_text_without_known_names_stays_byte_for_byte(text):
    assert substitute(text, {"nobody_uses_this": "x"}, {"NOBODY": "X"}) == text


@given(st.text(st.characters(exclude_characters="{}$")), st.text())
def test_a_value_arrives_as_it_is(around, value):
    assert substitute(f"{around}{{{{x}}}}{around}", {"x": value}) == around + value + around

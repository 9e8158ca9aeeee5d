"""Normal form: tables in line, keys in order, nothing else touched, and the parser none the wiser."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.authoring.fmt import formatted, says_the_same
from runbook_runner.runbook.describe import plain
from runbook_runner.runbook.document import parse

HEAD = "---\nversion: 1.0.0\n---\n"


def body(text):
    out = formatted(HEAD + text)
    assert out.startswith(HEAD)
    return out.removeprefix(HEAD)


def head(yaml):
    return formatted(f"---\n{yaml}---\n# T\n").removesuffix("---\n# T\n").removeprefix("---\n")


def seen(text):
    """All that the parser makes of a text, but for lines and the raw text of sections."""
    runbook = parse(text)
    pieces = [
        runbook.frontmatter._replace(lines={}),
        runbook.title,
        [(s.level, s.title) for s in runbook.sections],
        [(f.info, f.code) for f in runbook.outline.fences],
        [[row.cells for row in (t.header, *t.rows)] for t in runbook.outline.tables],
        runbook.outputs,
        runbook.steps and [s.title for s in runbook.steps],
        [(c.id, c.name, c.code, c.problem) for c in runbook.code_checks],
        [(i.id, i.text) for i in runbook.checklist],
    ]
    for found in (runbook.parameters, runbook.statuses, runbook.common_fixes):
        pieces.append([plain(piece) | {"line": 0} for piece in found])
    return pieces


# --- tables --------------------------------------------------------------------------------------------------------


def test_columns_are_padded_to_their_widest_cell():
    table = "| File | D |\n|---|:-:|\n| `a` | Long words |\n|b|\n"
    assert body(table) == "| File | D          |\n|------|:----------:|\n| `a`  | Long words |\n| b    |            |\n"


def test_wide_letters_count_twice():
    assert body("| 日本 | b |\n|-|-|\n| abc | d |\n") == "| 日本 | b   |\n|------|-----|\n| abc  | d   |\n"


def test_table_wider_than_a_screen_gets_single_spaces():
    long = "x" * 130
    assert body(f"|a|b   |\n|:---|---|\n|{long}|   c|\n") == f"| a | b |\n|:--|---|\n| {long} | c |\n"


def test_escaped_pipes_stay():
    assert body("|a|b|\n|-|-|\n|`x\\|y`|z|\n") == "| a      | b   |\n|--------|-----|\n| `x\\|y` | z   |\n"


def test_row_with_a_bar_too_many_stays_as_its_author_wrote_it():
    assert body("|a|b|\n|-|-|\n|`x|y`|zz|\n|c|d|\n") == "| a   | b   |\n|-----|-----|\n|`x|y`|zz|\n| c   | d   |\n"


def test_indented_table_keeps_its_indentation():
    assert body("1. x\n\n   | a | b |\n   |-|-|\n   | cccc | d |\n").endswith("   | cccc | d   |\n")


@pytest.mark.parametrize(
    "text",
    [
        "> | a | b |\n> |-|-|\n> | cc | d |\n",
        "- | a | b |\n  |-|-|\n  | cc | d |\n",
        "```\n| a | b |\n|-|-|\n| cc | d |\n```\n",
        "a | b\nnot a table\n",
        "<pre>\n| a | b |\n|-|-|\n</pre>\n",
        "Words,  with   blanks  \nand a\ttab.\n",
    ],
)
def test_everything_else_stays_byte_for_byte(text):
    assert body(text) == text


def test_windows_line_ends_and_byte_order_mark_stay():
    text = "\ufeff" + (HEAD + "| a | b |\n|-|-|\n| cc | d |\n").replace("\n", "\r\n")
    assert formatted(text) == "\ufeff" + (HEAD + "| a   | b   |\n|-----|-----|\n| cc  | d   |\n").replace("\n", "\r\n")


# --- frontmatter ---------------------------------------------------------------------------------------------------


def test_keys_come_in_the_contracts_order_and_others_last():
    yaml = "team: x\norigin:\n  url: y\nmodel: m\nversion: 1.0.0\nsecrets:\n  A:\n    env: B\nagent: a\n"
    assert head(yaml) == "version: 1.0.0\nagent: a\nmodel: m\nsecrets:\n  A:\n    env: B\norigin:\n  url: y\nteam: x\n"


def test_comments_move_with_their_key_and_a_modeline_stays_on_top():
    yaml = "# yaml-language-server: $schema=x\n# who works\nagent: a\n# first of all\nversion: 1.0.0 # yes\n"
    assert head(yaml) == (
        "# yaml-language-server: $schema=x\n# first of all\nversion: 1.0.0 # yes\n# who works\nagent: a\n"
    )


@pytest.mark.parametrize(
    "yaml",
    [
        "{model: m, version: 1.0.0}\n",
        "origin: &o {url: x}\nextra: *o\n",
        "model: &m x\nagent: *m\n",
        "model: a\nversion: 1.0.0\nmodel: b\n",
        "model: >\n\n  text\n\n",
    ],
)
def test_keys_that_cannot_be_moved_stay(yaml):
    assert head(yaml) == yaml


def test_block_text_moves_whole():
    yaml = "model: |-\n  # not a comment\n\n  b\nversion: 1.0.0\n"
    assert head(yaml) == "version: 1.0.0\nmodel: |-\n  # not a comment\n\n  b\n"


def test_text_without_frontmatter_is_refused():
    with pytest.raises(InputError, match="no YAML frontmatter"):
        formatted("| a |\n|-|\n")


# --- any text ------------------------------------------------------------------------------------------------------

KEYS = [
    "version: 1",
    "agent: a",
    "model: &m b",
    "x: *m",
    "secrets:",
    "  A:",
    "    env: B",
    "# note",
    "",
    "- 1",
    "y: |",
    " z",
]
PIECES = [
    *(
        "| a | b |\n",
        "|---|:-:|\n",
        "| `c\\|d` | e\\\\| f |\n",
        "|x|\n",
        "|",
        "\n",
        "\r\n",
        "\r",
        "  ",
        "\t",
        "\\",
        "`",
    ),
    *(
        "> ",
        "- ",
        "- [ ] ",
        "1. ",
        "```\n",
        "~~~\n",
        "# ",
        "## Parameters\n",
        "## Checklist\n",
        "## Step 1: x\n",
        "---\n",
    ),
    *("## Code Checks\n", "### a — b\n", "日", "é", "\u2028", "{{a}}", "<br>", "<!--", "[x]: y\n", "*", ":", "Status"),
]
documents = st.builds(
    lambda keys, parts: "---\n" + "".join(f"{key}\n" for key in keys) + "---\n" + "".join(parts),
    st.lists(st.sampled_from(KEYS), max_size=8),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=50),
)


@settings(max_examples=400)
@given(documents)
def test_the_parser_sees_the_same_and_twice_is_once(text):
    with contextlib.suppress(InputError):
        before = seen(text)
        after = formatted(text)
        assert seen(after) == before
        assert formatted(after) == after


# --- what two texts say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("|a|b|\n|-|-|\n|c|d|\n", "| a | b |\n|---|---|\n| c | d |\n", True),
        ("Some prose.\n", "Other prose.\n", False),
        ("```bash\na  b\n```\n", "```bash\na b\n```\n", False),
        ("```bash one\na\n```\n", "```bash two\na\n```\n", False),
        ("A `b  c` d.\n", "A `b c` d.\n", False),
        ("|a|\n|-|\n|b|one|\n", "|a|\n|-|\n|b|two|\n", False),
        ("3. a\n3. b\n", "3. a\n4. b\n", False),
        ("[data]: https://one.example\n", "[data]: https://two.example\n", False),
        ("See [data].\n\n[data]:\n  /x\n  'one'\n", "See [data].\n\n[data]:\n  /x\n  'two'\n", False),
        ("<pre class='one'>\n</pre>\n", "<pre class='two'>\n</pre>\n", False),
        ("<!-- one -->\n", "<!-- two -->\n", False),
    ],
    ids=[
        "table",
        "words",
        "code",
        "info",
        "span",
        "surplus",
        "numbers",
        "unused-link",
        "title",
        "attribute",
        "comment",
    ],
)
def test_texts_say_the_same_when_only_their_form_differs(one: str, two: str, same: bool) -> None:
    assert says_the_same(HEAD + one, HEAD + two) is same

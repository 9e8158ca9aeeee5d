"""What holds for the whole description, the normal form and the migration of any text whatever."""

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.authoring.fmt import formatted
from runbook_runner.runbook.describe import describe
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.migration import migrate

PIECES = [
    *(
        "\n",
        "\r\n",
        " ",
        "\t",
        "|",
        "\\",
        "`",
        "- ",
        "- [ ] ",
        "* [x] ",
        "1. ",
        "> ",
        "{{a}}",
        "{{secrets.B}}",
        "é",
        "\0",
    ),
    *("# T\n", "## Parameters\n\n", "| Parameter | Default |\n|---|---|\n", "| `a` | *(required)* |\n", "## Tips\n"),
    *(
        "## REQUIRED OUTPUT FILES\n\n",
        "| File | D |\n|---|---|\n",
        "| `/app/results/x.md` | y |\n",
        "```bash\n",
        "```\n",
    ),
    *(
        "## Step 1: Go\n",
        "## Step 1: Write Validation Report\n",
        "## Step 7: Final Checklist (MANDATORY)\n",
        "~~~yaml\n",
    ),
    *("### Verification Script\n", "### Checklist\n", "## Code Checks\n", "### a — b\n", "### c\n", "use: min_size\n"),
    *('echo "=== FINAL OUTPUT VERIFICATION ==="\n', "if [ -s x.md ]; then\n", "fi\n", "grep -q x y.md || echo FAIL\n"),
    *(
        "| Status | Criteria |\n|---|---|\n",
        "| PASS | x |\n",
        "| Criterion | 5 | 1 |\n|---|---|---|\n",
        "max 3 rounds\n",
    ),
    *(
        "### Common Fixes\n",
        '{"overall_passed": true}\n',
        "cat <<EOF\n",
        "EOF\n",
        "FAIL=0\n",
        "'",
        '"',
        "$(",
        ")",
        "<!--",
    ),
]
KEYS = [
    "version: 1",
    "secrets:",
    "  A:",
    "  B: {env: C}",
    "code_checks: {timeout_sec: 5}",
    "code_checks: 1",
    "origin: {url: 1}",
]
KEYS += ["mcp_servers: {a: {command: b}}", "mcp_servers: {a: 1}", "x: .nan", "# note", "- 1"]
documents = st.builds(
    lambda keys, parts: "---\n" + "".join(f"{key}\n" for key in keys) + "---\n" + "".join(parts),
    st.just([]) | st.lists(st.sampled_from(KEYS), max_size=4, unique=True),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=60),
)


def lines_in(value):
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("line", "end_line", "code_line") and item is not None:
                yield item
            yield from lines_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from lines_in(item)


@settings(max_examples=300)
@given(documents)
def test_any_document_is_described_in_json_with_lines_of_the_file(text):
    with contextlib.suppress(InputError):
        found = describe(parse(text))
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert all(1 <= line <= text.count("\n") + 1 for line in lines_in(found))


@settings(max_examples=300)
@given(documents)
def test_any_document_migrates_or_is_refused_politely_and_loses_no_parameter(text):
    with contextlib.suppress(InputError):
        before = parse(text)
        migration = migrate(before)
        if migration is not None:
            after = parse(migration.text)
            assert [p.name for p in after.parameters] == [p.name for p in before.parameters]
            assert migration.text.startswith("---\n")
            has_section = before.section("code checks")  # one of the author's is left as it is
            assert has_section or any(check.counts for check in after.code_checks)


SCRIPT = "## Final Checklist\n\n### Verification Script\n\n```bash\n{}```\n\n### Checklist\n\n- [ ] a\n"


@pytest.mark.parametrize(
    "body",
    [
        "- [ ] " * 50_000,
        "- [ ] a exists\n" * 50_000,
        "## Step 1: x\n" * 20_000,
        "| a | b |\n|---|---|\n" + "| c | d |\n" * 50_000,
        "| a | b |\n|---|---|\n| c | d |\n\n" * 10_000,
        "> " * 20_000,
        SCRIPT.format("grep -q x y.md || echo FAIL\n" * 300),
        SCRIPT.format("if " * 20_000 + "\n"),
        SCRIPT.format("x=" + "(" * 50_000 + "\n"),
        SCRIPT.format("A=1\n" * 3_000 + "grep -q x y.md || echo FAIL\n" * 20),
        "## Code Checks\n\n" + "### a — b\n\n```\nx\n```\n\n" * 10_000,
        "`" * 100_000,
        "all files exist " * 20_000,
    ],
    ids=lambda body: body[:24].strip(),
)
def test_monstrous_documents_take_no_more_than_two_seconds(body):
    text = f"---\nversion: 1.0.0\n---\n# T\n\n{body}"
    started = time.process_time()
    describe(parse(text))
    formatted(text)
    with contextlib.suppress(InputError):
        migrate(parse(text))
    assert time.process_time() - started < 2 * 3  # three commands' work

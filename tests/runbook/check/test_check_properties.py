"""What holds for any bytes, any Markdown and any mutated runbook: findings, in time, and fixes that settle."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_runner.cli.author.check import HERE
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.check.engine import findings_of, job
from runbook_runner.runbook.check.fixes import fixed
from runbook_runner.runbook.check.rules import PROFILES, Selection
from runbook_runner.runbook.describe import describe
from runbook_runner.runbook.document import parse

AGENTS = HERE._replace(snapshots=None, providers=lambda _: ())
BASES = [path.read_text() for path in sorted((Path(__file__).parents[3] / "examples").glob("*/RUNBOOK.md"))]
PIECES = [
    *(
        "---\n",
        "\n",
        "\r\n",
        "  ",
        "\t",
        "# ",
        "## ",
        "### ",
        "> ",
        "- ",
        "- [] ",
        "- [ ] x\n",
        "| a | b |\n",
        "|---|---|\n",
    ),
    *("```bash\n", "```json\n", "```\n", "~~~\n", "{{a}}", "{{secrets.A}}", "{{results_dir}}/a.md", "{TODO: x}", "{x}"),
    *("## Code Checks\n", "### outputs-exist — x\n", "## Checklist\n", "## Parameters\n", "## REQUIRED OUTPUT FILES\n"),
    *(
        "## Step 1: A\n",
        "## Step 3: Iterate\n",
        "agent: Shell\n",
        "evaluation: RUBRIC\n",
        "secrets:\n  A:\n",
        "version: 1\n",
    ),
    *(
        "primary_outputs: [/app/results/a]\n",
        "<!-- noqa -->",
        "<!-- noqa-file: RB3 -->",
        "[a](b.md)",
        "cat /app/work/a.b\n",
    ),
    *(
        "if x\n",
        "cat <<EOF\n",
        "'",
        '"',
        "\ufeff",
        "\u2028",
        "\x0c",
        "é",
        "FINAL OUTPUT VERIFICATION",
        "C:\\Users\\x",
        "/home/a",
    ),
    *("AKIA", "sk-ant-", "_" * 20, "model_provider: openrouter\n", "model: claude-sonnet-4-6\n", "max 3 rounds", "\0"),
]
like_markdown = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=60).map("".join)


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 60)))
        text = text[:start] + draw(st.sampled_from(PIECES) | st.text(max_size=3)) + text[end:]
    return text


def examine(raw, profile="auto"):
    try:
        (findings,) = findings_of([job(raw, "x", Path("/nowhere"), Selection(profile=profile), AGENTS)])
    except InputError:
        return
    last = raw.count(b"\n") + 1
    assert all(1 <= finding.line <= last and finding.column >= 1 for finding in findings)
    assert all(finding.message and "\n" not in finding.message for finding in findings)


quick = settings(max_examples=150)


@quick
@given(st.binary(max_size=400), st.sampled_from(PROFILES))
def test_any_bytes_are_findings_or_a_polite_refusal(raw, profile):
    examine(raw, profile)


@quick
@given(like_markdown, st.sampled_from(PROFILES))
def test_any_markdown_gives_findings_within_its_lines(text, profile):
    examine(("---\na: 1\n---\n" + text).encode(errors="replace"), profile)
    examine(("---\n" + text).encode(errors="replace"), profile)


@quick
@given(mutated(), st.sampled_from(PROFILES))
def test_any_mutated_runbook_gives_findings_within_its_lines(text, profile):
    examine(text.encode(errors="replace"), profile)


@quick
@given(mutated() | like_markdown.map(lambda text: "---\nagent: CODEX\n---\n" + text))
def test_fixing_twice_is_fixing_once(text):
    try:
        once, _ = fixed(text.encode(errors="replace"), "x", None, Selection(), AGENTS)
    except InputError:
        return
    again, left = fixed(once, "x", None, Selection(), AGENTS)
    assert again == once
    assert not any(finding.fixable for finding in left)


HEAD = "---\nversion: 1.0.0\nsecrets:\n  A:\n---\n# T\n"
MANIFEST = "## REQUIRED OUTPUT FILES\n\n| File | D |\n|---|---|\n"
HOSTILE = {
    "a million headings": HEAD + "# a\n" * 1_200_000,
    "distinct headings": HEAD + "".join(f"## h{n}\n" for n in range(400_000)),
    "steps": HEAD + "".join(f"## Step {n * 2}: h\n" for n in range(250_000)),
    "deep quotes": HEAD + ">" * 100_000 + " x\n",
    "deep lists": HEAD + "".join(" " * min(n, 1000) + "- a\n" for n in range(5_000)),
    "a long table": HEAD + MANIFEST + "".join(f"| `f{n}.md` | {n} |\n" for n in range(200_000)),
    "many parameters": HEAD
    + "## Parameters\n\n| Parameter | Default |\n|---|---|\n"
    + "".join(f"| `{{{{p{n}}}}}` | `x` |\n" for n in range(150_000)),
    "variables": HEAD + "".join(f"{{{{v{n}}}}} " for n in range(400_000)),
    "one line of variables": HEAD + "{{a}}" * 900_000,
    "open braces": HEAD + "{{" * 2_400_000,
    "open placeholders": HEAD + "{a" * 2_400_000,
    "reads": HEAD + "## Step 1: x\n```bash\n" + "".join(f"cat /app/work/f{n}.txt\n" for n in range(190_000)) + "```\n",
    "one line of reads": HEAD + "## Step 1: x\n```bash\n" + "cat /app/work/a " * 290_000 + "\n```\n",
    "key variables": HEAD
    + "## Step 1: x\n```bash\n"
    + "".join(f"echo $A{n}_TOKEN\n" for n in range(250_000))
    + "```\n",
    "variables before commands": HEAD + "## Step 1: x\n```bash\n" + "(A=" * 1_600_000 + "\n```\n",
    "words before commands": HEAD + "## Step 1: x\n```bash\n" + "-thenA=" * 690_000 + "\n```\n",
    "a program that is got": HEAD + "## Step 1: x\n```bash\njq .\n" + "install " * 600_000 + "\n```\n",
    "links": HEAD + "[a](b)" * 800_000,
    "links that are elsewhere": HEAD + "[a](https://b.example) " * 200_000,
    "open links": HEAD + "[a](" * 1_200_000,
    "fences": HEAD + "```bash\nfi\n```\n" * 300_000,
    "json": HEAD + "```json\n{\n```\n" * 300_000,
    "deep json": HEAD + "```json\n" + "[" * 900_000 + "\n```\n",
    "check headings": HEAD + "## Code Checks\n" + "".join(f"### c{n} — x\n" for n in range(250_000)),
    "noqa": HEAD + "{{a}} <!-- noqa: RB301 -->\n" * 180_000,
    "open comments": HEAD + "<!-- noqa: " * 440_000,
    "home folders": HEAD + "/home/a " * 600_000,
    "key prefixes": HEAD + "sk-ant-" * 700_000,
    "backticks": HEAD + "`" * 4_900_000,
    "backtick runs": HEAD + "".join("`" * n + " " for n in range(1, 3000)),
    "emphasis": HEAD + "*a **b " * 600_000,
    "blank lines above": "\n" * 4_900_000 + "---\na: 1\n---\n",
    "many secrets": "---\nsecrets:\n" + "".join(f"  S{n}:\n" for n in range(18_000)) + "---\n" + "x " * 2_300_000,
    "unknown keys": "---\n" + "".join(f"kez{n}: 1\n" for n in range(20_000)) + "---\n# T\n",
    "an unknown long key": "---\n" + "k" * 250_000 + ": 1\n---\n# T\n",
    "primary outputs": "---\nprimary_outputs: ["
    + "a.md, " * 40_000
    + "]\n---\n"
    + MANIFEST
    + "| `b.md` | x |\n" * 200_000,
    "iterate and max": HEAD + "iterate " * 600_000,
    "one long word of bounds": HEAD + "## Step 1: Iterate\n" + "max_" * 100_000,
    "words of templates": HEAD + "{{end}}\n" * 500_000 + "{{if x}}",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_file_of_nearly_five_megabytes_is_done_in_time(name):
    raw = HOSTILE[name].encode()
    assert len(raw) <= 5_000_000
    for profile in PROFILES:
        start = time.process_time()
        examine(raw, profile)
        assert time.process_time() - start < 2, profile


@pytest.mark.parametrize(
    "name", ["distinct headings", "a long table", "fences", "emphasis", "deep lists", "open braces"]
)
def test_monstrous_body_is_never_refused_and_told_where_reading_stops(name):
    text = HOSTILE[name]
    start = time.process_time()
    described = describe(parse(text))
    assert time.process_time() - start < 2
    stops = described["unread_from"]
    assert described["title"] == "T"
    assert stops is None or 7 <= stops <= text.count("\n") + 1
    (findings,) = findings_of([job(text.encode(), "x", None, Selection(select=("RB211",)))])
    assert [(finding.rule, finding.line) for finding in findings] == ([] if stops is None else [("RB211", stops)])

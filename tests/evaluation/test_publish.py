"""What an agent has written is text wherever points are published."""

import json
import re
from html import unescape

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from runbook_runner.evaluation.points import Point
from runbook_runner.evaluation.publish import code_span, sarif

MARKS = st.text(st.sampled_from("`|\\ a<>[]()!*_&\n\t"), max_size=400)


@given(MARKS)
@example("`" * 81 + "<img src=x> **[Sign in](https://evil.example)**")
@example("\\` x `")
def test_a_code_span_has_all_of_its_text(text: str) -> None:
    rendered = MarkdownIt("commonmark").render(f"a {code_span(text)} b").strip()
    inner = rendered.removeprefix("<p>a <code>").removesuffix("</code> b</p>")
    assert "<" not in inner or not code_span(text)
    shown = " ".join(text.split()).replace("`", "'")
    shown = shown if len(shown) <= 300 else f"{shown[:300]}…"
    assert unescape(inner) == shown.replace("|", "\\|") or not shown


def test_a_message_of_sarif_has_no_link() -> None:
    """Links as the viewer of CodeQL finds them (SARIF §3.11.6)."""
    link = re.compile(r"(?<!\\)(?:\\\\)*\[(?:[^\\\]\[]|\\\\|\\\]|\\\[)*\]\(")
    for said in (
        "[Sign in](https://evil.example)",
        "[here\\](https://evil.example)",
        "\\[a](https://evil.example) [b]",
    ):
        body = json.loads(sarif([Point("step", "s", "fail", said)], "RUNBOOK.md"))
        text = body["runs"][0]["results"][0]["message"]["text"]
        assert not link.search(text)
        assert re.sub(r"\\([\\\[\]])", r"\1", text) == f"s: {said}"

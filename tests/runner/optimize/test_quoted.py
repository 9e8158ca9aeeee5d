"""What an agent wrote is one code span in a runbook, whatever it is."""

import pyromark
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runbook_runner.runbook.document import parse
from runbook_runner.runner.optimize.quoted import LONGEST, quoted

ALPHABET = st.sampled_from(
    [*"`{}<!->#|*_[]()\\&;~\n\r\t \x1b\u2028aé", "{{x}}", "<!--", "```", "{TODO", "\n## Step 1: x\n"]
)


@given(st.one_of(st.text(), st.lists(ALPHABET).map("".join)))
@example("``` `x` ```")
@example("{{{{a}}}}")
@example("<<!--!--")
def test_it_is_one_code_span_and_nothing_else(text: str) -> None:
    span = quoted(text)
    assert len(span) <= 2 * LONGEST + 2
    events = list(pyromark.events(f"- Make sure that {span} holds: it failed.\n"))
    kinds = [next(iter(event)) if isinstance(event, dict) else event for event in events]
    expected = 1 if span.startswith("`") else 0
    assert kinds.count("Code") == expected
    assert set(kinds) <= {"Start", "End", "Text", "Code"}
    assert [event["Start"] for event in events if isinstance(event, dict) and "Start" in event] == [
        {"List": None},
        "Item",
    ]
    assert not any(mark in span for mark in ("{{", "}}", "<!--", "{TODO", "\n"))


@pytest.mark.parametrize("text", ["", " \n\t", "\u2028"])
def test_nothing_is_said_as_such(text: str) -> None:
    assert quoted(text) in ("(no text)", "`�`")


def test_a_banner_of_v1_is_no_banner() -> None:
    assert parse(f"---\nversion: 1\n---\n## Code Checks\n\n{quoted('FINAL OUTPUT VERIFICATION')}\n").generation == 2

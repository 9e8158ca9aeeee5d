"""Which answers an edit of the mission leaves as they are."""

import pytest

from runbook_runner.runner.replay.edit import edit_of

BOOK = """\
---
version: "1.0.0"
agent: shell
---
# Report — Agent Runbook

## Objective

Write a report.

## Step 1: Fetch

Run `fetch.py` and keep `raw/data.csv`.

## Step 2: Clean

Run `clean.py` on raw/data.csv.

## Step 3: Draw the plots

Run `plot.py`, write /app/results/plot-1.png.

## Step 4: Tell

Write the summary.

## Notes

Be brief.
"""


def changed(before: str, after: str) -> str:
    assert BOOK.count(before) == 1
    return BOOK.replace(before, after)


@pytest.mark.parametrize(("before", "after", "step"), [
    ("Run `plot.py`, write", "Run `plot.py`, and write", 3),
    ("Write the summary.", "Write the long summary.", 4),
    ("Run `clean.py` on raw/data.csv.", "Run `clean.py`.", 2),
    ("## Step 3: Draw the plots", "## Step 3: Draw no plots", 3),
    ("## Step 4: Tell\n\nWrite the summary.\n\n", "", 4),
    ("Write the summary.\n", "Write the summary.\n\n## Step 5: Send\n\nSend it.\n", 4),
])  # fmt: skip
def test_an_edit_within_steps_begins_with_the_first_that_was_edited(before: str, after: str, step: int) -> None:
    edit = edit_of(BOOK, changed(before, after))
    assert edit is not None
    assert edit.step.number in (step, step + 1)
    assert edit.differences[0].origin == "user"


@pytest.mark.parametrize(("before", "after"), [
    ("Write a report.", "Write a good report."),
    ("# Report", "# Reports"),
    ('version: "1.0.0"', 'version: "1.0.1"'),
    ("Be brief.", "Be long."),
    ("keep `raw/data.csv`", "keep `raw/data.tsv`"),
    ("## Notes\n\nBe brief.\n", ""),
    ("## Step 1: Fetch\n", "## Step 0: Wait\n\nWait.\n\n## Step 1: Fetch\n"),
    ("agent: shell\n---", "agent: [\n---"),
])  # fmt: skip
def test_any_other_edit_may_change_every_answer(before: str, after: str) -> None:
    assert edit_of(BOOK, changed(before, after)) is None


def test_the_same_text_has_no_edit() -> None:
    assert edit_of(BOOK, BOOK) is None


def test_edits_in_a_step_and_elsewhere_are_no_edit_of_steps() -> None:
    assert edit_of(BOOK, changed("Be brief.", "Be long.").replace("Write the summary.", "Write more.")) is None


@pytest.mark.parametrize("said", [
    "Now Step 3.",
    "on to step #4",
    "I draw the plots now",
    "python3 plot.py --fast",
    "ls /app/results/plot-1.png",
    "Steps 1 and 2 are done, step 3 is next",
])  # fmt: skip
def test_an_answer_that_names_the_step_or_what_only_it_has_may_belong_to_it(said: str) -> None:
    edit = edit_of(BOOK, changed("Run `plot.py`, write", "Run `plot.py`, and write"))
    assert edit is not None
    assert edit.is_named_in(said)


@pytest.mark.parametrize("said", ["Step 1: I run fetch.py", "python3 clean.py raw/data.csv", "Step 2 is done.", ""])
def test_an_answer_about_earlier_steps_does_not(said: str) -> None:
    edit = edit_of(BOOK, changed("Run `plot.py`, write", "Run `plot.py`, and write"))
    assert edit is not None
    assert not edit.is_named_in(said)


def test_an_edit_of_very_much_takes_no_time() -> None:
    long = "".join(f"line {number}\n" for number in range(200_000))
    other = "".join(f"other line {number}\n" for number in range(200_000))
    edit = edit_of(BOOK.replace("Be brief.\n", ""), BOOK.replace("Be brief.\n", long))
    assert edit is None
    steps = BOOK.partition("## Notes")[0]
    found = edit_of(steps + long, steps + other)
    assert found is not None
    assert found.step.number == 4

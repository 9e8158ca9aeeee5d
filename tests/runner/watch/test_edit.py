"""Which answers an edit of the mission leaves as they are."""

import pytest

from runbook_runner.runner.replay.edit import Edit, Said, differences_of, edit_of

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


def plotted() -> Edit:
    edit = edit_of(BOOK, changed("Run `plot.py`, write", "Run `plot.py` 300 times, write"))
    assert edit is not None
    return edit


@pytest.mark.parametrize("said", [
    "Now Step 3.",
    "on to step #4",
    "I draw the plots now",
    "python3 plot.py --fast",
    "ls /app/results/plot-1.png",
    "Steps 1 and 2 are done, step 3 is next",
    "I do steps 1-4 in one go",
    "Steps 1 and 3",
    "All four steps are in this script",
    "cp x.png out/plot-1.png",
])  # fmt: skip
def test_an_answer_that_names_the_step_or_what_only_it_has_may_belong_to_it(said: str) -> None:
    assert plotted().may_belong(Said(said))
    assert plotted().may_belong(Said("", said))
    assert plotted().may_belong(Said("", calls=said))


@pytest.mark.parametrize("said", ["Step 1: I run fetch.py", "python3 clean.py raw/data.csv", "Step 2 is done.", ""])
def test_an_answer_about_earlier_steps_does_not(said: str) -> None:
    assert not plotted().may_belong(Said(said, calls="ls"))


def test_a_value_that_the_edit_took_away_belongs_to_the_edited_step() -> None:
    edit = edit_of(
        BOOK.replace("Run `plot.py`", "Run `plot.py` at 300"), BOOK.replace("Run `plot.py`", "Run `plot.py` at 600")
    )
    assert edit is not None
    assert edit.may_belong(Said("", calls="dpi=300"))
    assert not edit.may_belong(Said("", calls="dpi=600"))
    other = edit_of(
        BOOK.replace("Run `plot.py`", "Run `plot.py` 2 times"), BOOK.replace("Run `plot.py`", "Run `plot.py` 3 times")
    )
    assert other is not None
    assert not other.may_belong(Said("", calls="python3 clean.py 2>&1"))
    assert other.may_belong(Said("", calls="python3 clean.py 2"))


STEP_1, STEP_2 = Said("Step 1: Fetch.", calls="curl -o out"), Said("", calls="python3 clean.py")
STEP_3, END = Said("Step 3 now.", calls="draw it"), Said("Done.")


@pytest.mark.parametrize(("answers", "count"), [
    ([STEP_1, STEP_2, STEP_3, END], 2),
    ([Said("", calls="cat raw/data.csv"), Said("Step 2.", calls="wash"), STEP_3, END], 2),
    ([STEP_1, STEP_2, Said("Step 3 is next."), Said("", calls="draw it"), END], 2),
    ([STEP_1, Said("Hm.", calls="make"), STEP_2, STEP_3, END], 1),
    ([Said("", calls="cat raw/data.csv; python3 clean.py"), STEP_3, END], 1),
    ([Said("I do it.", calls="make it so"), STEP_2, STEP_3], 0),
    ([STEP_1, STEP_3, END], 0),  # nothing shows that the step before it was worked at
    ([STEP_1, STEP_2, END], 0),
    ([STEP_1, STEP_2, Said("Step 3 is done.")], 0),
    ([STEP_1, Said("Steps 1 and 2 are done.", calls="draw it"), STEP_3, END], 0),
    ([STEP_1, Said("After step 2 comes this:", calls="draw it"), STEP_3, END], 0),
    ([STEP_1, STEP_2, END, STEP_3], 2),
    ([STEP_3, END], 0),
    ([], 0),
])  # fmt: skip
def test_answers_count_as_before_the_edit_only_when_they_show_an_earlier_step(answers: list[Said], count: int) -> None:
    assert plotted().answers_before(answers) == count


def test_what_is_elsewhere_in_the_mission_as_well_shows_no_step() -> None:
    book = BOOK.replace("Be brief.", "Be brief about raw/data.csv and `clean.py`.")
    edit = edit_of(book, book.replace("write /app", "then write /app"))
    assert edit is not None
    assert edit.answers_before([Said("", calls="python3 fetch.py"), STEP_2, STEP_3]) == 0
    assert edit.answers_before([Said("", calls="python3 fetch.py"), Said("Step 2", calls="x"), STEP_3]) == 2


def test_what_was_edited_is_told() -> None:
    (told,) = differences_of(BOOK, changed("Be brief.", "Be long."))
    assert (told.path, told.origin, told.before, told.after) == ("prompt", "user", "Be brief.", "Be long.")
    (ends,) = differences_of(BOOK, BOOK.replace("\n", "\r\n"))
    assert (ends.path, ends.before, ends.after) == ("prompt", "", "")


def test_an_edit_of_very_much_takes_no_time() -> None:
    long = "".join(f"line {number}\n" for number in range(200_000))
    other = "".join(f"other line {number}\n" for number in range(200_000))
    edit = edit_of(BOOK.replace("Be brief.\n", ""), BOOK.replace("Be brief.\n", long))
    assert edit is None
    steps = BOOK.partition("## Notes")[0]
    found = edit_of(steps + long, steps + other)
    assert found is not None
    assert found.step.number == 4

"""How a runbook says it is judged: rubric, status table, iteration, common fixes, verification script (§3.8, §3.16)."""

import time

import pytest

from runbook_runner.runbook.document import parse

RUBRIC = """\
## Step 4: Evaluate Against Rubric

{prose}

| # | Criterion | Weight | 5 (Excellent) | 3 (Acceptable) | 1 (Poor) |
|---|---|---|---|---|---|
| 1 | Clear *prose* | 60% | Clear | Fair | Murky |
| 2 | Facts | 2 | All | Most | None |
| 3 | | | | | |
"""


def of(body):
    return parse(f"---\nversion: 1.0.0\n---\n{body}")


def test_criteria_have_ids_levels_weights_and_lines():
    rubric = of(RUBRIC.format(prose="Score it.")).rubric
    assert [(c.id, c.name, c.weight, c.line) for c in rubric.criteria] == [
        ("clear-prose", "Clear prose", 0.6, 10),
        ("facts", "Facts", 2.0, 11),
    ]
    assert [(level.score, level.label, level.text) for level in rubric.criteria[0].levels] == [
        (5, "5 (Excellent)", "Clear"),
        (3, "3 (Acceptable)", "Fair"),
        (1, "1 (Poor)", "Murky"),
    ]
    assert rubric.line == 8


@pytest.mark.parametrize(
    ("prose", "average", "minimum", "is_stated"),
    [
        ("Score it.", 4.0, 3.0, False),
        ("Pass when the overall average ≥ 4.5 and no criterion below 2.", 4.5, 2.0, True),
        ("**Pass:** overall average is at least **3.5**; no single criterion scores under 3", 3.5, 3.0, True),
        ("The mean must be >= 4, and every criterion at least 3.5.", 4.0, 3.5, True),
        ("Overall score of at least 4.2.", 4.2, 3.0, True),
    ],
)
def test_thresholds_are_read_from_the_prose_around_the_table(prose, average, minimum, is_stated):
    rubric = of(RUBRIC.format(prose=prose)).rubric
    assert (rubric.average, rubric.minimum, rubric.is_stated) == (average, minimum, is_stated)


def test_rubric_in_an_evaluation_step_wins_over_an_earlier_table():
    early = "## Background\n\n| Criterion | 5 |\n|---|---|\n| Old | x |\n\n"
    assert [c.name for c in of(early + RUBRIC.format(prose="")).rubric.criteria] == ["Clear prose", "Facts"]
    assert [c.name for c in of(early).rubric.criteria] == ["Old"]


def test_table_without_scores_is_no_rubric():
    assert of("## Evaluate\n\n| Criterion | Meaning |\n|---|---|\n| A | b |\n").rubric is None


def test_status_table_keeps_what_authors_add():
    statuses = of(
        "## E\n\n| Status | Criteria |\n|---|---|\n| **PASS** | All |\n| SKIP | None |\n| FAIL | `x` |\n"
    ).statuses
    assert [(s.name, s.criteria, s.line) for s in statuses] == [
        ("PASS", "All", 8),
        ("SKIP", "None", 9),
        ("FAIL", "x", 10),
    ]


def test_table_of_other_statuses_is_no_status_table():
    assert of("## E\n\n| Status | Meaning |\n|---|---|\n| 200 | OK |\n").statuses == ()


@pytest.mark.parametrize(
    ("words", "rounds"),
    [
        ("max 3 rounds", 3),
        ("Max 9 Rounds", 9),
        ("maximum of 2 iterations", 2),
        ("up to 4 times", 4),
        ("at most two more attempts", 2),
        ("no more than 5 retries", 5),
    ],
)
def test_bounds_are_read_in_many_words(words, rounds):
    (bound,) = of(f"## Step 1: Go\n\nTry again,\n{words}.\n").iteration_bounds
    assert (bound.rounds, bound.line) == (rounds, 7)


def test_the_heading_of_the_iterate_step_comes_first():
    body = "## Step 1: Go\n\nWait up to 9 times.\n\n## Step 2: Iterate on Errors (max 3 rounds)\n\nmax 2 rounds\n"
    assert [(b.rounds, b.line, b.text) for b in of(body).iteration_bounds] == [
        (3, 8, "max 3 rounds"),
        (2, 10, "max 2 rounds"),
        (9, 6, "up to 9 times"),
    ]


@pytest.mark.parametrize("words", ["up to 3 files", "max 30 words", "until it works", "at most a round"])
def test_other_limits_are_no_bounds(words):
    assert of(f"## Step 1: Iterate\n\n{words}\n").iteration_bounds == ()


def test_common_fixes_of_a_table():
    body = "## Step 2: Iterate\n\n### Common Fixes\n\n| Issue | Fix |\n|---|---|\n| `x` fails | Do y |\n"
    assert [(f.issue, f.fix, f.line) for f in of(body).common_fixes] == [("x fails", "Do y", 10)]


def test_common_fixes_of_a_list():
    body = "### Common Fixes\n\n- **No file**: make it\n- Slow → wait\n- Just do it\n- _Old_ my_a.py: `__x__ *`\n"
    assert [(f.issue, f.fix, f.line) for f in of(body).common_fixes] == [
        ("No file", "make it", 6),
        ("Slow", "wait", 7),
        ("Just do it", "", 8),
        ("Old my_a.py", "__x__ *", 9),
    ]


def test_verification_script_is_found_by_its_heading_or_by_its_banner():
    titled = of(
        "## Final Checklist\n\n### Verification Script\n\n```json\n{}\n```\n\n```bash\ntest\n```\n"
    ).verification
    assert (titled.code, titled.language, titled.line) == ("test\n", "bash", 12)
    loose = of('## End\n\n```sh\necho "=== FINAL OUTPUT VERIFICATION ==="\n```\n').verification
    assert (loose.language, loose.line) == ("sh", 6)
    assert of("## End\n\n```sh\necho\n```\n").verification is None


def test_steps_are_numbered_as_written():
    steps = of("## Step 1: One\n\n## Step 3 — Three\n\n## step 3. Again\n\n## Step 12\n\n### Step 4: no\n").steps
    assert [(s.number, s.name, s.line) for s in steps] == [
        (1, "One", 4),
        (3, "Three", 6),
        (3, "Again", 8),
        (12, "", 10),
    ]


def test_monstrous_input_takes_no_time():
    table = "| Criterion | 5 |\n|---|---|\n" + "| a | b |\n" * 9_000
    body = "## Step 1: Iterate\n\n" + "max " * 50_000 + "\n\n" + table + "\n### Common Fixes\n\n" + "- a: b\n" * 9_000
    started = time.process_time()
    runbook = of(body + "## Step " + "9" * 10_000 + ": many\n")
    assert len(runbook.rubric.criteria) == 9_000
    assert len(runbook.common_fixes) == 9_000
    assert runbook.iteration_bounds == ()
    assert runbook.steps[-1].number == 999_999_999
    assert time.process_time() - started < 2

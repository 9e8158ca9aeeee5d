"""The blocks that the `shell` agent runs."""

import pytest

from runbook_runner.runbook.document import parse
from runbook_runner.runbook.mission import render
from runbook_runner.runbook.parts.steps import step_blocks


def test_blocks_come_in_order_with_their_step_and_line(corpus):
    mission = render(parse(corpus("classic")), {})
    lines = mission.splitlines()
    blocks = step_blocks(mission)
    assert [b.language for b in blocks] == ["bash", "python3", "sh"]
    assert {b.heading for b in blocks} == {"Step 1: Environment Setup"}
    assert blocks[0].code == "mkdir -p /app/results/charts\n"
    for block in blocks:
        assert lines[block.line - 1].lstrip().startswith(("```", "~~~"))


def test_block_in_a_list_loses_the_lists_indentation(corpus):
    code = step_blocks(corpus("classic"))[1].code
    assert code == 'import os\n\nif True:\n    print(os.environ["SHOP_API_TOKEN"])\n'


def test_heading_like_lines_in_a_block_stay_code(corpus):
    assert step_blocks(corpus("classic"))[2].code.endswith("## Step 9: not a heading\n")


@pytest.mark.parametrize(
    "heading",
    [
        "## Step 1",
        "## Step 1: Do",
        "## Step 12. Do",
        "## Step 2b: Do",
        "## 🔧 Step 2: Do",
        "## step 3 — Do",
        "Step 4\n---",
    ],
)
def test_step_headings(with_body, heading):
    assert [b.code for b in step_blocks(with_body(f"{heading}\n\n```bash\nx\n```\n"))] == ["x\n"]


@pytest.mark.parametrize("heading", ["## Steps", "## Step one", "# Step 1", "### Step 1", "## Setup", "## Stepping 1"])
def test_other_headings_hold_no_steps(with_body, heading):
    assert step_blocks(with_body(f"{heading}\n\n```bash\nx\n```\n")) == ()


@pytest.mark.parametrize("info", ["bash", "sh", "shell", "python", "python3", "Bash", "bash {.run}", "python,linenos"])
def test_languages_that_run(with_body, info):
    assert len(step_blocks(with_body(f"## Step 1\n\n```{info}\nx\n```\n"))) == 1


@pytest.mark.parametrize("info", ["", "json", "console", "bashful", "text bash"])
def test_languages_that_do_not_run(with_body, info):
    assert step_blocks(with_body(f"## Step 1\n\n```{info}\nx\n```\n")) == ()


def test_next_top_heading_ends_a_step(with_body):
    text = with_body("## Step 1\n\n# Part two\n\n```bash\nx\n```\n")
    assert step_blocks(text) == ()


def test_windows_line_ends_do_not_reach_the_shell(with_body):
    text = with_body("## Step 1\n\n```bash\necho a\necho b\n```\n").replace("\n", "\r\n")
    assert [(b.code, b.line) for b in step_blocks(text)] == [("echo a\necho b\n", 6)]


def test_text_without_frontmatter_works():
    assert [(b.code, b.line) for b in step_blocks("## Step 1\n```sh\nx\n```")] == [("x\n", 2)]


def test_unclosed_block_runs_to_the_end(with_body):
    assert step_blocks(with_body("## Step 1\n\n```bash\nx"))[0].code == "x"


@pytest.mark.parametrize(
    "heading", ["Step 2: Code Checks", "Step 3: Checklist", "Step 4 — Final Checklist (MANDATORY)"]
)
def test_what_judges_a_run_is_no_step_of_it(with_body, heading):
    text = with_body(f"## Step 1: Go\n\n```bash\na\n```\n\n## {heading}\n\n### x — X\n\n```bash\nb\n```\n")
    assert [block.code for block in step_blocks(text)] == ["a\n"]

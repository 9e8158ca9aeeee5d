"""`runbook show`: what the engine understands of a file, and why a run would be what it is."""

import json
from pathlib import Path

import pytest

OPENROUTER = {"OPENROUTER_API_KEY": "x"}
V1 = Path(__file__).parent / "v1" / "full.md"


def test_json_has_every_part_and_every_piece_its_line(runbook):
    shown = runbook("show", V1, "--json")
    assert shown.code == 0
    lines = V1.read_text().splitlines()
    found = shown.json
    assert found["title"] == "Harbour Digest — Agent Runbook"
    assert found["generation"] == 1
    assert "| Log file |" in lines[found["parameters"][1]["line"] - 1]
    assert [step["number"] for step in found["steps"]] == [1, 2, 3, 4, 5, 6, 7]
    assert all(lines[section["line"] - 1].endswith(section["title"]) for section in found["sections"])
    evaluation = found["evaluation"]
    assert [status["name"] for status in evaluation["statuses"]] == ["PASS", "FAIL"]
    assert evaluation["iteration_bounds"][0]["rounds"] == 3
    assert evaluation["common_fixes"][0]["issue"] == "A ship twice"
    assert lines[found["verification"]["line"] - 1] == "```bash"
    assert found["origin"]["url"] == "https://example.org/skill"
    assert len(found["checklist"]) == 6


def test_a_tables_title_is_not_wrapped_at_the_width_of_its_table(runbook):
    (runbook.cwd / "RUNBOOK.md").write_text("---\na: 1\n---\n# T\n\nUse {{a}}.\n")
    assert "\nUsed but not declared\n" in runbook("show", ".").out


def test_table_names_what_people_look_for(runbook):
    out = runbook("show", V1).out
    for part in ("Harbour Digest", "v1", "Parameters", "harbour.log", "Required outputs", "report.md (primary)", "Why"):
        assert part in out


def front(runbook, yaml):
    (runbook.cwd / "RUNBOOK.md").write_text(f"---\nversion: 1.0.0\n{yaml}---\n# T\n")
    return runbook


def resolved(runbook, yaml, **env):
    return front(runbook, yaml)("show", ".", "--json", env=env).json["resolved"]


@pytest.mark.parametrize(
    ("yaml", "env", "key", "value", "why"),
    [
        ("agent: codex\n", {}, "agent", "codex", "frontmatter, line 3"),
        ("model: gpt-5.5\n", {}, "agent", "codex", "inferred from the model gpt-5.5"),
        ("", {}, "agent", "claude-code", "the default"),
        ("", {}, "provider", "anthropic", "claude-code's own"),
        ("", {"OPENROUTER_API_KEY": "x"}, "provider", "openrouter", "OPENROUTER_API_KEY is set"),
        ("model_provider: bedrock\n", {}, "provider", "bedrock", "frontmatter, line 3"),
        ("agent: shell\n", {}, "provider", None, "shell calls no model"),
        ("", {}, "model", "claude-sonnet-4-6", "claude-code's default"),
        (
            "model: claude-opus-4-6\n",
            {"OPENROUTER_API_KEY": "x"},
            "model",
            "anthropic/claude-opus-4.6",
            "as openrouter",
        ),
        ("", {}, "snapshot", "python312-uv", "the default"),
        ("snapshot: mine\n", {}, "snapshot", "mine", "frontmatter, line 3"),
        ("image: a/b:1\n", {}, "image", "a/b:1", "frontmatter, line 3"),
        ("image: a/b:1\n", {}, "snapshot", None, "the image is used instead"),
    ],
)
def test_every_choice_has_its_reason(runbook, yaml, env, key, value, why):
    choice = resolved(runbook, yaml, **env)[key]
    assert choice["value"] == value
    assert why in choice["why"]


def test_agent_nobody_here_knows_is_shown_as_such(runbook):
    assert "can't run it" in resolved(runbook, "agent: nobody\n")["agent"]["why"]


def test_shown_choices_are_those_of_a_run(runbook):
    front(runbook, "agent: Shell\nsnapshot: python312-uv\n")
    with (runbook.cwd / "RUNBOOK.md").open("a") as file:
        file.write("\n## Step 1: Go\n\n```bash\ntrue\n```\n")
    shown = runbook("show", ".", "--json").json["resolved"]
    spec = runbook("run", ".", "--dry-run", "--sandbox", "host", "--json").json["spec"]
    assert {key: choice["value"] for key, choice in shown.items()} == {key: spec[key] for key in shown}


def test_broken_frontmatter_is_a_message_with_its_line(runbook):
    shown = front(runbook, "code_checks: {timeout_sec: soon}\n")("show", ".", "--json")
    assert (shown.code, json.loads(shown.out)["error_code"]) == (2, "bad_input")
    assert shown.err.startswith("error: RUNBOOK.md:3: `code_checks.timeout_sec` must be")


def test_what_would_steer_a_terminal_is_not_printed(runbook):
    (runbook.cwd / "RUNBOOK.md").write_text("---\na: 1\n---\n# Evil \x1b[2J title\n\n## Step 1: \x1b]0;x\x07\n")
    assert "\x1b" not in runbook("show", ".").out


def test_odd_numbers_are_still_json(runbook):
    front(runbook, "weight: .nan\nsize: .inf\n")
    shown = runbook("show", ".", "--json")
    assert json.loads(shown.out, parse_constant=pytest.fail)["frontmatter"]["extra"] == {"weight": "nan", "size": "inf"}


def test_stdin_works(runbook):
    assert runbook("show", "-", "--json", stdin="---\na: 1\n---\n# T\n").json["source"] == "<stdin>"


def test_document_that_is_too_long_says_from_which_line_it_is_not_read(runbook):
    body = "# T\n\n" + "## a\n" * 10_001
    (runbook.cwd / "RUNBOOK.md").write_text(f"---\nversion: 1.0.0\n---\n{body}")
    shown = runbook("show", ".")
    assert shown.code == 0
    assert "from line 10005 on only the text is read" in " ".join(shown.out.split())


def test_of_more_rows_than_a_person_reads_the_first_are_shown(runbook):
    used = "".join(f"{{{{v{number}}}}}\n" for number in range(1500))
    (runbook.cwd / "RUNBOOK.md").write_text(f"---\nversion: 1.0.0\nagent: shell\n---\n# T\n\n{used}")
    shown = runbook("show", "RUNBOOK.md")
    assert shown.code == 0
    assert "v999" in shown.out
    assert "v1000" not in shown.out
    assert "500 more: --json" in shown.out

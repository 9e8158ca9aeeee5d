"""Names of agents, snapshots, providers and settings: what the contract knows, and what there is on this machine."""

import json

import pytest


@pytest.fixture
def say(runbook, write, v1):
    """Rule, line and hint of each finding for a runbook with this instead of its model and its snapshot."""

    def findings(lines):
        given = "model: claude-sonnet-4-6\nsnapshot: python312-uv\n"
        write(v1.replace(given, lines) if "agent:" not in lines else v1.replace(f"agent: claude-code\n{given}", lines))
        done = runbook("check", "--format", "json")
        return [(found["rule"], found["line"], found["hint"]) for found in json.loads(done.out)["findings"]]

    return findings


@pytest.mark.parametrize(
    "lines",
    [
        "agent: aider\n",
        "agent: Aider\n",
        "snapshot: office\n",
        "snapshot: python312-uv-node\n",
        "model_provider: groq\n",
        "model_provider: ollama\n",
        "model_provider: vllm\n",
        "model_provider: mistral\n",
        "model: ollama/qwen3\n",
        "image: registry.example/any\nsnapshot: nowhere\n",
        "runbook_runner: {network: allowlist, allow_hosts: [a.example], apt_packages: [jq], max_calls: 3}\n",
        "runbook_runner:\n",
    ],
)
def test_what_is_declared_near_or_known_to_litellm_is_no_mistake(say, write, lines):
    write("", ".runbook/agents/aider.toml")
    write("FROM scratch\n", ".runbook/snapshots/office/Dockerfile")
    assert [found for found in say(lines) if found[0] != "RB111"] == []


def test_misspelled_names_are_found_at_their_line_with_the_name_that_was_meant(say, write):
    write("", ".runbook/agents/aider.toml")
    write("FROM scratch\n", ".runbook/snapshots/office/Dockerfile")
    assert say("agent: aidr\n") == [("RB108", 4, "Did you mean `aider`?")]
    assert say("snapshot: ofice\n") == [("RB114", 5, "Did you mean `office`?")]
    assert say("snapshot: python312\n") == [("RB114", 5, "Did you mean `python312-uv`?")]
    assert say("model_provider: grok_q\n") == [("RB109", 5, "Did you mean `groq`?")]
    assert say("model: olama/qwen3\n") == [("RB109", 5, "Did you mean `ollama`?")]


def test_each_of_our_own_settings_is_checked_at_its_line(say):
    lines = "runbook_runner:\n  timeout: 60\n  max_cots: 3\n  network: open\n  max_calls: -1\n  inputs: a.csv\n"
    found = say(lines)
    assert [(rule, line) for rule, line, _ in found] == [("RB115", line) for line in (7, 8, 9, 10)]
    assert found[0][2] == "Did you mean `max_cost`?"


def test_a_run_refuses_the_same_setting_at_the_same_place(runbook, write, v1):
    write(v1.replace("snapshot: python312-uv\n", "runbook_runner: {max_cots: 3}\n"))
    done = runbook("run", ".", "--dry-run")
    assert done.code == 2
    assert "RUNBOOK.md:6: `runbook_runner` has no setting 'max_cots'." in done.err

"""Where a name is looked up, an error says which one was meant."""

from typing import Any

import pytest


@pytest.fixture(scope="module")
def machine(make_runbook: Any) -> Any:
    """With one run, of the task `orders`, and a runbook."""
    machine = make_runbook()
    assert machine("new", "orders", "--agent", "shell").code == 0
    ran = machine("run", "orders", "--sandbox", "host", "--task", "orders", "--label", "team=blue", "--json")
    assert ran.code in (0, 1), ran.err
    return machine


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("run orders --network model-onyl", "model-only"),
        ("run orders --record-mode metadta", "metadata"),
        ("run orders --snapshot python312-vu", "python312-uv"),
        ("run orders --agent shel", "shell"),
        ("run orders --sandbox bublewrap", "bubblewrap"),
        ("run orders --agent claude-code --provider antropic", "anthropic"),
        ("run orders -p result_dir=x", "results_dir"),
        ("replay @last --network model-onyl", "model-only"),
        ("replay @lats", "@last"),
        ("rerun @last --agent shel", "shell"),
        ("new other --evaluation programatic", "programmatic"),
        ("snapshots inspect python312-vu", "python312-uv"),
        ("runs list --status complete", "completed"),
        ("runs list --outcome pas", "pass"),
        ("runs list --verdict pas", "pass"),
        ("runs list --sort tokns", "tokens"),
        ("runs list --task oders", "orders"),
        ("runs list --agent shel", "shell"),
        ("runs list --label taem", "team"),
        ("runs list --label taem=blue", "team"),
        ("runs stats --task oders", "orders"),
        ("runs stats --label taem", "team"),
        ("runs prune --keep 1 --task oders", "orders"),
        ("runs label @last --remove taem", "team"),
        ("runs label @last --status archive", "archived"),
        ("runs open @last sumary.md", "summary.md"),
        ("export @last --format htlm", "html"),
        ("optimize orders --task oders", "orders"),
        ("cost --by tasks", "task"),
        ("completion bsh", "bash"),
    ],
)
def test_the_name_that_was_meant_is_told(machine: Any, line: str, meant: str) -> None:
    ran = machine(*line.split())
    assert f"Did you mean {meant!r}?" in ran.out + ran.err
    assert ran.code in (0, 2), "a filter that no run passes is no error"
    assert not (machine.cwd / "other").exists()


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("runs export", "`runbook export` or `runbook snapshots export`"),
        ("runs diff", "`runbook diff`"),
        ("logs", "`runbook runs logs`"),
        ("snapshots run", "`runbook run`"),
    ],
)
def test_a_command_that_is_elsewhere_is_told(machine: Any, line: str, meant: str) -> None:
    ran = machine(*line.split())
    assert (ran.code, f"It is {meant}." in ran.err) == (2, True)


def test_the_settings_of_a_project_too(machine: Any) -> None:
    file = machine.cwd / ".runbook/config.toml"
    for text, meant in (("[check]\nselct = []\n", "select"), ('[check]\nprofile = "autoo"\n', "auto")):
        file.write_text(text)
        ran = machine("check", "orders")
        assert f"Did you mean {meant!r}?" in ran.err
    file.unlink()

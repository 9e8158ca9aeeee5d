"""`runbook new`: a runbook that can be checked and run as it is."""

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.runbook.authoring.scaffold import NewRunbook, scaffold, title_of
from runbook_runner.runbook.document import parse

KINDS = [
    ("rubric", "claude-code"),
    ("programmatic", "claude-code"),
    ("rubric", "codex"),
    ("programmatic", "opencode"),
    ("programmatic", "shell"),
]
DESCRIPTION = "Compare the prices of three shops, then say which is cheapest. Use only the files that are given"


@pytest.mark.parametrize("description", ["", DESCRIPTION])
@pytest.mark.parametrize(("evaluation", "agent"), KINDS)
def test_result_checks_clean_under_its_own_profile(runbook, evaluation, agent, description):
    made = runbook("new", "Prices", "--evaluation", evaluation, "--agent", agent, "--from-description", description)
    assert (made.code, made.out) == (0, "prices/RUNBOOK.md\n")
    for profile in ("v2", "auto"):
        checked = runbook("check", "--profile", profile, "prices")
        assert checked.code == 0, checked.out
    assert runbook("fmt", "--check", "prices").code == 0
    written = parse((runbook.cwd / "prices/RUNBOOK.md").read_text())
    assert written.generation == 2
    assert (written.frontmatter.evaluation, written.frontmatter.agent) == (evaluation, agent)


def test_shell_runbook_runs_and_passes(runbook):
    assert runbook("new", "prices", "--agent", "shell", "--from-description", DESCRIPTION).code == 0
    ran = runbook("run", "prices", "--sandbox", "host", "--json")
    assert (ran.code, ran.json["verdict"]) == (0, "pass"), ran.err
    assert ran.json["primary_output"].endswith("report.md")
    written = parse((runbook.cwd / "prices/RUNBOOK.md").read_text())
    results = ran.folder / "results"
    report = json.loads((results / "validation_report.json").read_text())
    skipped = [check["id"] for check in report["checks"] if check["status"] == "skipped"]
    assert skipped == ["iterate-on-errors-max-1-round", *(item.id for item in written.checklist)], "nobody looked"
    for check in written.code_checks:
        if check.kind == "command":
            command = check.code.replace("{{results_dir}}", str(results))
            assert subprocess.run(["bash", "-e", "-o", "pipefail", "-c", command]).returncode == 0, check.id


@pytest.mark.parametrize("evaluation", ["rubric", "programmatic"])
def test_what_can_be_run_of_an_agents_runbook_runs(runbook, evaluation):
    """Its set-up block, with the shell agent; its checks fail as long as there is no result."""
    assert runbook("new", "prices", "--evaluation", evaluation).code == 0
    ran = runbook("run", "prices", "--sandbox", "host", "--agent", "shell", "--json")
    assert ran.json["missing_outputs"] == ["report.md", "summary.md", "validation_report.json"]
    assert ran.json["success"] is False
    assert runbook("run", "prices", "--sandbox", "host", "--dry-run", env={"ANTHROPIC_API_KEY": "x"}).code in (0, 3)


def test_show_says_who_runs_its_checks(runbook):
    assert runbook("new", "p").code == 0
    shown = runbook("show", "p", env={"COLUMNS": "200"}).out
    assert "the platform" in shown
    assert "jetty" not in shown


def test_description_becomes_title_and_objective(runbook):
    assert runbook("new", "p", "--from-description", DESCRIPTION).code == 0
    written = parse((runbook.cwd / "p/RUNBOOK.md").read_text())
    assert written.title == "Compare the Prices of Three Shops — Agent Runbook"
    assert " ".join(written.section("objective").text.split()).startswith(DESCRIPTION + ".")


def test_nothing_is_overwritten(runbook):
    assert runbook("new", "p").code == 0
    file = runbook.cwd / "p/RUNBOOK.md"
    file.write_text("mine")
    again = runbook("new", "p", "--agent", "shell")
    assert (again.code, file.read_text()) == (2, "mine")
    assert "There is a runbook already" in again.err


def test_out_says_where(runbook):
    assert runbook("new", "My Task", "--out", "a/b").out == "a/b/my-task/RUNBOOK.md\n"
    assert (runbook.cwd / "a/b/my-task/RUNBOOK.md").is_file()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "needs a name"),
        (["日本"], "can't be a runbook's name"),
        (["../evil"], "'../evil' is a path, not a name"),
        (["a/b"], "--out FOLDER"),
        (["p", "--agent", "nope"], "Unknown agent 'nope'"),
        (["p", "--agent", "codx"], "Did you mean 'codex'?"),
        (["p", "--model", "nope/big"], "There is no model provider `nope`"),
        (["p", "--evaluation", "visual"], "Unknown evaluation 'visual'"),
        (["p", "--agent", "shell", "--evaluation", "rubric"], "can't judge by a rubric"),
        (["p", "--agent", "shell", "--model", "m"], "--model has no meaning with the agent shell"),
    ],
)
def test_wrong_wishes_are_refused_and_leave_nothing(runbook, args, says):
    refused = runbook("new", *args)
    assert refused.code == 2
    assert says in refused.err
    assert not list(runbook.cwd.iterdir())


def test_accents_leave_their_letters_to_the_folders_name(runbook):
    assert runbook("new", "Café Übersicht ①").out == "cafe-ubersicht-1/RUNBOOK.md\n"


def test_agent_follows_from_the_model(runbook):
    runbook("new", "p", "--model", "gpt-5.5")
    front = parse((runbook.cwd / "p/RUNBOOK.md").read_text()).frontmatter
    assert (front.agent, front.model) == ("codex", "gpt-5.5")


def test_on_a_terminal_it_asks_for_what_is_missing(runbook, eventually):
    said = on_a_terminal(runbook, eventually, ["new"], ["Prices", "shell", "", "Count the files"])
    assert "Name" in said
    assert "Evaluation" in said
    written = parse((runbook.cwd / "prices/RUNBOOK.md").read_text())
    assert written.title.startswith("Count the Files")
    assert (written.frontmatter.agent, written.frontmatter.evaluation) == ("shell", "programmatic")


def on_a_terminal(runbook, eventually, args, answers):
    """Runs the command on a terminal of its own and answers each question once it has been asked."""
    ours, its = pty.openpty()
    command = [Path(sys.executable).with_name("runbook"), *args]
    process = subprocess.Popen(command, cwd=runbook.cwd, env=runbook.env, stdin=its, stdout=its, stderr=its)
    os.close(its)
    said, waiting = "", list(answers)

    def has_ended():
        nonlocal said
        try:
            while select.select([ours], [], [], 0)[0]:
                said += os.read(ours, 4096).decode()
        except OSError:
            return True
        if waiting and said.rstrip(" ").endswith(":"):
            os.write(ours, waiting.pop(0).encode() + b"\n")
            said += "\n"
        raise AssertionError(f"It waits after {said!r}")

    eventually(has_ended)
    assert process.wait(10) == 0, said
    return said


ODD = ["# x", "- x", "1. x", "| a |", "```", "---", "{{x}}", "{TODO: x}", "x\n\n## Tips\n", "<!--", "a" * 300]

# --- any wish ------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    name=st.text(min_size=1, max_size=80).map(lambda text: "a" + text),
    description=st.text(max_size=200)
    | st.sampled_from(["# x", "- x", "1. x", "| a |", "```", "---", "{{x}}", "{TODO: x}"]),
    kind=st.sampled_from(KINDS),
    model=st.none() | st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
)
def test_any_name_and_description_give_the_same_document_with_other_words(name, description, kind, model):
    evaluation, agent = kind
    new = NewRunbook(name, evaluation, BUILT_IN_AGENTS[agent], model, description=description)
    plain = parse(scaffold(NewRunbook("a", evaluation, BUILT_IN_AGENTS[agent])))
    written = parse(scaffold(new))
    assert [s.title for s in written.sections][1:] == [s.title for s in plain.sections][1:]
    assert written.frontmatter.model == model
    assert (written.parameters, written.outputs, written.generation) == (
        parse(scaffold(new)).parameters,
        plain.outputs,
        2,
    )
    assert len(title_of(new)) <= 60

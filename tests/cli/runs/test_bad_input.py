"""`runbook run` with bad input: one message that says what, where and what next; nothing is started or recorded."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HELLO = Path(__file__).parents[3] / "examples" / "hello"
TEXT = (HELLO / "RUNBOOK.md").read_text()


def refused(ran: Any, code: int, *parts: str) -> None:
    assert ran.code == code, ran.err
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    for part in parts:
        assert part in ran.err
    assert ran.out == ""


def run_text(runbook: Any, text: str, *args: str, **more: Any) -> Any:
    (runbook.cwd / "RUNBOOK.md").write_text(text)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", *args, **more)
    assert not (runbook.cwd / ".runbook" / "trajectories").exists()
    return ran


def test_no_frontmatter(runbook: Any) -> None:
    refused(run_text(runbook, "# Title\n"), 2, "RUNBOOK.md:1", "frontmatter")


@pytest.mark.parametrize(
    ("args", "exit_code", "error_code"),
    [
        (("run", "absent", "--json"), 2, "bad_input"),
        (("run", "--jsno", "--json"), 2, "bad_input"),
        (("show", "absent", "--json"), 2, "bad_input"),
        (("replay", "absent", "--json"), 2, "bad_input"),
        (("run", HELLO, "--sandbox", "docker", "--json"), 3, "not_ready"),
    ],
    ids=str,
)
def test_json_has_an_error_as_well(runbook: Any, args: tuple[str, ...], exit_code: int, error_code: str) -> None:
    ran = runbook(*args, env={"DOCKER_HOST": "unix:///absent"})
    assert ran.json == {
        "status": "error",
        "error": ran.err.removeprefix("error: ").removesuffix("\n"),
        "error_code": error_code,
        "exit_code": exit_code,
    }
    assert ran.code == exit_code


def test_json_of_a_dry_run_that_lacks_something_stays_one_object(runbook: Any) -> None:
    ran = run_text(runbook, TEXT.replace("agent: shell", "agent: claude-code"), "--dry-run", "--json")
    assert (ran.code, len(ran.json["missing"]) > 0) == (3, True)
    assert ran.err.startswith("error: ")


def test_broken_yaml_names_the_line(runbook: Any) -> None:
    refused(run_text(runbook, '---\nversion: "1"\nagent: [shell\n---\n# T\n'), 2, "RUNBOOK.md:3", "YAML")


@pytest.mark.parametrize(
    ("yaml", "shown"),
    [("agent: [shell", "  agent: [shell\n         ^\n"), ('agent: "shell', '  agent: "shell\n         ^\n')],
)
def test_yaml_that_is_not_complete_shows_where_it_began(runbook: Any, yaml: str, shown: str) -> None:
    assert run_text(runbook, f"---\n{yaml}\n---\n# T\n").err.endswith(f" > |.\n{shown}")


def test_missing_required_parameters_are_listed_all_at_once(runbook: Any) -> None:
    rows = "| Name | `{{name}}` | *(required)* | Who |\n| City | `{{city}}` | required | Where |"
    text = re.sub(r"\| Name .*", rows, TEXT)
    refused(run_text(runbook, text), 2, "2 required parameters", "name (line", "city (line", "-p NAME=VALUE")


def test_unknown_parameter_gets_a_suggestion(runbook: Any) -> None:
    refused(run_text(runbook, TEXT, "-p", "nmae=x"), 2, "nmae", "Did you mean 'name'?")


@pytest.mark.parametrize(
    ("option", "content"),
    [("--params", '{"nmae": "x"}'), ("--params", "nmae: null"), ("--input", '{"params": {"vars": {"nmae": "x"}}}')],
)
def test_unknown_parameter_in_a_file_is_named_before_missing_ones(runbook: Any, option: str, content: str) -> None:
    (runbook.cwd / "given").write_text(content)
    text = TEXT.replace("| `world` | Who is", "| *(required)* | Who is")
    refused(run_text(runbook, text, option, "given"), 2, "given: ", "no parameter 'nmae'", "Did you mean 'name'?")


def test_null_is_no_value_of_a_required_parameter(runbook: Any) -> None:
    (runbook.cwd / "given").write_text('{"name": null}')
    text = TEXT.replace("| `world` | Who is", "| *(required)* | Who is")
    refused(run_text(runbook, text, "--params", "given"), 2, "1 required parameter has no value", "name (line")


def test_a_key_that_the_fixture_does_not_know_is_named_above_the_error(runbook: Any) -> None:
    (runbook.cwd / "input.json").write_text('{"parametrs": {"vars": {"name": "Bob"}}}')
    text = TEXT.replace("| `world` | Who is", "| *(required)* | Who is")
    ran = run_text(runbook, text, "--input", "input.json")
    assert ran.code == 2
    warning, error = ran.err.splitlines()[:2]
    assert warning == "warning: input.json: The key 'parametrs' is unknown and ignored. Did you mean 'params'?"
    assert error.startswith("error: RUNBOOK.md: 1 required parameter has no value")


def test_a_line_of_the_env_file_that_sets_nothing(runbook: Any) -> None:
    (runbook.cwd / "bad.env").write_text('A=1\n\n\nB C = "\n')
    refused(run_text(runbook, TEXT, "--env-file", "bad.env"), 2, "bad.env:4: This line sets no variable.", "NAME=value")


@pytest.mark.parametrize(
    ("option", "content", "says"),
    [
        ("--params", 'name: "a\\0b"', "The parameter 'name' holds a NUL character."),
        ("--params", '{"name": [{"x": "\\u0000"}]}', "The parameter 'name' holds a NUL character."),
        ("--params", '{"name": "\\ud800"}', "The parameter 'name' holds half of a surrogate pair"),
        ("--input", '{"params": {"vars": {"name": "\\u0000"}}}', "The parameter 'name' holds a NUL character."),
        ("--input", '{"params": {"vars": {"name": {"\\udfff": 1}}}}', "The parameter 'name' holds half of a surrogate"),
        ("--env-file", "A=1\nB=a\0b\n", "There is a NUL byte"),
    ],
)
def test_a_value_that_no_program_could_be_given_is_refused_with_its_file(
    runbook: Any, option: str, content: str, says: str
) -> None:
    (runbook.cwd / "given").write_text(content)
    where = "given:2: " if option == "--env-file" else "given: "
    refused(run_text(runbook, TEXT, option, "given"), 2, where + says)


def test_a_nul_that_the_frontmatter_escapes_is_refused(runbook: Any) -> None:
    (runbook.cwd / "m.yaml").write_text("- say: hi\n")
    text = TEXT.replace("agent: shell", 'agent: claude-code\nmodel: "a\\0b"')
    refused(run_text(runbook, text, "--model-script", "m.yaml"), 2, "The model of the run holds a NUL character.")


def test_a_parameter_without_value(runbook: Any) -> None:
    refused(run_text(runbook, TEXT, "-p", "name"), 2, "NAME=VALUE")


DEEP = 3000
NESTED = "[" * DEEP + "]" * DEEP
WRONG_YAML = {
    "name: !!int foo": "`name` can't be read",
    "name: !!int ''": "`name` can't be read",
    "name: !!bool maybe": "`name` can't be read",
    "name: a\nname: b": "'name' is given twice, on lines",
    '{"name": 1,\n"name": 2}': "'name' is given twice, on lines",
    "name: &a [*a]": "refers to itself",
    "name: &a {x: *a}": "refers to itself",
    "a0: &a0 lol\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)): "explodes",
    f"name: {NESTED}": "nested deeper",
    f'{{"name": {NESTED}}}': "nested deeper",
    '{"name": ' + "[" * 900 + "]" * 900 + "}": "nested deeper",
    NESTED: "nested deeper",
    "- " * DEEP + "a": "nested deeper",
    "? [a]\n: b": "can't be a key",
    "name: !!python/name:os.system": "`name` has the YAML tag",
}
LONG_NUMBERS = ["name: 0x_", "name: " + "9" * 5000, '{"name": ' + "9" * 5000 + "}", "name: 0x" + "f" * 5000]


@pytest.mark.parametrize(
    ("content", "says"), [*WRONG_YAML.items(), *((number, "`name` can't be read") for number in LONG_NUMBERS)]
)
def test_wrong_yaml_in_any_file_is_bad_input_with_its_line(runbook: Any, content: str, says: str) -> None:
    (runbook.cwd / "f.yaml").write_text(content)
    if content not in LONG_NUMBERS:
        refused(run_text(runbook, TEXT, "--params", "f.yaml"), 2, "f.yaml:", says)
    refused(runbook("cost", env={"RUNBOOK_PRICES": "f.yaml"}), 2, "f.yaml:", says)
    turn = content if content.startswith(("- ", "[")) else "- say: a\n- " + content.replace("\n", "\n  ")
    (runbook.cwd / "f.yaml").write_text(turn)
    refused(run_text(runbook, TEXT, "--model-script", "f.yaml"), 2, "f.yaml:", says)


def test_a_date_stays_as_it_is_written_also_one_that_is_in_no_calendar(runbook: Any) -> None:
    (runbook.cwd / "f.yaml").write_text("name: 2024-02-30\n")
    (runbook.cwd / "RUNBOOK.md").write_text(TEXT)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--params", "f.yaml", "--json")
    assert (ran.folder / "results/greeting.md").read_text() == "# Hello, 2024-02-30!\n"
    (runbook.cwd / "f.yaml").write_text("m: {input: 2024-02-30}\n")
    refused(runbook("cost", env={"RUNBOOK_PRICES": "f.yaml"}), 2, "f.yaml:1: m.input", "valid number")


def test_json_parameters_may_be_indented_with_tabs_and_escape_emoji(runbook: Any) -> None:
    (runbook.cwd / "f.json").write_text('{\n\t"name": "\\ud83d\\ude00"\n}\n')
    (runbook.cwd / "RUNBOOK.md").write_text(TEXT)
    ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--params", "f.json", "--json")
    assert (ran.folder / "results/greeting.md").read_text() == "# Hello, 😀!\n"


@pytest.mark.parametrize("depth", [101, 900, DEEP])
def test_a_fixture_that_is_nested_deeply_is_refused(runbook: Any, depth: int) -> None:
    value = "[" * depth + "]" * depth
    (runbook.cwd / "input.json").write_text(f'{{"params": {{"vars": {{"name": {value}}}}}}}')
    refused(run_text(runbook, TEXT, "--input", "input.json"), 2, "input.json: ", "nested deeper than 100 levels")


@pytest.mark.parametrize("value", [NESTED, "{a" + ".a" * 200_000 + " = 1}"])
def test_toml_that_is_nested_deeply_is_refused_whoever_reads_it(runbook: Any, value: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(TEXT)
    for name, table in (
        (".runbook/agents/deep.toml", "argv"),
        (".runbook/config.toml", "[run]\nnetwork"),
        ("pyproject.toml", "[tool.runbook.run]\nnetwork"),
    ):
        file = runbook.cwd / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{table} = {value}\n")
        is_agent = file.name == "deep.toml"
        asked = ("--agent", "deep") if is_agent else ()
        refused(runbook("run", "RUNBOOK.md", "--sandbox", "host", *asked), 2, name, "nested deeper than 100 levels")
        if not is_agent:
            refused(runbook("check", "RUNBOOK.md"), 2, name, "nested deeper than 100 levels")
        file.unlink()


@pytest.mark.parametrize("rules", [r'argv = ["a\u0000b"]', f'argv = ["sh"]\nsession_db = "{"a" * 250}"'])
def test_an_agents_file_names_only_what_can_be_started_and_stored(runbook: Any, rules: str) -> None:
    (runbook.cwd / ".runbook" / "agents").mkdir(parents=True)
    (runbook.cwd / ".runbook" / "agents" / "odd.toml").write_text(rules)
    refused(run_text(runbook, TEXT, "--agent", "odd"), 2, "odd.toml:")


@pytest.mark.parametrize("content", ["[1, 2", "- a\n- b\n", "\x00"])
def test_a_parameter_file_that_is_no_object(runbook: Any, content: str) -> None:
    (runbook.cwd / "p.yaml").write_text(content)
    refused(run_text(runbook, TEXT, "--params", "p.yaml"), 2, "p.yaml")


def test_unknown_agent_lists_the_known_ones(runbook: Any) -> None:
    refused(run_text(runbook, TEXT, "--agent", "clippy"), 2, "clippy", "claude-code", "shell")


def test_unknown_sandbox_lists_the_known_ones(runbook: Any) -> None:
    refused(runbook("run", HELLO, "--sandbox", "vm"), 2, "'vm'", "docker", "host")


@pytest.mark.needs("docker")
def test_unknown_snapshot_on_the_command_line_lists_the_known_ones(runbook: Any) -> None:
    refused(runbook("run", HELLO, "--sandbox", "docker", "--snapshot", "python2"), 2, "python2", "python312-uv")


def test_missing_secret_is_named_before_anything_starts(runbook: Any) -> None:
    text = TEXT.replace(
        "snapshot:", "secrets:\n  CRM_TOKEN:\n    env: CRM_TOKEN\n    description: reads the CRM\nsnapshot:"
    )
    refused(run_text(runbook, text), 3, "CRM_TOKEN: reads the CRM", ".env")


def test_missing_provider_key_is_named(runbook: Any) -> None:
    fake = runbook.cwd / "bin"
    fake.mkdir()
    (fake / "claude").write_text("#!/bin/sh\n")
    (fake / "claude").chmod(0o755)
    env = {"PATH": f"{fake}:{runbook.env['PATH']}"}
    refused(
        run_text(runbook, TEXT.replace("agent: shell", "agent: claude-code"), env=env),
        3,
        "ANTHROPIC_API_KEY",
        "--model-script",
    )


def test_missing_input_file(runbook: Any) -> None:
    ran = run_text(runbook, TEXT, "-f", "nowhere.csv")
    refused(ran, 2, "nowhere.csv", "does not exist", "relative to the folder where you stand")
    assert "zip" not in ran.err


@pytest.mark.needs("linux")
def test_an_input_whose_name_is_not_utf_8(runbook: Any) -> None:
    name = os.fsdecode(b"\xff.csv")
    (runbook.cwd / name).write_text("x")
    refused(run_text(runbook, TEXT, "-f", name), 2, "not UTF-8", "\\xff.csv")


@pytest.mark.needs("linux")
@pytest.mark.parametrize("option", ["--label", "--image", "--model", "--secret"])
def test_an_argument_that_is_not_utf_8(runbook: Any, option: str) -> None:
    refused(run_text(runbook, TEXT, option, os.fsdecode(b"a=\xff")), 2, "not UTF-8", "\\udcff")


def test_a_folder_as_input(runbook: Any) -> None:
    (runbook.cwd / "data").mkdir()
    refused(run_text(runbook, TEXT, "-f", "data"), 2, "data", "is a folder")


def test_two_inputs_of_one_name(runbook: Any) -> None:
    for folder in ("a", "b"):
        (runbook.cwd / folder).mkdir()
        (runbook.cwd / folder / "x.csv").write_text("x")
    refused(run_text(runbook, TEXT, "-f", "a/x.csv", "-f", "b/x.csv"), 2, "x.csv", "a/x.csv", "b/x.csv", "rename")


def test_no_docker_engine_says_which_socket_and_how_to_go_on(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "docker", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    refused(ran, 3, "unix:///nowhere/docker.sock", "--sandbox ")


def test_no_such_runbook(runbook: Any) -> None:
    refused(runbook("run", "nowhere"), 2, "nowhere")


def test_plain_http_addresses_are_refused(runbook: Any) -> None:
    refused(runbook("run", "http://example.com/RUNBOOK.md"), 2, "http")


def test_addresses_of_this_machine_are_refused(runbook: Any) -> None:
    refused(runbook("run", "https://127.0.0.1/RUNBOOK.md"), 2, "127.0.0.1")


def test_a_shell_runbook_with_nothing_to_run(runbook: Any) -> None:
    text = TEXT.split("## Step 1")[0]
    refused(run_text(runbook, text), 2, "nothing to run", "## Step")


def test_a_model_script_with_a_mistake_names_the_line(runbook: Any) -> None:
    (runbook.cwd / "m.yaml").write_text("- say: hi\n- shel: ls\n")
    fake = runbook.cwd / "claude"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    env = {"PATH": f"{runbook.cwd}:{runbook.env['PATH']}"}
    ran = run_text(runbook, TEXT, "--agent", "claude-code", "--model-script", "m.yaml", env=env)
    refused(ran, 2, "m.yaml:2", "shell")


@pytest.mark.parametrize(
    ("text", "says"), [(None, "m.yaml: The model script"), ("- shel: ls\n", "m.yaml:1: Unknown key")]
)
def test_a_model_script_is_read_also_when_the_agent_has_no_model(runbook: Any, text: str | None, says: str) -> None:
    if text:
        (runbook.cwd / "m.yaml").write_text(text)
    refused(run_text(runbook, TEXT, "--model-script", "m.yaml"), 2, says)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "p.yaml: The price file of RUNBOOK_PRICES"), ("m: 3\n", "p.yaml:1: m: must be")],
)
def test_a_price_file_is_read_also_when_a_model_script_answers(runbook: Any, text: str | None, says: str) -> None:
    if text:
        (runbook.cwd / "p.yaml").write_text(text)
    (runbook.cwd / "m.yaml").write_text("- say: hi\n")
    env = {"RUNBOOK_PRICES": "p.yaml"}
    ran = run_text(runbook, TEXT, "--agent", "claude-code", "--model-script", "m.yaml", "--max-cost", "1", env=env)
    refused(ran, 2, says)
    refused(runbook("cost", env=env), 2, says)


@pytest.mark.parametrize(
    "option", [("--memory", "lots"), ("--timeout", "0"), ("--cpus", "-1"), ("--collection", "a/b")]
)
def test_limits_and_names_that_make_no_sense(runbook: Any, option: tuple[str, str]) -> None:
    refused(run_text(runbook, TEXT, *option), 2)


def test_the_hint_for_a_name_names_what_is_allowed(runbook: Any) -> None:
    refused(run_text(runbook, TEXT, "--task", "a/b"), 2, "'a/b' is not a valid task name", "letters, digits, spaces,")


def test_usage_errors_are_bad_input(runbook: Any) -> None:
    ran = runbook("run")
    assert ran.code == 2
    assert "PATH" in ran.err


def test_an_out_folder_that_cannot_be_made_is_refused_before_the_run(runbook: Any) -> None:
    refused(run_text(runbook, TEXT, "--out", "/dev/null/out"), 2, "/dev/null/out")


@pytest.fixture
def ordinary(runbook: Any) -> Any:
    """The command without root's right to write everywhere."""
    if os.geteuid() == 0:
        runbook.under = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    return runbook


@pytest.mark.needs("setpriv")
def test_an_out_folder_that_cannot_be_written_is_refused_before_the_run(ordinary: Any) -> None:
    out = ordinary.cwd / "out"
    out.mkdir(mode=0o555)
    said = f"{out}: The results can't be copied there: {out} can't be written to."
    refused(ordinary("run", HELLO, "--sandbox", "host", "--out", out), 2, said)
    assert not (ordinary.cwd / ".runbook").exists()


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize("options", [(), ("--json",), ("--quiet",)], ids=["shown", "json", "quiet"])
def test_results_that_cannot_be_copied_in_the_end_cost_no_verdict(
    ordinary: Any, shell_runbook: Callable[[str], Path], options: tuple[str, ...]
) -> None:
    out = ordinary.cwd / "out"
    code = f"echo x > /app/results/out.txt; chmod 555 {out}"
    ran = ordinary("run", shell_runbook(code), "--sandbox", "host", "--out", out, *options)
    (results,) = (ordinary.cwd / ".runbook").rglob("results")
    assert (results / "out.txt").read_text() == "x\n"
    error = f"error: {out}/out.txt: The results can't be copied: Permission denied.\nThey are in {results}.\n"
    assert (ran.code, ran.err[-len(error) :]) == (2, error)
    if options == ("--json",):
        assert ran.json["verdict"] == "pass"
    elif not options:
        assert "\nPASS · " in ran.out


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize("options", [("--dry-run",), ()], ids=["dry run", "run"])
def test_a_dry_run_lists_the_folders_that_cannot_be_written(ordinary: Any, options: tuple[str, ...]) -> None:
    project, data = ordinary.cwd / "project", ordinary.cwd / "data"
    for folder in (project, data):
        folder.mkdir(mode=0o555)
    missing = [
        f"{project}/.runbook: No run can be recorded here: {project} can't be written to.",
        f"{data}/of/mine: The data folder can't be used: {data} can't be written to.",
        f"{project}/out: The results can't be copied there: {project} can't be written to.",
    ]
    ordinary.under = (*ordinary.under, "env", f"--chdir={project}")
    env = {"RUNBOOK_DATA": f"{data}/of/mine"}
    ran = ordinary("run", HELLO, "--sandbox", "host", "--out", project / "out", *options, env=env)
    if options:
        assert ran.code == 2
        assert ran.err.startswith("error: 3 things are missing:\n")
        assert [line[2:] for line in ran.err.splitlines() if line.startswith("- ")] == missing
    else:
        refused(ran, 3, missing[0])
        told = [finding["message"] for finding in ordinary("doctor", "--json", env=env).json["findings"]]
        assert {f"{project} can't be written to.", f"{data} can't be written to."} <= set(told)


def test_an_unwritable_home(runbook: Any) -> None:
    ran = runbook("run", HELLO, "--sandbox", "host", env={"RUNBOOK_HOME": "/dev/null/home"})
    refused(ran, 3, "/dev/null/home", "RUNBOOK_HOME")


NAMES = [
    "-f",
    "--params",
    "--input",
    "--env-file",
    "--agent",
    "--replay",
    "--snapshot",
    "--model-script",
    "--out",
]
USE_THE_HOME = ("run RUNBOOK.md --sandbox host", "replay x", "attach x", "shell x", "cost", "script from x")


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 100_000, "x/" * 200 + "y" * 256])
@pytest.mark.parametrize(
    "line",
    [
        *(
            "run",
            "replay",
            "attach",
            "shell",
            "script from",
            "check",
            "show",
            "fmt",
            "migrate",
            "optimize",
            "snapshots import",
        ),
        *(f"run RUNBOOK.md --sandbox host {option}" for option in NAMES),
        *("script from x --out", "new", "new x --out", "replay x --env-file"),
    ],
)
def test_a_name_that_is_too_long_is_refused_and_cut_in_the_message(runbook: Any, line: str, name: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(TEXT)
    ran = runbook(*line.split(), name)
    refused(ran, 2)
    assert len(ran.err) < 700
    assert not (runbook.cwd / ".runbook").exists()


@pytest.mark.parametrize("command", USE_THE_HOME)
@pytest.mark.parametrize("home", ["x" * 5000, "x" * 100_000])
def test_a_home_whose_name_is_too_long(runbook: Any, command: str, home: str) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(TEXT)
    ran = runbook(*command.split(), env={"RUNBOOK_HOME": home})
    refused(ran, 3, "the name is too long", "Set RUNBOOK_HOME")
    assert len(ran.err) < 700


@pytest.mark.parametrize("variable", ["RUNBOOK_DATA", "SSL_CERT_FILE", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "HOME"])
def test_a_variable_whose_name_of_a_file_is_too_long_is_no_bug(runbook: Any, variable: str) -> None:
    ran = runbook("doctor", env={variable: "x" * 5000, "DOCKER_HOST": "tcp://localhost:1"})
    assert ran.code in (0, 3)
    assert "This is a bug" not in ran.err


def test_folders_may_be_nested_deeper_than_pythons_stack(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(TEXT)
    deep = "x/" * 1200
    try:
        ran = runbook("run", "RUNBOOK.md", "--sandbox", "host", "--out", deep, "--json", env={"RUNBOOK_HOME": deep})
        assert ran.code == 0, ran.err
        assert runbook("new", "made", "--out", deep).code == 0
        assert runbook("check", deep).code == 0
    finally:  # Python, and so pytest, can't remove it
        subprocess.run(["rm", "-r", runbook.cwd / "x"], check=True)


def test_an_input_of_an_unknown_users_home(runbook: Any) -> None:
    refused(run_text(runbook, TEXT, "-f", "~nobody-has-this-name/a.csv"), 2, "~nobody-has", "does not exist")


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_host_with_a_port_that_does_not_exist(runbook: Any, port: str) -> None:
    says = (f"{port} in 'a.org:{port}' is not a port.", "1 to 65535")
    refused(run_text(runbook, TEXT, "--allow-host", f"a.org:{port}"), 2, *says)
    (runbook.cwd / ".runbook").mkdir()
    (runbook.cwd / ".runbook/config.toml").write_text(f'[run]\nallow_hosts = ["a.org:{port}"]\n')
    refused(run_text(runbook, TEXT), 2, "config.toml", *says)


def test_sample_inputs_outside_the_runbooks_folder_are_refused(
    runbook: Any, shell_runbook: Callable[[str], Path]
) -> None:
    path = shell_runbook("true") / "RUNBOOK.md"
    path.write_text(
        path.read_text().replace("agent: shell", "agent: shell\nrunbook_runner: {inputs: [../../etc/passwd]}")
    )
    refused(runbook("run", path, "--sandbox", "host"), 2, "outside")


@pytest.mark.parametrize(("own", "says"), [
    ("inputs:\n    - there.csv\n    - gone.csv", ":9: The sample input 'gone.csv' does not exist.\nIt should be at "),
    ("inputs: [examples]", ":7: The sample input 'examples' is a folder; zip it to keep its tree."),
    ("inputs: [../x]", ":7: The sample input '../x' is outside the runbook's folder."),
    ("inputs: [.env]", ":7: The sample input '.env' is a hidden file."),
    ("timeout: 5\n  apt_packages:\n    - jq\n    - 'no such'", ":10: 'no such' is not a Debian package."),
    ("allow_hosts:\n    - a.org\n    - a b", ":9: 'a b' is not a host."),
    ("max_calls: 3\n  max_cost: free", ":8: `runbook_runner.max_cost` must be"),
    ("max_calls: 3\n  max_cots: 3", ":8: `runbook_runner` has no setting 'max_cots'."),
])  # fmt: skip
def test_what_is_wrong_with_the_runbooks_own_settings_names_their_line(
    runbook: Any, shell_runbook: Callable[[str], Path], own: str, says: str
) -> None:
    folder = shell_runbook("true")
    path = folder / "RUNBOOK.md"
    path.write_text(path.read_text().replace("agent: shell\n", f"agent: shell\n# ours\nrunbook_runner:\n  {own}\n"))
    (folder / "there.csv").touch()
    (folder / ".env").touch()
    (folder / "examples").mkdir()
    refused(runbook("run", path, "--sandbox", "host"), 2, f"{path}{says}")


@pytest.mark.parametrize("hidden", [".env", ".git/config"])
def test_hidden_files_of_a_clone_are_no_inputs_of_its_choice(
    runbook: Any, shell_runbook: Callable[[str], Path], hidden: str
) -> None:
    folder = shell_runbook("true")
    path, private = folder / "RUNBOOK.md", folder / hidden
    private.parent.mkdir(exist_ok=True)
    (folder / ".git").mkdir(exist_ok=True)
    private.write_text("value = of-the-user\n")
    (folder / "notes.txt").symlink_to(hidden)
    (folder / "data").symlink_to(private.parent)
    text = path.read_text()
    for name in (hidden, "notes.txt", f"./data/{private.name}"):
        path.write_text(text.replace("agent: shell", f"agent: shell\nrunbook_runner: {{inputs: [{name}]}}"))
        refused(runbook("run", path, "--sandbox", "host"), 2, "is a hidden file", "-f")
    path.write_text(text)
    refused(runbook("run", path, "--sandbox", "host", "-f", folder / "notes.txt"), 2, "a link to a hidden file")
    if hidden == ".git/config":
        refused(runbook("run", path, "--sandbox", "host", "-f", folder / "data/config"), 2, "a link to a hidden file")
    fixture = folder / "input.json"
    fixture.write_text(json.dumps({"files": [{"path": "notes.txt"}]}))
    refused(runbook("run", path, "--sandbox", "host", "--input", fixture), 2, "is hidden", "-f")
    ran = runbook("run", path, "--sandbox", "host", "--dry-run", "-f", private)
    assert ran.code == 0, "the user has named it"


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("form", ["2", "3", "4", "sha256"])
def test_files_that_a_clone_has_not_brought_are_no_inputs_of_its_choice(
    runbook: Any, shell_runbook: Callable[[str], Path], form: str
) -> None:
    folder = shell_runbook("true")
    path, private, fixture = folder / "RUNBOOK.md", folder / "terraform.tfstate", folder / "input.json"
    private.write_text("password of the user\n")
    (folder / "data.csv").write_text("1\n")
    (folder / "notes.txt").symlink_to(private.name)
    text = path.read_text()

    def run(name: str, *options: Any) -> Any:
        path.write_text(text.replace("agent: shell", f"agent: shell\nrunbook_runner: {{inputs: [{name}]}}"))
        return runbook("run", path, "--sandbox", "host", "--dry-run", *options)

    _git(folder, "init", "--object-format", "sha256" if form == "sha256" else "sha1")
    assert run(private.name).code == 0, "nothing is added yet: the runbook is as new as its input"
    fixture.write_text(json.dumps({"files": [{"path": private.name}]}))
    _git(folder, "add", "RUNBOOK.md", "data.csv", "notes.txt", "input.json")
    if form != "sha256":
        _git(folder, "update-index", "--index-version", form)
    assert run("data.csv").code == 0
    for name in (private.name, "notes.txt"):
        refused(run(name), 2, "no file of its repository", "-f", "git add")
    refused(run("data.csv", "--input", fixture), 2, "no file of its repository", "-f")
    refused(run("data.csv", "-f", folder / "notes.txt"), 2, "a link to what is no file of its repository", str(private))
    assert run("data.csv", "-f", private).code == 0, "the user has named it"
    _git(folder, "add", private.name)
    assert run(private.name).code == 0
    (folder / ".git/index").write_bytes(b"DIRC")
    refused(run("data.csv"), 2, "no file of its repository")


@pytest.mark.parametrize("option", ["--params", "--model-script", "-f"])
@pytest.mark.parametrize(
    ("target", "says"), [(".git/config", "a hidden file"), ("mine.yaml", "no file of its repository")]
)
def test_a_link_of_a_clone_leads_no_option_to_what_is_its_users(
    runbook: Any, shell_runbook: Callable[[str], Path], option: str, target: str, says: str
) -> None:
    folder = shell_runbook("true")
    (folder / "link").symlink_to(target)
    (folder / "mine.yaml").write_text("- say: of the user\n")
    _git(folder, "init")
    _git(folder, "add", "RUNBOOK.md", "link")
    refused(runbook("run", folder, "--sandbox", "host", option, folder / "link"), 2, "link", says)


@pytest.mark.parametrize("place", ["out", "out/below"])
@pytest.mark.parametrize("target", [".git", "untracked", "tracked", "."])
def test_a_link_of_a_clone_leads_no_results_to_what_is_its_users(
    runbook: Any, shell_runbook: Callable[[str], Path], place: str, target: str
) -> None:
    """A `.git/config` names programs that git starts, and a user starts `.venv/bin/python`."""
    folder = shell_runbook("mkdir /app/results/.venv; echo '[core]' > /app/results/config")
    _git(folder, "init")
    for name in ("untracked", "tracked"):
        (folder / name).mkdir()
        (folder / name / "file").touch()
    (folder / "out").symlink_to(target)
    _git(folder, "add", "RUNBOOK.md", "out", "tracked")
    before = sorted(folder.rglob("*"))
    refused(
        runbook("run", folder, "--sandbox", "host", "--out", folder / place),
        2,
        "is a link, which may have come with",
        f"name the folder itself: {(folder / place).resolve()}",
    )
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", [".git", "HEAD"])
def test_results_bring_no_repository_whose_programs_git_would_start(
    runbook: Any, shell_runbook: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """A clone may say that a folder of its own is a submodule: `git status` starts git in it, too. A folder with HEAD
    is a repository itself."""
    started = tmp_path / "started"
    monitor = f"core.fsmonitor 'touch {started}; false'"
    bare = f"""mkdir objects refs; echo ref: refs/heads/main >HEAD; touch config
        for set in 'repositoryformatversion 0' 'bare false' 'worktree .'; do git config -f config core.$set; done
        git config -f config {monitor}"""
    usual = f"git init -q; git config {monitor}; git add a.txt; git -c user.name=x -c user.email=x@x commit -qm x"
    folder = shell_runbook(f"cd /app/results; touch a.txt; {usual if name == '.git' else bare}")
    _git(folder, "init")
    _git(folder, "add", "RUNBOOK.md")
    _git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},out")
    ran = runbook("run", folder, "--sandbox", "host", "--out", folder / "out")
    assert f"Not collected: results/{name}: " in ran.out
    assert "configuration could name programs of this machine" in ran.out
    started.unlink(missing_ok=True)  # in the sandbox, git started it itself
    _git(folder, "status")
    _git(folder / "out", "status")
    names = ["a.txt"] if name == ".git" else ["a.txt", "config", "objects", "refs"]
    assert (sorted(path.name for path in (folder / "out").iterdir()), started.exists()) == (names, False)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--timeout", "inf", "--timeout must be at most 31622400."),
        ("--timeout", "nan", "--timeout must be"),
        ("--timeout", "-1", "--timeout must be more than 0."),
        ("--idle", "0", "--idle must be more than 0."),
        ("--cpus", "0", "--cpus must be at least 0.01."),
        ("--pids", "1", "--pids must be at least 16."),
        ("--memory", "8M", "--memory must be at least 64M."),
        ("--memory", f"{10**30}T", "--memory must be at most"),
        ("--disk", "1K", "--disk must be at least 1M."),
        ("--max-cost", "nan", "--max-cost must be a number."),
        ("--max-tokens", "0", "--max-tokens must be more than 0."),
        ("--max-calls", "-2", "--max-calls must be more than 0."),
    ],
)
def test_a_limit_out_of_range_is_named_as_its_option(runbook: Any, option: str, value: str, says: str) -> None:
    refused(run_text(runbook, TEXT, option, value), 2, says)


@pytest.mark.parametrize("backend", ["host", pytest.param("bubblewrap", marks=pytest.mark.needs("bubblewrap"))])
@pytest.mark.parametrize("option", [("--image", "debian:12"), ("--snapshot", "python312-uv")])
def test_an_image_that_was_asked_for_is_never_left_out_silently(runbook: Any, backend: str, option: tuple[str]) -> None:
    refused(run_text(runbook, TEXT, "--sandbox", backend, *option), 2, "not with an image", "--sandbox docker")


@pytest.mark.parametrize("name", ["loop", '"a\\0b"', '"\\ud800"'])
def test_a_sample_input_that_is_no_path_or_leads_in_a_circle_is_bad_input(runbook: Any, name: str) -> None:
    (runbook.cwd / "loop").symlink_to("loop")
    text = TEXT.replace("agent: shell", f"agent: shell\nrunbook_runner: {{inputs: [{name}]}}")
    assert text != TEXT
    refused(run_text(runbook, text), 2)


def test_a_key_that_the_frontmatter_gives_twice_is_refused_with_both_lines(runbook: Any) -> None:
    text = TEXT.replace("agent: shell", "agent: codex\nagent: shell")
    refused(run_text(runbook, text), 2, "The key 'agent' is given twice, on lines")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-p", "name=Ada", "-p", "name=Bo"), "-p gives 'name' twice."),
        (("--label", "a=1", "--label", "a=2"), "--label gives 'a' twice."),
        (("--on-miss", "live"), "--on-miss live has no meaning without --replay."),
        (("--model", "m"), "--model has no meaning with the agent shell, which calls no model"),
        (("--provider", "openai"), "--provider has no meaning with the agent shell, which calls no model"),
        (("--max-cost", "1"), "--max-cost has no meaning with the agent shell, which calls no model"),
        (("--max-tokens", "9"), "--max-tokens has no meaning with the agent shell, which calls no model"),
        (("--max-calls", "9"), "--max-calls has no meaning with the agent shell, which calls no model"),
        (("--model-script", "m.yaml"), "--model-script has no meaning with the agent shell, which calls no model"),
    ],
)
def test_a_value_that_would_have_no_effect_is_refused(runbook: Any, options: tuple[str, ...], says: str) -> None:
    (runbook.cwd / "m.yaml").write_text("- say: done\n")
    refused(run_text(runbook, TEXT, *options), 2, says)


def test_a_run_does_not_hide_what_its_runbook_did_not_mean(runbook: Any) -> None:
    (runbook.cwd / "RUNBOOK.md").write_text(
        "---\nagent: shell\nagnet: codex\n---\n# T\n\n## Step 1: X\n\n```bash\necho '{{curency}}'\n```\n"
    )
    for options in ((), ("--dry-run",)):
        ran = runbook("run", ".", "--sandbox", "host", *options)
        assert ran.code == 0, ran.err
        assert (
            "RUNBOOK.md:3: `agnet` is not a key of a runbook's frontmatter. Did you mean `agent`?" in ran.err + ran.out
        )
        assert "RUNBOOK.md:10: `{{curency}}` is not declared: it stays as it is." in ran.err + ran.out

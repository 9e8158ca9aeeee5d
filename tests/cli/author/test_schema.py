"""`runbook schema`: JSON Schemas that hold for what really is written."""

import inspect
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from runbook_runner.core.criteria import ChecksConfig, CheckSource
from runbook_runner.core.declared import Secret
from runbook_runner.runbook.frontmatter_schema import FrontmatterFile
from runbook_runner.runbook.parts.frontmatter import OWN_KEY, Attribution, Frontmatter, Origin
from runbook_runner.runbook.parts.mcp_servers import McpServer

EXAMPLES = Path(__file__).parents[3] / "examples"
CORPUS = Path(__file__).parents[2] / "runbook" / "corpus"


def validator(runbook, what):
    schema = runbook("schema", what).json
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def frontmatter(path):
    return yaml.load(path.read_text().split("\n---", 1)[0].removeprefix("---\n"), Loader=yaml.BaseLoader)


def names(kind, *less):
    return set(inspect.get_annotations(kind)) - set(less)


def keys(model, key=None):
    """Keys of the schema's object under `key` of the frontmatter."""
    schema = FrontmatterFile.model_json_schema()
    return set(schema["$defs"][model]["properties"] if model else schema["properties"])


def test_schema_and_parser_know_the_same_keys():
    assert keys(None) == names(Frontmatter, "extra", "raw", "lines", "repeated") | {OWN_KEY}
    assert keys("SecretEntry") == names(Secret, "name") | {"expose_to_checks"}
    assert keys("CheckSourceEntry") == names(CheckSource) | {"type"}
    assert keys("McpServerEntry") == names(McpServer, "name", "transport") | {"type"}
    assert keys("CodeChecksEntry") == names(ChecksConfig, "line", "timeout_s") | {"timeout_sec"}
    assert keys("AttributionEntry") == names(Attribution)
    assert keys("OriginEntry") == names(Origin, "line")


def test_frontmatter_of_a_full_runbook_fits_and_unknown_keys_do_too(runbook):
    schema = validator(runbook, "frontmatter")
    schema.validate(
        yaml.safe_load(
            "version: 1.0\nevaluation: visual\nagent: codex\nprimary_outputs: a.md\nsecrets: {A: , B: {env: C}}\n"
            "code_checks: {timeout_sec: 60, sources: [{name: a, url: 'https://a'}]}\nmcp_servers: {a: {command: b}}\n"
            "origin: {url: x, attribution: {author: y}}\nteam: z\nrunbook_runner: {inputs: [a.csv]}\n"
        )
    )
    schema.validate(yaml.safe_load("version: 1.0.0\nsecrets:\norigin:\n"))


@pytest.mark.parametrize(
    "wrong", ["secrets: {A: value}", "strict_evaluation: maybe", "primary_outputs: [1]", "code_checks: {sources: [{}]}"]
)
def test_wrong_types_do_not_fit(runbook, wrong):
    assert not validator(runbook, "frontmatter").is_valid(yaml.safe_load(wrong))


def test_a_real_trajectory_and_its_spec_fit_their_schemas(runbook, shell_runbook):
    folder = shell_runbook("echo x > /app/results/out.txt")
    ran = runbook("run", folder, "--sandbox", "host", "--json")
    assert ran.code == 0
    validator(runbook, "trajectory").validate(ran.trajectory)
    spec = yaml.safe_load((ran.folder / "spec.json").read_text())
    validator(runbook, "spec").validate(spec)


def test_what_is_written_by_hand_and_what_a_run_writes_fit_their_schemas(runbook, shell_runbook):
    script = validator(runbook, "script")
    script.validate(yaml.safe_load((EXAMPLES / "sales-report" / "model.yaml").read_text()))
    assert not script.is_valid([{"sing": "Hello."}])
    assert "Reasoning; it comes first." in str(script.schema)
    agent = validator(runbook, "agent")
    agent.validate({"argv": ["aider", "{prompt}"], "prompt": "arg", "dialect": "openai-chat"})
    assert not agent.is_valid({"prompt": "arg"})
    suite = validator(runbook, "suite")
    suite.validate(
        yaml.safe_load(
            "runbooks: [prices]\nagents: [shell, {agent: codex, model: gpt-5.5}]\nuntil: 0.9\nmax_cost: 3\n"
            "compare: [{files: prices.json, how: json, ignore: [/created], tolerance: 0.01}]\n"
        )
    )
    assert not suite.is_valid({"runbooks": ["prices"], "compare": [{"files": "a", "how": "yaml"}]})
    assert not suite.is_valid({"runbooks": ["prices"], "repeat": 3})
    assert "JSON pointers" in str(suite.schema)
    ran = runbook("run", shell_runbook("echo x > /app/results/out.txt"), "--sandbox", "host", "--json")
    event = validator(runbook, "event")
    for line in (ran.folder / "events.jsonl").read_text().splitlines():
        event.validate(json.loads(line))


def test_unknown_schema_is_refused_with_the_known_ones(runbook):
    refused = runbook("schema", "recipe")
    assert (refused.code, refused.out) == (2, "")
    assert "frontmatter, script, agent, suite, event, trajectory, spec" in refused.err

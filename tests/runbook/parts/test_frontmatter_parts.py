"""Typed parts of the frontmatter beyond plain keys: code_checks, mcp_servers, origin (contract §3.11, §3.14)."""

import pytest

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.document import parse


def of(yaml):
    return parse(f"---\nversion: 1.0.0\n{yaml}\n---\n", "RUNBOOK.md")


def test_checks_have_defaults():
    config = of("secrets:").checks_config
    assert (config.line, config.timeout_s, config.sources, config.executor) == (None, 120, (), "jetty")
    assert of("code_checks:\n  timeout_sec:\n  sources:").checks_config.timeout_s == 120


def test_checks_are_typed():
    config = of(
        "code_checks:\n  timeout_sec: 1000\n  references: [https://example.org]\n  executor: Agent\n  sources:\n"
        "    - {name: tests, type: git, url: https://example.org/t.git, ref: 1.0, secret: T}\n"
    ).checks_config
    assert (config.line, config.timeout_s, config.executor) == (3, 900, "agent")
    assert config.references == ("https://example.org",)
    (source,) = config.sources
    assert (source.name, source.url, source.ref, source.secret) == ("tests", "https://example.org/t.git", "1.0", "T")


@pytest.mark.parametrize(
    "yaml",
    [
        "timeout_sec: soon",
        "timeout_sec: 0",
        "timeout_sec: true",
        "sources: x",
        "sources: [x]",
        "sources: [{name: a}]",
        "executor: me",
        "references: {}",
        "mcp_servers: []",
    ],
)
def test_wrong_type_is_refused_with_key_and_line(yaml):
    runbook = of(f"code_checks:\n  {yaml}")
    with pytest.raises(InputError, match=rf"RUNBOOK.md:3: `code_checks.{yaml.split(':')[0]}` must be"):
        _ = runbook.checks_config


def test_mcp_servers_are_typed_and_the_top_level_wins():
    servers = of(
        "code_checks:\n  mcp_servers:\n    a: {command: old}\n    b: {url: https://b.example, type: SSE}\n"
        "mcp_servers:\n  a: {command: npx, args: [-y, 1], env: {K: 1}, secret: S}\n  c: {command: [uvx, c]}\n"
    ).mcp_servers
    assert [(s.name, s.transport, s.command, s.args) for s in servers] == [
        ("a", "stdio", "npx", ("-y", "1")),
        ("b", "sse", None, ()),
        ("c", "stdio", "uvx", ("c",)),
    ]
    assert (servers[0].env, servers[0].secret, servers[1].url) == ({"K": "1"}, "S", "https://b.example")


@pytest.mark.parametrize("entry", ["x", "{}", "{args: [a]}", "{command: []}", "{url: 3}"])
def test_server_that_is_none_is_refused(entry):
    runbook = of(f"mcp_servers:\n  a: {entry}")
    with pytest.raises(InputError, match=r"RUNBOOK.md:3: The MCP server 'a'"):
        _ = runbook.mcp_servers


def test_origin_is_typed_and_never_refused():
    origin = of(
        "origin:\n  url: https://example.org/s\n  imported_at: 2026-03-01\n  is_directory_mirror: true\n"
        "  license: [odd]\n  attribution: {author: A, confidence: 0.9}\n"
    ).origin
    assert (origin.line, origin.url, origin.imported_at) == (3, "https://example.org/s", "2026-03-01")
    assert (origin.is_directory_mirror, origin.license) == (True, "['odd']")
    assert (origin.attribution.author, origin.attribution.confidence) == ("A", "0.9")


@pytest.mark.parametrize("yaml", ["origin:", "origin: {}", "agent: x"])
def test_no_origin_is_none(yaml):
    assert of(yaml).origin is None

"""`runbook push`: a runbook becomes a task of a platform, which is a server of recorded answers here."""

import json
from pathlib import Path
from typing import Any

import pytest

TASKS = "/api/v1/tasks/acme"
DOCUMENT = """\
---
version: 1.2.0
agent: claude-code
model: claude-sonnet-4-6
mcp_servers:
  github:
    url: https://mcp.example.org
    headers:
      Authorization: Bearer ghp_0123456789abcdefghij
      X-Team: core
  search:
    command: search
    env: {API_KEY: "${SEARCH_KEY}", LEVEL: "2"}
secrets:
  SEARCH_KEY: {env: SEARCH_KEY}
---
# Sales Report — Agent Runbook

Read `/app/assets/{{file}}` in {{region}}.
"""


def write(folder: Path, text: str = DOCUMENT) -> Path:
    (folder / "RUNBOOK.md").write_text(text)
    return folder


def sent(request: dict[str, Any]) -> Any:
    return json.loads(request["body"])


def test_a_task_that_is_there_is_updated(runbook: Any, platform_server: Any, tmp_path: Path) -> None:
    platform_server.on("GET", "/api/v1/collections/", '[{"name":"acme","id":1}]')
    platform_server.on("PUT", f"{TASKS}/sales-report", '{"name":"sales-report"}')
    ran = runbook("push", write(tmp_path), "--json", env=platform_server.env)
    assert ran.code == 0, ran.err
    assert (ran.json["action"], ran.json["collection"], ran.json["task"]) == ("updated", "acme", "sales-report")
    assert platform_server.asked() == ["GET /api/v1/collections/", f"PUT {TASKS}/sales-report"]
    body = sent(platform_server.requests[1])
    assert "name" not in body
    run = body["workflow"]["step_configs"]["run"]
    assert (run["activity"], run["instruction_path"], run["network_enabled"]) == (
        "runbook",
        "init_params.instruction",
        True,
    )


def test_a_task_that_is_not_there_is_made_with_the_mission_as_it_is_written(
    runbook: Any, platform_server: Any, tmp_path: Path
) -> None:
    platform_server.on("POST", TASKS, '{"name":"weekly"}', 201)
    ran = runbook("push", write(tmp_path), "--collection", "acme", "--task", "weekly", env=platform_server.env)
    assert ran.code == 0, ran.err
    assert ran.out == f"created acme/weekly at {platform_server.api}\n"
    assert platform_server.asked() == [f"PUT {TASKS}/weekly", f"POST {TASKS}"]
    body = sent(platform_server.requests[1])
    assert (body["name"], body["is_private"], body["has_file_uploads"]) == ("weekly", True, True)
    start = body["workflow"]["init_params"]
    assert "{{file}}` in {{region}}." in start["instruction"]
    assert (start["agent"], start["vars"], start["file_paths"]) == ("claude-code", {}, [])


def test_credentials_of_mcp_servers_stay_here(runbook: Any, platform_server: Any, tmp_path: Path) -> None:
    platform_server.on("PUT", f"{TASKS}/sales-report", "{}")
    ran = runbook("push", write(tmp_path), "--collection", "acme", env=platform_server.env)
    assert "mcp_servers.github.headers.Authorization is not sent" in ran.err
    raw = platform_server.requests[0]["body"].decode()
    assert "ghp_" not in raw
    servers = json.loads(raw)["workflow"]["init_params"]["mcp_servers"]
    assert servers["github"]["headers"] == {"X-Team": "core"}
    assert servers["search"]["env"] == {"API_KEY": "${SEARCH_KEY}", "LEVEL": "2"}


@pytest.mark.parametrize("held", [
    'env: {GH_PAT: "ghp_0123456789abcdefghijABCDEFGHIJ999999"}',
    'env: {DATABASE_URL: "postgres://u:pw12345@db/x"}',
    'env: {WHERE: "https://x.example.com/?api_key=pw12345"}',
    'env: {NPM_PAT: "pw12345-pw12345"}',
    'headers: {X-Custom: "Bearer pw12345"}',
    """env: {CFG: '{"token": "pw12345"}'}""",
])  # fmt: skip
def test_what_looks_like_a_credential_stays_here_whatever_it_is_called(runbook: Any, tmp_path: Path, held: str) -> None:
    text = DOCUMENT.replace("    url: https://mcp.example.org\n", f"    url: https://mcp.example.org\n    {held}\n")
    text = text.replace("    headers:\n      Authorization: Bearer ghp_0123456789abcdefghij\n      X-Team: core\n", "")
    ran = runbook("push", write(tmp_path, text), "--dry-run")
    assert ran.code == 0, ran.err
    assert "is not sent" in ran.err
    assert "pw12345" not in ran.out + ran.err
    assert "ghp_" not in ran.out + ran.err


@pytest.mark.parametrize(("held", "said"), [
    ('url: "https://bot:pw12345@mcp.example.org/"', "The address mcp_servers.github.url holds a credential."),
    ('url: "https://mcp.example.org/?api_key=pw12345"', "The address mcp_servers.github.url holds a credential."),
    ('command: npx\n    args: ["-y", "srv", "--token", "pw12345"]', "The arguments mcp_servers.github.args hold"),
    ('command: npx\n    args: ["srv", "--api-key=pw12345"]', "The arguments mcp_servers.github.args hold"),
    ('command: npx\n    args: ["Bearer pw12345"]', "The arguments mcp_servers.github.args hold"),
    ('command: npx\n    args: ["-c", "{\\"api_key\\": \\"pw12345\\"}"]', "The arguments mcp_servers.github.args hold"),
    ('command: npx\n    args: ["--header", "Authorization:Bearer pw12345"]', "The arguments mcp_servers.github.args"),
    ('command: npx\n    args: ["--header=X-Api-Key: pw12345"]', "The arguments mcp_servers.github.args hold"),
    ('command: sh\n    args: ["-c", "API_TOKEN=pw12345 exec server"]', "The arguments mcp_servers.github.args hold"),
    ('command: "x --token pw12345"', "The setting mcp_servers.github.command holds a credential."),
    ('url: "https://mcp.example.org/#access_token=pw12345"', "The address mcp_servers.github.url holds a credential."),
    ('http_headers: {Authorization: "pw12345"}', "The setting mcp_servers.github.http_headers.Authorization holds"),
    ('auth: {token: "pw12345"}', "The setting mcp_servers.github.auth.token holds a credential."),
    ('env: {CFG: {token: "pw12345"}}', "The setting mcp_servers.github.env.CFG.token holds a credential."),
    ('env: ["TOKEN=pw12345"]', "mcp_servers.github.env is not a mapping"),
    ('env: "TOKEN=pw12345"', "mcp_servers.github.env is not a mapping"),
])  # fmt: skip
def test_a_credential_elsewhere_in_a_server_is_refused(runbook: Any, tmp_path: Path, held: str, said: str) -> None:
    ran = runbook("push", write(tmp_path, DOCUMENT.replace("url: https://mcp.example.org", held)), "--dry-run")
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert "pw12345" not in ran.out + ran.err


def test_a_credential_in_the_text_is_refused_and_its_line_told(runbook: Any, tmp_path: Path) -> None:
    text = DOCUMENT + "\nUse glpat-0123456789abcdefghijAB.\n"
    ran = runbook("push", write(tmp_path, text), "--dry-run")
    assert (ran.code, "RUNBOOK.md:21: " in ran.err or ":21" in ran.err) == (2, True), ran.err
    assert "glpat" not in ran.out + ran.err


def test_names_of_secrets_are_sent(runbook: Any, tmp_path: Path) -> None:
    held = 'url: "https://${SEARCH_KEY}@mcp.example.org/?api_key=${SEARCH_KEY}"'
    held += (
        '\n    args: ["--header", "Authorization: Bearer ${SEARCH_KEY}", "-e", "API_TOKEN", "--token=${SEARCH_KEY}"]'
    )
    held += (
        '\n    auth: oauth\n    bearer_token_env_var: SEARCH_KEY\n    proxy: "http://auth:8080/ ghcr.io/o/auth-mcp:1.2"'
    )
    ran = runbook("push", write(tmp_path, DOCUMENT.replace("url: https://mcp.example.org", held)), "--dry-run")
    assert ran.code == 0, ran.err


def test_a_credential_that_yaml_spells_otherwise_is_refused(runbook: Any, tmp_path: Path) -> None:
    text = DOCUMENT.replace("Bearer ghp_0123456789abcdefghij", '"Bearer ghp_\\x30123456789abcdefghij"')
    ran = runbook("push", write(tmp_path, text), "--dry-run")
    assert ran.code == 2
    assert "Authorization can't be removed" in ran.err
    assert "ghp_" not in ran.err + ran.out


def test_a_dry_run_shows_what_would_be_sent_and_asks_nobody(runbook: Any, platform_server: Any, tmp_path: Path) -> None:
    ran = runbook("push", write(tmp_path), "--dry-run", env=platform_server.env)
    assert ran.code == 0, ran.err
    body = ran.json["body"]
    assert (body["name"], body["version"], body["entity_type"]) == ("sales-report", "1.2.0", "task")
    assert "ghp_" not in ran.out
    assert platform_server.requests == []


def test_several_collections_have_to_be_chosen_from(runbook: Any, platform_server: Any, tmp_path: Path) -> None:
    platform_server.on("GET", "/api/v1/collections/", '[{"name":"acme"},{"name":"beta"}]')
    ran = runbook("push", write(tmp_path), env=platform_server.env)
    assert ran.code == 2
    assert "--collection" in ran.err
    assert "acme, beta" in ran.err


def test_a_refusal_is_told_and_the_token_is_not(runbook: Any, platform_server: Any, tmp_path: Path) -> None:
    platform_server.on("PUT", f"{TASKS}/sales-report", '{"detail":"Access level WRITE required."}', 403)
    ran = runbook("push", write(tmp_path), "--collection", "acme", "--json", env=platform_server.env)
    assert (ran.code, ran.json["error_code"]) == (3, "platform_failed")
    assert "Access level WRITE required." in ran.err
    assert platform_server.token not in ran.out + ran.err

"""A pulled run of an agent that calls a model: what it needs here is named."""

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[2] / "client/recorded/count.json"
RUN = "acme/count/37c37963"


def test_the_model_and_provider_of_the_platform_are_kept_and_the_missing_key_is_named(
    runbook: Any, platform_server: Any
) -> None:
    platform_server.play(RECORDED)
    (answer,) = platform_server.answers["GET", f"/api/v1/trajectory/{RUN}"]
    body = json.loads(answer.body)
    body["init_params"] |= {
        "agent": "claude-code",
        "model": "anthropic/claude-sonnet-4.6",
        "model_provider": "openrouter",
        "instruction": body["init_params"]["instruction"].replace("agent: shell", "secrets:\n  demo: {env: DEMO_PASS}"),
    }
    answer.body = json.dumps(body).encode()
    ran = runbook("pull", RUN, "--json", env=platform_server.env)
    assert ran.json["can_rerun"], ran.err
    spec = json.loads((ran.folder / "spec.json").read_text())
    assert (spec["agent"], spec["provider"]) == ("claude-code", "openrouter")
    assert "claude-sonnet-4.6" in spec["model"]
    again = runbook("rerun", RUN, "--sandbox", "host")
    assert again.code == 3
    assert "DEMO_PASS" in again.err
    again = runbook("rerun", RUN, "--sandbox", "host", "--secret", "DEMO_PASS", env={"DEMO_PASS": "correct-horse"})
    assert again.code == 3
    assert "OPENROUTER_API_KEY" in again.err

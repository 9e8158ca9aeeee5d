"""Gateway: model traffic. The agent in the sandbox asks here; a provider or a script answers; every call is recorded.

Importing this is cheap: the server and the HTTP client are imported when they start.
"""

from runbook_runner.gateway.budget import Budget
from runbook_runner.gateway.cassette import Cassette, Exchange, RecordedCall
from runbook_runner.gateway.provider import Provider
from runbook_runner.gateway.providers import provider_from
from runbook_runner.gateway.replay import ON_MISS, OnMiss, Replay, load_replay
from runbook_runner.gateway.script import ModelScript
from runbook_runner.gateway.script_file import load_script
from runbook_runner.gateway.server import Gateway
from runbook_runner.gateway.session import Session
from runbook_runner.gateway.upstream import GatewayFailure, Upstream

__all__ = [
    "ON_MISS",
    "Budget",
    "Cassette",
    "Exchange",
    "Gateway",
    "GatewayFailure",
    "ModelScript",
    "OnMiss",
    "Provider",
    "RecordedCall",
    "Replay",
    "Session",
    "Upstream",
    "load_replay",
    "load_script",
    "provider_from",
]

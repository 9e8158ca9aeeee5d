"""Gateway: model calls. The agent in the sandbox calls here; a provider, a script or a cassette answers; every call is
recorded.

Importing this is cheap: the server and the HTTP client are imported when they start.
"""

from runbook_runner.gateway.cassette.cassette import Cassette, Exchange, RecordedCall
from runbook_runner.gateway.providers.configure import check_environment, provider_from
from runbook_runner.gateway.providers.provider import Provider
from runbook_runner.gateway.replay.prefix import Prefix, load_prefix
from runbook_runner.gateway.replay.replay import ON_MISS, OnMiss, Replay, load_replay
from runbook_runner.gateway.script.file import load_script, script_schema
from runbook_runner.gateway.script.script import ModelScript
from runbook_runner.gateway.serve.budget import Budget, Spending
from runbook_runner.gateway.serve.server import Listener, listen
from runbook_runner.gateway.serve.session import Session
from runbook_runner.gateway.upstream import GatewayFailure, Upstream

__all__ = [
    "ON_MISS",
    "Budget",
    "Cassette",
    "Exchange",
    "GatewayFailure",
    "Listener",
    "ModelScript",
    "OnMiss",
    "Prefix",
    "Provider",
    "RecordedCall",
    "Replay",
    "Session",
    "Spending",
    "Upstream",
    "check_environment",
    "listen",
    "load_prefix",
    "load_replay",
    "load_script",
    "provider_from",
    "script_schema",
]

"""Runner: the MCP servers an agent gets, with the values of their secrets (contract §3.2, §3.3).

`${NAME}` and `{{secrets.NAME}}` in `args`, `env`, `url` and `headers` stand for a declared secret. A server that names
a `secret:` and places it nowhere gets it as a variable, or as a bearer token when it has an address.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from runbook_runner.core.declared import McpServer, Secret
from runbook_runner.core.spec import RunSpec

_PLACE = re.compile(r"\$\{(\w+)\}|\{\{\s*secrets\.(\w+)\s*\}\}")


def servers_with_secrets(spec: RunSpec, environ: Mapping[str, str]) -> tuple[McpServer, ...]:
    """For the agent's configuration only, never for a record. A secret without a value is left out."""
    by_name = {name: secret for secret in spec.secrets for name in (secret.env, secret.name)}
    return tuple(_filled(server, by_name, environ) for server in spec.mcp_servers)


def _filled(server: McpServer, secrets: Mapping[str, Secret], environ: Mapping[str, str]) -> McpServer:
    used: set[str] = set()

    def put(match: re.Match[str]) -> str:
        secret = secrets.get(match[1] or match[2])
        if secret is None:
            return match[0]
        used.add(secret.name)
        return environ.get(secret.env, "")

    def fill(text: str) -> str:
        return _PLACE.sub(put, text)

    filled = replace(
        server,
        args=tuple(fill(word) for word in server.args),
        env={name: fill(value) for name, value in server.env.items()},
        url=fill(server.url) if server.url else None,
        headers={name: fill(value) for name, value in server.headers.items()},
    )
    own = secrets.get(server.secret or "")
    return filled if own is None or own.name in used or not environ.get(own.env) else _given(filled, own, environ)


def _given(server: McpServer, secret: Secret, environ: Mapping[str, str]) -> McpServer:
    value = environ[secret.env]
    if server.command:
        return replace(server, env={secret.env: value, **server.env})
    return replace(server, headers={"Authorization": f"Bearer {value}", **server.headers})

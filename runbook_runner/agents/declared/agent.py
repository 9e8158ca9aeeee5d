"""Agents: an agent that a file `.runbook/agents/NAME.toml` declares; `file.py` says what each key means."""

import hashlib
import json
import re
from pathlib import Path

from runbook_runner.agents.base import Agent, AgentInput, Declared, Invocation, StreamReader
from runbook_runner.agents.declared.file import Declaration, parse_declaration, read_declaration
from runbook_runner.agents.declared.output import RuleReader, TextReader
from runbook_runner.agents.install import Installation
from runbook_runner.agents.mcp import servers_by_name
from runbook_runner.agents.prompt import render_prompt
from runbook_runner.core import settings
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts
from runbook_runner.core.text import counted

_PLACEHOLDER = re.compile(r"\{(model|prompt|prompt_file|gateway_url|token|app|home|mcp_servers)\}")


def load_agent(path: Path) -> Agent:
    """The agent of the file, named as the file is. Raises InputError with the line that is wrong."""
    text, name = read_declaration(path), path.stem
    declared = parse_declaration(text, path)
    patterns = tuple((error.pattern, error.kind) for error in declared.errors)

    def reader(_: AgentInput) -> StreamReader:
        if declared.events.format == "text":
            return TextReader(name)
        return RuleReader(name, declared.events, patterns)

    return Agent(
        facts=AgentFacts(
            name,
            dialect=declared.dialect,
            default_model=declared.default_model,
            declared_models=declared.models,
            providers=declared.providers,
        ),
        binary=declared.argv[0],
        invoke=lambda agent_input: _invoke(name, declared, agent_input),
        reader=reader,
        version=declared.version,
        install=Installation(layer="".join(f"RUN {line}\n" for line in declared.install), hint=declared.install_hint),
        sessions=f"{_home(name)}/{declared.sessions}" if declared.sessions else None,
        session_db=f"{_home(name)}/{declared.session_db}" if declared.session_db else None,
        errors=patterns,
        declared=Declared(path, hashlib.sha256(text.encode()).hexdigest()),
    )


def _home(name: str) -> str:
    return f"{settings.PRIVATE}/agents/{name}"


def _invoke(name: str, declared: Declaration, agent_input: AgentInput) -> Invocation:
    home = _home(name)
    local_home = agent_input.local(home)
    prompt = render_prompt(agent_input)
    values = {
        "model": agent_input.model,
        "prompt": prompt,
        "prompt_file": f"{local_home}/prompt.md",
        "gateway_url": agent_input.gateway_url or "",
        "token": agent_input.token or "",
        "app": agent_input.app,
        "home": local_home,
        "mcp_servers": json.dumps(servers_by_name(agent_input.mcp_servers)),
    }

    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: _value(name, match[1], values), text)

    size = len(prompt.encode())
    if declared.prompt == "arg" and size > settings.MAX_ARGUMENT_BYTES:
        raise InputError(
            f"The prompt of {name} has {counted(size, 'byte')}; an argument can have {settings.MAX_ARGUMENT_BYTES:,}.",
            hint='Declare prompt = "stdin" or prompt = "file" for the agent.',
        )
    argv = [fill(word) for word in declared.argv]
    if declared.prompt == "arg" and not any("{prompt}" in word for word in declared.argv):
        argv.append(prompt)
    files = {f"{home}/{path}": fill(content).encode() for path, content in declared.files.items()}
    if declared.prompt == "file":
        files[f"{home}/prompt.md"] = prompt.encode()
    return Invocation(
        argv=tuple(argv),
        env={key: fill(value) for key, value in declared.env.items()},
        stdin=prompt.encode() if declared.prompt == "stdin" else None,
        files=files,
    )


def _value(name: str, key: str, values: dict[str, str | None]) -> str:
    value = values[key]
    if value is None:
        raise InputError(
            f"The agent {name} needs a model.", hint="Name one with --model, or with `model:` in the runbook."
        )
    return value

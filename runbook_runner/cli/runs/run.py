"""Command line: what `runbook run` does: arguments → spec → run → summary or JSON."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from runbook_runner.agents.registry import find_agent
from runbook_runner.cli.runs.run_options import Arguments
from runbook_runner.cli.ui.follow import console_for, follow
from runbook_runner.core.errors import ExitCode, InputError
from runbook_runner.core.safe_json import plain_text
from runbook_runner.core.settings import Settings, record_mode
from runbook_runner.core.spec import RunSpec
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.prompt import doubts
from runbook_runner.runbook.sources.load import load
from runbook_runner.runner.environment.backends import choose_backend
from runbook_runner.runner.model_access import find_upstream
from runbook_runner.runner.request import secrets as credentials
from runbook_runner.runner.request.inputs import is_zip
from runbook_runner.runner.request.project_bounds import bounds_near
from runbook_runner.runner.request.resolve import RunRequest, missing_parameters, resolve
from runbook_runner.runner.run import RunOptions

if TYPE_CHECKING:
    from runbook_runner.runbook.sources.fixture import Fixture
    from runbook_runner.runner.replay import Replaying


def execute(arguments: Arguments) -> int:
    """Runs and reports; the exit code. Raises RunbookError for what was wrong before anything was recorded."""
    _require_utf8(arguments)
    source = load(arguments.path)
    runbook = parse(source.text, source.name)
    found = credentials.load_environment(arguments.env_file, source.folder)
    request = _with_answers(_request(arguments, source.folder), runbook)
    spec = resolve(runbook, request, credentials.provider_keys(found) if _asks_provider(arguments) else ())
    environ = _with_asked_secrets(spec, found)
    if arguments.dry_run:
        for warning in doubts(runbook):
            sys.stderr.write(f"warning: {warning}\n")
        return _dry_run(arguments, spec, environ)
    return _run(arguments, spec, environ, doubts(runbook))


def _asks_provider(arguments: Arguments) -> bool:
    return not arguments.model_script and (arguments.replay is None or arguments.on_miss == "live")


def _require_utf8(arguments: Arguments) -> None:
    """What is no path goes into files and into the sandbox as text."""
    for value in (vars(arguments) | {"path": None}).values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and plain_text(text) != text:
                raise InputError(f"The argument {text!r} is not UTF-8.")


# --- arguments → request -------------------------------------------------------------------------------------------


def _request(arguments: Arguments, folder: Path | None) -> RunRequest:
    fixture = _fixture(arguments.fixture) if arguments.fixture else None
    return RunRequest(
        parameters=_parameters(arguments, fixture),
        files=(*(file.path for file in (fixture.files if fixture else ())), *arguments.files),
        folder=folder,
        near=(*([folder] if folder else []), Path.cwd()),
        agent=arguments.agent,
        model=arguments.model,
        provider=arguments.provider,
        snapshot=arguments.snapshot,
        image=arguments.image,
        apt_packages=tuple(arguments.apt_packages),
        network=arguments.network,
        allow_hosts=tuple(arguments.allow_hosts),
        secrets=tuple(arguments.secrets),
        collection=arguments.collection,
        task=arguments.task,
        labels=dict(_pair(label, "--label", "KEY=VALUE") for label in arguments.labels),
        timeout_s=arguments.timeout_s,
        cpus=arguments.cpus,
        memory=arguments.memory,
        pids=arguments.pids,
        disk=arguments.disk,
        idle_s=arguments.idle_s,
        max_cost_usd=arguments.max_cost_usd,
        max_tokens=arguments.max_tokens,
        max_calls=arguments.max_calls,
    )


def _fixture(path: Path) -> "Fixture":
    from runbook_runner.runbook.sources.fixture import load_fixture

    return load_fixture(path)


def _parameters(arguments: Arguments, fixture: "Fixture | None") -> dict[str, Any]:
    """Strongest last: fixture, file, -p."""
    values = dict(fixture.vars) if fixture else {}
    if arguments.parameter_file:
        values |= _parameter_file(arguments.parameter_file)
    return values | dict(_pair(param, "-p", "NAME=VALUE") for param in arguments.parameters)


def _parameter_file(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise InputError(f"The parameter file can't be read: {error.strerror}.", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError("The parameter file is neither JSON nor YAML.", where=where) from error
    if not isinstance(values, dict):
        raise InputError("The parameter file must hold an object: name → value.", where=str(path))
    return {str(name): value for name, value in values.items()}


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise InputError(f"{option} {text!r} is not of the form {form}.")
    return name.strip(), value


def _with_answers(request: RunRequest, runbook: Runbook) -> RunRequest:
    """Asks for missing required parameters when somebody is there to answer."""
    missing = missing_parameters(runbook, request.parameters) if _interactive() else ()
    if not missing:
        return request
    answers = {p.name: _ask(f"{p.name} ({p.description or p.label})") for p in missing}
    return replace(request, parameters={**request.parameters, **answers})


def _with_asked_secrets(spec: RunSpec, environ: Mapping[str, str]) -> Mapping[str, str]:
    missing = credentials.missing_secrets(spec, environ) if _interactive() else ()
    asked = {s.env: _ask(f"{s.env} ({s.description or 'secret'})", hidden=True) for s in missing}
    return {**environ, **asked}


def _ask(question: str, *, hidden: bool = False) -> str:
    """Raises KeyboardInterrupt when there will be no answer."""
    import typer

    try:
        return str(typer.prompt(question, err=True, hide_input=hidden))
    except typer.Abort:
        raise KeyboardInterrupt from None


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


# --- running -------------------------------------------------------------------------------------------------------


def _run(arguments: Arguments, spec: RunSpec, environ: Mapping[str, str], warnings: tuple[str, ...]) -> int:
    settings = Settings.load()
    options = RunOptions(
        settings=settings,
        environ=environ,
        backend=arguments.sandbox,
        strict_snapshot=_strict_snapshot(arguments, spec),
        model_script=arguments.model_script,
        replay=_replaying(arguments, settings),
        record_mode=record_mode(arguments.record_mode, "--record-mode")
        if arguments.record_mode
        else settings.record_mode,
        out=arguments.out,
        keep=arguments.keep,
        warnings=warnings,
    )
    followed = follow(spec, options, console_for(quiet=arguments.quiet, json=arguments.json))
    if arguments.json:
        sys.stdout.write(json.dumps(followed.json()) + "\n")
    return followed.exit_code


def _strict_snapshot(arguments: Arguments, spec: RunSpec) -> bool:
    return arguments.snapshot is not None or any(bounds.strict_snapshots for bounds in bounds_near(spec.near))


def _replaying(arguments: Arguments, settings: Settings) -> "Replaying | None":
    if arguments.replay is None:
        return None
    if arguments.model_script:
        raise InputError("--replay and --model-script answer the same calls.", hint="Give one of them.")
    from runbook_runner.runner.replay import check_on_miss, find_recording

    return find_recording(settings.home, arguments.replay, on_miss=check_on_miss(arguments.on_miss))


# --- dry run -------------------------------------------------------------------------------------------------------


def _dry_run(arguments: Arguments, spec: RunSpec, environ: Mapping[str, str]) -> int:
    """Everything is checked as for a run; nothing is started or recorded."""
    agent = find_agent(spec.agent, spec.near)
    credentials.require_secrets(spec, environ)
    settings = Settings.load()
    upstream = find_upstream(agent, spec, arguments.model_script, environ, _replaying(arguments, settings))
    strict = _strict_snapshot(arguments, spec)
    backend = choose_backend(arguments.sandbox, spec, agent, settings, strict_snapshot=strict)
    plan = [
        f"{'unpack' if is_zip(item.name) else 'put'} {item.name} ({item.size} bytes) into /app/assets"
        for item in spec.inputs
    ]
    plan += backend.plan(spec, agent)
    if upstream:
        plan.append(
            f"answer model calls for {spec.model} from {arguments.model_script or arguments.replay or spec.provider}"
        )
    plan.append(f"run {agent.name} for at most {spec.limits.timeout_s:g} s")
    plan.append("expect " + (", ".join(output.path for output in spec.outputs) or "no particular output"))
    body = {"spec": spec.model_dump(mode="json"), "digest": spec.digest(), "plan": plan}
    sys.stdout.write(json.dumps(body, indent=None if arguments.json else 1, ensure_ascii=False) + "\n")
    return ExitCode.PASS

"""Command line: what `runbook run` does: arguments → spec → run → summary or JSON."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from rich.console import Console

from runbook_runner import agents
from runbook_runner.cli.display import Display, print_summary
from runbook_runner.errors import CancelledError, ExitCode, InputError
from runbook_runner.events import Artifact, Recorded, SandboxStarted
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.source import load
from runbook_runner.runner import credentials
from runbook_runner.runner.backends import choose_backend
from runbook_runner.runner.cancellation import Cancellation
from runbook_runner.runner.model import find_upstream
from runbook_runner.runner.pipeline import Outcome, RunOptions
from runbook_runner.runner.pipeline import run as run_spec
from runbook_runner.runner.resolve import RunRequest, missing_parameters, resolve
from runbook_runner.settings import Settings
from runbook_runner.spec import RunSpec
from runbook_runner.trajectory.models import RunbookOutputs

if TYPE_CHECKING:
    from runbook_runner.runbook.fixture import Fixture


@dataclass(frozen=True)
class Arguments:
    """The command line as typed; the options' meaning is in `runbook run --help`."""

    path: str
    parameters: tuple[str, ...]
    parameter_file: Path | None
    files: tuple[Path, ...]
    fixture: Path | None
    secrets: tuple[str, ...]
    env_file: Path | None
    agent: str | None
    model: str | None
    provider: str | None
    model_script: Path | None
    sandbox: str
    snapshot: str | None
    image: str | None
    timeout_s: float | None
    cpus: float | None
    memory: str | None
    keep: bool
    dry_run: bool
    collection: str | None
    task: str | None
    labels: tuple[str, ...]
    out: Path | None
    quiet: bool
    json: bool


def execute(arguments: Arguments) -> int:
    """Runs and reports; the exit code. Raises RunbookError for what was wrong before anything was recorded."""
    source = load(arguments.path)
    runbook = parse(source.text, source.name)
    found = credentials.load_environment(arguments.env_file, source.folder)
    request = _with_answers(_request(arguments, source.folder), runbook)
    spec = resolve(runbook, request, () if arguments.model_script else credentials.provider_keys(found))
    environ = _with_asked_secrets(spec, found)
    if arguments.dry_run:
        return _dry_run(arguments, spec, environ)
    return _run(arguments, spec, environ)


# --- arguments → request -------------------------------------------------------------------------------------------


def _request(arguments: Arguments, folder: Path | None) -> RunRequest:
    fixture = _fixture(arguments.fixture) if arguments.fixture else None
    return RunRequest(
        parameters=_parameters(arguments, fixture),
        files=(*(file.path for file in fixture.files), *arguments.files) if fixture else arguments.files,
        folder=folder,
        agent=arguments.agent,
        model=arguments.model,
        provider=arguments.provider,
        snapshot=arguments.snapshot,
        image=arguments.image,
        secrets=arguments.secrets,
        collection=arguments.collection,
        task=arguments.task,
        labels=dict(_pair(label, "--label", "KEY=VALUE") for label in arguments.labels),
        timeout_s=arguments.timeout_s,
        cpus=arguments.cpus,
        memory=arguments.memory,
    )


def _fixture(path: Path) -> "Fixture":
    from runbook_runner.runbook.fixture import load_fixture

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
    answers = {p.name: typer.prompt(f"{p.name} ({p.description or p.label})", err=True) for p in missing}
    return replace(request, parameters={**request.parameters, **answers})


def _with_asked_secrets(spec: RunSpec, environ: Mapping[str, str]) -> Mapping[str, str]:
    missing = credentials.missing_secrets(spec, environ) if _interactive() else ()
    asked = {s.env: typer.prompt(f"{s.env} ({s.description or 'secret'})", err=True, hide_input=True) for s in missing}
    return {**environ, **asked}


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


# --- running -------------------------------------------------------------------------------------------------------


class _Seen:
    """Keeps from the event stream what the summary needs."""

    def __init__(self) -> None:
        self.results: list[Artifact] = []
        self.sandbox: SandboxStarted | None = None

    def __call__(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, Artifact) and event.kind == "result":
            self.results.append(event)
        elif isinstance(event, SandboxStarted):
            self.sandbox = event

    def headline_first(self) -> list[Artifact]:
        return sorted(self.results, key=lambda a: (a.primary is None, a.primary or 0))


def _run(arguments: Arguments, spec: RunSpec, environ: Mapping[str, str]) -> int:
    console = Console(stderr=arguments.json, highlight=False, quiet=arguments.quiet)
    seen, cancellation = _Seen(), Cancellation()
    with Display(console) as display, _interruptible(cancellation):
        options = RunOptions(
            settings=Settings.load(),
            environ=environ,
            backend=arguments.sandbox,
            strict_snapshot=arguments.snapshot is not None,
            model_script=arguments.model_script,
            out=arguments.out,
            keep=arguments.keep,
            readers=(seen, display),
            cancellation=cancellation,
        )
        outcome = run_spec(spec, options)
    error = str(outcome.error) if outcome.error else None
    print_summary(console, outcome.trajectory, seen.headline_first(), outcome.folder, error)
    if arguments.quiet and error:
        sys.stderr.write(f"error: {error}\n")
    if arguments.json:
        sys.stdout.write(json.dumps(_json(spec, outcome, seen)) + "\n")
    return _exit_code(outcome)


@contextmanager
def _interruptible(cancellation: Cancellation) -> Iterator[None]:
    """Ctrl-C once: the run ends in good order. Twice: at once, with nothing left running."""

    def on_signal(*_: object) -> None:
        if cancellation.requested:
            cancellation.abandon()
            os._exit(ExitCode.INTERRUPTED)
        if not cancellation.request():
            raise CancelledError("The run was cancelled.")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _json(spec: RunSpec, outcome: Outcome, seen: _Seen) -> dict[str, Any]:
    """The keys of contract §12.4 `jetty run`, and ours."""
    trajectory = outcome.trajectory
    outputs = trajectory.steps["run"].outputs
    assert isinstance(outputs, RunbookOutputs)
    results = [str(outcome.folder / artifact.path) for artifact in seen.headline_first()]
    return {
        "status": trajectory.status,
        "trajectory_id": trajectory.trajectory_id,
        "collection": spec.collection,
        "task": spec.task,
        "primary_output": results[0] if results else None,
        "results_files": results,
        "trajectory_url": (outcome.folder / "trajectory.json").as_uri(),
        "path": str(outcome.folder),
        "verdict": outputs.verdict,
        "success": outputs.success,
        "missing_outputs": outputs.missing_outputs,
        "error": str(outcome.error) if outcome.error else None,
        "usage": outputs.usage.model_dump(),
        "duration_seconds": trajectory.steps["run"].duration_seconds,
        "sandbox": seen.sandbox.backend if seen.sandbox else None,
        "image_digest": seen.sandbox.image_digest if seen.sandbox else None,
    }


def _exit_code(outcome: Outcome) -> int:
    if outcome.error:
        return outcome.error.exit_code
    outputs = outcome.trajectory.steps["run"].outputs
    assert isinstance(outputs, RunbookOutputs)
    return ExitCode.PASS if outputs.verdict == "pass" else ExitCode.VERDICT_FAIL


# --- dry run -------------------------------------------------------------------------------------------------------


def _dry_run(arguments: Arguments, spec: RunSpec, environ: Mapping[str, str]) -> int:
    """Everything is checked as for a run; nothing is started or recorded."""
    agent = agents.find_agent(spec.agent)
    credentials.require_secrets(spec, environ)
    upstream = find_upstream(agent, spec, arguments.model_script, environ)
    strict = arguments.snapshot is not None
    backend = choose_backend(arguments.sandbox, spec, agent, Settings.load(), strict_snapshot=strict)
    plan = [f"put {item.name} ({item.size} bytes) into /app/assets" for item in spec.inputs]
    plan += backend.plan(spec, agent)
    if upstream:
        plan.append(f"answer model calls for {spec.model} from {arguments.model_script or spec.provider}")
    plan.append(f"run {agent.name} for at most {spec.limits.timeout_s:g} s")
    plan.append("expect " + (", ".join(output.path for output in spec.outputs) or "no particular output"))
    body = {"spec": spec.model_dump(mode="json"), "digest": spec.digest(), "plan": plan}
    sys.stdout.write(json.dumps(body, indent=None if arguments.json else 1, ensure_ascii=False) + "\n")
    return ExitCode.PASS

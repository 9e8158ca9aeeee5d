"""Command line: what `runbook run --dry-run` prints: the plan of a run, for people or as JSON."""

import sys
from collections.abc import Iterable, Iterator

from runbook_runner.cli.ui.output import put_json, warn
from runbook_runner.core.spec import InputFile, Limits
from runbook_runner.core.text import counted, dollars, printable
from runbook_runner.evaluation.judge.items import items_of
from runbook_runner.runner import PreparedRun
from runbook_runner.runner.checks.sources import GitSource
from runbook_runner.runner.request.inputs import is_zip
from runbook_runner.runner.request.secrets import explain_withheld, withheld

_INDENT = 15


def print_plan(prepared: PreparedRun, *, as_json: bool) -> None:
    for warning in (*prepared.doubts, *prepared.warnings):
        warn(warning)
    if as_json:
        spec = prepared.spec
        body = {"spec": spec.model_dump(mode="json"), "digest": spec.digest(), "plan": prepared.plan()}
        put_json({**body, "missing": [str(lack) for lack in prepared.lacks]})
        return
    text = f"{prepared.spec.title}: this would run\n"
    for name, lines in _rows(prepared):
        for line in lines:
            text += f"  {name:<{_INDENT}}{line}\n"
            name = ""
    sys.stdout.write(printable(text))
    sys.stdout.flush()  # an error may follow on stderr


def _rows(prepared: PreparedRun) -> Iterator[tuple[str, Iterable[str]]]:
    """Names and lines; a row without lines is not shown."""
    spec, chosen = prepared.spec, prepared.chosen
    yield "Agent", [spec.agent]
    if prepared.agent.dialect:
        at = f" at {prepared.model_address}" if prepared.model_address else ""
        yield "Model", [f"{spec.model}, answered by {prepared.answers_from}{at}"]
    yield "Judge", _judge(prepared)
    if chosen is None or chosen.backend.uses_images:
        yield ("Image", [spec.image]) if spec.image else ("Snapshot", [str(spec.snapshot)])
    yield "Packages", [*spec.apt_packages]
    yield "Sandbox", [f"{chosen.name}: {line}" for line in chosen.plan(spec, prepared.agent)] if chosen else ["none"]
    yield "Network", [", ".join((spec.network.policy, *spec.network.allow_hosts))]
    yield "Limits", [", ".join(_limits(spec.limits))]
    yield "Parameters", [f"{name} = {value}" for name, value in spec.parameters.items()]
    yield "Inputs", map(_input, spec.inputs)
    yield "Secrets", _secrets(prepared)
    yield "Check sources", map(_source, prepared.sources)
    yield "MCP servers", [server.name for server in spec.mcp_servers]
    primary = spec.primary_outputs
    yield "Outputs", [f"{out.path} (primary)" if out.path in primary else out.path for out in spec.outputs] or ["any"]
    yield "Recorded in", [f"{spec.collection}/{spec.task}"]


def _judge(prepared: PreparedRun) -> Iterator[str]:
    judge = prepared.spec.judge
    if judge:
        at = f" at {prepared.judge.address}" if prepared.judge and prepared.judge.address else ""
        yield f"{judge.model}{at}, {counted(judge.samples, 'sample')}"
    elif items_of(prepared.spec.criteria):
        yield "none: --judge-model names one; without it, the agent's own scores are all there is"


def _limits(limits: Limits) -> Iterator[str]:
    yield f"{limits.timeout_s:g} s ({limits.idle_s:g} s without output)"
    yield f"at most {counted(limits.cpus, 'core')}"  # fewer where the machine has no more
    yield f"{_size(limits.memory_bytes)} memory"
    yield f"{_size(limits.disk_bytes)} disk"
    yield counted(limits.pids, "process")
    if limits.max_cost_usd is not None:
        yield dollars(limits.max_cost_usd)
    if limits.max_tokens is not None:
        yield counted(limits.max_tokens, "token")
    if limits.max_calls is not None:
        yield counted(limits.max_calls, "model call")


def _size(amount: int) -> str:
    """As --memory and --disk take it."""
    return f"{amount >> 30}G" if amount % (1 << 30) == 0 else f"{amount >> 20}M"


def _input(item: InputFile) -> str:
    return f"{item.name}, {counted(item.size, 'byte')}{', is unpacked' if is_zip(item.name) else ''}"


def _source(source: GitSource) -> str:
    at = f" at {source.ref}" if source.ref else ""
    return f"{source.name}: {source.url}{at}{'' if source.folder else ', which is looked for by a run only'}"


def _secrets(prepared: PreparedRun) -> Iterator[str]:
    """Names only."""
    spec, granted = prepared.spec, prepared.secrets
    kept = withheld(spec)
    for secret in spec.secrets:
        notes = ["not set"] if secret.env not in granted.values and secret not in granted.refused else []
        notes += ["not granted"] if secret in granted.refused and secret not in kept else []
        notes += [explain_withheld(spec, secret)] if secret in kept else []
        yield ": ".join([secret.env, *([", ".join(notes)] if notes else [])])

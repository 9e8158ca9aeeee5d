"""Runner, hosted: from a trajectory of the platform to the spec with which its run is repeated here (contract §6.8).

What it says is data: settings of another type than the contract has them are left out, agents and images are checked as
those of a runbook are, and the spec names secrets without their values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_runner.core.errors import InputError
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import printable_name
from runbook_runner.runbook.document import parse
from runbook_runner.runbook.sources.load import Source
from runbook_runner.runner.request.request import RunOptions, RunRequest
from runbook_runner.runner.request.resolve import known_parameters, resolve


@dataclass(frozen=True)
class HostedRun:
    """What a trajectory says of how its run was made."""

    document: str
    """The runbook, without values."""
    settings: Mapping[str, Any]
    """Parameters of the `runbook` step (contract §6.8), and `vars`."""

    def text(self, name: str) -> str | None:
        value = self.settings.get(name)
        return value if isinstance(value, str) and value.strip() else None

    def number(self, name: str) -> float | None:
        value = self.settings.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def hosted_run(body: Mapping[str, Any]) -> HostedRun | None:
    """`None` when no step of it ran a runbook."""
    steps, configs = _object(body.get("steps")), _object(body.get("step_configs"))
    init = _object(body.get("init_params"))
    for name in {**configs, **steps}:
        step = _object(steps.get(name))
        config = _object(configs.get(name)) or _object(step.get("config"))
        if "runbook" not in (config.get("activity"), step.get("activity")):
            continue
        settings = {**_object(step.get("inputs")), **init, **_resolved(config, init)}
        document = settings.get("instruction") or settings.get("runbook")
        if isinstance(document, str) and document.strip():
            values = settings.get("template_variables") or init.get("vars")
            return HostedRun(document, {**settings, "vars": _object(values)})
    return None


def spec_of(
    run: HostedRun, source: str, collection: str, task: str, files: tuple[tuple[str, Path], ...], near: Path
) -> tuple[RunSpec, list[str]]:
    """source: the run's name, for messages. files: the name that the agent sees, and the file. near: as for
    `RunRequest`. Returns the spec and what of the run is not in it. Raises InputError when it can't be run here."""
    runbook = parse(run.document, source)
    known = known_parameters(runbook)
    values = {name: value for name, value in run.settings["vars"].items() if name in known}
    left = [name for name in run.settings["vars"] if name not in known]
    notes = [f"the runbook has no parameter {printable_name(str(name)[:80])!r}" for name in left]
    offline = run.settings.get("network_enabled") is False
    request = RunRequest(
        Source(run.document, source, None),
        near=(near,),
        parameters=values,
        agent=run.text("agent"),
        model=run.text("model"),
        provider=run.text("model_provider"),
        snapshot=run.text("snapshot") if not run.text("image") else None,
        image=run.text("image"),
        collection=collection,
        task=task,
        named_files=files,
        timeout_s=run.number("timeout_sec"),
        cpus=run.number("cpus"),
        memory=run.text("memory"),
        network="model-only" if offline else None,
        options=RunOptions(),
    )
    if runbook.criteria.problem:
        raise InputError(runbook.criteria.problem)
    return resolve(runbook, request, warn=notes.append), notes


def _resolved(config: Mapping[str, Any], init: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a step: its own values, and those that its `…_path` entries lead to, which win."""
    found = {name: value for name, value in config.items() if not name.endswith("_path")}
    for name, path in config.items():
        if name.endswith("_path") and isinstance(path, str):
            value: Any = {"init_params": init}
            for key in path.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found[name.removesuffix("_path")] = value
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

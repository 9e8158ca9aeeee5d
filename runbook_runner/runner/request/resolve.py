"""Runner: document and request → RunSpec. Refuses what can't run."""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from runbook_runner.agents.base import Agent
from runbook_runner.agents.built_in import BUILT_IN_AGENTS
from runbook_runner.agents.registry import find_agent
from runbook_runner.core import ids, settings
from runbook_runner.core.criteria import CheckSource
from runbook_runner.core.declared import Secret
from runbook_runner.core.disk.git_index import is_of_user
from runbook_runner.core.disk.repository import is_hidden, is_no_project
from runbook_runner.core.errors import InputError, raised
from runbook_runner.core.files import is_file, is_folder
from runbook_runner.core.network.addresses import parse_rule
from runbook_runner.core.spec import Limits, Network, Policy, RunSpec
from runbook_runner.core.text import did_you_mean
from runbook_runner.runbook.document import Runbook
from runbook_runner.runbook.filled import Filled
from runbook_runner.runbook.parts.parameters import Parameter
from runbook_runner.runbook.parts.substitution import BUILT_IN, placeholders
from runbook_runner.runbook.run_settings import own_settings, place_of, placed
from runbook_runner.runner.environment.images import check_image, check_packages
from runbook_runner.runner.request.choices import choose
from runbook_runner.runner.request.inputs import read_inputs
from runbook_runner.runner.request.limits import asked_limits, override, read_limits
from runbook_runner.runner.request.project_bounds import limits_within_bounds, within_bounds
from runbook_runner.runner.request.request import RunRequest
from runbook_runner.runner.request.secrets import with_typed
from runbook_runner.runner.request.valid_spec import require_secret_name
from runbook_runner.sandbox.images.snapshots import is_builtin


def resolve(
    runbook: Runbook,
    request: RunRequest,
    keys: Collection[str] = (),
    folder: Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
    lacking: Callable[[InputError], None] = raised,
) -> RunSpec:
    """The run spec. keys: names of the provider key variables that have a value on this machine (contract §4.4).
    folder: where the runbook is; `None` when it came from stdin or an address. warn: see `choose`; gets the outputs
    that can't be delivered as well.
    lacking: gets the errors for missing parameters and missing input files.

    Raises InputError: a key of the frontmatter that is given twice, unknown agent, unknown parameter, doubled input
    file, bad limits.
    """
    front = runbook.frontmatter
    for one in front.repeated:
        raise InputError(str(one), where=f"{runbook.source}:{one.line}", hint="Keep one of them.")
    chosen = choose(front, request, keys, warn)
    agent = find_agent(str(chosen.agent.value), request.near)
    limits = _limits(runbook, request)
    refuse_unused(request, agent)
    filled = _filled(runbook, request, lacking)
    for path in _moved_outputs(runbook, filled):
        warn(f"A value puts the required output {path} outside of {settings.RESULTS}: it can't be delivered.")
    own = request.files or (() if request.named_files else sample_inputs(runbook, folder, lacking))
    files = (*request.named_files, *((path.name, path) for path in own))
    return RunSpec(
        title=runbook.title or "",
        collection=request.collection or settings.DEFAULT_COLLECTION,
        task=request.task or task_of(runbook, folder),
        agent=agent.name,
        near=_near(agent.name, chosen.snapshot.value, request),
        model=chosen.model.value,
        provider=chosen.provider.value,
        snapshot=chosen.snapshot.value,
        image=_image(chosen.image.value, runbook, request),
        apt_packages=_packages(runbook, request),
        mission=filled.mission,
        blocks=filled.blocks if agent.facts.runs_blocks else (),
        parameters=dict(request.parameters),
        inputs=read_inputs(files, lacking),
        secrets=_secrets(runbook, request.secrets, filled.criteria.checks.sources),
        mcp_servers=runbook.mcp_servers,
        outputs=filled.outputs,
        primary_outputs=front.primary_outputs,
        evaluation=front.evaluation,
        criteria=filled.criteria,
        limits=limits,
        network=_network(runbook, request),
        labels=dict(request.labels),
    )


def missing_parameters(runbook: Runbook, given: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The required parameters that have no value, or null as a value; conditional ones are left to the agent."""
    return tuple(
        p for p in runbook.parameters if p.must_be_given and given.get(p.name) is None and p.name not in BUILT_IN
    )


def refuse_unknown_parameters(runbook: Runbook, given: Mapping[str, Any], where: str | None = None) -> None:
    """Raises InputError for a value that the runbook has no use for. where: the file it comes from."""
    known = known_parameters(runbook)
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"It knows: {', '.join(sorted(known))}."
            raise InputError(f"The runbook has no parameter {name!r}.", where=where or runbook.source, hint=hint)


def known_parameters(runbook: Runbook) -> set[str]:
    """Names of all values that the document has a use for."""
    return {p.name for p in runbook.parameters} | {p.name for p in placeholders(runbook.body)} | set(BUILT_IN)


def _filled(runbook: Runbook, request: RunRequest, lacking: Callable[[InputError], None]) -> Filled:
    refuse_unknown_parameters(runbook, request.parameters)
    missing = missing_parameters(runbook, request.parameters)
    if missing:
        lines = [f"  {p.name} (line {p.line}): {p.description or p.label}" for p in missing]
        error = InputError(
            f"{len(missing)} required parameter{'s have' if len(missing) > 1 else ' has'} no value:",
            where=runbook.source,
            hint="\n".join(lines),
            details="Give each with -p NAME=VALUE, or all in a file with --params FILE.",
        )
        lacking(error)
    return Filled(runbook, request.parameters)


def _moved_outputs(runbook: Runbook, filled: Filled) -> list[str]:
    """Those that only a value puts outside of the results directory; a finding tells the others."""
    written = {output.path for output in runbook.outputs}
    return [output.path for output in filled.outputs if output.is_elsewhere and output.path not in written]


def _image(name: str | None, runbook: Runbook, request: RunRequest) -> str | None:
    line = runbook.frontmatter.lines.get("image")
    return name and check_image(name, None if request.image else f"{runbook.source}:{line}")


def task_of(runbook: Runbook, folder: Path | None) -> str:
    """By the title, or by the folder's name where the title has no Latin letter."""
    names = (runbook.title or "", folder.name if folder else "")
    return next(filter(None, map(ids.task_from_title, names)), "runbook")


def _packages(runbook: Runbook, request: RunRequest) -> tuple[str, ...]:
    own = own_settings(runbook).apt_packages
    for name in own:
        with placed(runbook, "apt_packages", name):
            check_packages((name,))
    return check_packages((*own, *request.apt_packages), "--apt")


def sample_inputs(
    runbook: Runbook, folder: Path | None, lacking: Callable[[InputError], None] = raised
) -> tuple[Path, ...]:
    """The files a runbook has for runs that are given none: `runbook_runner: {inputs: [PATH, …]}` in its frontmatter,
    a key of this engine; paths below the runbook's folder. lacking: gets the error for one that is missing. Raises
    InputError."""
    names = own_settings(runbook).inputs
    if names and folder is None:
        hint = "Give the input files with -f."
        raise InputError("This runbook's sample inputs were not loaded with it.", where=runbook.source, hint=hint)
    found = []
    for name in names:
        assert folder
        with placed(runbook, "inputs", name):
            path = _below(folder, name, runbook)
        if is_file(path):
            found.append(path)
        else:
            what = "is a folder; zip it to keep its tree" if is_folder(path) else "does not exist"
            where = place_of(runbook, "inputs", name)
            lacking(InputError(f"The sample input {name!r} {what}.", where=where, hint=f"It should be at {path}."))
    return tuple(found)


def _below(folder: Path, name: str, runbook: Runbook) -> Path:
    path, top = folder / name, Path(os.path.realpath(folder))
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # it is no path
        real = Path("/")
    if not real.is_relative_to(top):
        raise InputError(f"The sample input {name!r} is outside the runbook's folder.")
    hint = "It may be your own, and not the runbook's. If you mean it, give it with -f."
    if is_no_project(top):
        hint = f"{hint} Or move the runbook, with its inputs, into a folder of its own."
        raise InputError(f"The sample input {name!r} is in {top}, which is no project.", hint=hint)
    if is_hidden(real, top):
        raise InputError(f"The sample input {name!r} is a hidden file.", hint=hint)
    if is_of_user(real, Path(os.path.realpath(runbook.source))):
        hint = f"{hint} If it is the runbook's, `git add` it."
        raise InputError(f"The sample input {name!r} is no file of its repository.", hint=hint)
    return path


def _secrets(runbook: Runbook, asked: tuple[str, ...], sources: tuple[CheckSource, ...]) -> tuple[Secret, ...]:
    front = runbook.frontmatter
    for secret in front.secrets:
        line = front.lines.get(f"secrets.{secret.name}", 1)
        require_secret_name(secret.env, f"{runbook.source}:{line}")
    return with_typed(front.secrets, asked, sources)


def _limits(runbook: Runbook, request: RunRequest) -> Limits:
    """The runbook's limits within the project's bounds, overridden by the request's."""
    own = read_limits(own_settings(runbook).limits(), place_of(runbook))
    return override(limits_within_bounds(own, request.near), asked_limits(request))


def refuse_unused(request: RunRequest, agent: Agent) -> None:
    """Of what the user has typed: a budget that bounds nothing would be taken for one. Raises InputError."""
    of_model = {"--model": request.model, "--provider": request.provider}
    of_calls: dict[str, object] = {
        "--max-cost": request.max_cost_usd,
        "--max-tokens": request.max_tokens,
        "--max-calls": request.max_calls,
    }
    if request.judge_model or request.judge_script:  # they bound the judge
        of_calls = {}
    of_calls["--replay"] = request.replay
    unused = {**(of_model if agent.facts.runs_blocks else {}), **(of_calls if agent.dialect is None else {})}
    if option := next((option for option, value in unused.items() if value), None):
        raise InputError(
            f"{option} has no meaning with the agent {agent.name}, which calls no model through the gateway."
        )


def _near(agent: str, snapshot: str | None, request: RunRequest) -> tuple[str, ...]:
    """Empty when agent and snapshot are built-in: folders of this machine do not matter to them."""
    if agent in BUILT_IN_AGENTS and (snapshot is None or is_builtin(snapshot)):
        return ()
    return tuple(str(path.absolute()) for path in request.near)


def unknown_policy(policy: str) -> InputError:
    hint = did_you_mean(policy, get_args(Policy)) or f"Known: {', '.join(get_args(Policy))}."
    return InputError(f"Unknown network policy {policy!r}.", hint=hint)


def _network(runbook: Runbook, request: RunRequest) -> Network:
    """The request's policy, else the runbook's own within the project's bounds. Hosts without a policy mean
    `allowlist`."""
    own = _own_network(runbook, request)
    policy = request.network or ("allowlist" if request.allow_hosts else own.policy)
    if policy not in get_args(Policy):
        raise unknown_policy(policy)
    if request.allow_hosts and policy != "allowlist":
        raise InputError(f"--allow-host has no meaning with --network {policy}.", hint="Use --network allowlist.")
    hosts = (*own.allow_hosts, *request.allow_hosts) if policy == "allowlist" else ()
    for host in request.allow_hosts:
        parse_rule(host, "--allow-host")
    return Network(policy=cast(Policy, policy), allow_hosts=hosts)


def _own_network(runbook: Runbook, request: RunRequest) -> Network:
    own = own_settings(runbook)
    for host in own.allow_hosts:
        with placed(runbook, "allow_hosts", host):
            parse_rule(host)
    network = Network(policy=own.network or ("allowlist" if own.allow_hosts else "full"), allow_hosts=own.allow_hosts)
    return within_bounds(network, request.near)

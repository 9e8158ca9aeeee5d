"""Runner: who judges a run: what was asked for, else whose answers the recording has, or what the settings say."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.agents import AgentFacts, choose_provider, model_for
from runbook_runner.core.facts.providers import ROUTER, maker_of
from runbook_runner.core.settings import MAX_JUDGE_SAMPLES
from runbook_runner.core.spec import JudgeChoice, RunSpec
from runbook_runner.evaluation.judge.items import items_of
from runbook_runner.runner.request.request import RunRequest

if TYPE_CHECKING:
    from runbook_runner.gateway import Upstream
    from runbook_runner.runner.replay.cassette import CassetteReplay

_SCRIPTED = "script"
"""What the model is called whose answers are in a file, when no name is given."""


def choose_judge(
    request: RunRequest,
    spec: RunSpec,
    default: str | None,
    recorded: JudgeChoice | None,
    keys: Collection[str],
    warn: Callable[[str], None],
) -> JudgeChoice | None:
    """default: the model that the settings name; a run from a recording has what was recorded instead. recorded: only
    of a recording that has the answers: the judge that a stranger's recording names is not asked anew. keys: names of
    the provider key variables that have a value. Raises InputError."""
    model, samples, script = request.judge_model, request.judge_samples, request.judge_script
    chosen = wanted_judge(model, samples, script, None if request.replay else default, keys)
    chosen = chosen or (recorded and recorded.model_copy(update={"samples": samples or recorded.samples}))
    if chosen is None:
        if samples is not None:
            raise InputError("--judge-samples has no meaning without a judge.", hint="Name one with --judge-model.")
        return None
    if not items_of(spec.criteria):
        if model or script:
            warn("The runbook has no rubric, and is not of the short form: there is nothing for a judge to decide.")
        return None
    warn_of_itself(chosen, spec, warn)
    return chosen


def warn_of_itself(judge: JudgeChoice, spec: RunSpec, warn: Callable[[str], None]) -> None:
    if spec.model and judge.provider and _bare(spec.model) == _bare(judge.model):
        other = "--judge-model names another one."
        warn(f"The judge, {judge.model}, is the model under test, which tends to like its own work: {other}")


def wanted_judge(
    model: str | None, samples: int | None, script: Path | None, default: str | None, keys: Collection[str]
) -> JudgeChoice | None:
    """Who is asked for by the options --judge-model, --judge-samples and --judge-script, or by default; `None`: nobody.
    Raises InputError."""
    if samples is not None and not 1 <= samples <= MAX_JUDGE_SAMPLES:
        raise InputError(f"--judge-samples must be from 1 to {MAX_JUDGE_SAMPLES}.")
    if script:
        return JudgeChoice(model=model or _SCRIPTED, samples=samples or 1)
    model = model or default
    if model is None:
        return None
    facts = AgentFacts("judge", providers=tuple(dict.fromkeys((maker_of(model) or ROUTER, ROUTER))))
    provider, _ = choose_provider(facts, model, keys)
    return JudgeChoice(model=str(model_for(facts, model, provider)), provider=provider, samples=samples or 1)


def _bare(model: str) -> str:
    return model.rpartition("/")[2]


def judge_upstream(
    spec: RunSpec, environ: Mapping[str, str], script: Path | None, replay: "CassetteReplay | None"
) -> "Upstream | None":
    """Who answers the judge's calls; `None` when nobody can: the results are not judged then. Raises InputError and
    NotReadyError, before anything starts."""
    if spec.judge is None:
        return None
    from runbook_runner.gateway import load_script, provider_from  # only judged runs import the gateway for it
    from runbook_runner.gateway.ask.forms import form_for

    if script:
        return load_script(script)

    def provider() -> "Upstream":
        assert spec.judge
        dialect = form_for(spec.judge.provider).dialect
        return provider_from(spec.judge.provider, environ, model=spec.judge.model, dialect=dialect)

    if replay is None:
        return provider()
    if replay.until is not None and not replay.asks_provider:
        return None  # what comes after the fork is not in the recording
    if replay.has_judge:
        return replay.judge_upstream(provider() if replay.asks_provider and spec.judge.provider else None)
    return None if replay.is_compared or spec.judge.provider is None else provider()

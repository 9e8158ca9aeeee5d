"""Runner: the judge of one run: a session of the gateway that this process alone reaches, with a recording of its own.

Imported only by runs that are judged.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runbook_runner.core.asking.question import Answer, Question
from runbook_runner.core.events import Emit, Event, ModelCalled, ReplayDiverged
from runbook_runner.core.spec import JudgeChoice, Limits
from runbook_runner.evaluation.judge.model import Judge
from runbook_runner.gateway import Budget, Cassette, Session, Spending, Upstream, listen
from runbook_runner.gateway.ask.ask import Asker
from runbook_runner.gateway.ask.forms import form_for
from runbook_runner.runner.cancellation import Cancellation


@contextmanager
def judge_access(
    upstream: Upstream,
    choice: JudgeChoice,
    cassette: Cassette,
    task: str,
    to_app: Callable[[str], str],
    limits: Limits,
    emit: Emit,
    cancellation: Cancellation,
    agent: Session | None = None,
    within: Spending | None = None,
) -> Iterator[Judge]:
    """limits: those of the run, within which its calls and those of the agent's session have to stay together. A
    request to stop the run ends the judge's call. within: a budget of several runs."""

    def emit_as_judge(event: Event) -> None:
        own = isinstance(event, (ModelCalled, ReplayDiverged))
        emit(event.model_copy(update={"asker": "judge"}) if own else event)

    budget = Budget(limits.max_cost_usd, limits.max_tokens, limits.max_calls)
    with listen() as listener:
        session = listener.open(
            upstream=upstream, cassette=cassette, emit=emit_as_judge, budget=budget, within=within, shares=agent
        )
        form = form_for(choice.provider)
        asker = Asker(session, listener.address, form, choice.model, cancellation.sleep)

        def ask(question: Question) -> Answer:
            with cancellation.ends_with(session.close):
                return asker(question)

        yield Judge(choice.model, choice.samples, ask, task, cassette.clean_said, to_app)

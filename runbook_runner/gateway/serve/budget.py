"""Gateway: how much of its model a run may use. Checked before each call, so only calls in progress can exceed it."""

from dataclasses import dataclass

from runbook_runner.core.events import Usage
from runbook_runner.core.text import counted, dollars


@dataclass(frozen=True)
class Budget:
    """`None`: no limit. The call that crosses a limit is answered; it is the last one."""

    max_cost_usd: float | None = None
    max_tokens: int | None = None
    """Input and output, cached input included."""
    max_calls: int | None = None
    """Retries and side requests included."""


class Spending:
    """What the sessions of one run, or those of several runs, have used of a budget. Used on the gateway's event loop
    only; its attributes may be read from any thread."""

    def __init__(self, budget: Budget, within: "Spending | None" = None, *, of: str = "the run's budget"):
        """within: what others use as well. of: what it is called in a reason."""
        self.refused = False
        """A call was not made for this budget, or for the one that it is within."""
        self._budget = budget
        self._within = within
        self._of = of
        self._calls = 0
        self._tokens = 0
        self._cost_usd = 0.0
        self._unpriced: str | None = None
        self._untold: str | None = None
        """The model that did not tell its usage."""

    def count_call(self) -> str | None:
        """Counts a new call. Returns the reason when it must not be made, and then does not count it; else `None`."""
        reason = self.reason or (self._within.count_call() if self._within else None)
        self._calls += reason is None
        self.refused = self.refused or reason is not None
        return reason

    def uncount_call(self) -> None:
        """The call that was counted does not use the budget."""
        self._calls -= 1
        if self._within:
            self._within.uncount_call()

    def add_earlier(self, cost_usd: float | None, tokens: int, calls: int) -> None:
        """What was used before, elsewhere. cost_usd: `None` where it is not known."""
        self._cost_usd += cost_usd or 0.0
        self._tokens += tokens
        self._calls += calls

    def add(self, model: str, usage: Usage, *, succeeded: bool, tells: bool) -> None:
        """Adds an ended call. succeeded: its answer is complete, so a missing price is not due to missing tokens.
        tells: its usage is known."""
        if self._within:
            self._within.add(model, usage, succeeded=succeeded, tells=tells)
        self._tokens += usage.all_tokens
        self._cost_usd += usage.cost_usd or 0.0
        if succeeded and usage.api_calls and not tells:
            self._untold = model
        elif succeeded and usage.api_calls and usage.cost_usd is None:
            self._unpriced = model

    @property
    def reason(self) -> str | None:
        """Why no further call is made; `None`: one may be."""
        budget = self._budget
        if budget.max_calls is not None and self._calls >= budget.max_calls:
            return f"{self._of} of {counted(budget.max_calls, 'model call')} is used up"
        if self._untold is not None and (budget.max_tokens is not None or budget.max_cost_usd is not None):
            return (
                f"{self._of} is one of tokens or USD, but the answers of {self._untold} do not tell how many tokens "
                "they used: limit calls instead (--max-calls)"
            )
        if budget.max_tokens is not None and self._tokens >= budget.max_tokens:
            most = counted(budget.max_tokens, "token")
            return f"{self._of} of {most} is used up: {self._tokens:,} were used, cached ones included"
        if budget.max_cost_usd is None:
            return None
        if self._unpriced is not None:
            return (
                f"{self._of} is {dollars(budget.max_cost_usd)}, but the price of {self._unpriced} is not "
                "known: name it in a file (RUNBOOK_PRICES), or limit tokens instead"
            )
        if self._cost_usd >= budget.max_cost_usd:
            most = dollars(budget.max_cost_usd)
            return f"{self._of} of {most} is used up: ${self._cost_usd:.4f} were spent"
        return None

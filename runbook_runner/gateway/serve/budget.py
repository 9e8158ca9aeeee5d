"""Gateway: what a run may use of its model. Asked before each call, so only calls under way can go over it."""

from dataclasses import dataclass

from runbook_runner.core.events import Usage


@dataclass(frozen=True)
class Budget:
    """`None`: no limit. The call that crosses a limit is the last one; it is answered."""

    max_cost_usd: float | None = None
    max_tokens: int | None = None
    """Input and output, cached input included."""
    max_calls: int | None = None
    """Answers asked for, retries and side requests included."""


class Spending:
    """What one session has used of its budget. On the gateway's loop only."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self._calls = 0
        self._tokens = 0
        self._cost_usd = 0.0
        self._unpriced: str | None = None

    def refusal(self) -> str | None:
        """Why no more calls may be made; `None`: one may, and is counted."""
        reason = self._reason()
        self._calls += reason is None
        return reason

    def give_back(self) -> None:
        """The call that was just allowed is none that counts."""
        self._calls -= 1

    def add(self, model: str, usage: Usage, *, whole: bool) -> None:
        """A call has ended. whole: its answer came to its end, so that a missing price is not for want of tokens."""
        self._tokens += usage.all_tokens
        self._cost_usd += usage.cost_usd or 0.0
        if whole and usage.api_calls and usage.cost_usd is None:
            self._unpriced = model

    def _reason(self) -> str | None:
        budget = self._budget
        if budget.max_calls is not None and self._calls >= budget.max_calls:
            return f"the run's budget of {budget.max_calls} model calls is used up"
        if budget.max_tokens is not None and self._tokens >= budget.max_tokens:
            return f"the run's budget of {budget.max_tokens:,} tokens is used up: {self._tokens:,} were used"
        if budget.max_cost_usd is None:
            return None
        if self._unpriced is not None:
            return (
                f"the run has a budget of ${budget.max_cost_usd:g}, but the price of {self._unpriced} is not known: "
                "name it in a file (RUNBOOK_PRICES), or limit tokens instead"
            )
        if self._cost_usd >= budget.max_cost_usd:
            return f"the run's budget of ${budget.max_cost_usd:g} is used up: ${self._cost_usd:.4f} were spent"
        return None

"""Agents: the kinds of failure: by which messages and HTTP statuses each is recognised, and how often the agent is
started again after it."""

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from runbook_runner.core.patterns import finds

MIN_DELAY_S: Final = 1.0
MAX_DELAY_S: Final = 60.0
_LONGEST: Final = 1 << 16  # characters of an error that are searched


@dataclass(frozen=True)
class Failure:
    """One kind of failure: a row of the table."""

    kind: str
    patterns: tuple[str, ...] = ()
    """Regular expressions, searched in the error's text in any case."""
    statuses: tuple[int, ...] = ()
    """HTTP statuses of a model API that mean it."""
    vague: tuple[str, ...] = ()
    """Expressions that count only when no row's patterns and no status matched."""
    retries: int = 0
    """How often the agent is started again, when it had not begun to work. The CLI has made its own retries before."""
    base_s: float = 1.0
    """Seconds before the first retry; each further one waits twice as long."""
    advice: str | None = None
    """What its user may do."""


# The first row with a matching pattern counts, else the first with the status. A usage limit comes as 429, an exceeded
# context as 400, so the message goes before the number.
TABLE: Final = (
    Failure(
        "usage_limit",
        (r"insufficient[_ ]quota", r"usage limit", r"credit balance", r"billing", r"quota exceeded", r"out of credits",
         r"\b5-hour limit|weekly limit|limit reached", r"exceeded your current quota", r"payment required"),
        (402,),
        advice="Wait until the limit is lifted, use another key, or name another model with --model.",
    ),
    Failure(
        "context_exceeded",
        (r"context[_ ](length|window)", r"prompt is too long", r"maximum context", r"too many (input )?tokens",
         r"input token count.{0,200}exceeds", r"input is too long", r"exceeds? the (model's )?(maximum|context)"),
        (413,),
    ),
    Failure("output_limit", (r"max[_ ]?(output[_ ]?)?tokens? (reached|exceeded|limit)", r"output token (limit|maximum)",
                             r"response was truncated", r"finish_?reason\W+(length|max_tokens)")),
    Failure("refusal", (r"\brefus(al|ed to (answer|comply|help))", r"content[_ ](filter|policy)", r"usage policy",
                        r"safety (reasons|filter|policy)", r"prohibited_content", r"blocked by")),
    Failure("authentication", (r"not logged in", r"invalid[_ ]((x-)?api[_ -])?key", r"api key not valid",
                               r"authentication", r"unauthorized", r"unauthenticated", r"permission[_ ]denied",
                               r"oauth token", r"invalid auth method"), (401, 403),
            advice="Check the key, and that it may use this model."),
    Failure("model_not_found", (r"models?\b.{0,80}(not found|does not exist|not supported|is not available)",
                                r"(unknown|no such|invalid) model", r"model[_ ]not[_ ]found"), (404,),
            advice="Name a model that the provider has with --model."),
    Failure("rate_limit", (r"rate[_ -]?limit", r"too many requests", r"resource[_ ]exhausted", r"\b429\b"),
            (429,), retries=2, base_s=10.0,
            advice="RUNBOOK_MAX_CALLS_PER_MINUTE makes the calls slower; or try again later."),
    Failure("overloaded", (r"overloaded", r"\bunavailable\b", r"at capacity", r"server is busy"),
            (503, 529), retries=2, base_s=10.0, advice="The provider is busy: try again later."),
    Failure("network", (r"connection (refused|reset|error|closed|timed out)", r"econn(refused|reset|aborted)",
                        r"etimedout|enotfound|eai_again|epipe", r"fetch failed", r"unable to connect",
                        r"error sending request", r"getaddrinfo", r"socket hang ?up", r"network error",
                        r"stream disconnected", r"could not resolve", r"answer broke off"), retries=2, base_s=3.0,
            advice="Check the network, and the base URL and the proxy in your environment."),
    Failure("provider_error", (r"internal server error", r"bad gateway", r"gateway time-?out"),
            tuple(range(500, 600)), retries=1, base_s=3.0),
    Failure("request_refused", (), tuple(range(400, 500)), (r"invalid_request_error", r"invalid_argument")),
    Failure("crashed", retries=1),
    Failure("stalled", retries=1, advice="--idle SECONDS lets it be silent for longer."),
    Failure("timeout", advice="--timeout SECONDS gives it longer."),
    Failure("budget"),
    Failure("mcp_server", advice="Its program must be in the sandbox, or its address in reach (--network)."),
    Failure("script"),
)  # fmt: skip

KINDS: Final[Mapping[str, Failure]] = {failure.kind: failure for failure in TABLE}

OF_STOP: Final = {"length": "output_limit", "refusal": "refusal"}
"""Why the model stopped before it was done → the kind of the agent's failure, when the agent reported none."""

# The gateway's kind of a failure → ours, where they differ.
_OF_GATEWAY: Final = {"billing": "usage_limit", "permission": "authentication", "not_found": "model_not_found"}


def _compiled(rows: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile("|".join(patterns), re.IGNORECASE)) for kind, patterns in rows if patterns)


_CLEAR: Final = _compiled((failure.kind, failure.patterns) for failure in TABLE)
_VAGUE: Final = _compiled((failure.kind, failure.vague) for failure in TABLE)


def classify(text: str, status: int | None = None, extra: Iterable[tuple[str, str]] = ()) -> str | None:
    """The kind of failure of an error with this text and HTTP status; `None` when no row matches.

    extra: (regular expression of RE2, kind) pairs of the agent, which go first.
    """
    text = text[:_LONGEST]
    for pattern, kind in extra:
        if finds(pattern, text, ignore_case=True):
            return kind
    by_status = next((failure.kind for failure in TABLE if status in failure.statuses), None)
    return _search(_CLEAR, text) or by_status or _search(_VAGUE, text)


def _search(rows: Iterable[tuple[str, re.Pattern[str]]], text: str) -> str | None:
    return next((kind for kind, pattern in rows if pattern.search(text)), None)


def of_gateway(kind: str) -> str:
    """The kind of failure that the gateway calls `kind`."""
    return _OF_GATEWAY.get(kind, kind)


def retry_delay(kind: str | None, retry: int) -> float | None:
    """Seconds to wait before start number `retry` (0-based) after a failure of this kind; `None`: no further start."""
    failure = KINDS.get(kind or "")
    if failure is None or retry >= failure.retries:
        return None
    # Jitter: otherwise all runs that a provider refused at once would come back at once.
    wanted: float = failure.base_s * 2**retry * random.uniform(0.5, 1.5)  # noqa: S311
    return min(MAX_DELAY_S, max(MIN_DELAY_S, wanted))


def advice(kind: str | None) -> str | None:
    """What the user may do after a failure of this kind; `None`: there is nothing to say."""
    failure = KINDS.get(kind or "")
    return failure.advice if failure else None


def plain_reason(text: str) -> str:
    """The message of an error, without the JSON that CLIs wrap around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return text.strip()
    try:
        body = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return text.strip()
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message.strip() if isinstance(message, str) and message.strip() else text.strip()

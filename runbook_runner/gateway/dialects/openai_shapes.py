"""Gateway: what the two OpenAI APIs have in common: how they report tokens and errors."""

from typing import Final

from runbook_runner.core.events import Usage
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import number, part, told_cost

CREATED: Final = 1_767_225_600  # unix time; a script says the same every time it is played

Names = tuple[str, str, str, str]
"""What an API calls its input tokens, its output tokens, and the details of each."""


def usage_of(usage: Json, names: Names) -> Usage:
    """Tokens of an OpenAI API, whose input includes what was read from and written to a cache, and whose output
    includes the reasoning. Theirs → ours."""
    sent, made, sent_details, made_details = names
    read = number(part(usage, sent_details), "cached_tokens")
    read = read or number(usage, "prompt_cache_hit_tokens") or number(usage, "cached_tokens")  # DeepSeek, Moonshot
    written = number(part(usage, sent_details), "cache_write_tokens")
    thought, said = number(part(usage, made_details), "reasoning_tokens"), number(usage, made)
    if number(usage, "total_tokens") == number(usage, sent) + said + thought:  # xAI counts it beside the output
        said += thought
    return Usage(
        prompt_tokens=max(0, number(usage, sent) - read - written),
        completion_tokens=said,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=min(thought, said),
        cost_usd=told_cost(usage),
        api_calls=1,
    )


def told_usage(usage: Usage, names: Names) -> Json:
    """Ours → theirs."""
    sent, made, sent_details, made_details = names
    total = usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return {
        sent: total,
        sent_details: {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens},
        made: usage.completion_tokens,
        made_details: {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": total + usage.completion_tokens,
    }


_ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def error_body(status: int, message: str) -> Json:
    """Both OpenAI APIs report errors alike."""
    kind, code = _ERRORS.get(status) or ("server_error" if status >= 500 else "invalid_request_error", None)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}

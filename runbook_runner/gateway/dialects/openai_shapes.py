"""Gateway: what the two OpenAI APIs share: how they report tokens and errors."""

from typing import Final

from runbook_runner.core.events import Usage
from runbook_runner.gateway.dialects.base import Json
from runbook_runner.gateway.dialects.bodies import number, part, reported_cost

CREATED: Final = 1_767_225_600  # unix time; a script answers the same every time

Names = tuple[str, str, str, str]
"""An API's names for its input tokens, its output tokens, and the details of each."""


def usage_of(usage: Json, names: Names) -> Usage:
    """Returns the tokens that an OpenAI API reports. Its input includes what was read from and written to a cache, its
    output includes the reasoning."""
    input_name, output_name, input_details, output_details = names
    read = number(part(usage, input_details), "cached_tokens")
    read = read or number(usage, "prompt_cache_hit_tokens") or number(usage, "cached_tokens")  # DeepSeek, Moonshot
    written = number(part(usage, input_details), "cache_write_tokens")
    reasoning, produced = number(part(usage, output_details), "reasoning_tokens"), number(usage, output_name)
    if (
        number(usage, "total_tokens") == number(usage, input_name) + produced + reasoning
    ):  # xAI counts it beside the output
        produced += reasoning
    return Usage(
        prompt_tokens=max(0, number(usage, input_name) - read - written),
        completion_tokens=produced,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=min(reasoning, produced),
        cost_usd=reported_cost(usage),
        api_calls=1,
    )


def usage_json(usage: Usage, names: Names) -> Json:
    """The reverse of `usage_of`."""
    input_name, output_name, input_details, output_details = names
    total = usage.prompt_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return {
        input_name: total,
        input_details: {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens},
        output_name: usage.completion_tokens,
        output_details: {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": total + usage.completion_tokens,
    }


_ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def error_body(status: int, message: str) -> Json:
    kind, code = _ERRORS.get(status) or ("server_error" if status >= 500 else "invalid_request_error", None)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}

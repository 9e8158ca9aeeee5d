"""Gateway: the dialects, which are the provider APIs that it speaks. A new one is a module here and an entry below."""

from typing import Final

from runbook_runner.gateway.dialects.anthropic import AnthropicMessages
from runbook_runner.gateway.dialects.base import Dialect, Operation
from runbook_runner.gateway.dialects.gemini import Gemini
from runbook_runner.gateway.dialects.openai_chat import OpenAIChat
from runbook_runner.gateway.dialects.openai_responses import OpenAIResponses

DIALECTS: Final[tuple[Dialect, ...]] = (AnthropicMessages(), OpenAIResponses(), OpenAIChat(), Gemini())


def recognise(method: str, path: str) -> tuple[Dialect, Operation | None]:
    """Returns the API that a request is written in. Without a match: `None` as operation, and the first API for the
    error answer, whose message the clients of the others find, too."""
    for dialect in DIALECTS:
        operation = dialect.operation(method, path)
        if operation is not None:
            return dialect, operation
    return DIALECTS[0], None

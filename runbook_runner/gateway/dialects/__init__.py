"""Gateway: the provider APIs it speaks. A new one is a module here and a row in the table."""

from typing import Final

from runbook_runner.gateway.dialects.anthropic import AnthropicMessages
from runbook_runner.gateway.dialects.base import Dialect, Operation
from runbook_runner.gateway.dialects.gemini import Gemini
from runbook_runner.gateway.dialects.openai_chat import OpenAIChat
from runbook_runner.gateway.dialects.openai_responses import OpenAIResponses

DIALECTS: Final[tuple[Dialect, ...]] = (AnthropicMessages(), OpenAIResponses(), OpenAIChat(), Gemini())


def recognise(method: str, path: str) -> tuple[Dialect, Operation | None]:
    """The API a request is written in. Without a match: the first one, to phrase the error in, and `None`; the others'
    clients find the message in it, too."""
    for dialect in DIALECTS:
        operation = dialect.operation(method, path)
        if operation is not None:
            return dialect, operation
    return DIALECTS[0], None

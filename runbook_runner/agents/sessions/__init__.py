"""Room `agents`, `sessions`: the session files that the CLIs keep on a user's machine, one JSON object a line."""

from typing import Any

from runbook_runner.agents.sessions.base import Form
from runbook_runner.agents.sessions.claude_code import FORM as _CLAUDE_CODE
from runbook_runner.agents.sessions.codex import FORM as _CODEX

FORMS = (_CODEX, _CLAUDE_CODE)


def form_of(line: Any) -> Form | None:
    """The CLI whose session begins with this line; `None`: none that is known."""
    if not isinstance(line, dict) or not isinstance(line.get("type"), str):
        return None
    return next((form for form in FORMS if form.is_of(line)), None)

"""Gateway: asks a model a question, through a session of the gateway: so the call is priced, counted against the budget
and recorded, has the provider's key, and can be replayed, as an agent's."""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from runbook_runner.core.asking.question import Answer, Question
from runbook_runner.gateway.ask.forms import Form
from runbook_runner.gateway.dialects import recognise
from runbook_runner.gateway.dialects.bodies import document
from runbook_runner.gateway.serve.session import Session

_WAITS_S: Final = (1.0, 4.0, 15.0)
"""Between one try and the next, where the provider does not say how long to wait."""
_LONGEST_WAIT_S: Final = 60.0
_ANSWER_S: Final = 1800.0  # the gateway itself gives up a provider that says nothing
_AGAIN: Final = (0, 408, 409, 429, 500, 502, 503, 504, 529)
_MAY_BE_THE_SCHEMA: Final = (400, 422)
_TOLD: Final = 500


class Asker:
    """Asks one model, again where that can help. An `Ask`."""

    def __init__(
        self, session: Session, address: tuple[str, int], form: Form, model: str, sleep: Callable[[float], None]
    ):
        """sleep: waits so many seconds; may raise to break it off."""
        self._session = session
        self._address = address
        self._form = form
        self._model = model
        self._sleep = sleep
        self._structured = True

    def __call__(self, question: Question) -> Answer:
        """What a provider answers to a schema that it does not take is taken for such an answer once: then the model
        is asked without."""
        for wait in (*_WAITS_S, None):
            status, headers, body = self._send(question)
            if status in _MAY_BE_THE_SCHEMA and self._structured and not self._session.failure:
                self._structured = False
                status, headers, body = self._send(question)
            if status == 200:
                return self._read(body)
            if wait is None or status not in _AGAIN or self._session.failure:
                break
            self._sleep(_wait_s(headers, wait))
        return Answer(problem=self._why(status, body))

    def _send(self, question: Question) -> tuple[int, Mapping[str, str], bytes]:
        body = self._form.body(self._model, question, self._structured)
        connection = HTTPConnection(*self._address, timeout=_ANSWER_S)
        fixed = {"content-type": "application/json", "authorization": f"Bearer {self._session.token}"}
        try:
            connection.request(
                "POST", self._form.path(self._model), json.dumps(body).encode(), {**fixed, **self._form.headers}
            )
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        except (OSError, HTTPException):  # the answer broke off, or could not be recorded
            return 0, {}, b""
        finally:
            connection.close()

    def _read(self, body: bytes) -> Answer:
        parsed = self._dialect.parse_response(body)
        if parsed.error:
            return Answer(problem=f"the model's provider answered with an error: {parsed.error[:_TOLD]}")
        data: Any = document(body)
        return Answer(self._form.text(data) if isinstance(data, dict) else "", parsed.stop)

    def _why(self, status: int, body: bytes) -> str:
        if failure := self._session.failure:
            return failure.message[:_TOLD]
        said = self._dialect.parse_response(body).error or "the connection broke"
        return f"the model was not reached{f' (HTTP {status})' if status else ''}: {said[:_TOLD]}"

    @property
    def _dialect(self) -> Any:
        return recognise("POST", self._form.path(self._model))[0]


def _wait_s(headers: Mapping[str, str], usual: float) -> float:
    with suppress(ValueError):
        wait = float(headers.get("retry-after", ""))
        return min(wait, _LONGEST_WAIT_S) if 0 <= wait < math.inf else usual
    return usual

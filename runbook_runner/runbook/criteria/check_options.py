"""Room `runbook`: the `code_checks:` block of the frontmatter (contract §3.11), with types and defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_runner.core.criteria import ChecksConfig, CheckSource, Executor
from runbook_runner.core.errors import InputError
from runbook_runner.core.settings import DEFAULT_CHECK_TIMEOUT_S, MAX_CHECK_TIMEOUT_S
from runbook_runner.runbook.parts.frontmatter import Frontmatter


def read_checks_config(front: Frontmatter, source: str) -> ChecksConfig:
    """Raises InputError with the line of `code_checks:` for a value of the wrong type."""
    if "code_checks" not in front.lines:
        return ChecksConfig()
    keys = _Keys(front.code_checks, f"{source}:{front.lines['code_checks']}")
    return ChecksConfig(
        line=front.lines["code_checks"],
        timeout_s=keys.timeout(),
        sources=keys.sources(),
        mcp_servers=keys.typed("mcp_servers", dict, {}),
        references=tuple(map(str, keys.typed("references", list, []))),
        executor=keys.executor(),
    )


@dataclass(frozen=True)
class _Keys:
    body: Mapping[str, Any]
    where: str

    def typed(self, key: str, kind: type, default: Any) -> Any:
        value = self.body.get(key)
        if value is None:
            return default
        if isinstance(value, kind):
            return value
        expected = "a mapping" if kind is dict else "a list" if kind is list else "text"
        raise self._wrong(key, expected)

    def timeout(self) -> int:
        value = self.body.get("timeout_sec")
        if value is None:
            return DEFAULT_CHECK_TIMEOUT_S
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong("timeout_sec", "a whole number of seconds")
        return min(value, MAX_CHECK_TIMEOUT_S)

    def executor(self) -> Executor:
        value = self.typed("executor", str, "jetty").strip().lower()
        if value == "agent":
            return "agent"
        if value == "jetty":
            return "jetty"
        raise self._wrong("executor", "jetty or agent")

    def sources(self) -> tuple[CheckSource, ...]:
        return tuple(map(self._source, self.typed("sources", list, [])))

    def _source(self, body: Any) -> CheckSource:
        if not isinstance(body, dict) or not all(isinstance(body.get(key), str) for key in ("name", "url")):
            raise self._wrong("sources", "a list of mappings with `name` and `url`")
        if body.get("type", "git") != "git":
            raise self._wrong("sources", "of the type git")
        ref, secret = body.get("ref"), body.get("secret")
        return CheckSource(body["name"], body["url"], None if ref is None else str(ref), secret and str(secret))

    def _wrong(self, key: str, expected: str) -> InputError:
        return InputError(f"`code_checks.{key}` must be {expected}.", where=self.where)

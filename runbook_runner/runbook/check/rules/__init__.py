"""Room `runbook`, `check`: which rules there are, and which of them apply: profile, select, ignore."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from typing import Literal, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.runbook.check.rules.subject import Rule, Subject

Profile = Literal["auto", "v1", "v2"]
PROFILES: tuple[Profile, ...] = ("auto", "v1", "v2")

_OWN = ("frontmatter", "sections", "variables", "code", "evaluation", "safety", "sandbox")
_PUBLISHED = {"v1": "published_v1", "v2": "published_v2"}


class Selection(NamedTuple):
    """Which rules are wanted. Codes are rule ids or their beginnings."""

    profile: Profile = "auto"
    select: tuple[str, ...] = ()
    """Empty: all rules that apply by default."""
    ignore: tuple[str, ...] = ()

    def admits(self, rule: Rule) -> bool:
        """The longer code wins: `--select RB301 --ignore RB3` leaves RB301."""
        wanted = _longest(rule.id, self.select)
        if self.select and wanted < 0:
            return False
        is_default = rule.default or self.profile != "auto" or wanted >= 0
        return is_default and _longest(rule.id, self.ignore) < max(wanted, 0)


def _longest(rule_id: str, codes: Iterable[str]) -> int:
    return max((len(code) for code in codes if rule_id.startswith(code)), default=-1)


def codes(text: str | Iterable[str]) -> tuple[str, ...]:
    """`RB3,rb401` → ("RB3", "RB401"). Raises InputError for a code that no rule has."""
    words = re.split(r"[\s,]+", text) if isinstance(text, str) else list(text)
    found = tuple(word.strip().upper() for word in words if word.strip())
    for code in found:
        if not re.fullmatch(r"RB\d{0,3}", code) or not any(rule.id.startswith(code) for rule in every_rule()):
            raise InputError(f"There is no rule {code!r}.", hint="`runbook check --rules` lists them.")
    return found


def every_rule() -> tuple[Rule, ...]:
    return tuple(rule for name in (*_OWN, *_PUBLISHED.values()) for rule in _table(name))


def rules_for(subject: Subject, selection: Selection) -> Sequence[Rule]:
    """The rules that apply to this text, in the order in which they run.

    `v1` and `v2` are the published validators and nothing else; `auto` is all our own rules and the validator
    for whose generation the file has marks, if any.
    """
    return _admitted(selection, _generation(subject) if selection.profile == "auto" else "")


@cache
def _admitted(selection: Selection, generation: str) -> Sequence[Rule]:
    if selection.profile == "auto":
        names = [*_OWN, *_PUBLISHED.get(generation, "").split()]
    else:
        names = [_PUBLISHED[selection.profile]]
    return [rule for name in names for rule in _table(name) if selection.admits(rule)]


def _generation(subject: Subject) -> str:
    return "v2" if subject.has_code_checks else "v1" if subject.has_v1_marks else ""


def _table(name: str) -> tuple[Rule, ...]:
    rules: tuple[Rule, ...] = import_module(f"runbook_runner.runbook.check.rules.{name}").RULES
    return rules

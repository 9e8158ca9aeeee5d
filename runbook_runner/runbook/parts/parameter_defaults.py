"""Room `runbook`: what the default cell of a parameter says (the vocabulary of contract §3.6)."""

import re
from typing import Literal, NamedTuple

from runbook_runner.runbook.markdown.tables import Cell
from runbook_runner.runbook.parts.substitution import BUILT_IN, substitute

Kind = Literal["value", "required", "conditional", "optional", "prose"]

_EMPTY = frozenset({"", "-", "--", "---", "–", "—", "empty", "none", "null", "n/a", "optional", "blank", "unset"})
_AGENT_DECIDES = "source default"
_YES = frozenset({"yes", "y", "true", "required", "always", "mandatory", "✓", "✔", "✔️", "✅", "x"})
_NO = frozenset({"no", "n", "false", "never", "✗", "✘", "❌"}) | _EMPTY
_CONDITIONS = ("required if", "required for", "required when", "required unless", "required with", "required by")

# A value needs no back-ticks only when it can't be meant as prose.
_PLAIN_VALUE = re.compile(r"-?\d+(?:\.\d+)?%?|true|false|(?:/|\./)\S*|https?://\S+|\"[^\"]*\"", re.IGNORECASE)
_NOTE = re.compile(r"\([^()]*\)")


class Default(NamedTuple):
    kind: Kind
    value: str | None = None
    prose: str = ""


def read_default(cell: Cell) -> Default:
    """`` `x` `` → value x; `*(required)*` → required; `required if …` → conditional; `none` → optional; anything
    else in words → prose, for the agent."""
    words = _bare(cell.text)
    if words == "required":
        return Default("required")
    if words.startswith("required") and not cell.text.startswith(cell.codes[:1] or ("\0",)):
        return Default("conditional", prose=cell.text)
    if words in _EMPTY and not cell.codes:
        return Default("optional")
    if words == _AGENT_DECIDES:
        return Default("prose", prose=cell.text)
    value = _literal(cell)
    if value is not None:
        return Default("value", substitute(value, BUILT_IN))
    kind: Kind = "optional" if words.startswith("optional") else "prose"
    return Default(kind, prose=cell.text)


def read_required(text: str) -> tuple[bool, bool]:
    """A Required column's cell → (required, conditional). `Yes`, `No`; any condition in words is conditional."""
    words = _bare(text)
    if words in _YES or words in _NO:
        return words in _YES, False
    return False, not words.startswith(("no", "optional"))


def required_in_text(text: str) -> Default:
    """For a table without a default column: required only when the text says just that in a clause of its own, as
    in `Brand name (required)`. `the required format` does not."""
    clauses = [clause.strip(" *_").lower() for clause in re.split(r"[.;,:()\[\]—–]| - ", text)]
    if any(clause.startswith(_CONDITIONS) for clause in clauses):
        return Default("conditional", prose=text)
    if any(re.fullmatch(r"(?:(?:this )?is |always )?required", clause) for clause in clauses):
        return Default("required")
    return Default("optional")


def _bare(text: str) -> str:
    """`*(required)*`, `Required.`, `[optional]` → the word, lower case."""
    return text.strip().lower().strip("*_()[]. ")


def _literal(cell: Cell) -> str | None:
    """The value the cell plainly gives: a code span, or a word that can only be a value, with nothing around it but
    notes in brackets. Of `/app/results` (Jetty) / `./results` (local) the first: every sandbox has `/app`."""
    if cell.codes:
        choices = list(cell.codes)
        around = _NOTE.sub(" ", cell.prose)
        if around.strip(" /,;|*") not in ("", "or"):
            return None
    else:
        choices = [choice.strip() for choice in re.split(r"(?<!\s)\s++(?:/|or)\s+", _NOTE.sub(" ", cell.text))]
        if not all(map(_PLAIN_VALUE.fullmatch, choices)):
            return None
    in_app = [choice for choice in choices if choice.startswith("/app/")]
    picked = in_app or choices
    return _unquoted(picked[0]) if in_app or len(choices) == 1 else None


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value

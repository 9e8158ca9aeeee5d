"""Core: removes secrets from all that is written: known values, however they are spelt, then well-known key patterns.

Used before the first byte is written. Reports say which rule and how often, never the value. Rules: contract §9.4,
field notes §9.4.
"""

from runbook_runner.core.redaction.names import looks_secret
from runbook_runner.core.redaction.patterns import PATTERNS
from runbook_runner.core.redaction.redactor import Redactor, mark
from runbook_runner.core.redaction.strength import weakness

__all__ = ["PATTERNS", "Redactor", "looks_secret", "mark", "weakness"]

"""Core: makes ids, slugs and storage keys (contract §1.1, §5.4, appendix E)."""

import re
import secrets
import unicodedata
from pathlib import PurePosixPath

NAME_HINT = "Use letters, digits, spaces, '-', '_' and single '.', at most 128; begin with a letter, a digit or '_'."
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_CLAIM_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{16}")
_TITLE_SUFFIX = "agent runbook"
_DASHES = "—–-"


def new_trajectory_id() -> str:
    """Eight lower-case hexadecimal characters."""
    return secrets.token_hex(4)


def new_claim_name(trajectory_id: str) -> str:
    """`0badcafe-9f86d081884c7d65`: the trajectory id and a random mark, so that what carries this name was made for
    this very claim. The paths of all that a run leaves on this machine are derived from it."""
    return f"{trajectory_id}-{secrets.token_hex(8)}"


def run_of_claim(name: str) -> str | None:
    """Returns the trajectory id in the name of a claim; `None` for a text of any other form."""
    return name[:8] if _CLAIM_NAME.fullmatch(name) else None


def new_run_token() -> str:
    """Opens the gateway for one run: 256 random bits, safe in URLs, headers and files."""
    return secrets.token_urlsafe(32)


def storage_path(collection: str, task: str) -> str:
    """`0000` is the platform's shard; it is constant in every capture."""
    return f"{collection}/{task}/0000"


def slug(text: str) -> str:
    return _NOT_SLUG.sub("-", text.lower()).strip("-")


def task_from_title(title: str) -> str:
    """`Sales Report — Agent Runbook` → `sales-report`, `Café` → `cafe`; empty without a Latin letter or a digit."""
    title = "".join(letter for letter in unicodedata.normalize("NFKD", title) if not unicodedata.combining(letter))
    title = title.rstrip()
    if title[-len(_TITLE_SUFFIX) :].lower() == _TITLE_SUFFIX:
        before = title[: -len(_TITLE_SUFFIX)].rstrip()
        title = before if before.endswith(tuple(_DASHES)) else title  # which the slug drops
    return slug(title)


def is_name(text: str) -> bool:
    """A collection or task name is one safe path segment: see NAME_HINT."""
    return bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}", text)) and ".." not in text


def artifact_name(sandbox_path: str) -> str:
    """`/app/results/a.b/chart.png` → `app--results--a-b--chart.png` (contract §5.4)."""
    path = PurePosixPath(sandbox_path.lstrip("/"))
    folders = "--".join(path.parts[:-1]).replace(".", "-")
    stem = path.stem.replace(".", "-")
    return "--".join(part for part in (folders, stem) if part) + path.suffix


def artifact_key(collection: str, task: str, trajectory_id: str, step: str, number: int, sandbox_path: str) -> str:
    """Storage key of one artifact: `acme/t/0000/bb2bb71e.run.0000.app--results--output.md`."""
    return f"{storage_path(collection, task)}/{trajectory_id}.{step}.{number:04d}.{artifact_name(sandbox_path)}"

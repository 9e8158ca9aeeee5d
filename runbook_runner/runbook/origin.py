"""Room `runbook`: where an imported runbook comes from: the `origin:` of the frontmatter (contract §3.14)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_runner.runbook.frontmatter import Frontmatter


@dataclass(frozen=True)
class Attribution:
    collection_or_org: str | None = None
    source_collection: str | None = None
    skill_name: str | None = None
    author: str | None = None
    license: str | None = None
    confidence: str | None = None


@dataclass(frozen=True)
class Origin:
    line: int
    url: str | None = None
    source_host: str | None = None
    source_title: str | None = None
    imported_at: str | None = None
    """As it is written."""
    imported_by: str | None = None
    license: str | None = None
    notice: str | None = None
    is_directory_mirror: bool = False
    user_supplied_url: str | None = None
    attribution: Attribution = Attribution()


_TEXTS = (
    "url",
    "source_host",
    "source_title",
    "imported_at",
    "imported_by",
    "license",
    "notice",
    "user_supplied_url",
)
_ATTRIBUTION = tuple(Attribution.__dataclass_fields__)


def read_origin(front: Frontmatter) -> Origin | None:
    """`None` without the key or with nothing under it. Nobody acts on it, so odd values are spelled, not refused."""
    if not front.origin:
        return None
    inner = front.origin.get("attribution")
    return Origin(
        line=front.lines["origin"],
        is_directory_mirror=front.origin.get("is_directory_mirror") is True,
        attribution=Attribution(**_texts(inner, _ATTRIBUTION)) if isinstance(inner, dict) else Attribution(),
        **_texts(front.origin, _TEXTS),
    )


def _texts(body: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: str(body[key]) for key in keys if body.get(key) is not None}

"""Room `runbook`: the inline links of a Markdown text. Only the parser knows which of them stand in code."""

from collections.abc import Iterator
from typing import Any

import pyromark

_OPTIONS = pyromark.Options.ENABLE_TABLES


def inline_links(text: str) -> Iterator[tuple[int, str]]:
    """Links and images outside code: UTF-8 byte offset and destination, in order."""
    for event, span in pyromark.events_with_range(text, options=_OPTIONS):
        tag: Any = event.get("Start") if isinstance(event, dict) else None
        if isinstance(tag, dict) and (link := tag.get("Link") or tag.get("Image")) and link["link_type"] == "Inline":
            yield span["start"], link["dest_url"]

"""Room `runbook`: the inline links of a Markdown text. Only the parser knows which of them stand in code."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyromark

from runbook_runner.runbook.markdown import MAX_PIECES
from runbook_runner.runbook.tables import OPTIONS


def inline_links(text: str) -> Iterator[tuple[int, str]]:
    """Links and images outside code: UTF-8 byte offset and destination, in order;
    of an endless text those at its beginning."""
    for event, span in islice(pyromark.events_with_range(text, options=OPTIONS), MAX_PIECES):
        tag: Any = event.get("Start") if isinstance(event, dict) else None
        if isinstance(tag, dict) and (link := tag.get("Link") or tag.get("Image")) and link["link_type"] == "Inline":
            yield span["start"], link["dest_url"]

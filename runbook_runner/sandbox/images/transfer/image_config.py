"""Docker sandbox: what an imported image says of itself, written anew: whoever made the file may have written anything,
and much of it has effects later: triggers of builds (ONBUILD), volumes, commands that the engine runs (HEALTHCHECK)."""

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from runbook_runner.core.errors import InputError
from runbook_runner.sandbox.images.recipe import FILES_LABEL, LAYERS_LABEL, ORIGIN_LABEL, SNAPSHOT_LABEL

_OUR_LABELS: Final = (FILES_LABEL, SNAPSHOT_LABEL, LAYERS_LABEL, ORIGIN_LABEL)
_DIFF_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLATFORM: Final = re.compile(r"[a-z0-9]{1,32}")
_CREATED: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_OF_THE_KERNEL: Final = {"proc", "sys", "dev"}
_AT_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCKS_DIFFER: Final = timedelta(days=1)


def rewritten(image: Mapping[str, Any], layers: int, name: str) -> bytes:
    """Returns the configuration (Docker Image Specification v1.2) that an engine gets: the same for the same image, and
    for what was written so. image: what the file has, with the names of its fields in small letters. layers: how many
    the list of the file gives it. name: for messages. Raises InputError for one with ONBUILD instructions, ValueError
    and the like."""
    config = image.get("config") or {}
    if config.get("onbuild"):
        raise InputError(
            f"The image {name} has ONBUILD instructions, which would run in the builds of what is put on it.",
            hint="Build the snapshot without ONBUILD, and export it again.",
        )
    created = _created(image.get("created"))
    written = {
        "architecture": _platform(image.get("architecture") or ""),
        "os": _platform(image.get("os") or "linux"),
        "created": created,
        "config": {key: value for key, value in _run(config) if value},
        "rootfs": {"type": "layers", "diff_ids": _diff_ids((image.get("rootfs") or {}).get("diff_ids") or [], layers)},
        "history": [{"created": created, "created_by": "runbook snapshots import"}] * layers,  # Podman wants one each
    }
    return json.dumps(written, ensure_ascii=False).encode()


def _run(config: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    variables = [entry for entry in _texts(config.get("env") or []) if entry.find("=") > 0]  # others: Podman's own
    labels = {key: _text(value) for key, value in (config.get("labels") or {}).items() if key in _OUR_LABELS}
    return (
        ("User", _text(config.get("user") or "")),
        ("Env", variables),
        ("Entrypoint", _texts(config.get("entrypoint") or [])),
        ("Cmd", _texts(config.get("cmd") or [])),
        ("WorkingDir", _folder(_text(config.get("workingdir") or ""))),
        ("Labels", labels),
    )


def _folder(found: str) -> str:
    """What is no path inside becomes `/`: `/proc/self/fd/7` has been a folder of the host (CVE-2024-21626)."""
    if not found:
        return ""
    path = f"/{posixpath.normpath(found).strip('/')}"
    plain = found.startswith("/") and ".." not in found.split("/") and path.split("/")[1] not in _OF_THE_KERNEL
    return path if plain else "/"


def _diff_ids(found: Any, layers: int) -> list[str]:
    if len(found) != layers or not all(map(_DIFF_ID.fullmatch, _texts(found))):
        raise ValueError("other layers than the list says")
    return list(found)


def _platform(found: Any) -> str:
    return found if _PLATFORM.fullmatch(_text(found)) else ""


def _created(found: Any) -> str:
    """As it is, unless it is of before 1970 or of the future: the newest of some images is one that is kept."""
    try:
        if match := _CREATED.fullmatch(found):
            at = datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))
            if _AT_NO_TIME <= at <= datetime.now(UTC) + _CLOCKS_DIFFER:
                return match[0]
    except (TypeError, ValueError, OverflowError):
        pass
    return "1970-01-01T00:00:00Z"


def _texts(found: Any) -> list[str]:
    return [_text(item) for item in ([found] if isinstance(found, str) else found)]


def _text(found: Any) -> str:
    """Raises ValueError for what is no text, or not UTF-8."""
    if not isinstance(found, str):
        raise ValueError("what is no text in a configuration")
    found.encode()
    return found

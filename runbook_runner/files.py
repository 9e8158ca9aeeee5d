"""The one place that writes whole files: aside, then renamed, so that nobody ever sees half of one."""

import secrets
from pathlib import Path


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replaces `path`; its folder must exist. Raises OSError, with the old content intact."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise

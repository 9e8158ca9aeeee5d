"""Core: asks a program for its version."""

import re
import subprocess
from pathlib import Path
from typing import Final

VERSION: Final = re.compile(r"\d+(\.\d+)+\S*")


def version_of(program: Path | str, *, timeout_s: float = 20.0) -> str | None:
    """What `PROGRAM --version` prints; `None` when it does not start, prints no version or takes longer."""
    try:
        ran = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = VERSION.search(ran.stdout)
    return match[0] if match else None

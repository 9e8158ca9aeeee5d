"""Command line: reports a bug of this program: one sentence, and a file that can be pasted into an issue."""

import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path

from runbook_runner import __version__
from runbook_runner.core.clock import now_iso
from runbook_runner.runner.request.secrets import redactor_for_environment


def report(bug: Exception) -> None:
    """Writes the message to stderr and the traceback, without secrets, to a temporary file."""
    head = f"runbook {__version__}, Python {platform.python_version()}, {platform.platform()}, {now_iso()}"
    text = "\n".join([head, "arguments: " + " ".join(sys.argv[1:]), "", *traceback.format_exception(bug)])
    clean = redactor_for_environment(os.environ).clean(text)
    sys.stderr.write(f"error: This is a bug in runbook: {type(bug).__name__}.\n")
    try:
        with tempfile.NamedTemporaryFile(prefix="runbook-crash-", suffix=".log", delete=False) as log:
            log.write(clean.encode("utf-8", "backslashreplace"))
    except OSError as error:
        sys.stderr.write(f"Please send this to the developers; no file can be written ({error.strerror}):\n{clean}")
        return
    sys.stderr.write(f"What happened is in {Path(log.name)}; please send it to the developers.\n")

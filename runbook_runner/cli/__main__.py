"""Command line: the entry point and the one place where an error becomes a message and an exit code."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from runbook_runner.cli.app import call
from runbook_runner.cli.ui.output import OutputError, prepare_streams, warn
from runbook_runner.core.errors import ExitCode, RunbookError
from runbook_runner.core.network.open_files import raise_limit
from runbook_runner.core.programs import search_path


def main() -> None:
    _read_names_as_utf8()
    _exit(run())


def _read_names_as_utf8() -> None:
    """Starts this program once more where the locale has another encoding: arguments, names of files and what is in
    them are UTF-8 all the same. What is shown stays as the terminal reads it."""
    if sys.getfilesystemencoding() != "utf-8" and "PYTHONUTF8" not in os.environ:
        shown = sys.stdout.encoding if sys.stdout else "utf-8"
        os.environ.update(PYTHONUTF8="1", PYTHONIOENCODING=shown)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself


def run() -> int:
    """Does what the command line says; returns the exit code."""
    try:
        code = _call()
        sys.stdout.flush()
        return code
    except RunbookError as error:
        for warning in error.warnings:
            warn(warning)
        _print_error(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _print_error("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, FileNotFoundError) and _is_nowhere():
            _print_error("error: The current folder does not exist any more.\nChange to another one.")
            return ExitCode.BAD_INPUT
        from runbook_runner.cli.ui.crash import report

        report(error)
        # For hooks, exit code 3 of `check` says that the checker itself failed.
        return ExitCode.NOT_READY if sys.argv[1:2] == ["check"] else ExitCode.INTERNAL


def _call() -> int:
    prepare_streams()
    raise_limit()
    # What libraries start (docker-credential-…, other Pythons) is not looked for in the current folder either.
    os.environ.update(PATH=search_path(), PYTHONSAFEPATH="1")
    # We have no plugins for pydantic; to look for some, it reads about every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        return call(sys.argv[1:])
    except SystemExit as ended:  # after --help and --version
        return ended.code if isinstance(ended.code, int) else ExitCode.PASS


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _exit(code: int) -> NoReturn:
    """Ends the process at once: freeing a hundred thousand objects first costs 10 to 20 ms."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, OutputError):
            stream.flush()
    os._exit(code)


def _print_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()

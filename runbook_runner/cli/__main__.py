"""Command line: the entry point and the one place where an error becomes a message and an exit code."""

import os
import sys
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

from runbook_runner.cli.app import call
from runbook_runner.cli.ui.output import OutputError, prepare_streams, put_json, warn
from runbook_runner.core.errors import CancelledError, ExitCode, InputError, RunbookError
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
        return error.exit_code if error.follows_json else _with_json(str(error), error.code, error.exit_code)
    except KeyboardInterrupt:
        _print_error("interrupted")
        return _with_json("interrupted", CancelledError.code, ExitCode.INTERRUPTED)
    except Exception as error:
        if isinstance(error, FileNotFoundError) and _is_nowhere():
            gone = InputError("The current folder does not exist any more.", hint="Change to another one.")
            _print_error(f"error: {gone}")
            return _with_json(str(gone), gone.code, gone.exit_code)
        from runbook_runner.cli.ui.crash import report

        report(error)
        # For hooks, exit code 3 of `check` says that the checker itself failed.
        code = ExitCode.NOT_READY if sys.argv[1:2] == ["check"] else ExitCode.INTERNAL
        return _with_json(f"This is a bug in runbook: {type(error).__name__}.", "internal", code)


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


def _with_json(error: str, error_code: str, exit_code: ExitCode) -> ExitCode:
    """Prints the error on stdout as well for who asked for JSON, be it in a command line that is wrong."""
    options = takewhile(lambda word: word != "--", sys.argv[1:])
    if "--json" in options:
        with suppress(OutputError):
            put_json({"status": "error", "error": error, "error_code": error_code, "exit_code": exit_code})
    return exit_code


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

"""Command line: the entry point and the one place where an error becomes a message and an exit code."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from runbook_runner import __version__
from runbook_runner.cli.ui.output import OutputError, install
from runbook_runner.core.errors import ExitCode, RunbookError

_QUICK = {"run": "run_options", "replay": "replay"}


def main() -> None:
    _leave(run())


def run() -> int:
    """Does what the command line says; the exit code."""
    try:
        code = _call()
        sys.stdout.flush()
        return code
    except RunbookError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.PASS
    except Exception as bug:
        from runbook_runner.cli.ui.crash import report

        report(bug)
        return ExitCode.NOT_READY if _is_check() else ExitCode.INTERNAL


def _call() -> int:
    install()
    if sys.argv[1:] in (["--version"], ["-V"]):  # before anything that takes time to import
        sys.stdout.write(f"runbook {__version__}\n")
        return ExitCode.PASS
    _make_haste()
    if _is_check():
        from runbook_runner.cli.check_quick import read

        arguments = read(sys.argv[2:])
        if arguments is not None:
            from runbook_runner.cli.author.check import execute

            return execute(arguments)
    if sys.argv[1:2] in (["run"], ["replay"]):
        from importlib import import_module

        command = getattr(import_module(f"runbook_runner.cli.runs.{_QUICK[sys.argv[1]]}"), sys.argv[1])
        read_arguments = command.read(sys.argv[2:])
        if read_arguments is not None:
            return int(command.function(read_arguments))
    from runbook_runner.cli.app import build

    try:
        build()()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else ExitCode.PASS
    return ExitCode.PASS


def _make_haste() -> None:
    import gc

    # Imports make a hundred thousand objects that stay; looking through them again and again costs a tenth of a second.
    gc.set_threshold(100_000)
    # Plugins of pydantic's are none of ours; to look for them is to read about every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _leave(code: int) -> NoReturn:
    """At once: taking down a hundred thousand objects that the process's end frees anyway costs 10 to 20 ms."""
    with suppress(OSError, OutputError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _is_check() -> bool:
    """The command that must be instant, and whose exit code 3 says that the checker failed (contract of hooks)."""
    return sys.argv[1:2] == ["check"]


def _say(text: str) -> None:
    with suppress(OSError):  # where nobody can be told, the exit code still tells
        sys.stderr.write(f"{text}\n")


def _silence_stdout() -> None:
    """Whoever read us has gone; what is left is written nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()

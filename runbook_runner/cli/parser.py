"""Command line: the parser of every command: argparse, with messages like our other errors and help printed by rich."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from runbook_runner.cli.ui.output import put_styled
from runbook_runner.core.errors import InputError
from runbook_runner.core.formats.numbers import MOST
from runbook_runner.core.text import did_you_mean, encodable, nearest

_USAGE = {None: "{}", "?": "[{}]", "*": "[{}...]", "+": "{}...", argparse.REMAINDER: "[-- {}...]"}
"""How the usage line shows an argument, by its `nargs`."""


_NUMBERS = {
    "RATE": "a number from 0 to 1",
    "WIDTH": "a number from 0 to 1",
    "SECONDS": "a number of seconds, such as 300",
    "USD": "an amount of USD, such as 0.50",
    "CORES": "a number of cores, such as 1.5",
    "N": "a whole number, such as 20",
}
"""What an option with this metavar takes."""
_NAME_FILES = frozenset({"PATH", "TRAJECTORY", "ID", "RUN", "A", "B", "OTHER", "RUNBOOK", "COMMAND"})
"""What has this metavar and is not an option may be the name of a file or folder, whose bytes need not be UTF-8."""


class CommandModule(Protocol):
    """What the module of a command has."""

    DESCRIPTION: str
    """What `--help` prints below the command's summary."""

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments and options."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Does what the command is for and returns the exit code. Raises RunbookError."""


class Parser(argparse.ArgumentParser):
    """Parses the arguments of one command, or finds the command of a group.

    Raises InputError for a command line that is wrong, and SystemExit after `--help` and `--version`.
    """

    def __init__(self, *, module: str | None = None, **settings: Any):
        """module: that of a command, imported when its arguments are parsed or shown; `None` for a group."""
        # With a width, because argparse imports shutil to ask for one whenever an argument is added.
        formatter = partial(argparse.HelpFormatter, width=80)
        super().__init__(allow_abbrev=False, add_help=False, formatter_class=cast(Any, formatter), **settings)
        self._module = module
        self._is_command = module is not None
        self.instead: dict[str, str] = {}
        """An option that other commands have → what this one has for it."""
        self.elsewhere: dict[str, str] = {}
        """Of a group: a command that it does not have → the command lines that do."""
        self.add_argument("-h", "--help", action="help", help="Print this help.")

    def add_commands(self) -> "argparse._SubParsersAction[Parser]":
        """Makes it a group. Commands, and groups of commands, are added to what this returns."""
        self.usage = f"{self.prog} [OPTIONS] COMMAND [ARGUMENTS]..."
        self.set_defaults(execute=self._print_help)
        return self.add_subparsers(title="commands", prog=self.prog, metavar="COMMAND")

    def _print_help(self, _: argparse.Namespace) -> int:
        """What a group does without a command; returns the exit code for bad input."""
        self.print_help()
        return InputError.exit_code

    def load(self) -> None:
        """Imports the module of a command and takes its declarations; does nothing the second time."""
        if self._module is None:
            return
        module = cast(CommandModule, import_module(self._module))
        self._module = None
        self.description = f"{self.description}\n\n{module.DESCRIPTION}".strip()
        module.declare(self)
        self.set_defaults(execute=module.execute)
        arguments = (action for action in self._actions if not action.option_strings)
        words = (_USAGE[cast("str | None", action.nargs)].format(action.metavar) for action in arguments)
        self.usage = self.usage or " ".join([self.prog, "[OPTIONS]", *words])

    def _print_message(self, message: str, file: Any = None) -> None:
        put_styled(message)

    def format_help(self) -> str:
        self.load()
        self.formatter_class = _help_formatter()
        return super().format_help()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Takes options and arguments in any order, and after `--` only arguments. (`parse_intermixed_args` of
        Python 3.11 loses the `--`.)"""
        if not self._is_command:
            words = sys.argv[1:] if args is None else args
            first = takewhile(lambda word: word.startswith("-") and word != "--", words)
            self._refuse_options([*first])  # before the command, which could be wrong as well
            found, rest = super().parse_known_args(args, namespace or argparse.Namespace())
            self._refuse_options(rest)
            return found, rest
        self.load()
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        with self._only(lambda action: bool(action.option_strings)):
            found, rest = super().parse_known_args(words[:end], namespace or argparse.Namespace())
        self._refuse_options(rest)
        rest += words[end + 1 :]
        with self._only(lambda action: not action.option_strings):
            found, rest = super().parse_known_args(["--", *rest] if rest else [], found)
        if rest:
            self.error(f"unexpected argument {rest[-1]!r}")
        return found, []

    @contextmanager
    def _only(self, wanted: Callable[[argparse.Action], bool]) -> Iterator[None]:
        every = self._actions
        self._actions = list(filter(wanted, every))
        try:
            yield
        finally:
            self._actions = every

    def _refuse_options(self, words: Sequence[str]) -> None:
        for word in words:
            if word.startswith("-") and word != "-":
                name = word.partition("=")[0]
                options = [option for action in self._actions for option in action.option_strings]
                if name in options:
                    continue
                # Compared without the dashes, which would make short options look alike.
                near = nearest(name.lstrip("-"), [option.lstrip("-") for option in options])
                like = next((option for option in options if option.lstrip("-") == near), None)
                meant = self.instead.get(name, like)
                hint = f"Did you mean {meant!r}?" if meant else None
                raise self._error(f"Unknown option {name!r}.", hint)

    def error(self, message: str) -> NoReturn:
        """Raises a message of argparse's as an InputError."""
        raise self._error(f"{message[0].upper()}{message[1:]}.")

    def _error(self, message: str, hint: str | None = None) -> InputError:
        return InputError(message, hint=" ".join(filter(None, [hint, f"See `{self.prog} --help`."])))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """An empty value is most often a variable that is not set. Only a text and the words of a command may be
        empty."""
        is_text = action.metavar == "TEXT" or action.nargs in (argparse.REMAINDER, argparse.PARSER)
        if not arg_string.strip() and not is_text:
            name = f"The value of {action.option_strings[-1]}" if action.option_strings else str(action.metavar)
            raise self._error(f"{name} is empty.")
        if not _may_name_file(action) and encodable(arg_string) != arg_string:
            raise self._error(f"The argument {arg_string!r} is not UTF-8.")
        try:
            value = super()._get_value(action, arg_string)
            if isinstance(value, int) and abs(value) > MOST:
                raise argparse.ArgumentError(action, "too large")
            return value
        except argparse.ArgumentError as error:
            if action.type not in (int, float):
                raise
            wanted = _NUMBERS[str(action.metavar)]
            raise self._error(f"{action.option_strings[-1]} must be {wanted}.") from error

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        name = action.option_strings[-1] if action.option_strings else str(action.metavar).lower()
        hint = did_you_mean(str(value), known) or f"Known: {', '.join(known)}."
        if value in self.elsewhere and isinstance(action, argparse._SubParsersAction):
            hint = f"It is {self.elsewhere[value]}."
        raise self._error(f"Unknown {name} {value!r}.", hint)


def _may_name_file(action: argparse.Action) -> bool:
    is_argument = not action.option_strings and action.metavar in _NAME_FILES
    return action.type is Path or is_argument or action.nargs == argparse.PARSER


def _help_formatter() -> type[argparse.HelpFormatter]:
    from rich.text import Text  # which only the help needs
    from rich_argparse.contrib import ParagraphRichHelpFormatter

    class Formatter(ParagraphRichHelpFormatter):
        def _rich_format_action(self, action: argparse.Action) -> Iterator[Any]:
            """Commands are rows like options; the row of what holds them would only say COMMAND."""
            rows = action._choices_actions if isinstance(action, argparse._SubParsersAction) else (action,)
            for row in rows:
                yield from super()._rich_format_action(row)

        def _rich_fill_text(self, text: Text, width: int, indent: Text) -> Text:
            """Lines that are indented are an example, and stay lines."""
            filled = Text()
            for number, paragraph in enumerate(text.split("\n\n")):
                filled += Text("\n" if number else "")
                is_example = paragraph.plain.startswith("  ")
                filled += paragraph + Text("\n") if is_example else super()._rich_fill_text(paragraph, width, indent)
            return filled

    Formatter.group_name_formatter = lambda name: name.removeprefix("positional ").capitalize()
    Formatter.help_markup = Formatter.text_markup = False
    return Formatter

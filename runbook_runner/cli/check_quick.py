"""Command line: reads `runbook check`'s arguments without typer, which takes longer to import than 50 files to check.

Only what is plainly right: for help, and for whatever this does not understand, typer has its say. A test holds this
table and the command's options together.
"""

from collections.abc import Sequence

from runbook_runner.cli.author.check import FORMATS, Arguments

VALUES = {"--select": "select", "--ignore": "ignore", "--profile": "profile", "--format": "format"}
FLAGS = {"--fix": "fix", "--diff": "diff", "--rules": "rules"}
_MANY = ("select", "ignore")


def read(argv: Sequence[str]) -> Arguments | None:
    """argv: what follows `check`. `None`: ask typer."""
    paths: list[str] = []
    flags: dict[str, bool] = {}
    values: dict[str, list[str]] = {name: [] for name in VALUES.values()}
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            paths.append(word)
        elif word in FLAGS:
            flags[FLAGS[word]] = True
        elif option in VALUES and (given := value if equals else next(words, "")) and not given.startswith("-"):
            values[VALUES[option]].append(given)
        else:
            return None
    single = {name: given[-1] for name, given in values.items() if given and name not in _MANY}
    if single.get("format", FORMATS[0]) not in FORMATS:
        return None
    many = {name: tuple(values[name]) for name in _MANY}
    return Arguments(paths=tuple(paths), **many, **flags, **single)  # type: ignore[arg-type]

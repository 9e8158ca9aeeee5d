"""Room `runbook`, `quoting`: the values of a run put into a block of code."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from runbook_runner.core.declared import Block
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.parts.substitution import PLACEHOLDER, spell, substitute
from runbook_runner.runbook.quoting.places import Place, UnquotableError, unquotable_places

_PYTHON: Final = ("python", "python3")
_HINTS: Final = {
    "python": 'Read it from a string: NAME = "{{name}}" on a line of its own, and use NAME here.',
    "bash": "Set a variable: NAME={{name}} on a line of its own, and use $NAME here "
    "(in arithmetic, once the block has checked that it is a number).",
}


def places(code: str, language: str, names: Collection[str]) -> list[Place]:
    """The placeholders of these names in a shell or Python block, in order."""
    if "{{" not in code:
        return []
    found = _places_in(language)(code, names)
    starts = [match.start() for match in PLACEHOLDER.finditer(code) if match["name"] in names]
    if starts != [place.start for place in found]:
        return list(unquotable_places(code, names, "in code that is not understood"))
    return found


def _places_in(language: str) -> Callable[[str, Collection[str]], list[Place]]:
    """Their modules are imported for code that has placeholders."""
    if language in _PYTHON:
        from runbook_runner.runbook.quoting.python_code import python_places

        return python_places
    from runbook_runner.runbook.quoting.shell_code import shell_places

    return shell_places


def hint(language: str, name: str) -> str:
    """What removes an unquotable place."""
    return _HINTS["python" if language in _PYTHON else "bash"].replace("name", name)


def fill_block(block: Block, values: Mapping[str, object], secret_envs: Mapping[str, str], source: str) -> Block:
    """The block with each value written as data for the place it stands in. Raises InputError, with the line in the
    source, for a value that can't be."""
    parts, last, line = [], 0, block.line + 1
    for place in places(block.code, block.language, values.keys()):
        line += block.code.count("\n", last, place.start)
        try:
            written = place.write(spell(values[place.name]))
        except UnquotableError as error:
            raise InputError(
                f"The value of {{{{{place.name}}}}} can't be quoted: the placeholder stands {error}.",
                where=f"{source}:{line}",
                hint=hint(block.language, place.name),
            ) from error
        parts += [substitute(block.code[last : place.start], {}, secret_envs), written]
        line += block.code.count("\n", place.start, place.end)
        last = place.end
    return block._replace(code="".join([*parts, substitute(block.code[last:], {}, secret_envs)]))

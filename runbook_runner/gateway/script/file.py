"""Gateway: reads a model script file; its errors name the line."""

import re
from pathlib import Path
from typing import Any, Final

import yaml
from frontmatter.default_handlers import SafeLoader  # libyaml's, or pure Python where that is missing
from pydantic import TypeAdapter, ValidationError

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import read_found, text_of
from runbook_runner.core.formats.yaml_text import YamlText
from runbook_runner.core.invalid import UNKNOWN_KEY, Problem, problem_of, unknown_key
from runbook_runner.gateway.script.script import ModelScript
from runbook_runner.gateway.script.turns import ScriptedTool, ScriptedUsage, Turn

MAX_BYTES: Final = 10_000_000
_SHAPE: Final = 'A model script is a YAML list of turns, such as `- shell: "python3 main.py"` or `- say: "Done."`.'
_KEYS: Final = {
    "tool": tuple(ScriptedTool.model_fields),
    "tools": tuple(ScriptedTool.model_fields),
    "usage": tuple(ScriptedUsage.model_fields),
}
_NAMES: Final = {*Turn.model_fields, *ScriptedTool.model_fields, *ScriptedUsage.model_fields}
"""Names that can be in the place of an error. pydantic also puts the alternatives there that it tried."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""A recorded answer may hold half of a pair, which libyaml refuses and PyYAML's own, slower loader reads."""
_TURNS: Final = TypeAdapter(tuple[Turn, ...])


def load_script(path: Path) -> ModelScript:
    """Returns the script in this file. Raises InputError with `where` = `FILE` or `FILE:LINE`."""
    content = text_of(read_found(path, "model script", MAX_BYTES), str(path))
    loader = yaml.SafeLoader if _SURROGATE.search(content) else SafeLoader
    text = YamlText(content, str(path), longest=MAX_BYTES, loader=loader)
    root = text.root()
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise InputError("There are no turns in this file.", where=str(path), hint=_SHAPE)
    text.require_unique(root, hint="Start a new turn with `- `.")
    try:
        turns = _TURNS.validate_python(tuple(map(text.value, root.value)))
    except ValidationError as error:
        raise _explain(text, root, problem_of(error)) from None
    return ModelScript(path, turns, tuple(text.line(turn.start_mark) for turn in root.value))


def script_schema() -> dict[str, Any]:
    """The JSON Schema of a model script."""
    return _TURNS.json_schema()


def _explain(text: YamlText, root: yaml.Node, problem: Problem) -> InputError:
    place = problem.place
    where = f"{text.source}:{text.line_of(root, place)}"
    if problem.kind == UNKNOWN_KEY:
        return _unknown_key(where, place)
    if problem.kind in ("model_type", "model_attributes_type") and len(place) == 1:
        return InputError("A turn is a mapping.", where=where, hint=_SHAPE)
    name = ".".join(str(part) for part in place[1:] if isinstance(part, int) or part in _NAMES)
    return InputError(f"{name}: {problem.message}." if name else problem.message, where=where)


def _unknown_key(where: str, place: tuple[int | str, ...]) -> InputError:
    key = str(place[-1])
    parent = next((part for part in reversed(place[:-1]) if isinstance(part, str)), "")
    known = _KEYS.get(parent, tuple(Turn.model_fields))
    return unknown_key(key, known, where)

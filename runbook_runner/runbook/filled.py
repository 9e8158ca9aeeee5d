"""Room `runbook`: a document with the values of a run: its mission, and what it asks for.

A value is data. Which sections, steps, code blocks and outputs there are is read from the document as it is written;
the values are put in afterwards. Only a word or a number is put in before (`## Step {{n}}`, `bytes: {{n}}`): it can
open or close nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from runbook_runner.core import ids
from runbook_runner.core.declared import Block, RequiredOutput
from runbook_runner.core.errors import InputError
from runbook_runner.runbook.document import Runbook, parse
from runbook_runner.runbook.mission import render
from runbook_runner.runbook.parts.outputs import required_outputs
from runbook_runner.runbook.parts.steps import language_of, step_blocks
from runbook_runner.runbook.parts.substitution import BUILT_IN, spell, substitute
from runbook_runner.runbook.quoting.fill import fill_block

if TYPE_CHECKING:
    from runbook_runner.core.criteria import CodeCheck, Criteria

_WORD = re.compile(r"[A-Za-z0-9]\w*(?:[.-]\w+)*%?", re.ASCII)


class Filled:
    def __init__(self, runbook: Runbook, values: Mapping[str, object]):
        """values: those that were given to parameters; they win over the built-in ones, and these over defaults."""
        defaults = {p.name: p.default for p in runbook.parameters if p.default is not None}
        self._runbook = runbook
        self._values = {**defaults, **BUILT_IN, **values}
        self._secret_envs = {secret.name: secret.env for secret in runbook.frontmatter.secrets}
        self._text = partial(substitute, values=self._values, secret_envs=self._secret_envs)

    @cached_property
    def mission(self) -> str:
        """All of it, and who runs the code checks."""
        note = ""
        if self._runbook.section("code checks"):
            from runbook_runner.runbook.criteria.note import checks_note

            note = checks_note(self.criteria)
        return render(self._runbook, self._values) + note

    @cached_property
    def _shape(self) -> Runbook:
        """The document with words and numbers alone. No line of it moves."""
        words = {name: value for name, value in self._values.items() if _WORD.fullmatch(spell(value))}
        head = self._runbook.text[: len(self._runbook.text) - len(self._runbook.body)]
        text = head + substitute(self._runbook.body, words)
        return self._runbook if text == self._runbook.text else parse(text, self._runbook.source)

    @cached_property
    def outputs(self) -> tuple[RequiredOutput, ...]:
        return required_outputs(self._shape.outline, self._text)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The code blocks of the steps. Raises InputError, with the line, for a value that can't be quoted in one."""
        written = {fence.line: fence.code for fence in self._runbook.outline.fences}
        return tuple(
            self._block(Block(" ".join(self._text(heading).split()), language, written[line], line))
            for heading, language, _, line in step_blocks(self._shape.text)
        )

    def _block(self, block: Block) -> Block:
        return fill_block(block, self._values, self._secret_envs, self._runbook.source)

    @cached_property
    def criteria(self) -> "Criteria":
        """How the run is judged; a check with a value that can't be quoted has a problem."""
        criteria = self._shape.criteria
        rubric, script = _each_text(criteria.rubric, self._text), criteria.verification
        if rubric:
            rubric = replace(rubric, criteria=tuple(replace(c, id=ids.slug(c.name)) for c in rubric.criteria))
        if script:
            script = replace(script, code=self._code(script.code, script.language, script.line)[0])
        items = _each_text(criteria.checklist, self._text)
        return replace(
            criteria,
            rubric=rubric,
            statuses=_each_text(criteria.statuses, self._text),
            checklist=tuple(replace(item, id=ids.slug(item.text)) for item in items),
            code_checks=tuple(map(self._check, criteria.code_checks)),
            verification=script,
        )

    def _check(self, check: "CodeCheck") -> "CodeCheck":
        filled: CodeCheck = _each_text(check, self._text)
        if check.kind != "command":
            return filled
        code, problem = self._code(check.code, language_of(check.info), check.code_line or check.line)
        return replace(filled, code=code, problem=check.problem or problem)

    def _code(self, code: str, language: str, line: int) -> tuple[str, str]:
        """The code with its values and no problem, or as it is written and the problem."""
        try:
            return self._block(Block("", language, code, line)).code, ""
        except InputError as error:
            return code, error.message


def _each_text(value: Any, fill: Callable[[str], str]) -> Any:
    """A part of the criteria with every text in it filled."""
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, tuple):
        return tuple(_each_text(item, fill) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{field.name: _each_text(getattr(value, field.name), fill) for field in fields(value)})

"""Runner, suite: the file SUITE.yaml: which runbooks are run on which cases, by which agents, how often, and what that
must come to. It may come from the same stranger as the runbooks: it chooses nothing that the command line would have
to (a sandbox, a network, secrets), and names files of its own project only."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from runbook_runner.core.errors import InputError
from runbook_runner.core.files import is_file, read_found, text_of
from runbook_runner.core.formats.yaml_text import place_in, read_yaml
from runbook_runner.core.invalid import UNKNOWN_KEY, problem_of, unknown_key
from runbook_runner.core.settings import RUNBOOK_FILE
from runbook_runner.core.spec import Count, Usd
from runbook_runner.evaluation.compare.rule import Rule
from runbook_runner.evaluation.statistics import NEAREST
from runbook_runner.runner.suite.named import named_in

MAX_BYTES: Final = 1_000_000
MOST_REPEATS: Final = 1000
REPEATS_UNTIL: Final = 100
MOST_AT_ONCE, MOST_AT_ONCE_OF_FILE = 64, 8
"""Each has the limits of a run: so many times the memory."""
CASES: Final = "examples/*/input.json"
_TWO_RATES: Final = "of `pass_rate` and `until`, one alone decides: leave the other out"
_ENDINGS: Final = (".yaml", ".yml")


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_by_name=True, validate_by_alias=True
    )


class Variant(_Part):
    """Who works: an agent with a model."""

    name: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """What the table calls it; empty: its agent and model."""
    agent: str | None = None
    """`None`: the runbook's."""
    model: str | None = None
    provider: str | None = None
    model_script: Path | None = None
    """Answers the model calls instead of a provider; relative to the suite."""

    @property
    def told(self) -> str:
        return self.name or " ".join(filter(None, (self.agent, self.model))) or "default"


def _variant(value: Any) -> Any:
    return {"agent": value} if isinstance(value, str) else value


Rate = Annotated[float, Field(ge=0, le=1)]


class Suite(_Part):
    runbooks: Annotated[tuple[Path, ...], Field(min_length=1, max_length=1000)]
    """Files, or folders with a RUNBOOK.md, relative to the suite."""
    cases: str | None = None
    """A glob for the saved inputs of each runbook, relative to its folder; beside an input, `expected/` has the files
    that must come out. `None`: `examples/*/input.json`, and a runbook without any is run without an input."""
    agents: Annotated[
        tuple[Annotated[Variant, BeforeValidator(_variant, json_schema_input_type=str | Variant)], ...],
        Field(max_length=1000),
    ] = ()
    """Names, or mappings with `name`, `agent`, `model`, `provider`, `model_script`. Empty: the runbook's."""
    models: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Each agent that names no model of its own is run with each of them. Empty: the agent's."""
    repeats: Annotated[int, Field(strict=True, ge=1, le=MOST_REPEATS)] = 1
    """How often each is run; with `until`, at most, and 100 when it is not given."""
    concurrency: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 4
    """Runs at once."""
    pass_rate: Rate = 1.0
    """The share of runs that must pass, of each group: runbook, case and agent."""
    until: Annotated[float, Field(ge=NEAREST, le=1 - NEAREST)] | None = None
    """In its place: repeat until the pass rate is known to be above or below this one."""
    margin: Annotated[float, Field(ge=NEAREST, lt=0.5)] = 0.05
    """With `until`: rates that are nearer to it are not told apart from it."""
    gates: tuple[str, ...] = ()
    """What a run must reach to pass, in the place of its verdict, as `runbook run --gate`."""
    compare: tuple[Rule, ...] = ()
    """How results are compared with the expected files; the first rule that fits a file counts. A file that none fits
    is compared by its type."""
    max_cost_usd: Annotated[Usd | None, Field(alias="max_cost")] = None
    """Of all runs together; the two below likewise."""
    max_tokens: Count | None = None
    max_calls: Count | None = None

    _text: str = PrivateAttr("")
    """The file's."""
    _source: str = PrivateAttr("")
    """What messages call the file; empty without one."""
    _replaced: frozenset[str] = PrivateAttr(frozenset())
    """The fields that the command line gives."""

    def place(self, *place: int | str) -> str | None:
        """`FILE:LINE` of what the file says; `None` when it is not the file that says it."""
        if not self._source or place[0] in self._replaced:
            return None
        return place_in(self._text, self._source, place)

    @field_validator("margin")
    @classmethod
    def _needs_until(cls, margin: float, info: ValidationInfo) -> float:
        if info.data.get("until", 0.0) is None:
            raise ValueError("has no effect without `until`")
        return margin

    @model_validator(mode="after")
    def _one_rate(self) -> "Suite":
        if self.until is not None and "pass_rate" in self.model_fields_set:
            raise ValueError(_TWO_RATES)
        return self

    @model_validator(mode="after")
    def _enough_to_know(self) -> "Suite":
        if self.until is None or "repeats" in self.model_fields_set:
            return self
        return self.model_copy(update={"repeats": REPEATS_UNTIL})

    def changed(self, options: Mapping[str, Any]) -> "Suite":
        """With what the command line says in its place: field → value. Raises InputError."""
        try:
            replaced = {"pass_rate"} if "until" in options else set()
            own = {name: value for name, value in self if name in self.model_fields_set - replaced}
            changed = Suite.model_validate({**own, **options})
            changed._text, changed._source, changed._replaced = self._text, self._source, frozenset(options)
            return changed
        except ValidationError as error:
            problem = problem_of(error)
            if not problem.place:
                raise InputError(f"{problem}") from error
            option = str(problem.place[0]).removesuffix("_usd").replace("_", "-")
            raise InputError(f"--{option} {problem.message.removesuffix('.')}.") from error


def load_suite(path: Path) -> Suite:
    """A suite's file, or a runbook, which is a suite of one. Raises InputError with `where` = `FILE:LINE`."""
    if path.suffix not in _ENDINGS:
        return Suite(runbooks=(path.absolute(),))
    text, source = text_of(read_found(path, "suite", MAX_BYTES), str(path)), str(path)
    body = read_yaml(text, source)
    if not isinstance(body, dict):
        raise InputError("A suite is a mapping.", where=source, hint="Such as `runbooks: [prices]` and `repeats: 3`.")
    try:
        suite = Suite.model_validate(body)
    except ValidationError as error:
        problem = problem_of(error)
        where = place_in(text, source, problem.place or ["until"])
        if problem.kind == UNKNOWN_KEY:
            raise unknown_key(str(problem.place[-1]), _keys_at(problem.place), where) from None
        raise InputError(f"{str(problem).rstrip('.')}.", where=where) from None
    suite._text, suite._source = text, source
    if suite.concurrency > MOST_AT_ONCE_OF_FILE:
        message = f"More than {MOST_AT_ONCE_OF_FILE} runs at once are the command line's to ask for."
        raise InputError(message, where=suite.place("concurrency"), hint="Use --concurrency.")
    return _placed(suite, path)


def _keys_at(place: tuple[int | str, ...]) -> list[str]:
    if place[0] == "agents":
        return list(Variant.model_fields)
    if place[0] == "compare":
        return [field.name for field in fields(Rule)]
    return [field.alias or name for name, field in Suite.model_fields.items()]


def _placed(suite: Suite, file: Path) -> Suite:
    """With real paths. Raises InputError for one that the suite may not name."""
    runbooks = [named_in(file, path, suite.place("runbooks", number)) for number, path in enumerate(suite.runbooks)]
    for number, path in enumerate(runbooks):
        if is_file(path / RUNBOOK_FILE):  # which may be a link
            named_in(file, path / RUNBOOK_FILE, suite.place("runbooks", number))
    agents = (
        variant.model_copy(
            update={"model_script": named_in(file, script, suite.place("agents", number, "model_script"))}
        )
        if (script := variant.model_script)
        else variant
        for number, variant in enumerate(suite.agents)
    )
    return suite.model_copy(update={"runbooks": tuple(runbooks), "agents": tuple(agents)})


def document_in(path: Path) -> Path:
    """Of a runbook that a suite names. Raises InputError."""
    document = path if is_file(path) else path / RUNBOOK_FILE
    if not is_file(document):
        raise InputError("There is no runbook.", where=str(path), hint="Give a RUNBOOK.md, or a folder that holds one.")
    return document

"""Workflows: the parameters of a step, made of its configuration and of what other steps have given (contract §6.2)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from runbook_runner.core.errors import InputError
from runbook_runner.workflows.paths import Absent, Path, Run, as_path, find, inline, kind_of, parse_path

ACTIVITY: Final = "activity"
_EXPRESSION: Final = "_path_expr"
_PATH: Final = "_path"

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Scope:
    """What a step can see."""

    values: Mapping[str, Any]
    """By root: `init_params`, `env` and each earlier step as `{"inputs", "outputs"}`."""
    runs: Mapping[Run, Mapping[str, Any]] = field(default_factory=dict)
    """The same of other runs that paths name."""

    def value_of(self, path: Path) -> Any:
        if not path.run:
            return find(path, self.values)
        values = self.runs.get(path.run)
        return Absent(f"There is no run {path.run}.") if values is None else find(path, values)


class Resolved(NamedTuple):
    parameters: dict[str, Any]
    depends_on: tuple[str, ...]
    """The steps whose values are in them."""
    absent: dict[str, str]
    """Key → why its path leads nowhere."""


class Reference(NamedTuple):
    """A path in a configuration."""

    place: Place
    """The keys that lead to it, within the step's configuration."""
    path: Path


def resolve(config: Mapping[str, Any], own: Collection[str], scope: Scope) -> Resolved:
    """own: names of the activity's parameters: one that ends in `_path` is text, or a path where its root is known.
    What a path leads to wins over a value that is written beside it; a path that leads nowhere leaves that one, or
    nothing. Raises InputError, with the key, for a key of paths that holds none."""
    work = _Resolving(own, scope)
    rest = {key: value for key, value in config.items() if key != ACTIVITY}
    return Resolved(work.object(rest, ()), tuple(work.depends_on), work.absent)


class _Resolving:
    def __init__(self, own: Collection[str], scope: Scope):
        self._own = own
        self._scope = scope
        self.depends_on: dict[str, None] = {}
        self.absent: dict[str, str] = {}

    def object(self, value: Mapping[str, Any], place: Place) -> dict[str, Any]:
        made: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for key, inner in value.items():
            name = parameter_of(key, self._own if not place else ())
            if name is None:
                made[key] = self._static(inner, (*place, key))
            elif not isinstance(found := self._dynamic(inner, (*place, key)), Absent):
                given[name] = found
        return made | given

    def _static(self, value: Any, place: Place) -> Any:
        if isinstance(value, Mapping):
            return self.object(value, place)
        if isinstance(value, list):
            return [self._static(inner, (*place, number)) for number, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        if is_own_path(place, self._own) and (path := as_path(value, self._scope.values)):
            found = self._look(path, place)
            return value if isinstance(found, Absent) else found
        return inline(value, lambda inside: self._inline(inside, place))

    def _inline(self, inside: str, place: Place) -> Any:
        path = as_path(inside, self._scope.values)
        return self._look(path, place) if path else Absent("")

    def _dynamic(self, value: Any, place: Place) -> Any:
        if isinstance(value, list):
            found = [
                self._look(parse_at(text, (*place, number)), (*place, number)) for number, text in enumerate(value)
            ]
            return [one for one in found if not isinstance(one, Absent)]
        return self._look(parse_at(value, place), place)

    def _look(self, path: Path, place: Place) -> Any:
        found = self._scope.value_of(path)
        if isinstance(found, Absent):
            self.absent[spelt(place)] = found.why
        elif not path.run and path.root not in ("init_params", "env"):
            self.depends_on[path.root] = None
        return found


def parameter_of(key: str, own: Collection[str]) -> str | None:
    """The parameter that a key of paths gives: `prompt_path` gives `prompt`, `image_path_expr` `image_path`; `None` for
    a key whose value is meant as it stands."""
    if key.endswith(_EXPRESSION):
        return key.removesuffix("_expr")
    return key.removesuffix(_PATH) if key.endswith(_PATH) and key not in own and key != _PATH else None


def is_own_path(place: Place, own: Collection[str]) -> bool:
    return len(place) == 1 and place[0] in own and str(place[0]).endswith(_PATH)


def references(config: Mapping[str, Any], own: Collection[str], roots: Collection[str]) -> Iterator[Reference]:
    """Every path in a configuration, without a value for any. roots: names that make a text a path where it may be
    another. Raises InputError as `resolve`."""
    waiting: list[tuple[Place, Any]] = [((key,), value) for key, value in config.items() if key != ACTIVITY]
    for place, value in waiting:
        key = place[-1]
        if isinstance(key, str) and parameter_of(key, own if len(place) == 1 else ()) is not None:
            texts = list(enumerate(value)) if isinstance(value, list) else None
            for number, text in texts if texts is not None else [(None, value)]:
                where = place if number is None else (*place, number)
                yield Reference(where, parse_at(text, where))
        elif isinstance(value, Mapping):
            waiting += [((*place, inner), item) for inner, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, number), item) for number, item in enumerate(value)]
        elif isinstance(value, str):
            found = [value] if is_own_path(place, own) else _insides(value)
            yield from (Reference(place, path) for text in found if (path := as_path(text, [*roots])))


def _insides(text: str) -> list[str]:
    found: list[str] = []

    def keep(inside: str) -> Absent:
        found.append(inside)
        return Absent("")

    inline(text, keep)
    return found


def parse_at(text: Any, place: Place) -> Path:
    """Raises InputError with the key."""
    if not isinstance(text, str):
        raise InputError(f"{spelt(place)} must be a path, as `draft.outputs.text`, and is {kind_of(text)}.")
    try:
        return parse_path(text)
    except InputError as error:
        raise InputError(f"{spelt(place)}: {error.message}") from error


def spelt(place: Place) -> str:
    """`input.images[0].prompt_path`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")

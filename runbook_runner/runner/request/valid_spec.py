"""Runner: what every spec must be, whether it was made of a document or read from a recording, which is data like the
document: nothing in it may have an effect beyond what its field is for, nor be what no program could be given."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from runbook_runner.core import ids
from runbook_runner.core.authority import steers_programs
from runbook_runner.core.errors import InputError
from runbook_runner.core.facts.spelling import is_address
from runbook_runner.core.formats.json_toml import MAX_DEPTH
from runbook_runner.core.spec import RunSpec
from runbook_runner.core.text import encodable
from runbook_runner.runner.environment.images import check_image, check_packages

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def require_valid_spec(spec: RunSpec) -> None:
    """Raises InputError."""
    for field, value in spec.model_dump(exclude={"near", "inputs"}).items():  # not paths of this machine
        require_usable(f"The {field} of the run", value)
    for what, name in (("collection", spec.collection), ("task", spec.task)):
        if not ids.is_name(name):
            raise InputError(f"{name!r} is not a valid {what} name.", hint=ids.NAME_HINT)
    if spec.model and is_address(spec.model):
        raise InputError(f"The model {spec.model!r} is an address, not the name of a model.")
    if spec.image:
        check_image(spec.image)
    check_packages(spec.apt_packages)
    for secret in spec.secrets:
        require_secret_name(secret.env)
    for item in spec.inputs:
        if not _is_below(item.name) or not _SHA256.fullmatch(item.sha256):
            raise InputError(f"The run has an input that can't be: {item.name!r}.")


def _is_below(path: str) -> bool:
    return not any(part in ("", ".", "..") for part in path.split("/"))


def require_secret_name(name: str, where: str | None = None) -> None:
    """Raises InputError for what is not the name of a variable, or decides what programs load or run."""
    if not _VARIABLE.fullmatch(name):
        before, equals, _ = name.partition("=")  # what is behind it may be the secret
        hint = (
            f"Set {before} in the environment or in a file for --env-file, and give only its name." if equals else None
        )
        raise InputError(f"{before + equals!r} is not the name of a variable.", where=where, hint=hint)
    if steers_programs(name):
        raise InputError(
            f"No secret can be named {name}: programs decide by it what to load, to run or to talk to.",
            where=where,
            hint="Give the variable another name.",
        )


def require_usable(what: str, value: Any, where: str | None = None) -> None:
    """Raises InputError for what no program could be given."""
    if problem := _problem(value):
        raise InputError(f"{what} holds {problem}.", where=where)


def _problem(value: Any, depth: int = MAX_DEPTH) -> str | None:
    """Why a value can't be used; `None` when it can."""
    if isinstance(value, str):
        half = "half of a surrogate pair, which UTF-8 can't encode" if encodable(value) != value else None
        return "a NUL character" if "\0" in value else half
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if not isinstance(value, (list, tuple)):
        is_plain = value is None or isinstance(value, (bool, int, float, date))
        return None if is_plain else f"a value of the type {type(value).__name__}"
    if depth == 0:
        return f"more than {MAX_DEPTH} levels"
    return next(filter(None, (_problem(item, depth - 1) for item in value)), None)

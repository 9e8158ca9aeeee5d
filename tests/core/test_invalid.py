"""Errors of pydantic with the key, as every file of a user's gets them."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from runbook_runner.core.invalid import UNKNOWN_KEY, problem_of, unknown_key, validation_error


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int

    @field_validator("size")
    @classmethod
    def _small(cls, value: int) -> int:
        if value > 9:
            raise ValueError("too large")
        return value


class _Model(BaseModel):
    items: list[_Inner]


def _refused(value: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        _Model.model_validate(value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [{"size": 1}, {"size": 10}]}, "items.1.size: too large."),
        ({}, "items: is missing."),
        (3, "Must be an object."),
    ],
)
def test_the_key_is_named(value: object, message: str) -> None:
    error = validation_error(_refused(value), "f.yaml", hint="Do.")
    assert str(error) == f"f.yaml: {message}\nDo."


def test_a_misspelt_key_comes_before_the_missing_one() -> None:
    problem = problem_of(_refused({"items": [{"siez": 1}]}))
    assert (problem.place, problem.kind) == (("items", 0, "siez"), UNKNOWN_KEY)


def test_an_unknown_key_is_answered_by_the_nearest_or_by_all() -> None:
    assert str(unknown_key("siez", ["size"], "f:1")) == "f:1: Unknown key 'siez'.\nDid you mean 'size'?"
    assert unknown_key("x", ["size", "name"], "f:1").hint == "Known keys: size, name."

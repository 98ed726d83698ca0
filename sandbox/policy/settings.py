"""Settings: the base of what a caller configures. Frozen, checked, wrong keys named.

Every way to make one (call, `model_validate`, `model_copy` with an update) checks every field
and raises PolicyError, never pydantic's own error.
"""

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox.errors import PolicyError

PLAIN_WORDS = {
    "tuple_type": "a list",
    "mapping_type": "a table",
    "model_type": "a table",
    "string_type": "a string",
    "bool_type": "true or false",
    "int_from_float": "a whole number",
}
"""For pydantic's error types whose own words speak of types that a TOML file does not have."""


class Settings(BaseModel):
    """A frozen model that refuses unknown keys and raises PolicyError."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **data: object) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise as_policy_error(error, type(self)) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The settings in `obj`. Raises PolicyError."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise as_policy_error(error, cls) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """The settings in a JSON text. Raises PolicyError."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise as_policy_error(error, cls) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, its changed fields checked like those of a new one. Raises PolicyError."""
        if not update:
            return super().model_copy(deep=deep)
        explicit = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**explicit, **update})


def as_policy_error(error: ValidationError, model: type[BaseModel]) -> PolicyError:
    """The first problem of `error` with its field, value and remedy; the others by name."""
    problems = [_problem(details, model) for details in error.errors(include_url=False)]
    field, problem, remedy = problems[0]
    others = sorted({name for name, _, _ in problems[1:]} - {field})
    if others:
        remedy = f"{remedy}. Also wrong: {', '.join(others)}".removeprefix(". ")
    return PolicyError(field, problem, remedy)


def _problem(details: Any, model: type[BaseModel]) -> tuple[str, str, str]:
    """Field, problem and remedy of one entry of `ValidationError.errors()`."""
    place, kind = _dotted(details["loc"]), details["type"]
    context = details.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, PolicyError):
        return _joined(place, cause.field), cause.problem, cause.remedy
    if kind == "extra_forbidden":
        return place, f"unknown key of {model.__name__}", _known(str(details["loc"][-1]), model)
    if kind == "missing":
        return place, "is missing", ""
    if kind == "value_error":
        return place, str(cause), ""
    seen = reprlib.repr(details["input"])
    if kind == "literal_error":
        return place, f"is {seen}", f"It must be {context['expected']}"
    if kind in PLAIN_WORDS:
        return place, f"is {seen}", f"It must be {PLAIN_WORDS[kind]}"
    wanted = details["msg"].removeprefix("Input ").replace("should", "must", 1)
    return place, f"is {seen}", f"It {wanted}" if wanted.startswith("must") else wanted


def _known(key: str, model: type[BaseModel]) -> str:
    """Which key was meant, or which there are."""
    names = sorted(model.model_fields)
    close = difflib.get_close_matches(key, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(names)}"


def _dotted(location: Sequence[int | str]) -> str:
    """`("mounts", 0, "host")` as `mounts[0].host`."""
    place = ""
    for step in location:
        place = f"{place}[{step}]" if isinstance(step, int) else _joined(place, step)
    return place


def _joined(outer: str, inner: str) -> str:
    if not outer or not inner:
        return outer or inner
    return f"{outer}{inner}" if inner.startswith("[") else f"{outer}.{inner}"

"""Config problems: what is wrong in a file of settings, by table and key, and what is right."""

import difflib
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from runner.errors import ConfigError

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 60


def config_error(error: ValidationError, model: type[BaseModel], file: str) -> ConfigError:
    """The first problem of `error` in the tables of `model`, with its remedy."""
    first = error.errors(include_url=False)[0]
    table, place = _place(model, first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        known = list(table.model_fields) if table is not None else []
        near = difflib.get_close_matches(name, known, 1)
        guess = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
        kind = "table" if isinstance(first["input"], dict) else "setting"
        return ConfigError(place, f"{name!r} is no {kind} here", f"{guess} It is in {file}")
    problem = f"is {SHORT.repr(first['input'])}: {first['msg']}"
    word = _nearest(first.get("ctx", {}), first["input"])
    guess = f"Did you mean {word!r}? " if word else ""
    return ConfigError(place, problem, f"{guess}Correct it in {file}")


def _nearest(context: Mapping[str, object], given: object) -> str:
    """The allowed word that is nearest to what was given; empty if none is near."""
    allowed = str(context.get("expected", "")).split("'")[1::2]
    near = difflib.get_close_matches(given, allowed, 1) if isinstance(given, str) else []
    return near[0] if near else ""


def _place(model: type[BaseModel], path: Sequence[str | int]) -> tuple[type[BaseModel] | None, str]:
    """The table that the last part of `path` is in, and the path as the file writes it."""
    words = ""
    table: object = model
    for number, part in enumerate(path):
        holder = table
        is_last = number == len(path) - 1
        if isinstance(part, int):
            words += f"[{part + 1}]"
        else:
            name = part if part.replace("_", "").replace("-", "").isalnum() else f'"{part}"'
            words += f".{name}" if words else name
        if isinstance(holder, type) and issubclass(holder, BaseModel):
            field = holder.model_fields.get(str(part))
            table = field.annotation if field is not None else None
        else:
            table = _inside(holder)
        if is_last:
            found = isinstance(holder, type) and issubclass(holder, BaseModel)
            return (holder if found else None), words  # type: ignore[return-value]
    return None, words


def _inside(hint: object) -> object:
    """What a mapping's values or a list's items are."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return None
    arguments = typing.get_args(hint)
    if len(arguments) == 2 and arguments[1] is not Ellipsis:
        return arguments[1]
    return arguments[0] if arguments else None

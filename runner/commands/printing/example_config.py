"""Example config: every setting of `cellblock serve` with its default and what it is for."""

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from runner.config import (
    AuditSettings,
    KeySettings,
    ModelSettings,
    PagesSettings,
    SearchSettings,
    ServerSettings,
)
from sandbox import Limits, Policy

WIDTH = 96
HEAD = """\
# Settings of `cellblock serve` and `cellblock chat`, each at its default; the model and the key are
# examples. Save it as a file, change what you like, leave out the rest, and start with
# `cellblock serve --config FILE.toml` or CELLBLOCK_CONFIG=FILE.toml. Options of the command line
# win over the environment, the environment over this file.
"""
MODEL_URL = "http://127.0.0.1:11434/v1"
TABLES: tuple[tuple[str, type[BaseModel], Mapping[str, object], bool], ...] = (
    ("[server]", ServerSettings, {}, False),
    ("[models.my-model]", ModelSettings, {"url": MODEL_URL}, False),
    ("[[keys]]", KeySettings, {"key_env": "MY_SERVER_KEY"}, True),
    ("[policy]", Policy, {}, False),
    ("[policy.limits]", Limits, {}, False),
    ("[audit]", AuditSettings, {}, False),
    ("[search]", SearchSettings, {}, False),
    ("[pages]", PagesSettings, {}, False),
)
"""Heading, settings, values of the example, and whether the whole table is a comment."""


def example() -> str:
    """Return the text of a config file that sets nothing but a model of its own."""
    parts = [HEAD]
    for heading, settings, values, is_comment in TABLES:
        lines = list(_table(heading, settings, values))
        if is_comment:
            lines = [line if line.startswith("#") else f"# {line}" for line in lines]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _table(heading: str, settings: type[BaseModel], values: Mapping[str, object]) -> Iterator[str]:
    yield from _comment((inspect.getdoc(settings) or "").partition("\n\n")[0])
    yield heading
    descriptions = _descriptions(settings)
    for name, field in settings.model_fields.items():
        default = values.get(name, field.get_default(call_default_factory=True))
        if isinstance(default, BaseModel):
            continue  # It has a table of its own.
        if name in descriptions:
            yield from _comment(descriptions[name])
        is_set = default not in (None, "", ()) and default != {}
        line = f"{name} = {_value(default)}"
        yield line if is_set else f"# {line}"


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), WIDTH, break_long_words=False):
        yield f"# {line}"


def _descriptions(settings: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field, which is in the source alone."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, below in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = below.value.value
    return found


def _value(value: object) -> str:
    """`value` as TOML writes it; it has no word for nothing, which stands in comments alone."""
    if value is None:
        return "(not set)"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(str(value))

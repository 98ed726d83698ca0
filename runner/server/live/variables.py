"""Variables of a session: listed by a snippet that runs in it, read as untrusted data."""

import json

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runner.errors import RequestError
from sandbox import AsyncSession, Limits

LISTING_S = 5.0
ROWS_MOST = 200
NAME_CHARS = 200
TYPE_CHARS = 200
PREVIEW_CHARS = 200
DIMENSIONS_MOST = 32
OUTPUT_BYTES = 1024 * 1024
MARK = "cellblock-variables:"
"""Before the listing, which other threads of the session may print around."""

LISTING = f"""
import json, reprlib, sys, types

short = reprlib.Repr()
short.maxstring = short.maxother = {PREVIEW_CHARS}
short.maxlist = short.maxtuple = short.maxdict = short.maxset = short.maxfrozenset = 10

def type_of(value):
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    return kind.__qualname__ if module in ("builtins", "__main__") else module + "." + kind.__name__

def shape_of(value):
    shape = getattr(value, "shape", None)
    if type(shape) is tuple and all(type(one) is int for one in shape):
        return list(shape)
    if type(value) in (str, bytes, bytearray, list, tuple, dict, set, frozenset, range):
        return [len(value)]
    return None

def size_of(value):
    if hasattr(value, "memory_usage"):
        used = value.memory_usage()
        return int(used.sum() if hasattr(used, "sum") else used)
    size = getattr(value, "nbytes", None)
    return size if type(size) is int else sys.getsizeof(value)

def tried(work, value):
    # Methods of a value may be the snippet's own, and fail in any way.
    try:
        return work(value)
    except Exception:
        return None

rows = []
for name, value in list(names.items()):
    if type(name) is not str or name.startswith("_") or isinstance(value, types.ModuleType):
        continue
    rows.append({{
        "name": name[:{NAME_CHARS}],
        "type": (tried(type_of, value) or "object")[:{TYPE_CHARS}],
        "shape": tried(shape_of, value),
        "size_bytes": tried(size_of, value),
        "preview": (tried(short.repr, value) or "")[:{PREVIEW_CHARS}],
    }})
    if len(rows) == {ROWS_MOST}:
        break
print({MARK!r} + json.dumps(rows))
"""
SNIPPET = f"exec({LISTING!r}, {{'names': globals()}})"


class Variable(BaseModel):
    """A variable as the guest describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str = Field(max_length=NAME_CHARS)
    type: str = Field(max_length=TYPE_CHARS)
    shape: list[int] | None = Field(max_length=DIMENSIONS_MOST)
    size_bytes: int | None = Field(ge=0)
    preview: str = Field(max_length=PREVIEW_CHARS)


_LIST: TypeAdapter[list[Variable]] = TypeAdapter(list[Variable])


async def variables_of(session: AsyncSession) -> list[Variable]:
    """The variables of `session` that are no modules and no private names.

    Raises RequestError when the session's policy or what a snippet changed does not let them be
    listed; SandboxError.
    """
    limits = Limits(wall_s=LISTING_S, output_bytes=OUTPUT_BYTES, kept_bytes=OUTPUT_BYTES)
    outcome = await session.run(SNIPPET, limits=limits)
    _, mark, rest = outcome.stdout.partition(MARK)
    text = rest.partition("\n")[0]
    if outcome.status != "completed" or not mark:
        raise RequestError("conflict", "The variables of this session cannot be listed.")
    try:
        return _LIST.validate_python(json.loads(text))[:ROWS_MOST]
    except (ValueError, ValidationError, RecursionError):
        message = "The session did not list its variables in a form that can be read."
        raise RequestError("conflict", message) from None

"""Fields of a request's JSON, checked as they are read. `null` means not given.

Wrong ones raise RequestError with the field's name as the client wrote it.
"""

import math
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from runner.errors import RequestError
from runner.models.port import Sampling, ToolSpec
from runner.transcript import encodable

DEEPEST = 64
NAME_CHARS = 256
METADATA_PAIRS, METADATA_KEY_CHARS, METADATA_VALUE_CHARS = 16, 64, 512


class Fields:
    """One JSON object of a request; `path` is its place, for messages."""

    def __init__(self, data: JsonValue, path: str = "") -> None:
        if not isinstance(data, dict):
            raise RequestError(
                "invalid", f"{path or 'The body'} must be a JSON object.", param=path
            )
        self._data = data
        self._path = path

    @property
    def data(self) -> dict[str, JsonValue]:
        return self._data

    def name(self, key: str) -> str:
        """The dotted name of `key`."""
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return self._data.get(key) is not None

    def text(self, key: str, *, longest: int | None = None) -> str | None:
        """A string, or None."""
        value = self._data.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(key, "must be a string")
        if longest is not None and len(value) > longest:
            raise self.wrong(key, f"must have at most {longest} characters")
        return encodable(value)

    def flag(self, key: str) -> bool | None:
        """A boolean, or None."""
        value = self._data.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def whole(self, key: str, *, least: int = 0, most: int = 2**53) -> int | None:
        """An integer, or None."""
        value = self._data.get(key)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "must be an integer")
        if not least <= value <= most:
            bound = f"at least {least}" if value < least else f"at most {most}"
            raise self.wrong(key, f"must be {bound}")
        return value

    def number(self, key: str, low: float, high: float, *, bounds: str) -> float | None:
        """A number between `low` and `high`; `bounds` as "[)" says which of them belong."""
        value = self._data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise self.wrong(key, "must be a number")
        above = value >= low if bounds[0] == "[" else value > low
        below = value <= high if bounds[1] == "]" else value < high
        if not (above and below):
            raise self.wrong(key, f"must be in {bounds[0]}{low:g}, {high:g}{bounds[1]}")
        return float(value)

    def object(self, key: str) -> "Fields | None":
        """An object, or None."""
        value = self._data.get(key)
        return None if value is None else Fields(value, self.name(key))

    def objects(self, key: str) -> Iterator["Fields"]:
        """The objects of a list; none when it is not given."""
        for index, value in enumerate(self.items(key)):
            yield Fields(value, f"{self.name(key)}[{index}]")

    def items(self, key: str) -> list[JsonValue]:
        """A list; empty when it is not given."""
        value = self._data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, "must be an array")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings, or one string as a list of it."""
        value = self._data.get(key)
        if isinstance(value, str):
            return (encodable(value),)
        items = self.items(key)
        if not all(isinstance(item, str) for item in items):
            raise self.wrong(key, "must be a string or an array of strings")
        return tuple(encodable(str(item)) for item in items)

    def wrong(self, key: str, what: str) -> RequestError:
        """The error that says so of `key`."""
        name = self.name(key)
        return RequestError("invalid", f"{name} {what}.", param=name)


def check_depth(value: JsonValue) -> None:
    """Refuse what nests deeper than any request needs."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[JsonValue] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        if not inner:
            return
        level = inner
    raise RequestError("body", f"The body nests deeper than {DEEPEST} levels.")


def model_name(fields: Fields) -> str:
    """The requested model."""
    name = fields.text("model", longest=NAME_CHARS)
    if not name:
        raise RequestError("model_missing", "you must provide a model parameter", param="model")
    return name


def sampling_of(fields: Fields) -> Sampling:
    """The sampling parameters that the dialects share."""
    formats = fields.object("response_format")
    return Sampling(
        temperature=fields.number("temperature", 0, 2, bounds="[]"),
        top_p=fields.number("top_p", 0, 1, bounds="(]"),
        top_k=fields.whole("top_k"),
        seed=fields.whole("seed", least=-(2**63), most=2**63 - 1),
        presence_penalty=fields.number("presence_penalty", -2, 2, bounds="[]"),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, bounds="[]"),
        stop=fields.strings("stop"),
        response_format=None if formats is None else formats.data,
    )


def function_spec(function: Fields) -> ToolSpec:
    """A function tool of the client."""
    name = function.text("name", longest=NAME_CHARS)
    if not name:
        raise function.wrong("name", "must be a non-empty string")
    parameters = function.object("parameters")
    return ToolSpec(
        name=name,
        description=function.text("description") or "",
        parameters={"type": "object", "properties": {}} if parameters is None else parameters.data,
        strict=function.flag("strict"),
    )


def text_of(value: JsonValue) -> str:
    """Any text in `value`, for content whose parts are not told apart."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, Mapping):
        return text_of(value.get("text"))
    return ""


def metadata_of(fields: Fields) -> dict[str, JsonValue]:
    """The field `metadata`, within its bounds. Raises RequestError."""
    metadata = fields.object("metadata")
    pairs = {} if metadata is None else metadata.data
    for key, value in pairs.items():
        if not isinstance(value, str) or len(value) > METADATA_VALUE_CHARS:
            raise fields.wrong(f"metadata.{key}", "must be a string of at most 512 characters")
        if len(key) > METADATA_KEY_CHARS:
            raise fields.wrong("metadata", "has a key of more than 64 characters")
    if len(pairs) > METADATA_PAIRS:
        raise fields.wrong("metadata", "must have at most 16 pairs")
    return pairs

"""Bodies of the session routes, read by a model of theirs."""

from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from runner.errors import RequestError
from runner.server.http.openapi_bodies import OpenApi

T = TypeVar("T", bound=BaseModel)


def checked(kind: type[T], body: JsonValue) -> T:
    """`body` as `kind`. Raises RequestError that names the field."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place or None) from None


def body_of(kind: type[BaseModel]) -> OpenApi:
    """What the OpenAPI document says of such a body."""
    schema = _inlined(kind.model_json_schema())
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: dict[str, JsonValue]) -> JsonValue:
    # In place: a reference would point into the whole document.
    parts = schema.pop("$defs", {})
    assert isinstance(parts, dict)

    def resolved(found: JsonValue) -> JsonValue:
        if isinstance(found, list):
            return [resolved(one) for one in found]
        if not isinstance(found, dict):
            return found
        named = found.get("$ref")
        if isinstance(named, str):
            name = named.rpartition("/")[2]
            # A value of any kind has itself among its parts.
            return {} if name == "JsonValue" else resolved(parts[name])
        return {key: resolved(value) for key, value in found.items()}

    return resolved(schema)

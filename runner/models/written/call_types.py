"""Values of written calls in the types of their tool's schema: tags hold nothing but text."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from runner.models.written.call_forms import WrittenCall
from runner.transcript import compact


def with_types(call: WrittenCall, schema: Mapping[str, JsonValue] | None) -> WrittenCall:
    """`call` with texts read as numbers, flags, lists and objects where the schema has those."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict) or not properties:
        return call
    try:
        values = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call
    if not isinstance(values, dict):
        return call
    typed = {key: _typed(value, properties.get(key)) for key, value in values.items()}
    return call if typed == values else WrittenCall(call.name, compact(typed))


def _typed(value: JsonValue, schema: JsonValue) -> JsonValue:
    kinds = schema.get("type") if isinstance(schema, dict) else None
    allowed = kinds if isinstance(kinds, list) else [kinds]
    if not isinstance(value, str) or None in allowed or "string" in allowed:
        return value
    text = value.strip()
    try:
        found: JsonValue = json.loads({"True": "true", "False": "false"}.get(text, text))
    except (ValueError, RecursionError):
        return value
    return found

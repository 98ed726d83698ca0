"""What the OpenAPI document says of bodies that the dialects check by themselves."""

from typing import Any, Literal

from pydantic import JsonValue

OpenApi = dict[str, JsonValue]
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals", "file-extract")
NAME_CHARS = 256
IDLE_MINUTES_MOST = 7 * 24 * 60
LEAST_S, MOST_S = 3600, 30 * 24 * 3600
"""How long a file with an expiry is kept, at least and at most."""
ERROR: OpenApi = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        },
        "request_id": {"type": "string"},
    },
}
DASHSCOPE_ERROR: OpenApi = {
    "type": "object",
    "required": ["code", "message", "request_id"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


def _body(kind: str, schema: OpenApi) -> OpenApi:
    return {"required": True, "content": {kind: {"schema": schema}}}


FILE_PART: OpenApi = {"type": "string", "format": "binary"}
METADATA: OpenApi = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "additionalProperties": {"type": "string", "maxLength": 512},
}
FUNCTION_ITEMS: list[JsonValue] = [
    {
        "type": "object",
        "required": ["type", "call_id", *needed],
        "properties": {
            "type": {"type": "string", "enum": [kind]},
            "call_id": {"type": "string"},
            **{name: {"type": "string"} for name in needed},
        },
    }
    for kind, needed in (
        ("function_call", ("name", "arguments")),
        ("function_call_output", ("output",)),
    )
]
MESSAGE_ITEM: OpenApi = {
    "type": "object",
    "required": ["type", "role", "content"],
    "properties": {
        "type": {"type": "string", "enum": ["message"]},
        "role": {"type": "string", "enum": ["user", "assistant", "system", "developer"]},
        "content": {"type": "string"},
    },
}
ITEMS: OpenApi = {
    "type": "array",
    "maxItems": 20,
    "items": {"anyOf": [MESSAGE_ITEM, *FUNCTION_ITEMS]},
}
FILE_BODY: OpenApi = {
    "requestBody": _body(
        "multipart/form-data",
        {
            "type": "object",
            "required": ["file", "purpose"],
            "properties": {
                "file": FILE_PART,
                "purpose": {"type": "string", "enum": list(PURPOSES)},
                "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                "expires_after[seconds]": {
                    "type": "integer",
                    "minimum": LEAST_S,
                    "maximum": MOST_S,
                },
            },
            "dependentRequired": {
                "expires_after[anchor]": ["expires_after[seconds]"],
                "expires_after[seconds]": ["expires_after[anchor]"],
            },
        },
    )
}
CONTAINER_BODY: OpenApi = {
    "requestBody": _body(
        "application/json",
        {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": NAME_CHARS},
                "expires_after": {
                    "type": "object",
                    "required": ["anchor", "minutes"],
                    "properties": {
                        "anchor": {"type": "string", "enum": ["last_active_at"]},
                        "minutes": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": IDLE_MINUTES_MOST,
                        },
                    },
                },
                "file_ids": {"type": "array", "items": {"type": "string"}},
                "memory_limit": {"type": "string", "enum": ["1g", "4g", "16g", "64g"]},
            },
        },
    )
}
CONTAINER_FILE_BODY: OpenApi = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": FILE_PART},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["file_id"],
                    "properties": {"file_id": {"type": "string"}},
                }
            },
        },
    }
}
CONVERSATION_BODY: OpenApi = {
    "requestBody": _body(
        "application/json", {"type": "object", "properties": {"items": ITEMS, "metadata": METADATA}}
    )
}
METADATA_BODY: OpenApi = {
    "requestBody": _body(
        "application/json",
        {"type": "object", "required": ["metadata"], "properties": {"metadata": METADATA}},
    )
}
ITEMS_BODY: OpenApi = {
    "requestBody": _body(
        "application/json",
        {"type": "object", "required": ["items"], "properties": {"items": ITEMS}},
    )
}
STATUSES = {
    400: "The request is wrong.",
    401: "The key is missing or unknown.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "It is not in a state for this.",
    413: "The body is too large.",
    429: "Too many requests; see `retry-after`.",
    500: "The server failed.",
    502: "The model's endpoint failed.",
    503: "The sandbox or the model's endpoint is not available.",
    504: "The time is over.",
    507: "The server's disk is full.",
}


STREAM: OpenApi = {}
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes.", "content": {"application/octet-stream": {"schema": {}}}}
}


def answers_of(dialect: Literal["openai", "dashscope"]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that answers whole or streams."""
    content = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": STREAM}
    return {200: {"description": "The answer.", "content": content}, **errors_of(dialect)}


def errors_of(dialect: Literal["openai", "dashscope"]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: every error that it may give."""
    schema = ERROR if dialect == "openai" else DASHSCOPE_ERROR
    return {
        status: {
            "description": words,
            "content": {"application/json": {"schema": schema}},
        }
        for status, words in STATUSES.items()
    }

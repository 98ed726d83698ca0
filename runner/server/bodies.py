"""What the OpenAPI document says of bodies that the dialects check by themselves."""

from typing import Any, Literal

from pydantic import JsonValue

OpenApi = dict[str, JsonValue]
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
JSON_BODY: OpenApi = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
STATUSES = {
    400: "The request is wrong.",
    401: "The key is missing or unknown.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    409: "It is not in a state for this.",
    413: "The body is too large.",
    429: "Too many requests; see `retry-after`.",
    500: "The server failed.",
    502: "The model's endpoint failed.",
    503: "The sandbox or the model's endpoint is not available.",
    504: "The time is over.",
}


def errors_of(dialect: Literal["openai", "dashscope"]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: every error that it may give."""
    schema = ERROR if dialect == "openai" else DASHSCOPE_ERROR
    return {
        status: {
            "description": words,
            "content": {"application/json": {"schema": schema}},
        }
        for status, words in STATUSES.items()
    }

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
def _body(kind: str, schema: OpenApi) -> OpenApi:
    return {"required": True, "content": {kind: {"schema": schema}}}


FILE_PART: OpenApi = {"type": "string", "format": "binary"}
METADATA: OpenApi = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "additionalProperties": {"type": "string", "maxLength": 512},
}
ITEMS: OpenApi = {"type": "array", "maxItems": 20, "items": {"type": "object"}}
FILE_BODY: OpenApi = {
    "requestBody": _body(
        "multipart/form-data",
        {
            "type": "object",
            "required": ["file", "purpose"],
            "properties": {
                "file": FILE_PART,
                "purpose": {"type": "string"},
                "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                "expires_after[seconds]": {"type": "integer", "minimum": 3600},
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
                "name": {"type": "string", "minLength": 1},
                "expires_after": {
                    "type": "object",
                    "required": ["anchor", "minutes"],
                    "properties": {
                        "anchor": {"type": "string", "enum": ["last_active_at"]},
                        "minutes": {"type": "integer", "minimum": 1},
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
    409: "It is not in a state for this.",
    413: "The body is too large.",
    429: "Too many requests; see `retry-after`.",
    500: "The server failed.",
    502: "The model's endpoint failed.",
    503: "The sandbox or the model's endpoint is not available.",
    504: "The time is over.",
    507: "The server's disk is full.",
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

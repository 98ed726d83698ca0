"""Values of sessions over REST: as JSON, or packed as the engine carries them."""

import base64
from typing import get_args

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, JsonValue
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.http.bodies import read_body, read_json
from runner.server.http.openapi_bodies import OpenApi, errors_of
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheAccount, TheServices
from runner.server.services import Services
from runner.server.session_api.checked import checked
from runner.server.session_api.using import REFUSALS, in_use, refused
from sandbox import Packed, ValueKind, ValueNotCarried

KIND_HEADER = "x-value-kind"
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))


class ValueRequest(BaseModel):
    """A value: JSON, or Base64 of bytes with `is_base64`."""

    model_config = ConfigDict(extra="forbid")
    value: JsonValue
    is_base64: bool = False


VALUE_BODY: OpenApi = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"value": {}, "is_base64": {"type": "boolean"}},
                    "required": ["value"],
                }
            },
        },
    }
}
PACKED: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The value; with `packed=true` as the engine carries it.",
        "content": {
            "application/json": {},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("/{session_id}/values/{name}", responses=PACKED)
async def get_value(
    session_id: str,
    name: str,
    services: TheServices,
    account: TheAccount,
    packed: bool = False,
) -> Response:
    """Return the value of a variable: JSON, or bytes as Base64.

    With `packed=true` the body is the value as the engine carries it, JSON, bytes, npy or Arrow,
    and the header `x-value-kind` says which.
    """
    held = services.sessions.find(account.owner, session_id)
    try:
        with in_use(held, account):
            if packed:
                carried = await held.session.carry_out(name)
                headers = {KIND_HEADER: carried.kind}
                kind = "application/octet-stream"
                return Response(carried.data, headers=headers, media_type=kind)
            value = await held.session.get_value(name)
    except REFUSALS as error:
        await refused(services, held, error)
    if isinstance(value, bytes):
        text = base64.b64encode(value).decode()
        return json_reply({"name": name, "value": text, "is_base64": True})
    try:
        return json_reply({"name": name, "value": value, "is_base64": False})
    except TypeError:
        message = f"{name} is a {type(value).__name__}, which JSON has not: ask with packed=true."
        raise RequestError("invalid", message, param="name") from None


@router.put("/{session_id}/values/{name}", openapi_extra=VALUE_BODY)
async def put_value(
    session_id: str,
    name: str,
    request: Request,
    services: TheServices,
    account: TheAccount,
    kind: str | None = None,
) -> Response:
    """Set a variable. With `kind` the body is the value as the engine carries it."""
    held = services.sessions.find(account.owner, session_id)
    carried: Packed | None = None
    value: object = None
    if kind is None:
        value = await _json_value(request, services)
    elif kind in get_args(ValueKind):
        most = min(services.box.policy.limits.memory_bytes, services.config.server.file_bytes)
        carried = Packed(kind, await read_body(request, most))
    else:
        message = f"kind must be one of {', '.join(get_args(ValueKind))}."
        raise RequestError("invalid", message, param="kind")
    try:
        with in_use(held, account):
            if carried is not None:
                await held.session.carry_in(name, carried)
            else:
                await held.session.set(**{name: value})
    except ValueNotCarried as error:
        raise RequestError("invalid", str(error), param="name") from error
    except REFUSALS as error:
        await refused(services, held, error)
    return json_reply({"name": name, "object": "session.value"})


async def _json_value(request: Request, services: Services) -> object:
    wanted = checked(ValueRequest, await read_json(request, services.config.server.body_bytes))
    if not wanted.is_base64:
        return wanted.value
    try:
        return base64.b64decode(
            wanted.value if isinstance(wanted.value, str) else "", validate=True
        )
    except ValueError as error:
        raise RequestError("invalid", f"No Base64: {error}.") from None

"""Questions about sessions over REST: what an editor asks, what a session has, when it ends."""

import dataclasses
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runner.server.accounts import Account
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import errors_of
from runner.server.http.replies import json_reply
from runner.server.live.session_table import Held
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.session_routes import CODE_CHARS, LONGEST_TTL_S
from runner.server.services import Services
from runner.server.session_api.checked import body_of, checked
from runner.server.session_api.using import REFUSALS, in_use, refused
from runner.transcript import encodable

NAME_CHARS = 1000
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))
T = TypeVar("T")


class CodeRequest(BaseModel):
    """Code that is asked about and not run."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(max_length=CODE_CHARS)


class CompleteRequest(CodeRequest):
    """Code, and a place in it counted in characters; its end without."""

    cursor: int | None = Field(default=None, ge=0)


class InspectRequest(BaseModel):
    """A dotted name."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=NAME_CHARS)


class ExtendRequest(BaseModel):
    """Seconds from now."""

    model_config = ConfigDict(extra="forbid")
    ttl_s: float = Field(gt=0, le=LONGEST_TTL_S)


@router.post("/{session_id}/complete", openapi_extra=body_of(CompleteRequest))
async def complete_code(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Names that can go on at the cursor."""
    held = services.sessions.find(account.owner, session_id)
    body = await read_json(request, services.config.server.body_bytes)
    wanted = checked(CompleteRequest, body)
    asked = held.session.complete(wanted.code, wanted.cursor)
    found = await _answer(services, held, account, asked)
    names = [encodable(name) for name in found.matches]
    return json_reply({"matches": names, "start": found.start, "end": found.end})


@router.post("/{session_id}/inspect", openapi_extra=body_of(InspectRequest))
async def inspect_name(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """What is known of the object behind a dotted name."""
    held = services.sessions.find(account.owner, session_id)
    wanted = checked(InspectRequest, await read_json(request, services.config.server.body_bytes))
    found = await _answer(services, held, account, held.session.inspect(wanted.name))
    return json_reply({key: encodable(text) for key, text in found._asdict().items()})


@router.post("/{session_id}/is_complete", openapi_extra=body_of(CodeRequest))
async def is_complete(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Whether code can be run as it is, wants more lines, or never will."""
    held = services.sessions.find(account.owner, session_id)
    wanted = checked(CodeRequest, await read_json(request, services.config.server.body_bytes))
    found = await _answer(services, held, account, held.session.is_complete(wanted.code))
    return json_reply({"status": found})


@router.post("/{session_id}/check", openapi_extra=body_of(CodeRequest))
async def check_code(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """What code would need and what the policy would refuse. Runs nothing of it."""
    held = services.sessions.find(account.owner, session_id)
    wanted = checked(CodeRequest, await read_json(request, services.config.server.body_bytes))
    found = await _answer(services, held, account, held.session.check(wanted.code))
    facts = dataclasses.asdict(found)
    del facts["nonce"]
    return json_reply({"object": "session.check", **facts})


@router.get("/{session_id}/describe")
async def describe_session(session_id: str, services: TheServices, account: TheAccount) -> Response:
    """Interpreter, packages, limits, layers, places for files, and what survives."""
    held = services.sessions.find(account.owner, session_id)
    found = await _answer(services, held, account, held.session.describe())
    return json_reply({"object": "session.description", **found.model_dump(mode="json")})


@router.post("/{session_id}/extend", openapi_extra=body_of(ExtendRequest))
async def extend_session(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Let a session expire so many seconds from now, and not before."""
    held = services.sessions.find(account.owner, session_id)
    wanted = checked(ExtendRequest, await read_json(request, services.config.server.body_bytes))
    await _answer(services, held, account, held.session.extend(wanted.ttl_s))
    return json_reply(held.json())


async def _answer(
    services: Services, held: Held, account: Account, work: Coroutine[Any, Any, T]
) -> T:
    try:
        with in_use(held, account):
            return await work
    except REFUSALS as error:
        await refused(services, held, error)

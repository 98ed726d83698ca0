"""The engine over REST: sessions and runs, without a model."""

import base64
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runner.asked_limits import within
from runner.dialects.faults import fault_of, openai_error, session_fault
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.bodies import parsed, read_json, read_json_bytes
from runner.server.http.openapi_bodies import answers_of, errors_of
from runner.server.http.replies import json_reply, note
from runner.server.http.streaming import Answer, EventStream, StatusLine
from runner.server.live.session_table import Held, SessionTable
from runner.server.live.tool_relay import TOOLS_CAP, ClientTool, ToolCalled, ToolRelay
from runner.server.routes.access import TheAccount, TheServices
from runner.server.services import Services
from runner.server.session_api.checked import body_of, checked
from runner.transcript import compact
from sandbox import (
    ArtifactMade,
    Cleared,
    Displayed,
    Event,
    Finished,
    Limits,
    PolicyError,
    SessionError,
    SessionExpired,
    Started,
    Stderr,
    Stdout,
    outcome_to_json,
)

CODE_CHARS = 1_000_000
NAME_CHARS = 1000
SETTINGS_BYTES = 4096
LONGEST_TTL_S = 30 * 24 * 3600.0
CHECKPOINTS_MOST = 16
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))


class RunLimits(BaseModel):
    """Limits of one run; what is left out, or is above the policy's, is the policy's."""

    model_config = ConfigDict(extra="forbid")
    wall_s: float | None = Field(default=None, gt=0)
    cpu_s: float | None = Field(default=None, gt=0)
    memory_bytes: int | None = Field(default=None, ge=16 * 1024 * 1024)
    output_bytes: int | None = Field(default=None, ge=1)
    kept_bytes: int | None = Field(default=None, ge=0)


class RunRequest(BaseModel):
    """One snippet. With `stream` the answer is a stream of events."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(max_length=CODE_CHARS)
    stdin: str | None = None
    script: str | None = Field(default=None, max_length=NAME_CHARS)
    """Run it as a program of that name, to its very end: variables are gone then."""
    limits: RunLimits | None = None
    stream: bool = False
    tools: list[ClientTool] = Field(default=[], max_length=TOOLS_CAP)
    """Functions of the client. Its calls are events; `tool_results` takes their answers."""


class SessionRequest(BaseModel):
    """Settings of a new session; what is left out is the engine's."""

    model_config = ConfigDict(extra="forbid")
    ttl_s: float | None = Field(default=None, gt=0, le=LONGEST_TTL_S)
    retention_s: float | None = Field(default=None, ge=0, le=LONGEST_TTL_S)
    checkpoints: int | None = Field(default=None, ge=1, le=CHECKPOINTS_MOST)
    checkpoint_bytes: int | None = Field(default=None, ge=0, le=2**50)


SESSION_BODY = body_of(SessionRequest)
SESSION_BODY["requestBody"]["required"] = False  # type: ignore[index,call-overload]


# ---- routes -------------------------------------------------------------------------------------


@router.post("", status_code=201, openapi_extra=SESSION_BODY)
async def open_session(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Open a session: variables, imports and files persist in it. The body may have settings."""
    data = await read_json_bytes(request, SETTINGS_BYTES)
    wanted = checked(SessionRequest, parsed(data) if data.strip() else {})
    with account.request():
        try:
            held = await services.sessions.open(account, **_bounded(services, wanted))
        except PolicyError as error:
            raise RequestError("invalid", str(error), param=error.field) from error
    return json_reply(held.json(), 201)


def _bounded(services: Services, wanted: SessionRequest) -> dict[str, object]:
    """The settings that were given, and none of them above what a session may spend."""
    found = wanted.model_dump(exclude_none=True)
    if "checkpoint_bytes" in found:
        most = services.box.policy.limits.memory_bytes
        found["checkpoint_bytes"] = min(found["checkpoint_bytes"], most)
    return found


@router.get("")
async def list_sessions(services: TheServices, account: TheAccount) -> Response:
    """List the key's open sessions."""
    data = [held.json() for held in services.sessions.of(account.owner) if _is_alive(held)]
    return json_reply({"object": "list", "data": data})


@router.get("/{session_id}")
async def get_session(session_id: str, services: TheServices, account: TheAccount) -> Response:
    """Return one session."""
    held = services.sessions.find(account.owner, session_id)
    return json_reply(await _alive(services.sessions, held))


@router.delete("/{session_id}")
async def close_session(session_id: str, services: TheServices, account: TheAccount) -> Response:
    """End a session with everything in it."""
    await services.sessions.end(services.sessions.find(account.owner, session_id))
    return json_reply({"id": session_id, "object": "session.deleted", "deleted": True})


@router.post("/{session_id}/run", openapi_extra=body_of(RunRequest), responses=answers_of("openai"))
async def run_snippet(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Run a snippet: its outcome, or its events as they come, the outcome in the last."""
    held = services.sessions.find(account.owner, session_id)
    wanted = checked(RunRequest, await read_json(request, services.config.server.body_bytes))
    limits = _limits(wanted.limits, services.box.policy.limits)
    relay = ToolRelay(services.sessions.awaited, account.owner, held.id, wanted.tools)
    if relay.tools and not wanted.stream:
        message = 'tools need "stream": true: their calls are events.'
        raise RequestError("invalid", message, param="tools")
    if wanted.stream:
        status_line = StatusLine()
        return EventStream(
            _events(request, services, held, account, wanted, limits, status_line, relay),
            status_line,
            services.streams,
            heartbeat_s=services.config.server.heartbeat_s,
            headers=account.headers(),
        )

    async def make() -> Response:
        with account.request():
            held.running += 1
            try:
                outcome = await held.session.run(
                    wanted.code, limits=limits, stdin=wanted.stdin, script=wanted.script
                )
                services.note_run(outcome, account, where=held.id, code=wanted.code)
            except SessionError as error:
                raise await lost(services.sessions, held, error) from error
            except PolicyError as error:
                raise RequestError("invalid", str(error), param="limits") from error
            finally:
                held.running -= 1
                held.active_at = time.monotonic()
        data = outcome_to_json(outcome).encode()
        return Response(data, headers=account.headers(), media_type="application/json")

    return Answer(make, services.streams)


def _limits(asked: RunLimits | None, policy: Limits) -> Limits | None:
    if asked is None:
        return None
    try:
        return within(Limits.model_validate(asked.model_dump(exclude_none=True)), policy)
    except PolicyError as error:
        raise RequestError("invalid", str(error), param="limits") from error


def _is_alive(held: Held) -> bool:
    try:
        return bool(held.session.enforcement)
    except SessionError:
        return False


async def _alive(table: SessionTable, held: Held) -> dict[str, object]:
    try:
        return held.json()
    except SessionError as error:
        raise await lost(table, held, error) from error


async def lost(table: SessionTable, held: Held, error: SessionError) -> RequestError:
    """Forget a session that is of no more use; return the refusal that says so.

    The files of one that expired can be fetched for a while: it ends when nothing asks for it.
    """
    if not isinstance(error, SessionExpired):
        await table.end(held)
    return RequestError(session_fault(error), str(error))


# ---- the stream ---------------------------------------------------------------------------------


async def _events(
    request: Request,
    services: Services,
    held: Held,
    account: Account,
    wanted: RunRequest,
    limits: Limits | None,
    status_line: StatusLine,
    relay: ToolRelay,
) -> AsyncGenerator[bytes, None]:
    has_begun = False
    held.running += 1
    try:
        with account.request():
            events = held.session.stream(
                wanted.code,
                limits=limits,
                stdin=wanted.stdin,
                script=wanted.script,
                tools=relay.tools,
            )
            async with aclosing(relay.events(_generator(events))) as source:
                async for event in source:
                    has_begun = True
                    if isinstance(event, ToolCalled):
                        # Escaped: a text of the guest may be none in UTF-8.
                        yield f"event: tool_call\ndata: {json.dumps(event._asdict())}\n\n".encode()
                        continue
                    if isinstance(event, Finished):
                        services.note_run(event.outcome, account, where=held.id, code=wanted.code)
                    yield _frame(event)
        return
    except SessionError as error:
        refusal = await lost(services.sessions, held, error)
        if not has_begun and not status_line.is_sent:
            raise refusal from error
        fault = fault_of(refusal)
    except PolicyError as error:
        if not has_begun and not status_line.is_sent:
            raise RequestError("invalid", str(error), param="limits") from error
        fault = fault_of(error)
        note(request, error, fault)
    finally:
        held.running -= 1
        held.active_at = time.monotonic()
    told = openai_error(fault)
    data = compact({name: told[name] for name in ("message", "code", "param")})
    yield f"event: error\ndata: {data}\n\n".encode()


async def _generator(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """`events`, closed when it is closed: that is what interrupts the snippet."""
    try:
        async for event in events:
            yield event
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def _frame(event: Event) -> bytes:
    if isinstance(event, Finished):
        return f"event: finished\ndata: {outcome_to_json(event.outcome)}\n\n".encode()
    name, data = _event_json(event)
    return f"event: {name}\ndata: {compact(data)}\n\n".encode()


def _event_json(
    event: Started | Stdout | Stderr | Displayed | Cleared | ArtifactMade,
) -> tuple[str, object]:
    if isinstance(event, Started):
        return "started", {"number": event.number}
    if isinstance(event, Stdout):
        return "stdout", _output_json(event)
    if isinstance(event, Stderr):
        return "stderr", _output_json(event)
    if isinstance(event, Displayed):
        place = {} if event.replaces is None else {"replaces": event.replaces}
        return "displayed", {"bundle": event.bundle, **place}
    if isinstance(event, Cleared):
        return "cleared", {}
    return "artifact", event.artifact.model_dump(mode="json")


def _output_json(event: Stdout | Stderr) -> dict[str, object]:
    if event.raw is None:
        return {"text": event.text}
    return {"text": event.text, "raw_base64": base64.b64encode(event.raw).decode()}

"""`/opensandbox`: make a sandbox, find it and its address, run code in it, end it.

Source: the package litellm 1.110.2, `llms/opensandbox/sandbox/transformation.py`. Its `api_base` is
this server's address with `/opensandbox`. Images, entry points and resources of a request are not
looked at: the policy's jail is what every sandbox is.
"""

import hmac
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from runner.bundles import notebook_bundle
from runner.errors import RequestError, ServerStopping
from runner.server.accounts import Account
from runner.server.http.bodies import read_body, read_json_bytes
from runner.server.http.replies import json_reply
from runner.server.http.streaming import EventStream, StatusLine
from runner.server.live.session_table import Held
from runner.server.routes.access import TheServices
from runner.server.routes.session_routes import lost
from runner.server.services import Services
from runner.transcript import compact
from sandbox import Displayed, Event, Finished, Outcome, SessionError, Stderr, Stdout

KEY = "open-sandbox-api-key"
TOKEN = "x-sandbox-token"
BODY_BYTES = 64 * 1024
CODE_CHARS = 1_000_000
SHOWN_CHARS = 2000
router = APIRouter(prefix="/opensandbox", include_in_schema=False)


class Context(BaseModel):
    """What code runs in; Python's is the only one."""

    model_config = ConfigDict(extra="ignore")
    language: str = "python"


class CodeRequest(BaseModel):
    """A snippet."""

    model_config = ConfigDict(extra="ignore")
    code: str = Field(max_length=CODE_CHARS)
    context: Context = Context()


class Opened:
    """What the server knows of sandboxes beside their sessions: whose, and their tokens."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, Account]] = {}

    def add(self, held: Held, account: Account, services: Services) -> None:
        """Give a new sandbox a token; those of sessions that have ended are forgotten."""
        for sandbox_id in list(self._tokens):
            if services.sessions.any(sandbox_id) is None:
                del self._tokens[sandbox_id]
        self._tokens[held.id] = (secrets.token_urlsafe(32), account)

    def token(self, sandbox_id: str) -> str:
        """The token of a sandbox. Raises RequestError."""
        if sandbox_id not in self._tokens:
            raise RequestError("not_found", f"There is no sandbox {sandbox_id[:100]!r}.")
        return self._tokens[sandbox_id][0]

    def account(self, sandbox_id: str, shown: str) -> Account:
        """The account of the sandbox whose token was shown. Raises RequestError."""
        token, account = self._tokens.get(sandbox_id, ("", None))
        is_right = hmac.compare_digest(token.encode(), shown.encode("utf-8", "replace"))
        if account is None or not is_right:
            raise RequestError("key", "Incorrect sandbox token provided.")
        return account


async def owner_of(request: Request, services: TheServices) -> Account:
    """Whose key came; it counts from now. Raises RequestError, ServerStopping."""
    shown = request.headers.get(KEY)
    authorization = request.headers.get("authorization", "")
    account = services.accounts.find(f"Bearer {shown}" if shown is not None else authorization)
    return _counted(request, services, account)


async def opened_of(request: Request) -> Opened:
    """The sandboxes of the app that serves `request`."""
    found = request.app.state.opensandbox
    assert isinstance(found, Opened)
    return found


TheOwner = Annotated[Account, Depends(owner_of)]
TheOpened = Annotated[Opened, Depends(opened_of)]


@router.post("/sandboxes")
async def create(
    request: Request, services: TheServices, opened: TheOpened, account: TheOwner
) -> Response:
    """Make a sandbox; it is running when this answers."""
    await read_body(request, BODY_BYTES)
    with account.request():
        held = await services.sessions.open(account)
    opened.add(held, account, services)
    return json_reply(_json(held), 202)


@router.get("/sandboxes/{sandbox_id}")
async def get(sandbox_id: str, services: TheServices, account: TheOwner) -> Response:
    """Return a sandbox."""
    return json_reply(_json(services.sessions.find(account.owner, sandbox_id)))


@router.delete("/sandboxes/{sandbox_id}")
async def delete(sandbox_id: str, services: TheServices, account: TheOwner) -> Response:
    """End a sandbox."""
    await services.sessions.end(services.sessions.find(account.owner, sandbox_id))
    return Response(status_code=204)


@router.get("/sandboxes/{sandbox_id}/endpoints/{port}")
async def endpoint(
    sandbox_id: str,
    port: int,
    request: Request,
    services: TheServices,
    opened: TheOpened,
    account: TheOwner,
) -> Response:
    """Say where code for a sandbox is sent, and with which header."""
    held = services.sessions.find(account.owner, sandbox_id)
    base = str(request.base_url).rstrip("/")
    where = f"{base}/opensandbox/sandboxes/{held.id}/execd"
    return json_reply({"endpoint": where, "headers": {TOKEN: opened.token(held.id)}})


@router.post("/sandboxes/{sandbox_id}/execd/code")
async def run_code(
    sandbox_id: str, request: Request, services: TheServices, opened: TheOpened
) -> Response:
    """Run a snippet: its events as they come."""
    account = opened.account(sandbox_id, request.headers.get(TOKEN, ""))
    _counted(request, services, account)
    held = services.sessions.find(account.owner, sandbox_id)
    body = await read_json_bytes(request, services.config.server.body_bytes)
    try:
        wanted = CodeRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place) from None
    if wanted.context.language != "python":
        message = f"The language {wanted.context.language[:20]!r} is not supported, only python."
        raise RequestError("invalid", message, param="context.language")
    return EventStream(
        _events(services, account, held, wanted.code),
        StatusLine(),
        services.streams,
        heartbeat_s=services.config.server.heartbeat_s,
    )


def _counted(request: Request, services: Services, account: Account) -> Account:
    request.scope["state"]["owner"] = account.owner
    if services.streams.is_stopping:
        raise ServerStopping
    account.charge()
    return account


def _json(held: Held) -> dict[str, object]:
    return {"id": held.id, "status": {"state": "Running"}, "createdAt": held.created_at}


async def _events(
    services: Services, account: Account, held: Held, code: str
) -> AsyncGenerator[bytes, None]:
    held.running += 1
    try:
        with account.request():
            async with aclosing(_stream(held, code)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        services.note_run(event.outcome, account, where=held.id, code=code)
                    for told in _told(event):
                        yield f"data: {compact(told)}\n\n".encode("utf-8", "replace")
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    finally:
        held.running -= 1


async def _stream(held: Held, code: str) -> AsyncGenerator[Event, None]:
    """The events of `code`; closing ends it."""
    events = held.session.stream(code)
    try:
        async for event in events:
            yield event
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def _told(event: Event) -> list[dict[str, object]]:
    if isinstance(event, Stdout | Stderr):
        kind = "stdout" if isinstance(event, Stdout) else "stderr"
        return [{"type": kind, "text": event.text}]
    if isinstance(event, Displayed):
        return [{"type": "result", "results": notebook_bundle(event.bundle)}]
    if not isinstance(event, Finished):
        return []
    outcome = event.outcome
    told: list[dict[str, object]] = []
    if outcome.text is not None:
        told.append({"type": "result", "results": {"text/plain": outcome.text}})
    if outcome.status != "completed":
        told.append({"type": "error", "error": _error(outcome)})
    told.append({"type": "execution_complete", "execution_time": outcome.usage.wall_s})
    return told


def _error(outcome: Outcome) -> dict[str, object]:
    if outcome.status == "raised":
        found = outcome.error
        lines = found.traceback.splitlines()
        return {"ename": found.type, "evalue": found.message, "traceback": lines}
    lines = outcome.for_model(max_chars=SHOWN_CHARS).splitlines()
    return {"ename": outcome.status, "evalue": lines[0], "traceback": lines}

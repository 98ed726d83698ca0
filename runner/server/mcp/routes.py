"""The Model Context Protocol: `/mcp` over streamable HTTP, `/sse` for servers of models."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.dialects.faults import Fault
from runner.errors import RequestError, ServerStopping
from runner.server.accounts import Account
from runner.server.http.bodies import read_json_bytes
from runner.server.http.streaming import Streams
from runner.server.mcp.doors import BODY_CAP_BYTES, McpDoors
from runner.server.routes.access import TheAccount, TheServices

if TYPE_CHECKING:
    from runner.faces.mcp_http import Door

router = APIRouter(include_in_schema=False)


@router.api_route("/mcp", methods=["GET", "POST", "DELETE"])
async def mcp(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Answer one message of a client, or hold the stream of what the server says by itself."""
    door = await _door(request, account)
    body = await _body(request, services.config.server.body_bytes)
    return Passed(door.answer, body, services.streams, account)


@router.get("/sse")
async def sse(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Open a connection; its session ends with it."""
    door = await _door(request, account)
    return Passed(door.answer_sse, None, services.streams, account)


@router.post("/messages/")
async def message(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Take a message of a connection that `/sse` opened."""
    door = await _door(request, account)
    body = await _body(request, services.config.server.body_bytes)
    return Passed(door.answer_sse, body, services.streams, account)


class Passed(Response):
    """Answers as `app` does, which is given the body that was read under the server's bounds.

    A stream without a body to answer is one that listens: it holds a place among the key's open
    requests, and a stop of the server ends it at once.
    """

    def __init__(
        self, app: ASGIApp, body: bytes | None, streams: Streams, account: Account
    ) -> None:
        super().__init__()
        self._app = app
        self._sent = body
        self._streams = streams
        self._account = account
        self._scope = anyio.CancelScope()

    def abort(self, fault: Fault) -> None:
        """End the answer."""
        self._scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._sent is None:
            with self._account.request():
                await self._pass(scope, receive, send)
        else:
            await self._pass(scope, _after(self._sent, receive), send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = has_ended = False

        async def watched(message: Message) -> None:
            nonlocal has_begun, has_ended
            has_begun = True
            has_ended = has_ended or (
                message["type"] == "http.response.body" and not message.get("more_body", False)
            )
            await send(message)

        self._streams.add(self, listens=self._sent is None)
        try:
            with self._scope:
                await self._app(scope, receive, watched)
        finally:
            self._streams.remove(self)
        if not has_begun:
            raise ServerStopping
        if not has_ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _after(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """`receive` of a request whose body has been read."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _door(request: Request, account: Account) -> "Door":
    doors = request.app.state.mcp
    assert isinstance(doors, McpDoors)
    return await doors.of(account)


async def _body(request: Request, cap: int) -> bytes | None:
    if request.method != "POST":
        return None
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("application/json"):
        raise RequestError("invalid", "The body has to be application/json.")
    return await read_json_bytes(request, min(cap, BODY_CAP_BYTES))

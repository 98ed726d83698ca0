"""The Model Context Protocol over HTTP: one key's own door, `/mcp` and `/sse`.

Each key has servers and connections of its own, so the number of another key's connection opens
nothing. Host and Origin are checked before a request comes here. Source: the package mcp, version
2, `StreamableHTTPSessionManager` and `SseServerTransport`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from runner.faces.mcp import make_python_server, make_server, make_server_over
from runner.faces.mcp_sessions import Source

MESSAGES_PATH = "/messages/"
CONNECTIONS_CAP = 64
"""Connections of a key that may be known at once; a new one is refused."""
CONNECTION_IDLE_S = 1800.0
UNCHECKED = TransportSecuritySettings(enable_dns_rebinding_protection=False)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Door:
    """Both transports for one key, over sessions of `source`."""

    def __init__(self, source: Source, *, body_bytes: int) -> None:
        self._manager = StreamableHTTPSessionManager(
            # The package keeps the server that transports drive under this name alone.
            make_server_over(source)._lowlevel_server,
            security_settings=UNCHECKED,
            session_idle_timeout=CONNECTION_IDLE_S,
            max_request_body_size=body_bytes,
            max_sessions=CONNECTIONS_CAP,
        )
        self._sse = make_python_server(source).sse_app(
            sse_path="/sse",
            message_path=MESSAGES_PATH,
            max_request_body_size=body_bytes,
            transport_security=UNCHECKED,
        )
        self._is_open = asyncio.Event()
        self._stop = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    @staticmethod
    def prepare() -> None:
        """Have the package's own imports and first schemas made."""
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        make_server()
        # Where logging is not set up yet the package does that, for all of the process.
        root.handlers[:] = handlers
        root.setLevel(level)

    async def open(self) -> None:
        """Start serving; a task of its own holds what has to end where it began."""
        if self._life is None:
            self._life = asyncio.create_task(self._live())
        waiting = asyncio.create_task(self._is_open.wait())
        try:
            await asyncio.wait({waiting, self._life}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._life.done():
            self._life.result()

    async def close(self) -> None:
        """End all connections and sessions."""
        self._stop.set()
        if self._life is not None:
            await self._life

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request to `/mcp`."""
        await self._manager.handle_request(scope, receive, send)

    async def answer_sse(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request to `/sse` or `/messages/`."""
        # A copy: the application inside writes routes of its own into it.
        await self._sse(dict(scope), receive, send)

    async def _live(self) -> None:
        async with self._manager.run():
            self._is_open.set()
            await self._stop.wait()

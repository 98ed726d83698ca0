"""WebSockets: the bounds of a connection that was upgraded, and the check before it is.

It stays counted among its address's connections until it ends, its messages are bounded, it is
asked for a sign of life, and a client that reads nothing is let go. What comes is read in pieces: a
frame has six bytes at least, and a read brings tens of thousands of them.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from runner.dialects.chat import error_body
from runner.dialects.faults import fault_of
from runner.transcript import compact

MESSAGE_BYTES = 4 * 1024 * 1024
"""The longest message of a client, in however many frames."""
FRAMES_MOST = 1024
"""Frames of one message; one without content costs memory all the same."""
PIECE_BYTES = 4096
TURN_S = 0.002
"""How long one connection is read before others have their turn."""
PING_S = 20.0
UNREAD_S = 60.0
"""A client that reads nothing of what it is sent for so long holds its connection no longer."""


class SocketConnection(WebSocketsSansIOProtocol):
    """One upgraded connection; `bound` is called by what it was before."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unread: asyncio.TimerHandle | None = None
        self._unread_s = UNREAD_S
        self._on_unread: Callable[[], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._arrived = bytearray()
        """What came and was not read yet; meanwhile the transport reads no more."""
        self._is_scheduled = False

    def bound(self, *, on_unread: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Say when the client reads nothing, and when the connection has ended."""
        self._on_unread, self._on_lost = on_unread, on_lost

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application answers."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # Else a refusal, which is an answer too, would be logged as the lack of one.
            self.handshake_complete = True

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        if not self._is_scheduled:
            self._read()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message, or the end."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._go_on()
        return message

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._on_lost is not None:
            self._on_lost()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._unread_s, self._is_unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop()
        if self._arrived:
            self._go_on()

    def _read(self) -> None:
        """Take in what has come, for a moment; not while the application or the client is late."""
        self._is_scheduled = False
        until = time.monotonic() + TURN_S
        while self._arrived and self._may_read() and time.monotonic() < until:
            piece = bytes(self._arrived[:PIECE_BYTES])
            del self._arrived[:PIECE_BYTES]
            super().data_received(piece)
            if len(self.frames) > FRAMES_MOST:
                self.conn.send_close(1009)
                self.handle_parser_exception()
        if self.transport.is_closing():
            self._arrived.clear()
        elif self._arrived:
            self.transport.pause_reading()
            if self._may_read():
                self._go_on()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _may_read(self) -> bool:
        return not self.read_paused and self.writable.is_set() and not self.transport.is_closing()

    def _go_on(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._read)

    def _is_unread(self) -> None:
        self._unread = None
        if self._on_unread is not None:
            self._on_unread()
        self.transport.abort()

    def _stop(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


async def refuse(scope: Scope, receive: Receive, send: Send, error: Exception) -> int:
    """Answer a request for an upgrade with an error of HTTP; its status."""
    fault = fault_of(error)
    await receive()  # `websocket.connect`, which has to be read first.
    body = compact(error_body(fault, str(scope["state"].get("request_id", "")))).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return fault.status
    await send(
        {"type": "websocket.http.response.start", "status": fault.status, "headers": headers}
    )
    await send({"type": "websocket.http.response.body", "body": body})
    return fault.status

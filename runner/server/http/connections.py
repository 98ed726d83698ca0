"""Connections: how many there may be, how long a head may take, how long a client may not read.

A connection waits while no request of it is being answered: before its first head is whole, and
between two requests. When there are too many, the one that waited for longest gives way; a
connection with a request is never ended for another's sake.
"""

import asyncio
import logging
import resource
import time
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runner.config import ServerSettings
from runner.server.http import logs
from runner.server.websockets import UNREAD_S, SocketConnection

HEAD_BYTES = 64 * 1024
"""What a head may have, and what may come of a body without a byte of content."""
LOG_EVERY_S = 1.0
LEAST_CONNECTIONS = 32
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Connections:
    """The open connections of a server, by address."""

    def __init__(self, *, per_address: int, in_all: int, head_s: float) -> None:
        self.head_s = head_s
        self._per_address = per_address
        self._in_all = in_all
        self._open: dict[str, set[Connection]] = {}
        self._waiting: dict[str, OrderedDict[Connection, None]] = {}
        self._count = 0
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    @classmethod
    def of(cls, settings: ServerSettings) -> "Connections":
        """Bounds from the settings, and from what descriptors this process may have."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The other half is for sessions and files.
        in_all = max(most // 2, LEAST_CONNECTIONS)
        return cls(
            per_address=min(settings.connections_per_address, in_all),
            in_all=in_all,
            head_s=settings.head_s,
        )

    def add(self, connection: "Connection", address: str) -> bool:
        """Count a new connection, which waits; whether there was room."""
        own = self._waiting.get(address)
        if len(self._open.get(address, ())) >= self._per_address:
            has_room = own is not None and self._end_oldest(own)
            reason = "too many connections of one address"
        elif self._count >= self._in_all:
            most = max(self._waiting.values(), key=len, default=None)
            has_room = most is not None and self._end_oldest(most)
            reason = "too many connections"
        else:
            has_room, reason = True, ""
        if reason:
            self.note(reason, address, ended="the longest waiting" if has_room else "the newest")
        if has_room:
            self._open.setdefault(address, set()).add(connection)
            self._waiting.setdefault(address, OrderedDict())[connection] = None
            self._count += 1
        return has_room

    def discard(self, connection: "Connection", address: str) -> None:
        """Forget a connection that has ended."""
        own = self._open.get(address)
        if own is None or connection not in own:
            return
        own.discard(connection)
        self._count -= 1
        self.works(connection, address)
        if not own:
            del self._open[address]

    def waits(self, connection: "Connection", address: str) -> None:
        """Take note that no request of it is being answered."""
        if connection in self._open.get(address, ()):
            self._waiting.setdefault(address, OrderedDict())[connection] = None

    def works(self, connection: "Connection", address: str) -> None:
        """Take note that a request of it is being answered, or that it has ended."""
        own = self._waiting.get(address)
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self._waiting[address]

    def note(self, reason: str, address: str, **facts: object) -> None:
        """Log why a connection was ended; of one reason a line a second, with a count."""
        now = time.monotonic()
        if now - self._logged_at.get(reason, -LOG_EVERY_S) < LOG_EVERY_S:
            self._unlogged[reason] = self._unlogged.get(reason, 0) + 1
            return
        self._logged_at[reason] = now
        more = self._unlogged.pop(reason, 0)
        logs.write(
            "connection ended", logging.WARNING, reason=reason, address=address, more=more, **facts
        )

    def _end_oldest(self, waiting: "OrderedDict[Connection, None]") -> bool:
        for connection in waiting:
            connection.end()
            self.discard(connection, connection.address)
            return True
        return False


class Connection(HttpToolsProtocol):
    """One connection, bounded; `protocol_of` gives its class the server's `registry`."""

    registry: Connections

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.address = ""
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._unframed_bytes = 0

    @property
    def is_answering(self) -> bool:
        """Whether a request has come whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def end(self) -> None:
        """Close at once."""
        self._stop_timers()
        self.transport.abort()

    # ---- what the transport calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if self.registry.add(self, self.address):
            self._begin_head()
        else:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        self.registry.discard(self, self.address)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        # From here on another object has the transport; this one stays in the registry for it.
        self._stop_timers()
        super().handle_websocket_upgrade()
        after = self.transport.get_protocol()
        if isinstance(after, SocketConnection):
            after.bound(
                on_unread=lambda: self.registry.note("the client does not read", self.address),
                on_lost=lambda: self.registry.discard(self, self.address),
            )

    def data_received(self, data: bytes) -> None:
        if not self.is_answering and self._head_timer is None:
            self._begin_head()
        self._unframed_bytes += len(data)
        super().data_received(data)
        if self._unframed_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.registry.note("a head or trailer is too large", self.address)
            self._refuse(TOO_LARGE)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_S, self._is_unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(self._unread_timer)
        self._unread_timer = None

    # ---- what the parser calls ------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self._unframed_bytes = 0
        self._stop(self._head_timer)
        self._head_timer = None
        self.registry.works(self, self.address)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unframed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unframed_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.is_answering:
            self.registry.waits(self, self.address)

    # ---- inside ---------------------------------------------------------------------------------

    def _begin_head(self) -> None:
        self._head_timer = self.loop.call_later(self.registry.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.is_answering:
            self.registry.note("a head was not whole in time", self.address)
            self._refuse(TIMED_OUT)

    def _is_unread(self) -> None:
        self._unread_timer = None
        self.registry.note("the client does not read its answer", self.address)
        self.end()

    def _refuse(self, answer: bytes) -> None:
        if self.is_answering:
            self.end()
            return
        self.transport.write(answer)
        self.transport.close()

    def _stop_timers(self) -> None:
        self._stop(self._head_timer)
        self._stop(self._unread_timer)
        self._head_timer = self._unread_timer = None

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def protocol_of(settings: ServerSettings) -> type[Connection]:
    """Return the protocol class of a server with these settings, over a registry of its own."""
    return type("ServerConnection", (Connection,), {"registry": Connections.of(settings)})

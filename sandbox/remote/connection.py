"""One HTTP request on a connection of its own: closing it is what ends the work over there.

h11 over asyncio streams: the engine needs h11 anyway, and no other client has to be installed.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import h11

from sandbox.errors import PolicyError, RemoteFailed

CONNECT_WITHIN_S = 15.0
READ_BYTES = 256 * 1024
HEAD_CAP_BYTES = 64 * 1024
KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))
"""A peer that lost its power is found out within 35 s, however long a command may take."""
REACH = "Is the server running there, and is the address right?"
AGAIN = "Whether the call was carried out is not known; look before it is made again"


class Origin(NamedTuple):
    """Where a server listens."""

    host: str
    port: int
    prefix: str
    """Of every path, without a slash at its end."""
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, tls: ssl.SSLContext | None) -> "Origin":
        """The origin in `url`. Raises PolicyError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise PolicyError("url", f"is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PolicyError("url", f"is {url!r}", "Give one such as http://127.0.0.1:8000")
        if parts.username is not None or parts.query or parts.fragment:
            raise PolicyError("url", "has more than an address and a path", "Give the key as key=")
        if not (parts.hostname + parts.path).isascii() or not parts.path.isprintable():
            raise PolicyError("url", "has characters that a URL has not")
        if parts.scheme == "https":
            tls = tls or ssl.create_default_context()
        elif tls is not None:
            raise PolicyError("tls", "is given for an http address", "Give an https address")
        port = port or (443 if parts.scheme == "https" else 80)
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls)

    @property
    def name(self) -> str:
        """Host and port, as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Exchange:
    """A request and its answer; entered, it is connected, and left, it is gone."""

    def __init__(self, origin: Origin, *, silent_s: float) -> None:
        """`silent_s` is how long the server may send nothing."""
        self._origin = origin
        self._silent_s = silent_s
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_CAP_BYTES)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        origin = self._origin
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                self._reader, self._writer = await asyncio.open_connection(
                    origin.host, origin.port, ssl=origin.tls, limit=READ_BYTES
                )
        except (OSError, UnicodeError) as error:
            what = str(error) or f"no connection within {CONNECT_WITHIN_S:g} s"
            raise RemoteFailed(origin.name, what, REACH) from error
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # At once: there may be much that was never sent, and a server that never reads it.
        self._writer.transport.abort()

    async def ask(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes],
    ) -> h11.Response:
        """Send the request; the head of its answer, which may come before all was sent."""
        if isinstance(body, bytes):
            length = [("content-length", str(len(body)))] if body else []
            headers = [*headers, *length]
        else:
            headers = [*headers, ("transfer-encoding", "chunked")]
        names = [("host", self._origin.name), ("connection", "close"), *headers]
        target = self._origin.prefix + target
        self._write(h11.Request(method=method, target=target, headers=names))
        sending = asyncio.ensure_future(self._send(body))
        reading = asyncio.ensure_future(self._head())
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            error = sending.exception() if sending.done() else None
            # A server that refuses a file closes; what it said is there to be read.
            if error is not None and not isinstance(error, ConnectionError):
                raise error
            return await reading
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body of the answer as it comes. Raises RemoteFailed where it breaks off."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise RemoteFailed(self._origin.name, "the connection was closed", AGAIN)

    async def _send(self, body: bytes | AsyncIterator[bytes]) -> None:
        if isinstance(body, bytes):
            if body:
                self._write(h11.Data(data=body))
        else:
            async for piece in body:
                self._write(h11.Data(data=piece))
                await self._writer.drain()
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)

    async def _head(self) -> h11.Response:
        while isinstance(event := await self._next(), h11.InformationalResponse):
            pass
        if not isinstance(event, h11.Response):
            raise RemoteFailed(self._origin.name, "the connection was closed", AGAIN)
        return event

    async def _next(self) -> object:
        name = self._origin.name
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(self._silent_s):
                    data = await self._reader.read(READ_BYTES)
                self._http.receive_data(data)
            return event
        except TimeoutError:
            problem = f"it sent nothing for {self._silent_s:g} s"
            raise RemoteFailed(name, problem, AGAIN) from None
        except h11.RemoteProtocolError as error:
            raise RemoteFailed(name, f"what it sent is no HTTP: {error}", AGAIN) from error
        except OSError as error:
            raise RemoteFailed(name, f"the connection broke: {error}", AGAIN) from error

"""Connections of the proxy: one side of a request each, dialling, and bytes passed on."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import NamedTuple

import h11

HEAD_CAP_BYTES = 64 * 1024
CHUNK_BYTES = 16 * 1024
"""Of a stream, read at one go; a reader holds three times as much, a writer twice."""
IDLE_S = 300.0
DIAL_WITHIN_S = 15.0
ADDRESSES_TRIED = 3


class Route(NamedTuple):
    """Where a request goes: the name that was asked for, and the addresses that it may go to."""

    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class Unreachable(Exception):
    """A host that was allowed and could not be connected to."""


class Peer(NamedTuple):
    """One side of a forwarded request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection

    async def next_event(self, within_s: float) -> h11.Event | type[h11.PAUSED]:
        """The next part of a message. Raises TimeoutError, h11.RemoteProtocolError, OSError."""
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(within_s):
                self.http.receive_data(await self.reader.read(CHUNK_BYTES))

    async def send(self, event: h11.Event) -> int:
        """Write `event`; how many bytes it was on the wire."""
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()
        return len(data or b"")


def read_in_chunks(writer: asyncio.StreamWriter) -> None:
    """Hold little of a connection: asyncio reads 256 KiB at one go where nothing is said."""
    transport = writer.transport
    transport.set_write_buffer_limits(high=CHUNK_BYTES)
    if hasattr(transport, "max_size"):  # Of asyncio's own sockets; another loop has none.
        transport.max_size = CHUNK_BYTES


async def answer(client: Peer, status: int, text: str) -> None:
    """Say why not, in the status line too: that is what most clients show of a proxy's answer."""
    body = f"Cellblock: {text}\n".encode()
    reason = "".join(one if " " <= one <= "~" else "?" for one in text)[:200]
    head = h11.Response(
        status_code=status,
        reason=reason.encode(),
        headers=[
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ],
    )
    await client.send(head)
    await client.send(h11.Data(data=body))
    await client.send(h11.EndOfMessage())


async def dial(
    route: Route, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that answers. Raises Unreachable."""
    problem = "no address"
    for address in route.addresses[:ADDRESSES_TRIED]:
        try:
            async with asyncio.timeout(DIAL_WITHIN_S):
                reader, writer = await asyncio.open_connection(
                    address,
                    route.port,
                    ssl=tls,
                    server_hostname=route.host if tls is not None else None,
                    limit=CHUNK_BYTES,
                )
            read_in_chunks(writer)
            return reader, writer
        except (OSError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
    raise Unreachable(f"{route.place} cannot be reached: {problem}")


async def pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
) -> None:
    while True:
        async with asyncio.timeout(IDLE_S):
            data = await reader.read(CHUNK_BYTES)
        if not data:
            break
        count(len(data))
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


def server_side() -> h11.Connection:
    return h11.Connection(h11.SERVER, HEAD_CAP_BYTES)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""The Model Context Protocol over this process's own pipes, which the event loop reads and writes.

The package's transport does both in threads: a call then waits for ten switches in place of one,
and costs a millisecond of CPU more. It serves what is no pipe. Source: `mcp.server.stdio`.
"""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.stdio import stdio_server

LINE_BYTES = 64 * 1024 * 1024
"""Of one message: a file of the longest that is read back, as Base64, fits four times."""
ANSWERED_S = 1.5
"""What has come is answered for so long after the end: clients end a server that stays for two."""
HEAD_CHARS = 60
Streams = tuple[Any, Any]


async def serve(server: MCPServer[Any]) -> None:
    """Answer until standard input ends."""
    # The package keeps the server that transports drive under this name alone.
    lowlevel = server._lowlevel_server
    async with _streams() as (stdin, stdout), stdio_server(stdin, stdout) as (reads, writes):
        await lowlevel.run(reads, writes, lowlevel.create_initialization_options())


class _Open:
    """About how many requests wait for their answer; it is looked at when no more come."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def came(self, line: str) -> None:
        """Note what a client sent: a request has a number and a method."""
        if '"method"' in line and '"id"' in line:
            self._count += 1
            self._none.clear()
        elif '"notifications/cancelled"' in line:
            self._less()

    def went(self, line: str) -> None:
        """Note what a client was sent: the server's own messages begin with their method."""
        if '"method"' not in line[:HEAD_CHARS]:
            self._less()

    async def wait(self) -> None:
        """Wait for the answers, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED_S):
                await self._none.wait()

    def _less(self) -> None:
        self._count -= 1
        if self._count <= 0:
            self._none.set()


class _Lines:
    """Lines that come; one that is too long is the last."""

    def __init__(self, reader: asyncio.StreamReader, waiting: _Open) -> None:
        self._reader = reader
        self._waiting = waiting

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            while line := await self._reader.readline():
                text = line.decode("utf-8", "replace")
                self._waiting.came(text)
                yield text
        except ValueError:
            print(f"A message has over {LINE_BYTES} bytes: serving ends.", file=sys.stderr)
        await self._waiting.wait()


class _Sink:
    """Where lines go."""

    def __init__(self, writer: asyncio.StreamWriter, waiting: _Open) -> None:
        self._writer = writer
        self._waiting = waiting

    async def write(self, text: str) -> None:
        """Hand text over."""
        self._writer.write(text.encode())
        self._waiting.went(text)

    async def flush(self) -> None:
        """Wait until more is taken."""
        # A client that has left reads no answer, and ends standard input too.
        with suppress(ConnectionError):
            await self._writer.drain()


@asynccontextmanager
async def _streams() -> AsyncIterator[Streams | tuple[None, None]]:
    """What is read and written; twice None, by which the package takes its own, for no pipes."""
    if not all(_is_pipe(fd) for fd in (0, 1)):
        yield None, None
        return
    kept = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        async with _of_pipes() as streams:
            # What a library prints, and what children read, is not the protocol's.
            os.dup2(nothing, 0)
            os.dup2(2, 1)
            yield streams
    finally:
        for fd, own in enumerate(kept):
            os.dup2(own, fd)
        for own in (*kept, nothing):
            os.close(own)


@asynccontextmanager
async def _of_pipes() -> AsyncIterator[Streams]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_BYTES)
    source, target = (os.fdopen(os.dup(fd), mode, 0) for fd, mode in ((0, "rb"), (1, "wb")))
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    writing, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, target)
    writer = asyncio.StreamWriter(writing, protocol, None, loop)
    try:
        waiting = _Open()
        yield _Lines(reader, waiting), _Sink(writer, waiting)
        with suppress(ConnectionError):
            await writer.drain()
    finally:
        reading.close()
        # It closes when all was written, or nothing is read any more.
        writing.close()


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)

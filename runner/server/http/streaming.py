"""Streams: frames to a client as they come, a heartbeat in silence, an end when it leaves."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runner.dialects.faults import Fault, fault_of
from runner.errors import ServerStopping

HEARTBEAT = b": keep-alive\n\n"
QUEUED_FRAMES = 256
STOPPING = fault_of(ServerStopping())
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class StatusLine:
    """Tells whether the status line has gone out: before that an error can still be one of HTTP."""

    def __init__(self) -> None:
        self.is_sent = False


class Stream(Protocol):
    """What is open and can be ended."""

    def abort(self, fault: Fault) -> None:
        """End it, with `fault` as what the client is told."""
        ...


class Streams:
    """Open streams of the server, so that a stop can wait for them and then end them."""

    def __init__(self) -> None:
        self.open: set[Stream] = set()
        self._listening: set[Stream] = set()
        self.is_stopping = False
        self._none_left = asyncio.Event()

    def add(self, stream: Stream, *, listens: bool = False) -> None:
        """Count a stream; one that `listens` answers nothing and is never waited for."""
        (self._listening if listens else self.open).add(stream)

    def remove(self, stream: Stream) -> None:
        self.open.discard(stream)
        self._listening.discard(stream)
        if not self.open:
            self._none_left.set()

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, wait `grace_s` for open streams, then end those that are left."""
        self.is_stopping = True
        for listener in list(self._listening):
            listener.abort(STOPPING)
        if not self.open:
            return
        self._none_left.clear()
        try:
            async with asyncio.timeout(grace_s):
                await self._none_left.wait()
        except TimeoutError:
            for stream in list(self.open):
                stream.abort(STOPPING)


class EventStream(Response):
    """Sends what `frames` yields.

    One task pulls the frames and one watches for the client's leaving, which cancels the first
    and with it the model and the snippet. An error before the first frame is raised, and becomes
    a plain answer; `on_abort` gives the frame for an end that the server itself brings.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        status_line: StatusLine,
        streams: Streams,
        *,
        heartbeat_s: float,
        media_type: str = "text/event-stream; charset=utf-8",
        headers: Mapping[str, str] | None = None,
        on_abort: Callable[[Fault], bytes] = lambda _fault: b"",
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(headers={**STREAM_HEADERS, **(headers or {})}, media_type=media_type)
        if "content-length" in self.headers:
            del self.headers["content-length"]
        self._frames = frames
        self._status_line = status_line
        self._streams = streams
        self._heartbeat_s = heartbeat_s
        self._on_abort = on_abort
        self._on_close = on_close
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_FRAMES)
        self._pump: asyncio.Task[None] | None = None
        self._fault: Fault | None = None
        self._has_left = False

    def abort(self, fault: Fault) -> None:
        """End the stream with an error frame."""
        self._fault = fault
        if self._pump is not None:
            self._pump.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._pump = asyncio.create_task(self._pull())
        watch = asyncio.create_task(self._watch(receive))
        self._streams.add(self)
        try:
            await self._send_all(send)
        finally:
            self._streams.remove(self)
            watch.cancel()
            self._pump.cancel()
            await asyncio.wait({watch, self._pump})
            if self._on_close is not None:
                # A pump that was cancelled before its first step never ran its generator.
                await self._on_close()

    async def _pull(self) -> None:
        try:
            async with aclosing(self._frames) as frames:
                async for frame in frames:
                    await self._queue.put(frame)
        finally:
            # Never waits: a full queue has a reader that finds this task done.
            if not self._queue.full():
                self._queue.put_nowait(None)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        if self._pump is not None:
            self._pump.cancel()

    async def _send_all(self, send: Send) -> None:
        last = time.monotonic()
        while not self._has_left:
            frame = await self._next(last)
            if frame is None:
                break
            last = time.monotonic()
            await self._write(send, frame)
        assert self._pump is not None
        if not self._has_left:
            await asyncio.wait({self._pump})
            if not self._pump.cancelled() and (error := self._pump.exception()) is not None:
                raise error
            if self._fault is not None:
                await self._write(send, self._on_abort(self._fault))
            await self._write(send, b"", more=False)

    async def _next(self, last: float) -> bytes | None:
        """Return the next bytes to send, all that are ready; None at the end."""
        assert self._pump is not None
        if self._queue.empty() and self._pump.done():
            return None
        try:
            async with asyncio.timeout(self._heartbeat_s):
                frame = await self._queue.get()
        except TimeoutError:
            return HEARTBEAT
        if frame is None:
            return None
        parts = [frame]
        while not self._queue.empty():
            more = self._queue.get_nowait()
            if more is None:
                # Comes once and means the end: leave it for the next call.
                self._queue.put_nowait(None)
                break
            parts.append(more)
        return b"".join(parts)

    async def _write(self, send: Send, body: bytes, *, more: bool = True) -> None:
        if not self._status_line.is_sent:
            self._status_line.is_sent = True
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
        await send({"type": "http.response.body", "body": body, "more_body": more})


class Answer(Response):
    """Sends the one response that `make` gives; a client that leaves cancels the making."""

    def __init__(
        self,
        make: Callable[[], Coroutine[None, None, Response]],
        streams: Streams,
        *,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._make = make
        self._streams = streams
        self._on_close = on_close
        self._work: asyncio.Task[Response] | None = None
        self._is_aborted = False

    def abort(self, fault: Fault) -> None:
        """End the making."""
        self._is_aborted = True
        if self._work is not None:
            self._work.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._work = asyncio.create_task(self._make())
        watch = asyncio.create_task(_left(receive))
        self._streams.add(self)
        try:
            await asyncio.wait({self._work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if self._work.done() and not self._work.cancelled():
                await self._work.result()(scope, receive, send)
            elif self._is_aborted:
                raise ServerStopping
        finally:
            self._streams.remove(self)
            watch.cancel()
            self._work.cancel()
            await asyncio.wait({watch, self._work})
            if self._on_close is not None:
                await self._on_close()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""A program of a session of another machine: `AsyncCommand` over HTTP."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from sandbox import events
from sandbox.cancellation import in_background
from sandbox.errors import PolicyError, RemoteFailed, SandboxError
from sandbox.outcome import ExecResult
from sandbox.policy.arguments import as_bytes, signal_name, signal_number
from sandbox.remote.event_stream import Frames, error_event
from sandbox.remote.server import Server
from sandbox.session.commands.command import EVENTS_HELD, CommandEvent

EXEC_FACTS = ("exit_code", "signal", "timed_out", "limit", "truncated", "usage")
Opened = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Begins the program and reads what the server tells of it."""
WRITE_BYTES = 1024 * 1024


class AsyncRemoteCommand:
    """A program beside the interpreter, over there. Made by the `popen` of a session.

    Its connection is its life: it ends with it. What it writes waits until it is read.
    """

    def __init__(self, server: Server, session_path: str, opened: Opened) -> None:
        self._server = server
        self._session_path = session_path
        self._opened = opened
        self._id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._result: asyncio.Future[ExecResult] = asyncio.get_running_loop().create_future()
        self._events: asyncio.Queue[CommandEvent | None] = asyncio.Queue(EVENTS_HELD)
        self._writing = asyncio.Lock()
        self._is_stdin_closed = False
        self._is_over = False
        self.reading = in_background(self._read())

    async def started(self) -> None:
        """Wait until the server has begun it. Raises what it refuses."""
        try:
            await asyncio.shield(self._id)
        except asyncio.CancelledError:
            self.reading.cancel()
            raise

    @property
    def pid(self) -> int:
        """Not told over HTTP: 0."""
        return 0

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet, as far as was told."""
        return not self._result.done()

    async def write(self, data: bytes | str) -> None:
        """Write to its standard input; waits while much of it has not been read yet."""
        if self._is_stdin_closed or self._result.done():
            raise BrokenPipeError("the command's standard input is closed")
        await self._write(bytes(as_bytes("stdin", data)), close=False)

    def close_stdin(self) -> None:
        """Let it read the end of its standard input, after what was written."""
        if not self._is_stdin_closed:
            self._is_stdin_closed = True
            in_background(self._quietly(self._write(b"", close=True)))

    async def read_event(self) -> CommandEvent | None:
        """What it writes next, or its end; None after that."""
        if self._is_over and self._events.empty():
            return None
        event = await self._events.get()
        self._is_over = self._is_over or event is None
        return event

    def kill(self, signal: str | int = "SIGKILL", *, tree: bool = True) -> None:
        """Send it a signal, and with `tree` all that descends from it. Returns at once."""
        found = signal_name(signal_number(signal))
        if self.is_running:
            body = {"signal": found, "tree": tree}
            in_background(self._quietly(self._tell("signal", body)))

    async def wait(self) -> ExecResult:
        """Wait for its end. A caller that is cancelled leaves it running."""
        return await asyncio.shield(self._result)

    def leave(self, error: SandboxError) -> None:
        """Read no more of it: its session is gone, and `error` says how."""
        self._fail(error)
        self.reading.cancel()

    async def kill_and_wait(self) -> None:
        """End it, and wait until it has ended."""
        self.kill()
        with contextlib.suppress(SandboxError):
            await self.wait()

    # ---- inside ---------------------------------------------------------------------------------

    async def _write(self, data: bytes, *, close: bool) -> None:
        async with self._writing:
            for start in range(0, max(len(data), 1), WRITE_BYTES):
                piece = data[start : start + WRITE_BYTES]
                is_last = start + WRITE_BYTES >= len(data)
                try:
                    await self._tell("stdin" + ("?close=true" if close and is_last else ""), piece)
                except RemoteFailed as error:
                    if error.status in (404, 409):
                        raise BrokenPipeError("the command's standard input is closed") from error
                    raise

    async def _tell(self, what: str, body: object) -> None:
        path = f"{self._session_path}/commands/{await asyncio.shield(self._id)}/{what}"
        await self._server.call("POST", path, body)

    async def _quietly(self, work: Any) -> None:
        # Nothing waits for it: what became of the program its reader is told.
        with contextlib.suppress(SandboxError, OSError):
            await work

    async def _read(self) -> None:
        frames = Frames(self._server.name)
        try:
            async with self._opened() as pieces:
                async for piece in pieces:
                    for name, data in frames.feed(piece):
                        await self._take(name, data)
                        if self._result.done():
                            return
            raise RemoteFailed(self._server.name, "its stream ended before the program")
        except SandboxError as error:
            self._fail(error)
        finally:
            if not self._result.done():
                self._fail(RemoteFailed(self._server.name, "the command's stream was left"))
            self._is_over = True
            if not self._events.full():
                self._events.put_nowait(None)

    def _fail(self, error: SandboxError) -> None:
        for future in (self._id, self._result):
            if not future.done():
                future.set_exception(error)
                future.exception()  # One that is not waited for is no error.

    async def _take(self, name: str, data: bytes) -> None:
        try:
            told = json.loads(data)
            if name == "started":
                self._id.set_result(_id_of(told))
                return
            if name == "error":
                raise error_event(self._server.name, told)
            if name == "finished":
                done = exec_result(told)
                self._result.set_result(done)
                await self._events.put(events.ExecFinished(done))
                return
            if name not in ("stdout", "stderr"):
                raise ValueError(name)
            kind = events.Stdout if name == "stdout" else events.Stderr
            raw = base64.b64decode(told["raw_base64"], validate=True)
            await self._events.put(kind(str(told["text"]), raw))
        except (ValueError, KeyError, TypeError, RecursionError, asyncio.InvalidStateError) as why:
            if isinstance(why, PolicyError):
                raise
            problem = f"it sent an event {name[:40]!r} that is none"
            raise RemoteFailed(self._server.name, problem) from None


def exec_result(told: Any) -> ExecResult:
    """The end of a command as a server tells it. Raises ValueError, KeyError, TypeError."""
    facts = {name: told[name] for name in EXEC_FACTS}
    for name in ("stdout", "stderr"):
        facts[name] = base64.b64decode(told[f"{name}_base64"], validate=True)
    return ExecResult.model_validate(facts)


def _id_of(told: Any) -> str:
    found = str(told["command_id"])
    if not found.replace("_", "").isalnum() or not found.isascii():
        raise ValueError("no id")
    return found

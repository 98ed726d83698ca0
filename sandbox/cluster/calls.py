"""Calls of a session that are passed on to its place as they are."""

import asyncio
import functools
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sandbox import events
from sandbox.cancellation import in_background
from sandbox.cluster.cluster import Lost, session_lost
from sandbox.errors import SandboxError, SessionClosed
from sandbox.files.file_streams import PIECE_BYTES, pieces_of
from sandbox.outcome import ExecResult
from sandbox.policy.arguments import as_bytes, signal_number
from sandbox.session.commands.command import AsyncCommand, CommandEvent
from sandbox.session.file_calls import Data, Writable, check_chunk, check_target
from sandbox.session.session import AsyncSession
from sandbox.session.values import CarriedValues

P = ParamSpec("P")
T = TypeVar("T")
Ask = Callable[..., Coroutine[Any, Any, Any]]


def passed_on(
    call: Callable[Concatenate[AsyncSession, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["PlacedCalls", P], Coroutine[Any, Any, T]]:
    """The same call, carried out by the session's place."""

    @functools.wraps(call)
    async def ask(self: "PlacedCalls", *args: P.args, **kwargs: P.kwargs) -> T:
        return cast(T, await self._ask(call.__name__, *args, **kwargs))

    return cast("Callable[Concatenate[PlacedCalls, P], Coroutine[Any, Any, T]]", ask)


class PlacedCalls(CarriedValues):
    """Files, commands, values and questions of a session on a cluster; see `AsyncSession`."""

    @abstractmethod
    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The answer to a call about this session."""

    @abstractmethod
    async def _ask_place(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The answer to a call about something of its place."""

    get = passed_on(AsyncSession.get)
    files = passed_on(AsyncSession.files)
    list_directory = passed_on(AsyncSession.list_directory)
    stat = passed_on(AsyncSession.stat)
    mkdir = passed_on(AsyncSession.mkdir)
    remove = passed_on(AsyncSession.remove)
    install = passed_on(AsyncSession.install)
    exec = passed_on(AsyncSession.exec)
    carry_in = passed_on(AsyncSession.carry_in)
    carry_out = passed_on(AsyncSession.carry_out)
    variables = passed_on(AsyncSession.variables)
    complete = passed_on(AsyncSession.complete)
    inspect = passed_on(AsyncSession.inspect)
    is_complete = passed_on(AsyncSession.is_complete)
    check = passed_on(AsyncSession.check)
    describe = passed_on(AsyncSession.describe)
    checkpoint = passed_on(AsyncSession.checkpoint)
    rollback = passed_on(AsyncSession.rollback)
    drop = passed_on(AsyncSession.drop)
    checkpoints = passed_on(AsyncSession.checkpoints)
    try_run = passed_on(AsyncSession.try_run)

    async def put(self, path: str, data: Data) -> None:
        """Write `data` to the file `path`, with the directories above it; text as UTF-8."""
        if isinstance(data, str):
            data = bytes(as_bytes("data", data))
        if isinstance(data, bytes | bytearray | memoryview):
            await self._ask("put", path, bytes(data))
            return
        writer = await self._ask("write", path)
        try:
            async for piece in pieces_of(data):
                await self._ask_place("more", writer, piece)
        except BaseException:
            in_background(quietly(self._ask_place("drop_file", writer)))
            raise
        await self._ask_place("more", writer, None)

    async def get_stream(
        self, path: str, *, chunk_bytes: int = PIECE_BYTES
    ) -> AsyncIterator[bytes]:
        """The content of the regular file `path` in pieces of at most `chunk_bytes`."""
        check_chunk(chunk_bytes)
        reader = await self._ask("read", path, chunk_bytes)
        try:
            while (piece := await self._ask_place("piece", reader)) is not None:
                yield piece
        finally:
            in_background(quietly(self._ask_place("shut", reader)))

    async def get_to(self, path: str, target: Writable) -> int:
        """Write the content of the regular file `path` to a binary file; how many bytes."""
        check_target(target)
        written = 0
        async for piece in self.get_stream(path):
            await asyncio.to_thread(target.write, piece)
            written += len(piece)
        return written

    async def popen(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncCommand:
        """Start a program beside the interpreter; see `AsyncSession.popen`."""
        number = await self._ask("popen", command, cwd=cwd, env=env, timeout_s=timeout_s)
        # The same calls, carried out in the place.
        return cast(AsyncCommand, AsyncPlacedCommand(self._ask_place, number))

    async def exec_stream(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[CommandEvent]:
        """What a program writes as it comes, `ExecFinished` last. Leaving the loop ends it."""
        if timeout_s is None:
            timeout_s = (await self.describe()).limits.wall_s
        started = await self.popen(command, cwd=cwd, env=env, timeout_s=timeout_s)
        try:
            if stdin:
                await started.write(stdin)
            started.close_stdin()
            while (event := await started.read_event()) is not None:
                yield event
            await started.wait()
        finally:
            if started.is_running:
                started.kill()


class AsyncPlacedCommand:
    """A program beside the interpreter on a node of a cluster; see `AsyncCommand`."""

    def __init__(self, ask: Ask, number: int) -> None:
        self._ask = ask
        self._number = number
        self._is_stdin_closed = False
        self._writing = asyncio.Lock()
        self._ended: asyncio.Task[ExecResult] = in_background(self._call("wait"))
        self._ended.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def pid(self) -> int:
        """Not told: 0."""
        return 0

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet, as far as was told."""
        return not self._ended.done()

    async def write(self, data: bytes | str) -> None:
        """Write to its standard input; waits while much of it has not been read yet."""
        if self._is_stdin_closed or self._ended.done():
            raise BrokenPipeError("the command's standard input is closed")
        async with self._writing:
            await self._call("write", data)

    def close_stdin(self) -> None:
        """Let it read the end of its standard input, after what was written."""
        if not self._is_stdin_closed:
            self._is_stdin_closed = True
            in_background(quietly(self._close_stdin()))

    async def read_event(self) -> CommandEvent | None:
        """What it writes next, or its end; None after that."""
        try:
            event: CommandEvent | None = await self._call("read_event")
        except SessionClosed:
            return None  # It has ended with its session, as `wait` says.
        if event is None or isinstance(event, events.ExecFinished):
            await asyncio.wait([self._ended])
        return event

    def kill(self, signal: str | int = "SIGKILL", *, tree: bool = True) -> None:
        """Send it a signal, and with `tree` all that descends from it. Returns at once."""
        in_background(quietly(self._call("kill", signal_number(signal), tree=tree)))

    async def wait(self) -> ExecResult:
        """Wait for its end. A caller that is cancelled leaves it running."""
        return await asyncio.shield(self._ended)

    async def kill_and_wait(self) -> None:
        """End it, and wait until it has ended."""
        self.kill()
        await asyncio.wait([self._ended])

    async def _close_stdin(self) -> None:
        async with self._writing:
            await self._call("close_stdin")

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await self._ask("command", self._number, name, *args, **kwargs)
        except Lost as error:
            raise session_lost(error) from None


async def quietly(work: Coroutine[Any, Any, object]) -> None:
    """Do what nothing waits for: what is wrong with the place other calls find out."""
    try:
        await work
    except (SandboxError, OSError):
        return

"""Place: an engine on a node, of which Ray makes an actor. It has one session, and its branches.

Answers are pairs: whether it went well, and the result or the error. So an error arrives as what
it is, and what Ray itself raises means that the place is gone.
"""

import asyncio
import contextlib
import importlib
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, NamedTuple

from sandbox import events
from sandbox.errors import SessionClosed
from sandbox.policy.policy import Policy
from sandbox.processes.supply import WorkerSupply
from sandbox.protocol.messages import ToolAnswer
from sandbox.remote.relayed_tools import RelayedTool
from sandbox.session.commands.command import AsyncCommand
from sandbox.session.host_tools import HostTools, ToolError
from sandbox.session.session import AsyncSession

SESSIONS_CAP = 64
HELD_PIECES = 8
BATCH = 64
RELAYED = frozenset(
    (
        *("put", "get", "files", "list_directory", "stat", "mkdir", "remove", "install"),
        *("exec", "carry_in", "carry_out", "variables", "complete", "inspect", "is_complete"),
        *("check", "describe", "checkpoint", "rollback", "drop", "checkpoints", "try_run"),
        "extend",
    )
)
"""Calls of a session that are passed on as they are."""


class ToolCalled(NamedTuple):
    """A snippet calls a function of the program that uses the cluster."""

    call_id: str
    name: str
    args: list[Any]
    kwargs: dict[str, Any]


class Opened(NamedTuple):
    """A session of a place, by its number there."""

    number: int
    layers: tuple[str, ...]
    expires_at: float | None


class _Run:
    """A snippet under way: its events, and its calls that wait for an answer."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.waiting: dict[str, asyncio.Future[ToolAnswer]] = {}
        self.task: asyncio.Task[None]

    def relay_of(self, name: str, ids: "itertools.count[int]") -> Any:
        async def relay(args: list[Any], kwargs: dict[str, Any]) -> Any:
            call_id = str(next(ids))
            future: asyncio.Future[ToolAnswer] = asyncio.get_running_loop().create_future()
            self.waiting[call_id] = future
            self.queue.put_nowait(ToolCalled(call_id, name, args, kwargs))
            try:
                found = await future
            finally:
                del self.waiting[call_id]
            if found.error_type:
                raise ToolError(found.error_type, found.error_message)
            return json.loads(found.result)

        return relay


class Place:
    """An engine on a node. Its calls come through `ask`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._supply = WorkerSupply(
            policy, pool_size=1, max_sessions=SESSIONS_CAP, max_waiting=SESSIONS_CAP
        )
        self._ids = itertools.count(1)
        self._sessions: dict[int, AsyncSession] = {}
        self._runs: dict[int, _Run] = {}
        self._commands: dict[int, AsyncCommand] = {}
        self._readers: dict[int, AsyncGenerator[bytes, None]] = {}
        self._writers: dict[int, tuple[asyncio.Queue[bytes | None], asyncio.Task[None]]] = {}

    async def ask(self, name: str, *args: Any, **kwargs: Any) -> tuple[bool, Any]:
        """Whether a call went well, and its result or the error."""
        try:
            if name in RELAYED:
                number, *rest = args
                return True, await getattr(self._session(number), name)(*rest, **kwargs)
            return True, await getattr(self, f"do_{name}")(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - it is raised again, by the program
            return False, error

    async def do_node(self) -> str:
        """Which node this is."""
        context: Any = importlib.import_module("ray").get_runtime_context()
        return str(context.get_node_id())

    async def do_open(self, **settings: Any) -> Opened:
        """A session."""
        return self._keep(await AsyncSession(self._supply, self._policy, **settings))

    async def do_look(self, number: int) -> Opened:
        """What is known of a session."""
        session = self._session(number)
        return Opened(number, session.enforcement, session.expires_at)

    async def do_fork(self, number: int, n: int) -> list[Opened]:
        """Branches of a session, in this place too."""
        return [self._keep(branch) for branch in await self._session(number).fork(n)]

    async def do_interrupt(self, number: int) -> None:
        """End the snippet that runs."""
        self._session(number).interrupt()

    async def do_close(self, number: int) -> None:
        """End a session."""
        session = self._sessions.pop(number, None)
        if session is not None:
            await session.close()

    async def do_end(self) -> None:
        """End the engine."""
        for run in self._runs.values():
            run.task.cancel()
        await self._supply.close()

    # ---- snippets -------------------------------------------------------------------------------

    async def do_begin(
        self, number: int, code: str, tools: list[dict[str, Any]], options: Mapping[str, Any]
    ) -> int:
        """Run a snippet; the number that its events are asked for by."""
        run, run_id = _Run(), next(self._ids)
        offered: HostTools = {row["name"]: self._tool(run, row) for row in tools}
        source = self._session(number).stream(code, tools=offered, **options)
        run.task = asyncio.ensure_future(_fill(run.queue, source))
        self._runs[run_id] = run
        return run_id

    async def do_once(
        self, code: str, tools: list[dict[str, Any]], options: Mapping[str, Any]
    ) -> int:
        """Run one snippet as a program in a fresh jail."""
        run, run_id = _Run(), next(self._ids)
        offered: HostTools = {row["name"]: self._tool(run, row) for row in tools}

        async def source() -> AsyncIterator[events.Event]:
            async with AsyncSession(self._supply, self._policy, survive=False) as session:
                async for event in session.stream(code, tools=offered, script="", **options):
                    yield event

        run.task = asyncio.ensure_future(_fill(run.queue, source()))
        self._runs[run_id] = run
        return run_id

    async def do_next(self, run_id: int) -> list[Any]:
        """The events that have come; waits for one. An error is the last."""
        run = self._runs[run_id]
        found = [await run.queue.get()]
        while len(found) < BATCH and not run.queue.empty():
            found.append(run.queue.get_nowait())
        return found

    async def do_answer(self, run_id: int, call_id: str, answer: ToolAnswer) -> None:
        """Hand an answer to a snippet's call over."""
        run = self._runs.get(run_id)
        future = None if run is None else run.waiting.get(call_id)
        if future is not None and not future.done():
            future.set_result(answer)

    async def do_leave(self, run_id: int) -> None:
        """End a snippet that nothing listens to any more."""
        run = self._runs.pop(run_id, None)
        if run is not None and not run.task.done():
            run.task.cancel()
            await asyncio.wait([run.task])

    def _tool(self, run: _Run, row: Mapping[str, Any]) -> RelayedTool:
        return RelayedTool(
            row["name"],
            run.relay_of(row["name"], self._ids),
            doc=row["doc"],
            parameters=row["parameters"],
            is_async=row["is_async"],
            timeout_s=row["timeout_s"],
            max_calls=row["max_calls"],
        )

    # ---- commands -------------------------------------------------------------------------------

    async def do_popen(self, number: int, *args: Any, **kwargs: Any) -> int:
        """Start a program; the number that it is talked to by."""
        command_id = next(self._ids)
        self._commands[command_id] = await self._session(number).popen(*args, **kwargs)
        return command_id

    async def do_command(self, command_id: int, name: str, *args: Any, **kwargs: Any) -> Any:
        """A call of a program."""
        found = getattr(self._commands[command_id], name)(*args, **kwargs)
        return await found if asyncio.iscoroutine(found) else found

    # ---- files ----------------------------------------------------------------------------------

    async def do_read(self, number: int, path: str, chunk_bytes: int) -> int:
        """Begin to read a file in pieces."""
        reader_id = next(self._ids)
        source = self._session(number).get_stream(path, chunk_bytes=chunk_bytes)
        self._readers[reader_id] = _generator(source)
        return reader_id

    async def do_piece(self, reader_id: int) -> bytes | None:
        """The next piece; None at the end."""
        return await anext(self._readers[reader_id], None)

    async def do_shut(self, reader_id: int) -> None:
        """Read no more."""
        await self._readers.pop(reader_id).aclose()

    async def do_write(self, number: int, path: str) -> int:
        """Begin to write a file in pieces; it is in place at the end."""
        writer_id = next(self._ids)
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(HELD_PIECES)

        async def source() -> AsyncIterator[bytes]:
            while (piece := await pieces.get()) is not None:
                yield piece

        task = asyncio.ensure_future(self._session(number).put(path, source()))
        self._writers[writer_id] = pieces, task
        return writer_id

    async def do_more(self, writer_id: int, piece: bytes | None) -> None:
        """Take a piece more; None for the end. Raises what writing raised."""
        pieces, task = self._writers[writer_id]
        adding = asyncio.ensure_future(pieces.put(piece))
        await asyncio.wait({adding, task}, return_when=asyncio.FIRST_COMPLETED)
        if piece is None:
            del self._writers[writer_id]
        if piece is None or task.done():
            adding.cancel()
            await task

    async def do_drop_file(self, writer_id: int) -> None:
        """Leave what was there before."""
        _, task = self._writers.pop(writer_id)
        task.cancel()
        await asyncio.wait([task])

    def _keep(self, session: AsyncSession) -> Opened:
        number = next(self._ids)
        self._sessions[number] = session
        return Opened(number, session.enforcement, session.expires_at)

    def _session(self, number: int) -> AsyncSession:
        if (found := self._sessions.get(number)) is None:
            raise SessionClosed
        return found


async def _fill(queue: asyncio.Queue[Any], source: AsyncIterator[events.Event]) -> None:
    try:
        async with contextlib.aclosing(_generator(source)) as events_:
            async for event in events_:
                queue.put_nowait(event)
    except Exception as error:  # noqa: BLE001 - it is raised again, by the program
        queue.put_nowait(error)


async def _generator(source: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """`source`, closed when it is closed."""
    try:
        async for one in source:
            yield one
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()

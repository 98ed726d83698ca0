"""A Jupyter kernel as a program: five sockets of ZMQ that a notebook's client has chosen.

The kernel is this process: it holds the sockets and no code of the notebook. They are bound and it
has said what it is before the engine is imported, so that a notebook is ready at once.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from typing import TYPE_CHECKING

import zmq
import zmq.asyncio

from runner.faces.jupyter.loop import KernelLoop
from runner.faces.jupyter.opening import OpenKernel
from runner.faces.jupyter.wire import BadMessage, Content, MessageCodec, Request

if TYPE_CHECKING:
    from sandbox import AsyncSandbox, AsyncSession, Outcome, Policy

WARM_AFTER_S = 1.0
"""The engine starts when the first client has had its answer, or after so long."""
HEARD_WITHIN_S = 0.3
"""The first answer waits so long for a client at `iopub`, which looks there for its states."""
INIT = 1


async def serve(
    load_policy: Callable[[], "Policy"], opened: OpenKernel, waiting: Sequence[Request] = ()
) -> None:
    """Answer clients until one asks for the end, or the program that started the kernel ends.

    `load_policy` is called in a thread; `waiting` are requests of `shell` that were read already.
    Raises ConfigError; what the engine or the policy lacks is told to the client that runs a cell.
    """
    async with AsyncExitStack() as held:
        sockets = {
            name: zmq.asyncio.Socket.from_socket(one) for name, one in opened.sockets.items()
        }
        for one in sockets.values():
            held.callback(one.close, linger=500)
        engine = OwnEngine(load_policy)
        held.push_async_callback(engine.close)
        front = ZmqSockets(opened.codec, sockets)
        loop = KernelLoop(engine, front)
        held.push_async_callback(loop.close)
        held.callback(end_with_parent(loop.ended))
        for request in waiting:
            await loop.take("shell", request)
        await front.serve(loop, engine)


def end_with_parent(ended: asyncio.Event) -> Callable[[], None]:
    """Set `ended` when the Jupyter that started this process has ended; what to call at the end.

    A client that is killed says nothing to its kernels. One that means them to outlive it does not
    set `JPY_PARENT_PID`. The parent's number is compared with the kernel's own parent alone: a
    number of another namespace says nothing here.
    """
    asked = os.environ.get("JPY_PARENT_PID", "")
    if not (asked.isascii() and asked.isdigit()) or int(asked) == INIT:
        return _nothing
    parent = os.getppid()
    if parent != int(asked) and parent == INIT:
        ended.set()
        return _nothing
    loop = asyncio.get_running_loop()
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        ended.set()
        return _nothing
    loop.add_reader(watched, ended.set)
    if os.getppid() != parent:
        ended.set()

    def forget() -> None:
        loop.remove_reader(watched)
        os.close(watched)

    return forget


def _nothing() -> None:
    pass


class OwnEngine:
    """Sessions of a sandbox that is this program's own, started when it is first wanted."""

    def __init__(self, load_policy: Callable[[], "Policy"]) -> None:
        self._load_policy = load_policy
        self._box: AsyncSandbox | None = None
        self._lock = asyncio.Lock()

    def calling(self) -> AbstractContextManager[None]:
        """Count nothing."""
        return nullcontext()

    def working(self, session: "AsyncSession") -> AbstractContextManager[None]:
        """Note nothing."""
        return nullcontext()

    async def open(self) -> "AsyncSession":
        """Make a session. Raises SandboxError, RunnerError."""
        return await (await self._started()).session()

    async def end(self, session: "AsyncSession") -> None:
        """Close `session`."""
        await session.close()

    def ran(self, session: "AsyncSession", code: str, outcome: "Outcome") -> None:
        """Note nothing."""

    async def close(self) -> None:
        """Stop the engine, if it was started."""
        if self._box is not None:
            await self._box.close()

    async def _started(self) -> "AsyncSandbox":
        async with self._lock:
            if self._box is None:
                policy = await asyncio.to_thread(self._load_policy)
                from sandbox import AsyncSandbox

                box = AsyncSandbox(policy, pool_size=1)
                self._box = await box.__aenter__()
            return self._box


class ZmqSockets:
    """The sockets of one kernel."""

    def __init__(self, codec: MessageCodec, sockets: dict[str, zmq.asyncio.Socket]) -> None:
        self._codec = codec
        self._sockets = sockets
        self._has_answered = asyncio.Event()
        self._is_heard = asyncio.Event()
        """A client is at `iopub`."""

    async def serve(self, loop: KernelLoop, engine: OwnEngine) -> None:
        """Read requests until a client asks for the end."""
        works = [
            asyncio.create_task(work)
            for work in (
                *(self._read(name, loop) for name in ("shell", "control", "stdin")),
                self._beat(),
                self._listeners(),
                loop.run(),
            )
        ]
        warm = asyncio.create_task(self._warm(loop))
        ended = asyncio.create_task(loop.ended.wait())
        try:
            done, _ = await asyncio.wait({*works, ended}, return_when=asyncio.FIRST_COMPLETED)
            for work in done - {ended}:
                work.result()
        finally:
            for work in (*works, warm, ended):
                work.cancel()
            await asyncio.wait({*works, warm, ended})

    async def reply(self, channel: str, kind: str, content: Content, request: Request) -> None:
        """Send to the client of `request`."""
        parts = self._codec.write(kind, content, request.header, request.identities)
        await self._sockets[channel].send_multipart(parts)
        self._has_answered.set()

    async def publish(self, kind: str, content: Content, parent: Content) -> None:
        """Send to all clients."""
        parts = self._codec.write(kind, content, parent, [f"kernel.{kind}".encode()])
        await self._sockets["iopub"].send_multipart(parts)

    async def _read(self, channel: str, loop: KernelLoop) -> None:
        socket = self._sockets[channel]
        while True:
            try:
                request = self._codec.read(await socket.recv_multipart())
            except BadMessage:
                # Without the key the sender is unknown, and gets no answer.
                continue
            await self._heard()
            await loop.take(channel, request)

    async def _listeners(self) -> None:
        socket = self._sockets["iopub"]
        while True:
            await socket.recv()
            self._is_heard.set()

    async def _heard(self) -> None:
        """Wait once for a client at `iopub`."""
        if not self._is_heard.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_heard.wait(), HEARD_WITHIN_S)
            self._is_heard.set()

    async def _beat(self) -> None:
        socket = self._sockets["hb"]
        while True:
            await socket.send_multipart(await socket.recv_multipart())

    async def _warm(self, loop: KernelLoop) -> None:
        """Start the engine before the first cell; what it lacks is told when a cell needs it."""
        try:
            async with asyncio.timeout(WARM_AFTER_S):
                await self._has_answered.wait()
        except TimeoutError:
            pass
        from runner.errors import RunnerError
        from sandbox import SandboxError

        try:
            await loop.open()
        except (SandboxError, RunnerError):
            return

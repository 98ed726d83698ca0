"""A Jupyter kernel as a program: five sockets of ZMQ that a notebook's client has chosen.

The kernel is this process: it holds the sockets and no code of the notebook. It binds them and
says what it is before the engine is imported, so that a notebook is ready at once.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zmq
import zmq.asyncio

from runner.errors import ConfigError
from runner.faces.jupyter.loop import KernelLoop
from runner.faces.jupyter.wire import BadMessage, Content, MessageCodec, Request

if TYPE_CHECKING:
    from sandbox import AsyncSandbox, AsyncSession, Outcome, Policy

CONNECTION_CAP_BYTES = 64 * 1024
CHANNELS = ("shell", "control", "iopub", "stdin", "hb")
WARM_AFTER_S = 1.0
"""The engine starts when the first client has had its answer, or after so long."""


@dataclass(frozen=True, slots=True)
class ConnectionFile:
    """Where the kernel listens, and the key of its messages."""

    transport: str
    ip: str
    key: str
    signature_scheme: str
    ports: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> "ConnectionFile":
        """The file that a client wrote. Raises ConfigError."""
        try:
            with path.open("rb") as file:
                data = json.loads(file.read(CONNECTION_CAP_BYTES))
            return cls(
                str(data["transport"]),
                str(data["ip"]),
                str(data["key"]),
                str(data.get("signature_scheme", "hmac-sha256")),
                {name: int(data[f"{name}_port"]) for name in CHANNELS},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"{path} is no Jupyter connection file: {type(error).__name__}: {error}"
            raise ConfigError("connection file", problem) from error

    def address(self, channel: str) -> str:
        """What the channel's socket binds to."""
        joint = "-" if self.transport == "ipc" else ":"
        return f"{self.transport}://{self.ip}{joint}{self.ports[channel]}"


async def serve(load_policy: Callable[[], "Policy"], file: ConnectionFile) -> None:
    """Answer clients until one asks for the end. `load_policy` is called in a thread.

    Raises ConfigError; what the engine or the policy lacks is told to the client that runs a cell.
    """
    async with AsyncExitStack() as held:
        context = zmq.asyncio.Context()
        held.callback(context.destroy, linger=500)
        sockets = {
            name: _bound(context, kind, file.address(name))
            for name, kind in (
                ("shell", zmq.ROUTER),
                ("control", zmq.ROUTER),
                ("iopub", zmq.PUB),
                ("stdin", zmq.ROUTER),
                ("hb", zmq.REP),
            )
        }
        engine = OwnEngine(load_policy)
        held.push_async_callback(engine.close)
        front = ZmqSockets(MessageCodec(file.key.encode(), file.signature_scheme), sockets)
        loop = KernelLoop(engine, front)
        held.push_async_callback(loop.close)
        await front.serve(loop, engine)


def _bound(context: zmq.asyncio.Context, kind: int, address: str) -> zmq.asyncio.Socket:
    socket = context.socket(kind)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise ConfigError("connection file", f"{address} cannot be bound: {error}") from error
    return socket


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

    async def serve(self, loop: KernelLoop, engine: OwnEngine) -> None:
        """Read requests until a client asks for the end."""
        works = [
            asyncio.create_task(work)
            for work in (
                *(self._read(name, loop) for name in ("shell", "control", "stdin")),
                self._beat(),
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
            await loop.take(channel, request)

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

"""Kernels: each a message loop over a session of the server's table, and the sockets at it."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from runner.errors import RequestError
from runner.faces.jupyter.loop import KernelLoop
from runner.faces.jupyter.wire import Content, Request
from runner.server.accounts import Account
from runner.server.live.observer import Observer
from runner.server.live.session_table import SessionTable
from runner.server.mcp.doors import HeldSource
from sandbox import Limits

SPECS = ("python3", "cellblock")
"""Names of the one kernel that there is: clients ask for the first by default."""
NAME_CHARS = 1000


class KernelSource(HeldSource):
    """Sessions of one key; each request in one counts as a request of the key."""

    def __init__(
        self, table: SessionTable, account: Account, policy: Limits, observer: Observer
    ) -> None:
        super().__init__(table, account, policy, observer)
        self._key = account

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Count a request while it lasts, and against the rate. Raises RequestError."""
        self._key.charge()
        with self._key.request():
            yield


class Client(Protocol):
    """A socket at a kernel."""

    identity: bytes

    async def send(self, channel: str, kind: str, content: Content, parent: Content) -> None:
        """Send a message, if the socket is still open."""
        ...

    def end(self) -> None:
        """Let the socket go."""
        ...


class Kernel:
    """One kernel of a key."""

    def __init__(self, owner: str, name: str, source: KernelSource) -> None:
        self.id = str(uuid.uuid4())
        self.owner = owner
        self.name = name
        self.notebook: dict[str, str] = {}
        """What a client called the work that the kernel is for; empty where none did."""
        self.loop = KernelLoop(source, self)
        self._clients: dict[bytes, Client] = {}
        self._active_at = datetime.now(UTC)
        self._work: asyncio.Task[None] | None = None

    async def start(self, on_end: "Callable[[Kernel], Awaitable[None]]") -> None:
        """Open its session and answer requests. Raises RequestError, SandboxError."""
        await self.loop.open()
        self.loop.state = "idle"
        self._work = asyncio.create_task(self._run(on_end))

    async def close(self) -> None:
        """End its session; sockets at it are told that it is dead."""
        if self._work is not None and self._work is not asyncio.current_task():
            self._work.cancel()
            await asyncio.wait({self._work})
        await self.loop.close()
        await self._tell("dead")
        for client in list(self._clients.values()):
            client.end()

    async def restart(self) -> None:
        """Go on with a fresh session, which it opens. Raises RequestError, SandboxError."""
        await self._tell("restarting")
        await self.loop.restart()
        await self.loop.open()
        await self._tell("idle")

    def join(self, client: Client) -> None:
        """Let a socket send requests and have what is published."""
        self._clients[client.identity] = client

    def leave(self, client: Client) -> None:
        """Forget a socket."""
        self._clients.pop(client.identity, None)

    async def take(self, channel: str, request: Request) -> None:
        """Answer or queue a request."""
        self._active_at = datetime.now(UTC)
        await self.loop.take(channel, request)

    @property
    def is_abandoned(self) -> bool:
        """Whether its session has ended and no socket is at it."""
        return not self._clients and not self.loop.is_live

    def json(self) -> dict[str, object]:
        """Return the kernel as its owner sees it."""
        return {
            "id": self.id,
            "name": self.name,
            "last_activity": self._active_at.isoformat().replace("+00:00", "Z"),
            "execution_state": self.loop.state,
            "connections": len(self._clients),
        }

    # ---- what the loop sends -------------------------------------------------------------------

    async def reply(self, channel: str, kind: str, content: Content, request: Request) -> None:
        """Send to the socket that sent `request`, if it is still there."""
        client = self._clients.get(request.identities[0])
        if client is not None:
            await client.send(channel, kind, content, request.header)

    async def publish(self, kind: str, content: Content, parent: Content) -> None:
        """Send to all sockets."""
        self._active_at = datetime.now(UTC)
        for client in list(self._clients.values()):
            await client.send("iopub", kind, content, parent)

    async def _tell(self, state: str) -> None:
        self.loop.state = state
        await self.publish("status", {"execution_state": state}, {})

    async def _run(self, on_end: "Callable[[Kernel], Awaitable[None]]") -> None:
        work = asyncio.create_task(self.loop.run())
        ended = asyncio.create_task(self.loop.ended.wait())
        try:
            await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, ended):
                task.cancel()
            await asyncio.wait({work, ended})
        await on_end(self)


class Kernels:
    """All kernels, by id; each is found by its own key alone."""

    def __init__(self, table: SessionTable, policy: Limits, observer: Observer) -> None:
        self._table = table
        self._policy = policy
        self._observer = observer
        self._kernels: dict[str, Kernel] = {}

    async def start(self, account: Account, name: str) -> Kernel:
        """Make a kernel, which holds a session of the key's. Raises RequestError, SandboxError."""
        if name not in SPECS:
            raise RequestError("not_found", f"There is no kernel {name[:100]!r}.", param="name")
        for kernel in self.of(account.owner):
            if kernel.is_abandoned:
                await self.end(kernel)
        if len(self.of(account.owner)) >= account.settings.sessions:
            message = f"This key may have {account.settings.sessions} kernels at once."
            raise RequestError("concurrency", message)
        source = KernelSource(self._table, account, self._policy, self._observer)
        kernel = Kernel(account.owner, name, source)
        await kernel.start(self.end)
        self._kernels[kernel.id] = kernel
        return kernel

    def of(self, owner: str) -> list[Kernel]:
        """Return the owner's kernels, oldest first."""
        return [kernel for kernel in self._kernels.values() if kernel.owner == owner]

    def find(self, owner: str, kernel_id: str) -> Kernel:
        """Return the owner's kernel. Raises RequestError."""
        kernel = self._kernels.get(kernel_id)
        if kernel is None or kernel.owner != owner:
            raise RequestError("not_found", f"There is no kernel {kernel_id[:100]!r}.")
        return kernel

    async def end(self, kernel: Kernel) -> None:
        """End a kernel with its session."""
        self._kernels.pop(kernel.id, None)
        await kernel.close()

    async def close(self) -> None:
        """End all; before the table ends the sessions."""
        for kernel in list(self._kernels.values()):
            await self.end(kernel)


def specs() -> dict[str, Any]:
    """The kernel specifications."""
    return {"default": SPECS[0], "kernelspecs": {name: spec(name) for name in SPECS}}


def spec(name: str) -> dict[str, Any]:
    """One specification."""
    shown = {
        "argv": [],
        "env": {},
        "display_name": "Python (Cellblock)",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {},
    }
    return {"name": name, "spec": shown, "resources": {}}


def notebook_of(body: bytes) -> dict[str, Any]:
    """The fields of a body that clients may leave out. Raises RequestError."""
    if not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("body", "The body is no valid JSON.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RequestError("body", "The body has to be an object.")
    return found

"""Expecting: telling a server how many sessions a box will open soon, for as long as it does."""

import asyncio
import uuid

from sandbox.cancellation import in_background
from sandbox.errors import SandboxError
from sandbox.remote.server import SANDBOX, Server

MOST = 2**31
"""A server keeps far fewer."""
RENEWED_S = 50.0
"""How often it is told: a server forgets it when it is told no more."""


class Expecting:
    """What one box expects. It is a wish: what cannot be told now is told later."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._box = uuid.uuid4().hex
        self._changed: asyncio.Event | None = None
        self._telling: asyncio.Task[None] | None = None
        self.sessions = 0

    def expect(self, sessions: int) -> None:
        """Raise what is expected; a negative number lowers it. On a running loop."""
        self.sessions += sessions
        if self._changed is None:
            self._changed = asyncio.Event()
        self._changed.set()
        if self._telling is None or self._telling.done():
            self._telling = in_background(self._tell())

    async def close(self) -> None:
        """Take it back."""
        if self._telling is None or self._telling.done():
            return
        self.expect(-self.sessions)
        await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        assert self._changed is not None
        while True:
            self._changed.clear()
            wanted = min(max(self.sessions, 0), MOST)
            body = {"box": self._box, "sessions": wanted}
            try:
                await self._server.call("PUT", "/expected", body, root=SANDBOX)
            except SandboxError:
                if not wanted:
                    return  # It lapses there.
            try:
                async with asyncio.timeout(RENEWED_S if wanted else 0):
                    await self._changed.wait()
            except TimeoutError:
                if not wanted:
                    return

"""Sessions by name, for tools of the Model Context Protocol, over whatever makes sessions."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Protocol

from runner.errors import RequestError
from sandbox import AsyncSandbox, AsyncSession, Checkpoint, ExecResult, Limits, Outcome

SESSIONS_CAP = 16
IDLE_S = 3600.0


class Source(Protocol):
    """What makes sessions, and is told of the work in them."""

    def calling(self) -> AbstractContextManager[None]:
        """Count one call while it lasts. Raises RequestError when there are too many."""
        ...

    def working(self, session: AsyncSession) -> AbstractContextManager[None]:
        """Take note that `session` is in use while the block lasts."""
        ...

    def limits(self, asked: Limits) -> Limits:
        """`asked`, no more than a call may have."""
        ...

    async def open(self) -> AsyncSession:
        """Make a session. Raises RequestError, SandboxError."""
        ...

    async def end(self, session: AsyncSession) -> None:
        """Close `session`; once more does nothing."""
        ...

    def ran(self, session: AsyncSession, code: str, outcome: Outcome) -> None:
        """Take note of a snippet's outcome."""
        ...

    def commanded(self, session: AsyncSession, command: str, done: ExecResult) -> None:
        """Take note of a command's end."""
        ...


class BoxSource:
    """Sessions of a sandbox that is this program's own: nothing is counted."""

    def __init__(self, box: AsyncSandbox) -> None:
        self._box = box

    def calling(self) -> AbstractContextManager[None]:
        """Count nothing."""
        return nullcontext()

    def working(self, session: AsyncSession) -> AbstractContextManager[None]:
        """Note nothing."""
        return nullcontext()

    def limits(self, asked: Limits) -> Limits:
        """Return what was asked for: it is the user's own machine."""
        return asked

    async def open(self) -> AsyncSession:
        """Make a session. Raises SandboxError."""
        return await self._box.session()

    async def end(self, session: AsyncSession) -> None:
        """Close `session`."""
        await session.close()

    def ran(self, session: AsyncSession, code: str, outcome: Outcome) -> None:
        """Note nothing."""

    def commanded(self, session: AsyncSession, command: str, done: ExecResult) -> None:
        """Note nothing."""


class Sessions:
    """Sessions by name; the one that was idle longest makes room for a new one."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._open: OrderedDict[str, AsyncSession] = OrderedDict()
        self._used: dict[str, float] = {}
        self._users: Counter[str] = Counter()
        self._marks: dict[tuple[str, str], Checkpoint] = {}
        self._lock = asyncio.Lock()

    def has(self, name: str) -> bool:
        """Whether a session of that name was opened and not ended."""
        return name in self._open

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[AsyncSession]:
        """The session `name`, a fresh one if there is none that lives, kept while in use.

        Raises RequestError, SandboxError.
        """
        with self.source.calling():
            session = await self._get(name)
            try:
                with self.source.working(session):
                    yield session
            finally:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name]

    async def reset(self, name: str) -> None:
        """End the session `name`; the next call has a fresh one."""
        async with self._lock:
            await self._close(name)

    def mark(self, name: str, label: str, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint of a session."""
        self._marks[name, label] = checkpoint

    def marked(self, name: str, label: str) -> Checkpoint | None:
        """The checkpoint that was remembered under `label`."""
        return self._marks.get((name, label))

    async def close(self) -> None:
        """End all of them."""
        async with self._lock:
            for name in list(self._open):
                await self._close(name)

    async def _get(self, name: str) -> AsyncSession:
        async with self._lock:
            session = self._open.get(name)
            if session is not None and not session.is_live:
                await self._close(name)
                session = None
            if session is None:
                await self._make_room()
                session = self._open[name] = await self.source.open()
            self._open.move_to_end(name)
            self._used[name] = time.monotonic()
            # No wait since the look: nothing ends it before its user is counted.
            self._users[name] += 1
            return session

    async def _make_room(self) -> None:
        idle = [name for name in self._open if not self._users[name]]
        oldest = time.monotonic() - IDLE_S
        for name in [name for name in idle if self._used[name] < oldest]:
            await self._close(name)
            idle.remove(name)
        while len(self._open) >= SESSIONS_CAP:
            if not idle:
                message = f"All of {SESSIONS_CAP} sessions are in use; wait for one of their calls."
                raise RequestError("concurrency", message, retry_after_s=1.0)
            await self._close(idle.pop(0))

    async def _close(self, name: str) -> None:
        session = self._open.pop(name, None)
        self._used.pop(name, None)
        for key in [key for key in self._marks if key[0] == name]:
            del self._marks[key]
        if session is not None:
            await self.source.end(session)

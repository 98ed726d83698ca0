"""Doors of the Model Context Protocol, one a key, over the server's own table of sessions.

Their sessions are held as those over REST are: they count towards the key's, are seen and ended
by operators, and end when idle.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from runner.asked_limits import within
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.observer import Observer
from runner.server.live.session_table import Held, SessionTable
from sandbox import AsyncSession, ExecResult, Limits, Outcome

if TYPE_CHECKING:
    from runner.faces.mcp_http import Door

BODY_CAP_BYTES = 16 * 1024 * 1024
"""Of one message; a file of 8 MiB as Base64 fits."""
MISSING = "This server has no MCP: its owner can install it with pip install 'mcp>=2.3'."


class HeldSource:
    """Sessions of one key, in the server's table."""

    def __init__(
        self, table: SessionTable, account: Account, policy: Limits, observer: Observer
    ) -> None:
        self._table = table
        self._account = account
        self._policy = policy
        self._observer = observer
        self._held: dict[AsyncSession, Held] = {}

    def calling(self) -> AbstractContextManager[None]:
        """Count a call among the key's open requests. Raises RequestError."""
        return self._account.request()

    @contextmanager
    def working(self, session: AsyncSession) -> Iterator[None]:
        """Keep the sweep from a session that is in use."""
        held = self._held[session]
        held.running += 1
        try:
            yield
        finally:
            held.running -= 1
            held.active_at = time.monotonic()

    def limits(self, asked: Limits) -> Limits:
        """Lower what a client asks for to the policy's."""
        return within(asked, self._policy)

    async def open(self) -> AsyncSession:
        """Open a session that counts towards the key's. Raises RequestError, SandboxError."""
        held = await self._table.open(self._account)
        self._held[held.session] = held
        return held.session

    async def end(self, session: AsyncSession) -> None:
        """Close a session and give its place back."""
        if (held := self._held.pop(session, None)) is not None:
            await self._table.end(held)

    def ran(self, session: AsyncSession, code: str, outcome: Outcome) -> None:
        """Count and write down a snippet."""
        owner = self._account.owner
        self._observer.ran(outcome, owner=owner, via="session", where=self._id(session), code=code)

    def commanded(self, session: AsyncSession, command: str, done: ExecResult) -> None:
        """Count and write down a command."""
        owner, where = self._account.owner, self._id(session)
        self._observer.commanded(done, owner=owner, where=where, command=command)

    def _id(self, session: AsyncSession) -> str:
        held = self._held.get(session)
        return held.id if held is not None else ""


class McpDoors:
    """A door for each key, made at its first request."""

    def __init__(self, table: SessionTable, policy: Limits, observer: Observer) -> None:
        self._table = table
        self._policy = policy
        self._observer = observer
        self._doors: dict[Account, Door] = {}
        self._lock = asyncio.Lock()

    async def of(self, account: Account) -> "Door":
        """The open door of the key. Raises RequestError when the package is missing."""
        async with self._lock:
            door = self._doors.get(account)
            if door is None:
                door_class = await asyncio.to_thread(_door_class)
                source = HeldSource(self._table, account, self._policy, self._observer)
                door = door_class(source, body_bytes=BODY_CAP_BYTES)
                await door.open()
                self._doors[account] = door
            return door

    async def close(self) -> None:
        """End all connections; before the table ends the sessions."""
        async with self._lock:
            for door in self._doors.values():
                await door.close()
            self._doors.clear()


def load() -> None:
    """Import the package and make what it makes once: a second's work, before there are requests.

    In a thread beside requests it would hold the interpreter's lock, and them. Does nothing where
    the package is not installed: its requests say so.
    """
    with suppress(RequestError):
        _door_class().prepare()


def _door_class() -> "type[Door]":
    try:
        from runner.faces.mcp_http import Door
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "mcp_types"):
            raise
        raise RequestError("not_found", MISSING) from None
    return Door

"""Sessions that clients hold over REST, by id."""

import time
from collections.abc import Awaitable, Callable

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.store.ids import new_id
from sandbox import AsyncSandbox, AsyncSession


class Held:
    """A session and whose it is."""

    def __init__(self, session_id: str, owner: str, session: AsyncSession) -> None:
        self.id = session_id
        self.owner = owner
        self.session = session
        self.created_at = int(time.time())
        self.active_at = time.monotonic()
        self.running = 0

    def json(self) -> dict[str, object]:
        """The session as its owner sees it."""
        idle_s = 0.0 if self.running else time.monotonic() - self.active_at
        return {
            "id": self.id,
            "object": "session",
            "created_at": self.created_at,
            "idle_s": round(idle_s, 3),
            "layers": list(self.session.enforcement),
        }


class SessionTable:
    """Sessions by id, for as long as they are used. `make_room` is awaited before one is taken."""

    def __init__(
        self, box: AsyncSandbox, *, idle_s: float, make_room: Callable[[], Awaitable[None]]
    ) -> None:
        self._box = box
        self._idle_s = idle_s
        self._make_room = make_room
        self._held: dict[str, Held] = {}
        self._opening: dict[str, int] = {}

    async def open(self, account: Account) -> Held:
        """A new session. Raises RequestError, SandboxError."""
        owner, most = account.owner, account.settings.sessions
        if len(self.of(owner)) + self._opening.get(owner, 0) >= most:
            raise RequestError("concurrency", f"This key may have {most} sessions at once.")
        self._opening[owner] = self._opening.get(owner, 0) + 1
        try:
            await self._make_room()
            held = Held(new_id("sess"), owner, await self._box.session())
        finally:
            self._opening[owner] -= 1
        self._held[held.id] = held
        return held

    @property
    def count(self) -> int:
        """Sessions of all owners, those that are being opened too."""
        return len(self._held) + sum(self._opening.values())

    def of(self, owner: str) -> list[Held]:
        """The owner's sessions, oldest first."""
        return [held for held in self._held.values() if held.owner == owner]

    def find(self, owner: str, session_id: str) -> Held:
        """The owner's session. Raises RequestError."""
        held = self._held.get(session_id)
        if held is None or held.owner != owner:
            raise RequestError("not_found", f"Session with id '{session_id[:100]}' not found.")
        held.active_at = time.monotonic()
        return held

    async def end(self, held: Held) -> None:
        """Close the session and forget it."""
        self._held.pop(held.id, None)
        await held.session.close()

    async def sweep(self) -> None:
        """End sessions that were idle for too long."""
        now = time.monotonic()
        for held in list(self._held.values()):
            if not held.running and now - held.active_at > self._idle_s:
                await self.end(held)

    async def close(self) -> None:
        for held in list(self._held.values()):
            await self.end(held)

"""Sessions that clients hold over REST, by id."""

import time
from collections.abc import Callable
from typing import Any

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.session_slots import SessionSlots, Slot
from runner.server.live.tool_relay import AwaitedResults
from runner.server.store.ids import new_id
from sandbox import AsyncCommand, AsyncSandbox, AsyncSession


class Held:
    """A session, its owner and its slot."""

    def __init__(self, session_id: str, owner: str, session: AsyncSession, slot: Slot) -> None:
        self.id = session_id
        self.slot = slot
        self.owner = owner
        self.session = session
        self.created_at = int(time.time())
        self.active_at = time.monotonic()
        self.running = 0

    def json(self) -> dict[str, object]:
        """Return the session as its owner sees it."""
        idle_s = 0.0 if self.running else time.monotonic() - self.active_at
        return {
            "id": self.id,
            "object": "session",
            "created_at": self.created_at,
            "idle_s": round(idle_s, 3),
            "layers": list(self.session.enforcement),
            "expires_at": self.session.expires_at,
        }


class SessionTable:
    """Sessions by id, for as long as they are used.

    The live session of a container is found by the container's id, which `of_container` knows.
    """

    def __init__(
        self,
        box: AsyncSandbox,
        slots: SessionSlots,
        *,
        idle_s: float,
        of_container: Callable[[str, str], AsyncSession | None] = lambda _owner, _id: None,
    ) -> None:
        self._box = box
        self._slots = slots
        self._idle_s = idle_s
        self._of_container = of_container
        self._held: dict[str, Held] = {}
        self.awaited = AwaitedResults()
        self.programs: dict[tuple[str, str, str], AsyncCommand] = {}
        """Those that a client talks to, by owner, session and number."""

    async def open(self, account: Account, **options: Any) -> Held:
        """Make a new session, with these of `AsyncSandbox.session`'s settings.

        Raises RequestError, SandboxError.
        """
        slot = await self._slots.for_session(account)
        try:
            session = await self._box.session(**options)
        except BaseException:
            self._slots.release(slot)
            raise
        held = Held(new_id("sess"), account.owner, session, slot)
        self._held[held.id] = held
        return held

    async def branch(self, held: Held, account: Account, count: int) -> list[Held]:
        """New sessions that go on from `held`. Raises RequestError, SandboxError."""
        slots: list[Slot] = []
        try:
            for _ in range(count):
                slots.append(await self._slots.for_session(account))
            sessions = await held.session.fork(count)
        except BaseException:
            for slot in slots:
                self._slots.release(slot)
            raise
        made = [
            Held(new_id("sess"), account.owner, session, slot)
            for session, slot in zip(sessions, slots, strict=True)
        ]
        self._held |= {one.id: one for one in made}
        return made

    def of(self, owner: str) -> list[Held]:
        """Return the owner's sessions, oldest first."""
        return [held for held in self._held.values() if held.owner == owner]

    def all(self) -> list[Held]:
        """Every owner's sessions, oldest first."""
        return list(self._held.values())

    def any(self, session_id: str) -> Held | None:
        """The session of that id, whichever key holds it."""
        return self._held.get(session_id)

    def find(self, owner: str, session_id: str) -> Held:
        """Return the owner's session. Raises RequestError."""
        held = self._held.get(session_id)
        if (lent := self._of_container(owner, session_id)) is not None:
            # Its slot is the container's, and stays so.
            held = Held(session_id, owner, lent, Slot("container", owner, None))
        if held is None or held.owner != owner:
            raise RequestError("not_found", f"Session with id '{session_id[:100]}' not found.")
        held.active_at = time.monotonic()
        return held

    async def end(self, held: Held) -> None:
        """Close the session and forget it."""
        self._held.pop(held.id, None)
        try:
            await held.session.close()
        finally:
            self._slots.release(held.slot)

    async def sweep(self) -> None:
        """End sessions that were idle for too long."""
        now = time.monotonic()
        for held in list(self._held.values()):
            if not held.running and now - held.active_at > self._idle_s:
                await self.end(held)

    async def close(self) -> None:
        for held in list(self._held.values()):
            await self.end(held)

"""Counts every session of the engine that the server holds, and the key that each is for.

Three kinds of holders take slots. A container's session may be ended while the container is idle,
and is what gives way when room is wanted. A client's own session stays until its client or its
idle time ends it. A single run ends by itself. All of them count towards their key's sessions.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Literal, Protocol

from runner.errors import RequestError
from runner.server.accounts import Account

SPARE_SESSIONS = 4
"""Of the engine's sessions so many are never held by containers."""
RUN_WAIT_S = 30.0
"""A run that waited for so long is refused: its client comes again, or gives up."""
Kind = Literal["container", "session", "run"]


class Container(Protocol):
    """What the ledger asks of a container that holds a slot."""

    active_at: float

    @property
    def is_idle(self) -> bool:
        """Whether no request uses it."""
        ...

    async def end(self) -> None:
        """End its session and release its slot."""
        ...


class Slot:
    """One session's place in the ledger."""

    def __init__(self, kind: Kind, owner: str, container: Container | None) -> None:
        self.kind = kind
        self.owner = owner
        self.container = container


class SessionSlots:
    """Slots of one engine with room for `max_sessions` sessions."""

    def __init__(self, max_sessions: int = 64) -> None:
        self._max_sessions = max_sessions
        self._slots: set[Slot] = set()
        self._changed = asyncio.Event()
        self.most = max_sessions
        self.waiting = 0
        """Requests that wait for a slot just now."""

    @property
    def held(self) -> dict[Kind, int]:
        """How many slots each kind of holder has."""
        found: dict[Kind, int] = {"container": 0, "session": 0, "run": 0}
        for slot in self._slots:
            found[slot.kind] += 1
        return found

    def of(self, owner: str) -> int:
        """Return how many slots the owner's keys hold."""
        return sum(slot.owner == owner for slot in self._slots)

    async def for_container(self, account: Account, container: Container) -> Slot:
        """Make a slot for a container's session; waits for one that ends, the idlest first.

        Raises RequestError when the key's slots are all held by sessions that stay.
        """
        return await self._take(Slot("container", account.owner, container), account)

    async def for_session(self, account: Account) -> Slot:
        """A slot for a session that a client holds. Raises RequestError when the key has none."""
        slot = await self._take(Slot("session", account.owner, None), account, waits=False)
        await self.give_way()
        return slot

    @asynccontextmanager
    async def for_run(self, account: Account) -> AsyncGenerator[None, None]:
        """A slot while one program runs in a session of its own; waits as a container does."""
        slot = Slot("run", account.owner, None)
        try:
            async with asyncio.timeout(RUN_WAIT_S):
                await self._take(slot, account)
        except TimeoutError:
            message = f"No session of this key was free for {RUN_WAIT_S:g} s."
            raise RequestError("concurrency", message, retry_after_s=1.0) from None
        try:
            await self.give_way()
            yield
        finally:
            self.release(slot)

    def release(self, slot: Slot) -> None:
        """Take `slot` out of the ledger: its session has ended."""
        self._slots.discard(slot)
        self.changed()

    def changed(self) -> None:
        """Let waiting holders look again: a container became idle, or a slot is free."""
        self._changed.set()

    async def give_way(self) -> None:
        """End idle sessions of containers that hold more than their share."""
        while len(holding := self._containers()) > self._share():
            if not await _end_idlest(holding):
                return

    async def _take(self, slot: Slot, account: Account, *, waits: bool = True) -> Slot:
        most = account.settings.sessions
        while True:
            own = [one for one in self._slots if one.owner == slot.owner]
            if len(own) >= most:
                crowd = own
                stays = all(one.kind == "session" for one in own)
            elif slot.kind == "container" and len(held := self._containers()) >= max(
                self._share(), 1
            ):
                crowd, stays = held, False
            else:
                # No wait between the look and this: the count is right.
                self._slots.add(slot)
                return slot
            if await _end_idlest(crowd):
                continue
            if stays or not waits:
                raise RequestError("concurrency", f"This key may have {most} sessions at once.")
            self._changed.clear()
            self.waiting += 1
            try:
                await self._changed.wait()
            finally:
                self.waiting -= 1

    def _containers(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.kind == "container"]

    def _share(self) -> int:
        """Sessions that containers may hold together."""
        others = len(self._slots) - len(self._containers())
        spare = min(SPARE_SESSIONS, self._max_sessions - 1)
        return self._max_sessions - max(spare, others)


async def _end_idlest(crowd: Iterable[Slot]) -> bool:
    """End the session of the container that was idle for longest; whether there was one."""
    containers = [slot.container for slot in crowd if slot.container is not None]
    idle = [container for container in containers if container.is_idle]
    if idle:
        await min(idle, key=lambda container: container.active_at).end()
    return bool(idle)

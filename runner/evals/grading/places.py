"""Places for candidates to run in: so many at a time, and one always for those that are quick."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LONG_AFTER_S = 1.0
"""A candidate that ran so long may well run until its limit."""


class Places:
    """Gives `count` places, first come, first served.

    Where candidates that take long hold all of them, one further place is given to the next, up
    to twice as many in all: else a few that loop for ever would keep all others waiting for their
    limits, which are CPU time and do not suffer.
    """

    def __init__(self, count: int, *, long_after_s: float = LONG_AFTER_S) -> None:
        self._count = count
        self._long_after_s = long_after_s
        self._running = 0
        self._long = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A place, for as long as the block lasts."""
        await self._take()
        is_long = False

        def grow_long() -> None:
            nonlocal is_long
            is_long = True
            self._long += 1
            self._give()

        timer = asyncio.get_running_loop().call_later(self._long_after_s, grow_long)
        try:
            yield
        finally:
            timer.cancel()
            self._long -= is_long
            self._running -= 1
            self._give()

    def _is_free(self) -> bool:
        quick = self._running - self._long
        return quick < max(1, self._count - self._long) and self._running < 2 * self._count

    async def _take(self) -> None:
        if self._is_free() and not self._waiting:
            self._running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._running -= 1
                self._give()
            raise

    def _give(self) -> None:
        while self._waiting and self._is_free():
            turn = self._waiting.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)

"""Turns: calls of a session are carried out one at a time, each to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sandbox.cancellation import begun, shielded
from sandbox.errors import SandboxError, SessionClosed
from sandbox.session.expiry import Expiry
from sandbox.session.live_session import LiveSession

ANSWER_WITHIN_S = 0.1
"""A cancelled caller waits so long, beyond the grace of a snippet, for the end of what it began."""

T = TypeVar("T")


class Turns:
    """The order of calls. What is done goes on in a task of its own if its caller is cancelled."""

    def __init__(
        self,
        expiry: Expiry,
        *,
        alive: Callable[[], LiveSession],
        is_closed: Callable[[], bool],
        give_back: Callable[[LiveSession], None],
        renew: Callable[[LiveSession], Awaitable[LiveSession]],
    ) -> None:
        """`alive` raises why there is nothing to work with; `give_back` gets what was lost.

        `renew` gets what was lost and has files to go on with.
        """
        self._turn = asyncio.Lock()
        self._expiry = expiry
        self._alive = alive
        self._is_closed = is_closed
        self._give_back = give_back
        self._renew = renew

    @property
    def is_taken(self) -> bool:
        """Whether something is under way."""
        return self._turn.locked()

    async def wait(self, then: Callable[[], None]) -> None:
        """Do `then`, which takes no time, in a turn of its own."""
        async with self._turn:
            then()

    async def take(
        self,
        work: Callable[[LiveSession], Awaitable[T]],
        *,
        grace_s: float,
        before: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[], None] | None = None,
        on_cancel: Callable[[], None] | None = None,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """The result of `work`.

        A caller that is cancelled while it waits for its turn, or in `before`, which is awaited
        first, leaves nothing. Later the work is carried out all the same, and the caller is back
        within `grace_s` and a moment. `after` is called at the end in any case; `on_cancel` and
        `undo` are those of `shielded`.
        """
        await self._turn.acquire()
        try:
            self._alive()
            if before is not None:
                await before()
        except BaseException:
            self._end_turn(after)
            raise
        return await shielded(
            self._work(work, after),
            within_s=grace_s + ANSWER_WITHIN_S,
            on_cancel=on_cancel,
            undo=undo,
        )

    async def take_here(
        self,
        work: Callable[[LiveSession], Awaitable[T]],
        *,
        grace_s: float,
        on_cancel: Callable[[], None],
    ) -> T:
        """As `take`, for what waits for one answer and little else: see `begun`."""
        await self._turn.acquire()
        return await begun(
            self._work(work, None), within_s=grace_s + ANSWER_WITHIN_S, on_cancel=on_cancel
        )

    async def _work(
        self, work: Callable[[LiveSession], Awaitable[T]], after: Callable[[], None] | None
    ) -> T:
        live = None
        try:
            live = self._alive()
            self._expiry.work()
            try:
                if live.is_renewable:
                    live = await self._renew(live)
                await live.checkpoints.wait_renewal()
                return await work(live)
            finally:
                if live.loss is not None and not live.is_renewable:
                    self._give_back(live)
                self._expiry.rest()
        except asyncio.CancelledError:
            if live is not None:
                live.worker.kill()  # The loop is being closed: answers are heard no more.
            raise
        except SandboxError:
            if self._is_closed():
                raise SessionClosed from None
            raise
        finally:
            self._end_turn(after)

    def _end_turn(self, after: Callable[[], None] | None) -> None:
        self._turn.release()
        if after is not None:
            after()

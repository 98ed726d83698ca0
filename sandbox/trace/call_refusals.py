"""What init tells of the calls that a traced session was refused."""

import asyncio
from typing import NamedTuple

from sandbox.cancellation import Wait
from sandbox.processes.host_channel import HostChannel
from sandbox.protocol.messages import CALLS_CAP, CallRefused, RefusalCounts, TakeRefusals

NO_COUNTS = RefusalCounts([], 0)


class CountedCall(NamedTuple):
    """A refused call, and how often it came."""

    call: CallRefused
    times: int


class CallRefusals:
    """The refused calls of one session since `take`."""

    def __init__(self, control: HostChannel) -> None:
        self._control = control
        self._told: list[CallRefused] = []
        self._answer: asyncio.Future[RefusalCounts] | None = None

    def hear(self, message: CallRefused | RefusalCounts) -> None:
        """Keep what init says."""
        if isinstance(message, RefusalCounts):
            self._be_told(message)
        elif len(self._told) < CALLS_CAP:
            self._told.append(message)

    async def take(self, *, within_s: float) -> tuple[list[CountedCall], int]:
        """The calls told since the last time, and how many more were left out.

        Where init is gone or too slow each call counts once: it came that often at least.
        """
        answer = await self._ask(within_s) if self._control.is_open else NO_COUNTS
        told, self._told = self._told, []
        counts = [*answer.counts, *[1] * len(told)]
        return [CountedCall(*pair) for pair in zip(told, counts, strict=False)], answer.left_out

    async def _ask(self, within_s: float) -> RefusalCounts:
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(within_s, self.give_up)
        self._control.send(TakeRefusals())
        try:
            return await Wait(self._answer)
        finally:
            timer.cancel()
            self._answer = None

    def give_up(self) -> None:
        """Wake the task that waits: init is gone, or too slow."""
        self._be_told(NO_COUNTS)

    def _be_told(self, counts: RefusalCounts) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(counts)

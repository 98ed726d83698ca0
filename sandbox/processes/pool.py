"""Pool: warm workers kept ready, a bound on live sessions, and a fair queue before it.

A used worker never comes back: `give_back` ends it and lets the next caller in.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence

from sandbox.cancellation import shielded
from sandbox.errors import PoolFull, SessionClosed
from sandbox.processes.worker import Worker

RETRY_FLOOR_S = 0.05
SMOOTHING = 0.2
"""Weight of the newest session in the running mean of how long one lasts."""
FILLING_CAP = 4
"""Workers made ahead of need at one time: more would only keep the loop from its callers."""
REFILL_AFTER_S = 0.005
"""From a take to the making of the next worker, unless one comes back before: making one is work
for the loop and for both sides of it, and the caller's snippet comes first."""
BREATH_S = 0.001
SURPLUS_S = 5.0
"""How long a worker that is no longer expected to be taken waits for another caller."""


class Pool:
    """Hands out workers that have run nothing, first come first served.

    `warm` of them are made ahead of need. At most `most` are out at once, and at most `waiting`
    callers wait; the next one is told to come back.
    """

    def __init__(
        self,
        make: Callable[[], Coroutine[object, object, Worker]],
        *,
        warm: int,
        most: int,
        waiting: int,
    ) -> None:
        self._make = make
        self._warm = warm
        self._most = most
        self._waiting_cap = waiting
        self._ready: deque[Worker] = deque()
        self._out: dict[Worker, float] = {}
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._filling = 0
        self._expected = 0
        self._refilling: asyncio.TimerHandle | None = None
        self._mean_s = 1.0
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    @property
    def live(self) -> int:
        """Workers that are out."""
        return self._taken

    @property
    def ready(self) -> int:
        """Workers that wait to be taken."""
        return len(self._ready)

    def expect(self, callers: int) -> None:
        """Raise the number of workers kept warm by `callers`; a negative number lowers it."""
        self._expected += callers
        self._refill()
        if len(self._ready) > self._target():
            self._loop.call_later(SURPLUS_S, self._trim)

    async def fill(self) -> None:
        """Wait until the warm workers are there."""
        self._refill()
        while self._filling:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    async def take(self) -> Worker:
        """A fresh worker. Raises PoolFull if too many wait already, SessionClosed at the end."""
        await self.enter()
        try:
            worker = None
            while self._ready and worker is None:
                candidate = self._ready.popleft()
                if candidate.is_live:
                    worker = candidate
                else:
                    self._end_later(candidate)
            if worker is None:
                worker = await shielded(self._make(), within_s=0.0, undo=self._keep)
            if self._is_closed:
                self._end_later(worker)
                raise SessionClosed("sandbox")
        except BaseException:
            self.leave()
            raise
        self._out[worker] = self._loop.time()
        if self._refilling is None:
            self._refilling = self._loop.call_later(REFILL_AFTER_S, self._refill)
        return worker

    def admit(self, workers: Sequence[Worker]) -> None:
        """Count `workers`, made in another way, like those of `take`; their places are entered.

        Raises SessionClosed at the end, and ends them.
        """
        if self._is_closed:
            for worker in workers:
                self._end_later(worker)
            raise SessionClosed("sandbox")
        for worker in workers:
            self._out[worker] = self._loop.time()

    def give_back(self, worker: Worker) -> asyncio.Task[None]:
        """End `worker` and let the next caller in; the task is done when nothing is left of it."""
        since = self._out.pop(worker)
        self._mean_s += SMOOTHING * (self._loop.time() - since - self._mean_s)
        task = self._start(self._end_soon(worker))
        self.leave()
        return task

    async def close(self) -> None:
        """End every worker, those that are out too, and turn away the callers that wait."""
        self._is_closed = True
        self._stop_waiting_to_refill()
        for waiter in self._queue:
            if not waiter.done():
                waiter.set_exception(SessionClosed("sandbox"))
        for worker in (*self._ready, *self._out):
            self._end_later(worker)
        self._ready.clear()
        self._out.clear()
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def enter(self) -> None:
        """Wait for a place for one worker; `leave` gives it up. Raises PoolFull, SessionClosed."""
        if self._taken < self._most and not self._queue:
            self._taken += 1
            return
        if len(self._queue) >= self._waiting_cap:
            turns = len(self._queue) / self._most
            retry_after_s = max(RETRY_FLOOR_S, self._mean_s * (turns + 1) / 2)
            raise PoolFull(retry_after_s, self._taken, len(self._queue))
        waiter = self._loop.create_future()
        self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # The place was given just before the caller went away.
            else:
                self._queue.remove(waiter)
            raise

    def leave(self) -> None:
        """Hand the place on to the caller that has waited longest."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken -= 1

    def _target(self) -> int:
        """How many workers should be ready."""
        return self._warm + max(min(self._expected, self._most - self._taken), 0)

    def _stop_waiting_to_refill(self) -> None:
        if self._refilling is not None:
            self._refilling.cancel()
            self._refilling = None

    def _refill(self) -> None:
        self._stop_waiting_to_refill()
        missing = self._target() - len(self._ready) - self._filling
        room = max(self._warm, FILLING_CAP) - self._filling
        for _ in range(min(missing, room) if not self._is_closed else 0):
            self._filling += 1
            self._start(self._make_one())

    async def _make_one(self) -> None:
        try:
            worker = await self._make()
        finally:
            self._filling -= 1
        if self._is_closed:
            await worker.close()
            return
        worker.warm()
        self._ready.append(worker)
        self._refill()

    def _keep(self, worker: Worker) -> None:
        """Put a worker whose caller was cancelled meanwhile with the ready ones, if one misses."""
        if self._is_closed or len(self._ready) + self._filling >= self._target():
            self._end_later(worker)
        else:
            self._ready.append(worker)

    def _trim(self) -> None:
        """End workers that were not taken."""
        while len(self._ready) > self._target() and not self._is_closed:
            self._end_later(self._ready.pop())

    async def _end_soon(self, worker: Worker) -> None:
        # The caller that gave it back goes on first, in this thread or in another one.
        await asyncio.sleep(BREATH_S)
        self._refill()
        await worker.close()

    def _end_later(self, worker: Worker) -> asyncio.Task[None]:
        return self._start(worker.close())

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # A worker that could not be made ahead of need is made, or fails, when it is taken.
            task.exception()

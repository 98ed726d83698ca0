"""WorkerSupply: workers of one policy, from a zygote that is started on first use."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

from sandbox.cancellation import in_background, wait_out
from sandbox.doctor import features
from sandbox.errors import LayerUnavailable, SessionClosed, StaleProcess
from sandbox.network.access import NetworkAccess
from sandbox.packages.byte_code import ByteCode
from sandbox.policy.environment import Environment, discover
from sandbox.policy.lowering import lower
from sandbox.policy.policy import Policy
from sandbox.processes import branching, cgroup, directories
from sandbox.processes.pool import Pool
from sandbox.processes.worker import Worker
from sandbox.processes.zygote import ReusedJail, Zygote

CLOSED_WITHIN_S = 120.0


class WorkerSource(Protocol):
    """Where sessions get their workers from."""

    access: NetworkAccess

    async def take(self) -> Worker:
        """A fresh worker."""

    def give_back(self, worker: Worker) -> None:
        """End a worker that `take` or `branch` gave; returns at once."""

    def places(self, count: int) -> "Places":
        """Room for branches."""

    async def branch(self, origin: Worker, places: "Places") -> list[Worker]:
        """Workers that go on from where `origin` is."""


class WorkerSupply:
    """Hands out workers to sessions; one zygote and a pool of warm workers stand behind it."""

    def __init__(
        self, policy: Policy, *, pool_size: int, max_sessions: int, max_waiting: int
    ) -> None:
        self._policy = policy
        self._pool_size = pool_size
        self._max_sessions = max_sessions
        self._max_waiting = max_waiting
        self._made_in = os.getpid()
        self._expected = 0
        self.access = NetworkAccess(policy.network, policy.secrets)
        """What the policy's network comes to; every session has a proxy of its own."""
        self._environment: Environment | None = None
        self._byte_code: ByteCode | None = None
        self._hierarchies: cgroup.Hierarchies | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.zygote: Zygote | None = None
        """The one that runs; None before the first use."""
        self.pool: Pool | None = None

    async def fill(self) -> None:
        """Start what has not been started, and wait until the warm workers are there."""
        await (await self._open()).fill()

    async def take(self) -> Worker:
        """A fresh worker, for a session. It comes back by `give_back`."""
        return await (await self._open()).take()

    async def take_jail(self) -> ReusedJail | None:
        """A jail for one session after the other, in one place of the pool; see `give_back_jail`.

        None where no jail can be proven clean between two of them. Raises PoolFull, SessionClosed.
        """
        pool = await self._open()
        await pool.enter()
        jail = None
        try:
            assert self.zygote is not None
            jail = self.zygote.new_jail()
        finally:
            if jail is None:
                pool.leave()
        return jail

    async def give_back_jail(self, jail: ReusedJail) -> None:
        """End `jail` and let the next caller in."""
        await jail.close()
        if self.pool is not None:
            self.pool.leave()

    def places(self, count: int) -> "Places":
        """Room for `count` workers that `branch` makes; await its `take` first."""
        return Places(self._open, count)

    async def branch(self, origin: Worker, places: "Places") -> list[Worker]:
        """Workers that go on from where `origin` is, one for each place; see `give_back`."""
        pool = await self._open()
        assert self.zygote is not None
        workers = await branching.branch(origin, places.count, self.zygote.new_worker)
        pool.admit(workers)
        places.use()
        return workers

    def give_back(self, worker: Worker) -> None:
        """End `worker`; returns at once, its remains are cleared in the background."""
        if self.pool is not None and self._closing is None:
            self.pool.give_back(worker)

    @property
    def expected(self) -> int:
        """How many sessions are expected beyond those that are open."""
        return self._expected

    def expect(self, sessions: int) -> None:
        """Raise the number of workers kept warm; a negative number lowers it."""
        self._expected += sessions
        if self.pool is not None and self._closing is None:
            self.pool.expect(sessions)

    async def close(self) -> None:
        """End every worker and the zygote; nothing is left when this returns."""
        if os.getpid() != self._made_in:
            return
        if self._closing is None:
            self._closing = in_background(self._close())
        await wait_out(self._closing, within_s=CLOSED_WITHIN_S)
        if self._closing.done():
            self._closing.result()

    async def _close(self) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self.pool is not None:
            await self.pool.close()
        if self.zygote is not None:
            await self.zygote.close()
        if self._byte_code is not None:
            self._byte_code.stop()
        self.access.close()

    async def _open(self) -> Pool:
        if os.getpid() != self._made_in:
            raise StaleProcess("The sandbox", self._made_in, os.getpid())
        if self._closing is not None:
            raise SessionClosed("sandbox")
        while self.pool is None or self.zygote is None or not self.zygote.is_alive:
            if self._opening is None or self._opening.done():
                self._opening = in_background(self._start())
            # A caller that is cancelled leaves the start to those that come after it.
            await asyncio.shield(self._opening)
        return self.pool

    async def _start(self) -> None:
        if self.zygote is None or not self.zygote.is_alive:
            await self._start_zygote()
        if self.pool is None:
            self.pool = Pool(
                self._make_worker,
                warm=self._pool_size,
                most=self._max_sessions,
                waiting=self._max_waiting,
            )
            self.pool.expect(self._expected)

    async def _start_zygote(self) -> None:
        if self.zygote is not None:
            dead, self.zygote = self.zygote, None
            await dead.close()
        if self._environment is None:
            self._environment = await asyncio.to_thread(discover, self._policy.environment)
            self._hierarchies = await asyncio.to_thread(_find_hierarchies)
            await asyncio.to_thread(directories.sweep)
            self._byte_code = ByteCode(self._environment)
            await asyncio.to_thread(self._byte_code.prepare)
        plan = lower(
            self._policy,
            self._environment,
            has_groups=self._hierarchies is not None,
            access=self.access,
            byte_code=self._byte_code.directory if self._byte_code is not None else "",
        )
        try:
            self.zygote = await Zygote.start(plan, self._environment.interpreter, self._hierarchies)
        except LayerUnavailable as error:
            missing = (await asyncio.to_thread(features.probe)).missing_for(self._policy.tier)
            if not missing:
                raise
            first = missing[0]
            raise LayerUnavailable(first.layer, first.seen, first.remedy) from error
        if self._byte_code is not None:
            self._byte_code.start()

    async def _make_worker(self) -> Worker:
        assert self.zygote is not None
        worker = self.zygote.spawn()
        await worker.start()
        return worker


class Places:
    """Places of a pool that are held for workers to come, until they are used or given back."""

    def __init__(self, opened: Callable[[], Awaitable[Pool]], count: int) -> None:
        self.count = count
        self._opened = opened
        self._pool: Pool | None = None
        self._held = 0

    async def take(self) -> None:
        """Wait for the places. Raises PoolFull, SessionClosed."""
        self._pool = await self._opened()
        while self._held < self.count:
            await self._pool.enter()
            self._held += 1

    def use(self) -> None:
        """Let each worker give its own place back: they are there."""
        self._held = 0

    def give_back(self) -> None:
        """Give up what has not been used; once is enough."""
        while self._pool is not None and self._held:
            self._held -= 1
            self._pool.leave()


def _find_hierarchies() -> cgroup.Hierarchies | None:
    found = cgroup.find()
    if found is not None:
        cgroup.sweep(found)
    return found

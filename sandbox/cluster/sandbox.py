"""`AsyncSandbox(engine="ray:...")`: the same calls, on the nodes of a Ray cluster."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import NoReturn, Self

from sandbox import events
from sandbox.cluster.address import ClusterAddress
from sandbox.cluster.cluster import Cluster, Lost, Placed, session_lost
from sandbox.cluster.session import AsyncRaySession, snippet_events
from sandbox.errors import NotRemote, PoolFull, RemoteFailed, SessionClosed, SessionLost
from sandbox.outcome import Outcome
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy, checked_policy
from sandbox.policy.sizes import POOL_SIZE, SESSIONS_CAP, WAITING_CAP, check_sizes
from sandbox.protocol.messages import Checked
from sandbox.session.expiry import RETENTION_S
from sandbox.session.host_tools import HostTools
from sandbox.session.live_session import CHECKPOINT_BYTES, CHECKPOINTS_KEPT
from sandbox.session.mapped import mapped
from sandbox.session.runs.request import NO_TOOLS

RETRY_S = 1.0
LOST_TRIES = 3
"""A snippet of `map` whose node is lost runs again on another, so often in all."""


class AsyncRaySandbox:
    """Runs snippets on a Ray cluster. Made by `AsyncSandbox(engine="ray:ADDRESS")`.

    A session is an actor that reserves its policy's memory and `?cpus=` of a node. `pool_size`
    places are kept when they are idle.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        engine: str,
        pool_size: int = POOL_SIZE,
        max_sessions: int = SESSIONS_CAP,
        max_waiting: int = WAITING_CAP,
        tools: HostTools | None = None,
    ) -> None:
        """Raises PolicyError for an address that is none, and where ray is not installed."""
        check_sizes(pool_size=pool_size, max_sessions=max_sessions, max_waiting=max_waiting)
        self.policy = checked_policy(policy)
        self._cluster = Cluster(ClusterAddress.of(engine), self.policy)
        self._tools = NO_TOOLS.beside(tools)
        self._kept = pool_size
        self._most = max_sessions
        self._waiting_cap = max_waiting
        self._room = asyncio.Semaphore(max_sessions)
        self._waiting = 0
        self._idle: list[Placed] = []
        self._wanting: list[asyncio.Future[Placed]] = []
        self._places: set[Placed] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._cluster.join()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run one snippet in a fresh jail on some node."""
        source = self.stream(code, limits=limits, stdin=stdin, tools=tools)
        return await events.last_outcome(source)

    async def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> AsyncGenerator[events.Event, None]:
        """Events of one snippet in a fresh jail on some node, as they happen."""
        source = self._stream(code, limits, stdin, tools, is_patient=False)
        async with aclosing(source):
            async for event in source:
                yield event

    async def _stream(
        self,
        code: str,
        limits: Limits | None,
        stdin: str | None,
        tools: HostTools | None,
        *,
        is_patient: bool,
    ) -> AsyncGenerator[events.Event, None]:
        offered = self._tools.beside(tools)
        placed = await (self._take_patiently() if is_patient else self._take())
        try:
            options = {"limits": limits, "stdin": stdin}
            source = snippet_events(placed, offered, "once", code, options=options)
            async with aclosing(source):
                async for event in source:
                    yield event
        except Lost as error:
            await self._end_idle(placed.node)
            raise session_lost(error) from None
        finally:
            await self._give_back(placed)

    def session(
        self,
        *,
        ttl_s: float | None = None,
        retention_s: float = RETENTION_S,
        checkpoints: int = CHECKPOINTS_KEPT,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        tools: HostTools | None = None,
    ) -> AsyncRaySession:
        """A session; await it or enter it to open it; see `AsyncSandbox.session`."""
        return AsyncRaySession(
            self._take,
            self._give_back,
            tools=self._tools.beside(tools),
            settings={
                "ttl_s": ttl_s,
                "retention_s": retention_s,
                "checkpoints": checkpoints,
                "checkpoint_bytes": checkpoint_bytes,
            },
        )

    @property
    def nodes(self) -> frozenset[str]:
        """The ids of the nodes that places are on now."""
        return frozenset(placed.node for placed in self._places)

    @property
    def expected(self) -> int:
        """Nothing is expected: places are made when they are asked for."""
        return 0

    def expect(self, sessions: int) -> None:
        """Not possible. Raises NotRemote."""
        raise NotRemote("expect", "Raise pool_size: so many idle places are kept")

    def kept_jails(self) -> NoReturn:
        """Not possible. Raises NotRemote."""
        raise NotRemote("kept_jails", "Use map: it runs in jails that are made ahead")

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        async with self.session() as session:
            return await session.check(code)

    async def map(
        self,
        snippets: Iterable[str],
        *,
        limits: Limits | None = None,
        concurrency: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[tuple[int, Outcome]]:
        """(index, outcome) of each snippet, each in a fresh jail, spread over the nodes.

        Without `concurrency` as many run at a time as the cluster's processors have room for, or
        fewer where it shrinks. A snippet whose node is lost runs again on another.
        """
        width = min(concurrency or await self._cluster.width(), self._most)

        async def run(code: str) -> Outcome:
            for left in reversed(range(LOST_TRIES)):
                try:
                    source = self._stream(code, limits, None, None, is_patient=True)
                    return await events.last_outcome(source)
                except SessionLost:
                    if not left:
                        raise
            raise AssertionError  # The last try raises.

        kept, self._kept = self._kept, max(self._kept, width)
        try:
            async for found in mapped(run, snippets, width=width, ordered=ordered):
                yield found
        finally:
            self._kept = kept
            surplus, self._idle = self._idle[kept:], self._idle[:kept]
            await asyncio.gather(*(self._end(placed) for placed in surplus))

    async def close(self) -> None:
        """End every session and leave the cluster. May be called again."""
        self._is_closed = True
        self._idle.clear()
        await asyncio.gather(*(self._end(placed) for placed in list(self._places)))
        await self._cluster.leave()

    # ---- places ---------------------------------------------------------------------------------

    async def _take(self) -> Placed:
        if self._is_closed:
            raise SessionClosed("sandbox")
        if self._room.locked() and self._waiting >= self._waiting_cap:
            raise PoolFull(RETRY_S, self._most, self._waiting)
        self._waiting += 1
        try:
            await self._room.acquire()
        finally:
            self._waiting -= 1
        try:
            return self._idle.pop() if self._idle else await self._made_or_given_back()
        except BaseException:
            self._room.release()
            raise

    async def _take_patiently(self) -> Placed:
        """A place, however long those that work take to give one back."""
        while True:
            try:
                return await self._take()
            except RemoteFailed:
                if len(self._places) <= len(self._idle):
                    raise

    async def _made_or_given_back(self) -> Placed:
        """A new place, or one that is given back first: a smaller cluster has no other."""
        given: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        self._wanting.append(given)
        making = asyncio.ensure_future(self._cluster.place())
        found: list[Placed] = []
        try:
            await asyncio.wait({making, given}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self._end_wanting(given, making, found)
            self._idle += found
            raise
        await self._end_wanting(given, making, found)
        if not found:
            return making.result()  # Raises what it failed for.
        first, *others = found
        self._idle += others
        return first

    async def _end_wanting(
        self,
        given: asyncio.Future[Placed],
        making: asyncio.Future[Placed],
        found: list[Placed],
    ) -> None:
        """Wait for neither any more; places that there are by now are added to `found`."""
        self._wanting.remove(given)
        if given.done():
            found.append(given.result())
        if not making.done():
            making.cancel()
            await asyncio.wait({making})
        if not making.cancelled() and making.exception() is None:
            self._places.add(making.result())
            found.append(making.result())

    async def _give_back(self, placed: Placed) -> None:
        self._room.release()
        if placed not in self._places:
            return
        if placed.is_lost or self._is_closed:
            await self._end(placed)
        elif wanting := [given for given in self._wanting if not given.done()]:
            wanting[0].set_result(placed)
        elif len(self._idle) >= self._kept:
            await self._end(placed)
        else:
            self._idle.append(placed)

    async def _end_idle(self, node: str) -> None:
        """End idle places of a node that is lost: each would lose a snippet of its own."""
        gone = [placed for placed in self._idle if placed.node == node]
        self._idle = [placed for placed in self._idle if placed.node != node]
        await asyncio.gather(*(self._end(placed) for placed in gone))

    async def _end(self, placed: Placed) -> None:
        self._places.discard(placed)
        await placed.end()

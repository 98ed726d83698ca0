"""AsyncSandbox: the engine's front door. One zygote per policy, a pool of workers before it."""

import os
import ssl
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self, cast

from sandbox import events
from sandbox.cluster.sandbox import AsyncRaySandbox
from sandbox.outcome import Outcome
from sandbox.policy.arguments import check_number, check_text
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy, checked_policy
from sandbox.policy.sizes import POOL_SIZE, SESSIONS_CAP, WAITING_CAP, check_sizes
from sandbox.processes.supply import WorkerSupply
from sandbox.protocol.messages import Checked
from sandbox.remote.sandbox import AsyncRemoteSandbox
from sandbox.session.expiry import RETENTION_S
from sandbox.session.host_tools import HostTools
from sandbox.session.kept_jails import AsyncKeptJails
from sandbox.session.live_session import CHECKPOINT_BYTES, CHECKPOINTS_KEPT
from sandbox.session.mapped import mapped
from sandbox.session.runs.request import NO_TOOLS
from sandbox.session.session import AsyncSession

LOCAL = "local"


class AsyncSandbox:
    """Runs snippets in jails. Start and stop it as an async context manager, or let the first
    call start it and call `close`.

    `pool_size` workers are kept warm; at most `max_sessions` are in use at once, and at most
    `max_waiting` calls wait for one before the next gets PoolFull. `tools` are functions of this
    process that every snippet may call by name. `engine` is this machine, or a Ray cluster as
    "ray:auto" or "ray:HOST:PORT": the same calls then, see AsyncRaySandbox.
    """

    def __new__(cls, *args: Any, engine: str = LOCAL, **more: Any) -> Self:
        """The engine of this machine, or a cluster's. Raises PolicyError."""
        check_text("engine", engine, 'Give "local" or "ray:ADDRESS"')
        if engine == LOCAL:
            return super().__new__(cls)
        # The same calls, held to be so by tests/cluster/test_ray_engine.py.
        return cast(Self, AsyncRaySandbox(*args, engine=engine, **more))

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        pool_size: int = POOL_SIZE,
        max_sessions: int = SESSIONS_CAP,
        max_waiting: int = WAITING_CAP,
        tools: HostTools | None = None,
        engine: str = LOCAL,
    ) -> None:
        check_sizes(pool_size=pool_size, max_sessions=max_sessions, max_waiting=max_waiting)
        self.policy = checked_policy(policy)
        self._tools = NO_TOOLS.beside(tools)
        self._supply = WorkerSupply(
            self.policy, pool_size=pool_size, max_sessions=max_sessions, max_waiting=max_waiting
        )

    @staticmethod
    def connect(
        url: str,
        *,
        key: str = "",
        tools: HostTools | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> AsyncRemoteSandbox:
        """The same calls against another machine's `cellblock serve`; see AsyncRemoteSandbox.

        `key` is one of the server's; the policy is the server's too. `tls` says whom to trust
        behind an https address, by default what the system does.
        """
        return AsyncRemoteSandbox(url, key=key, tools=tools, tls=tls)

    async def __aenter__(self) -> Self:
        await self._supply.fill()
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
        """Run one snippet in a fresh jail that ends with it."""
        async with self._one_shot() as session:
            return await session.run(code, limits=limits, stdin=stdin, script="", tools=tools)

    async def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> AsyncIterator[events.Event]:
        """Events of one snippet in a fresh jail, as they happen."""
        async with self._one_shot() as session:
            async for event in session.stream(
                code, limits=limits, stdin=stdin, script="", tools=tools
            ):
                yield event

    def _one_shot(self) -> AsyncSession:
        return AsyncSession(
            self._supply, self.policy, survive=False, tools=self._tools, is_brief=True
        )

    def session(
        self,
        *,
        ttl_s: float | None = None,
        retention_s: float = RETENTION_S,
        checkpoints: int = CHECKPOINTS_KEPT,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        tools: HostTools | None = None,
    ) -> AsyncSession:
        """A session; await it or enter it to open it.

        It expires after `ttl_s` seconds, or never; its files can be fetched for `retention_s`
        more. It keeps at most so many checkpoints, and so much memory that only they hold.
        """
        return AsyncSession(
            self._supply,
            self.policy,
            ttl_s=ttl_s,
            retention_s=retention_s,
            checkpoints=checkpoints,
            checkpoint_bytes=checkpoint_bytes,
            tools=self._tools.beside(tools),
        )

    def kept_jails(self) -> AsyncKeptJails:
        """Sessions one after the other, each as if in a fresh jail, at half of its price.

        For programs by the thousand: all of a session ends with it, but the net namespace that it
        left untouched and the cgroup that is empty. Enter it as a context manager.
        """
        return AsyncKeptJails(self._supply, self.policy)

    @property
    def expected(self) -> int:
        """How many sessions are expected beyond those that are open."""
        return self._supply.expected

    def expect(self, sessions: int) -> None:
        """Keep so many more workers warm than `pool_size`, for sessions that are likely to be
        opened soon; a negative number takes it back."""
        check_number("sessions", sessions, "Give a whole number", kinds=(int,))
        self._supply.expect(sessions)

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        async with AsyncSession(self._supply, self.policy) as session:
            return await session.check(code)

    async def map(
        self,
        snippets: Iterable[str],
        *,
        limits: Limits | None = None,
        concurrency: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[tuple[int, Outcome]]:
        """(index, outcome) of each snippet, each in a fresh jail, `concurrency` at a time.

        In the order of the snippets, or as they complete with `ordered=False`. Only as many
        snippets are taken from the iterable as are running. The default is one per processor.
        """
        if concurrency is not None:
            check_number("concurrency", concurrency, "Give how many run at once", kinds=(int,))
        async for found in mapped(
            lambda code: self.run(code, limits=limits),
            snippets,
            width=concurrency or len(os.sched_getaffinity(0)),
            ordered=ordered,
        ):
            yield found

    async def close(self) -> None:
        """End every session and the zygote; nothing is left when this returns."""
        await self._supply.close()

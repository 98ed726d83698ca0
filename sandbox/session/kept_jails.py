"""Sessions that come one after the other in jails that are kept, each as if in a fresh one.

What is graded by the thousand takes less time than the jail around it. The two parts of a jail that
can be proven untouched are kept, all else is made anew: see `guest/boot/holder.py`. Where there is
no such proof to be had, in the tiers without namespaces and where there are no cgroups, each
session gets a fresh jail as ever.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NoReturn, Self

from sandbox.errors import CopyRefused, PolicyError, SandboxError, SessionClosed
from sandbox.outcome import Outcome
from sandbox.policy.arguments import check_name
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy
from sandbox.processes.supply import WorkerSupply
from sandbox.processes.worker import Worker
from sandbox.processes.zygote import ReusedJail
from sandbox.session.runs.request import SnippetRequest
from sandbox.session.session import AsyncSession

KEPT = 8
"""Jails that wait for the next session, at most."""
SPARE = 4
"""So many may be on their way to the next session before a caller waits for one of them."""


class KeptJailSession:
    """What a session in a kept jail can do. It has no copies, branches or commands beside it."""

    def __init__(self, session: AsyncSession, policy: Policy) -> None:
        self._session = session
        self._policy = policy

    async def run(
        self, code: str, *, limits: Limits | None = None, stdin: str | None = None
    ) -> Outcome:
        """Run `code` and give back how it ended; see `AsyncSession.run`."""
        return await self._session.run(code, limits=limits, stdin=stdin)

    async def call(self, function: str, argument: str, *, limits: Limits | None = None) -> Outcome:
        """Call `function` with `argument`, and give back how that ended; see `AsyncSession.run`.

        It is one of a module that `Policy.preload` has loaded, as `module:name`. Less stands
        around it than around a snippet: what it gives back is dropped, no variable is set, no
        artifact is listed. What it prints and shows is as a snippet's. Raises PolicyError where
        the language is restricted, in which only snippets are written.
        """
        check_name("function", function, "Give it as module:name")
        if self._policy.language != "full":
            raise PolicyError("function", f"is {function!r}", "Allow the full language to call it")
        request = SnippetRequest.of(
            argument, stdin=None, limits=limits, policy_limits=self._policy.limits
        )
        return await self._session._run(request._replace(function=function), None)

    async def put(self, path: str, data: bytes | str) -> None:
        """Write `data` to the file `path` of the workspace. Raises FileRefused."""
        await self._session.put(path, data)

    async def get(self, path: str) -> bytes:
        """The content of the regular file `path` of the workspace. Raises FileRefused."""
        return await self._session.get(path)

    def interrupt(self) -> None:
        """End the snippet that runs now, if there is one."""
        self._session.interrupt()

    @property
    def enforcement(self) -> tuple[str, ...]:
        """Names of the layers that hold for this session."""
        return self._session.enforcement


class AsyncKeptJails:
    """Made by `AsyncSandbox.kept_jails()`; enter it as a context manager."""

    def __init__(self, supply: WorkerSupply, policy: Policy) -> None:
        self._supply = supply
        self._policy = policy
        self._idle: deque[ReusedJail] = deque()
        self._open: set[_OneJail] = set()
        self._clearing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[KeptJailSession]:
        """A session, from its start to its end; it ends in the background. Raises SandboxError."""
        source = await self._source()
        session = AsyncSession(source, self._policy, survive=False, is_brief=True)
        if isinstance(source, _OneJail):
            self._open.add(source)
        try:
            await session
            yield KeptJailSession(session, self._policy)
        finally:
            await session.close()
            if isinstance(source, _OneJail):
                self._open.discard(source)
                self._clear_later(source)

    async def close(self) -> None:
        """End every jail that is kept; sessions that are open end with theirs."""
        self._is_closed = True
        while self._clearing:
            await asyncio.wait(set(self._clearing))
        while self._idle:
            await self._supply.give_back_jail(self._idle.pop())

    async def _source(self) -> "WorkerSupply | _OneJail":
        if self._is_closed:
            raise SessionClosed("set of kept jails")
        while not self._idle and len(self._clearing) >= SPARE:
            await asyncio.wait(set(self._clearing), return_when=asyncio.FIRST_COMPLETED)
        # The one that has waited longest is ready.
        jail = self._idle.popleft() if self._idle else await self._supply.take_jail()
        return self._supply if jail is None else _OneJail(self._supply, jail)

    async def _clear(self, source: "_OneJail") -> None:
        is_clean = False
        try:
            is_clean = await source.jail.give_back()
        finally:
            if is_clean and len(self._idle) < KEPT and not self._is_closed:
                source.jail.get_ready()
                self._idle.append(source.jail)
            else:
                await self._supply.give_back_jail(source.jail)

    def _clear_later(self, source: "_OneJail") -> None:
        task = asyncio.get_running_loop().create_task(self._clear(source))
        self._clearing.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._clearing.discard(task)
        if not task.cancelled() and isinstance(task.exception(), SandboxError):
            return  # A jail that did not end in time is given up; its zygote ends it.


class _OneJail:
    """Gives the workers of one kept jail, as `WorkerSupply` gives those of fresh ones."""

    def __init__(self, supply: WorkerSupply, jail: ReusedJail) -> None:
        self.access = supply.access
        self.jail = jail

    async def take(self) -> Worker:
        """The next worker."""
        return await self.jail.take()

    def give_back(self, worker: Worker) -> None:
        """Have it end; the jail is given back, with the proof, by `AsyncKeptJails`."""
        worker.kill()

    def places(self, _count: int) -> NoReturn:
        """Refuse: a branch would have to lie in the jail of its origin."""
        raise CopyRefused("a session in a kept jail cannot be branched")

    async def branch(self, _origin: Worker, _places: object) -> NoReturn:
        """Refuse, as `places`."""
        raise CopyRefused("a session in a kept jail cannot be branched")

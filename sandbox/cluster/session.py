"""A session on a node of a cluster: the calls of `AsyncSession`, carried out in its place."""

import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, overload

from sandbox import events
from sandbox.cancellation import in_background
from sandbox.cluster.calls import PlacedCalls, quietly
from sandbox.cluster.cluster import Lost, Placed, session_lost
from sandbox.cluster.place import Opened, ToolCalled
from sandbox.errors import SandboxError, SessionClosed, SessionError, SessionExpired, StaleProcess
from sandbox.outcome import Outcome
from sandbox.policy.limits import Limits
from sandbox.protocol.messages import ToolAnswer
from sandbox.remote.tool_calls import RemoteToolRun, described
from sandbox.session.best_of import BestOf, best_of_branches, checked_snippets
from sandbox.session.host_tools import HostTools, Tools
from sandbox.session.runs.request import NO_TOOLS

Take = Callable[[], Awaitable[Placed]]
GiveBack = Callable[[Placed], Awaitable[None]]


class AsyncRaySession(PlacedCalls):
    """Variables, imports and files that persist, in a place of their own on some node.

    Made by the `session()` of an `AsyncSandbox` with `engine="ray:..."`; either awaited or entered
    as a context manager. Branches are in the place of their session. A node that is lost is
    SessionLost.
    """

    def __init__(
        self,
        take: Take,
        give_back: GiveBack,
        *,
        tools: Tools = NO_TOOLS,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._take_place = take
        self._give_back = give_back
        self._tools = tools
        self._settings = dict(settings or {})
        self._made_in = os.getpid()
        self._placed: Placed | None = None
        self._opened = Opened(0, (), None)
        self._is_closed = False
        self._loss: SessionError | None = None

    async def __aenter__(self) -> Self:
        if self._placed is None and not self._is_closed:
            placed = await self._take_place()
            try:
                self._begin(placed, await placed.ask("open", **self._settings))
            except Lost as error:
                await self._give_back(placed)
                raise session_lost(error) from None
            except BaseException:
                await self._give_back(placed)
                raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[object, None, Self]:
        return self.__aenter__().__await__()

    @property
    def is_live(self) -> bool:
        """Whether it is open and no call found it lost. The place is not asked."""
        return self._placed is not None and not self._is_closed and self._loss is None

    @property
    def node(self) -> str:
        """The id of the node that it is on, as Ray has it."""
        return self._place().node

    @property
    def enforcement(self) -> tuple[str, ...]:
        """Names of the layers that hold for this session."""
        self._place()
        if self._loss is not None:
            raise self._loss
        return self._opened.layers

    @property
    def expires_at(self) -> float | None:
        """When the session expires, in seconds since the epoch; None for never."""
        return self._opened.expires_at

    async def extend(self, ttl_s: float) -> None:
        """Let the session expire `ttl_s` seconds from now, and not before."""
        await self._ask("extend", ttl_s)
        self._opened = await self._ask("look")

    async def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run `code` and give back how it ended; see `AsyncSession.run`."""
        source = self.stream(code, limits=limits, stdin=stdin, script=script, tools=tools)
        return await events.last_outcome(source)

    async def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> AsyncGenerator[events.Event, None]:
        """Events of `run` as they happen; the last one is `Finished` with the outcome.

        Leaving the loop early interrupts the snippet.
        """
        offered = self._tools.beside(tools)
        options = {"limits": limits, "stdin": stdin, "script": script}
        placed = self._place()
        with self._noting_loss():
            number = self._opened.number
            source = snippet_events(placed, offered, "begin", number, code, options=options)
            async with contextlib.aclosing(source):
                async for event in source:
                    yield event

    def interrupt(self) -> None:
        """End the snippet that runs now, if there is one; `run` gives its outcome."""
        if self.is_live:
            in_background(quietly(self._ask("interrupt")))

    @overload
    async def fork(self) -> "AsyncRaySession": ...

    @overload
    async def fork(self, n: int) -> "list[AsyncRaySession]": ...

    async def fork(self, n: int | None = None) -> "AsyncRaySession | list[AsyncRaySession]":
        """A session that goes on from here by itself, with a copy of the files; or `n` of them."""
        if n is None:
            [branch] = await self.fork(1)
            return branch
        placed = self._place()
        branches = []
        for opened in await self._ask("fork", n):
            branch = AsyncRaySession(self._take_place, self._give_back, tools=self._tools)
            branch._begin(placed, opened)
            branches.append(branch)
        return branches

    async def best_of(
        self,
        snippets: Sequence[str],
        *,
        key: Callable[[Outcome], float] | None = None,
        limits: Limits | None = None,
    ) -> BestOf:
        """Run each of `snippets` in a branch of its own, all at once; the winner is the session."""
        snippets = checked_snippets(snippets)
        branches = await self.fork(len(snippets))

        def become(winner: AsyncRaySession) -> None:
            # The session that was is closed as the branch that it has become.
            self._opened, winner._opened = winner._opened, self._opened

        return await best_of_branches(branches, snippets, key=key, limits=limits, become=become)

    async def close(self) -> None:
        """End the session and throw its files away. May be called again."""
        if self._is_closed or os.getpid() != self._made_in:
            return
        self._is_closed = True
        if self._placed is None:
            return
        with contextlib.suppress(SandboxError):
            await self._placed.ask("close", self._opened.number)
        self._placed.sessions -= 1
        if not self._placed.sessions:
            await self._give_back(self._placed)

    # ---- inside ---------------------------------------------------------------------------------

    def _begin(self, placed: Placed, opened: Opened) -> None:
        self._placed, self._opened = placed, opened
        placed.sessions += 1

    def _place(self) -> Placed:
        if os.getpid() != self._made_in:
            raise StaleProcess("The session", self._made_in, os.getpid())
        if self._is_closed:
            raise SessionClosed
        if self._placed is None:
            raise SessionClosed(was_opened=False)
        # Of one that expired the files can still be fetched; the place says what cannot.
        if self._loss is not None and not isinstance(self._loss, SessionExpired):
            raise self._loss
        return self._placed

    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return await self._ask_place(name, self._opened.number, *args, **kwargs)

    async def _ask_place(self, name: str, *args: Any, **kwargs: Any) -> Any:
        placed = self._place()
        with self._noting_loss():
            return await placed.ask(name, *args, **kwargs)

    @contextlib.contextmanager
    def _noting_loss(self) -> Generator[None, None, None]:
        try:
            yield
        except Lost as error:
            if self._is_closed:
                raise SessionClosed from error
            self._loss = session_lost(error)
            raise self._loss from None
        except SessionError as error:
            if self._is_closed:
                raise SessionClosed from error
            self._loss = error
            raise


async def snippet_events(
    placed: Placed, tools: Tools, begin: str, *args: Any, options: Mapping[str, Any]
) -> AsyncGenerator[events.Event, None]:
    """Events of a snippet in a place; its calls are carried out here. Raises Lost."""
    run_id: int = await placed.ask(begin, *args, described(tools), options)

    async def answer(call_id: str, message: ToolAnswer) -> None:
        await quietly(placed.ask("answer", run_id, call_id, message))

    calls = RemoteToolRun(tools, answer)
    try:
        while True:
            for found in await placed.ask("next", run_id):
                if isinstance(found, Exception):
                    raise found
                if isinstance(found, ToolCalled):
                    calls.begin(*found)
                    continue
                yield found
                if isinstance(found, events.Finished):
                    return
    finally:
        await calls.end()
        if not placed.is_lost:
            # The snippet's grace passes there: a caller that was cancelled does not wait for it.
            in_background(quietly(placed.ask("leave", run_id)))

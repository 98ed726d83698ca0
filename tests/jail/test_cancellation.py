"""A caller that is cancelled is back at once, and what it had begun ends by itself.

Cancelled in every way that a host has: once, twice, by a timeout, and by a scope of anyio, which
cancels again on each turn of the loop until the scope is left.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from sandbox import AsyncSandbox, AsyncSession, Limits, Policy, SandboxError, SessionClosed
from tests.jail.corpus import Tier

GRACE_S = 0.3
BACK_WITHIN_S = GRACE_S + 0.2
ENDLESS = "while True: pass"
STUBBORN = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
BEAT_S = 0.005
LIMITS = Limits(grace_s=GRACE_S, wall_s=20)


@pytest.fixture
async def box(tier: Tier) -> AsyncIterator[AsyncSandbox]:
    async with AsyncSandbox(Policy(tier=tier, limits=LIMITS), pool_size=0) as opened:
        yield opened


@pytest.fixture
async def session(box: AsyncSandbox) -> AsyncIterator[AsyncSession]:
    async with box.session() as opened:
        await opened.run("x = 1")
        yield opened


@asynccontextmanager
async def back_within(limit_s: float) -> AsyncIterator[None]:
    """Fail if the block takes longer, beyond what the loop itself was late."""
    late_s = 0.0

    async def beat() -> None:
        nonlocal late_s
        while True:
            due = time.monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            late_s += max(0.0, time.monotonic() - due)

    task = asyncio.ensure_future(beat())
    began = time.monotonic()
    try:
        yield
    finally:
        took_s = time.monotonic() - began
        task.cancel()
    assert took_s < limit_s + late_s


async def assert_usable(session: AsyncSession) -> None:
    async with asyncio.timeout(30):
        assert (await session.run("x")).text == "1"
    assert session.is_live


async def started(session: AsyncSession, code: str) -> "asyncio.Task[object]":
    """A run that is in the middle of its snippet."""
    await session.put("flag", "")
    task: asyncio.Task[object] = asyncio.ensure_future(
        session.run(f"import os; os.remove('flag')\n{code}")
    )
    async with asyncio.timeout(20):
        while "flag" in await session.files():
            await asyncio.sleep(0.005)
    return task


# ---- every way to cancel ------------------------------------------------------------------------


@pytest.mark.parametrize("code", [ENDLESS, STUBBORN], ids=["endless", "stubborn"])
async def test_a_scope_of_anyio_ends_a_run(session: AsyncSession, code: str) -> None:
    async with back_within(0.2 + BACK_WITHIN_S):
        with anyio.move_on_after(0.2) as scope:
            await session.run(code)
    assert scope.cancelled_caught
    await assert_usable(session)


async def test_a_cancelled_scope_does_not_turn_the_loop_without_rest(
    session: AsyncSession,
) -> None:
    task = await started(session, STUBBORN)
    task.cancel()
    await asyncio.sleep(0)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with anyio.CancelScope() as scope:
        scope.cancel()
        counting = asyncio.ensure_future(count())
        await session.run("1")
    counting.cancel()
    assert scope.cancelled_caught
    assert turns < 5
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_usable(session)


async def test_a_timeout_of_asyncio_ends_a_run(session: AsyncSession) -> None:
    async with back_within(0.2 + BACK_WITHIN_S):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.run(STUBBORN)
    await assert_usable(session)


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_a_task_that_is_cancelled_twice_ends_at_once(
    session: AsyncSession, pause_s: float
) -> None:
    task = await started(session, STUBBORN)
    async with back_within(pause_s + 0.2):
        task.cancel()
        await asyncio.sleep(pause_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await assert_usable(session)


async def test_a_call_that_waits_its_turn_leaves_nothing_when_cancelled(
    session: AsyncSession,
) -> None:
    running = await started(session, ENDLESS)
    waiting = asyncio.ensure_future(session.run("x = 2"))
    await asyncio.sleep(0)
    async with back_within(0.2):
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await assert_usable(session)


async def test_a_scope_of_anyio_ends_a_stream(session: AsyncSession) -> None:
    seen = []
    async with back_within(0.2 + BACK_WITHIN_S):
        with anyio.move_on_after(0.2):
            async for event in session.stream(STUBBORN):
                seen.append(event)
    assert len(seen) == 1
    await assert_usable(session)


async def test_a_scope_of_anyio_ends_a_run_in_a_jail_of_its_own(box: AsyncSandbox) -> None:
    async with back_within(0.5 + BACK_WITHIN_S):
        with anyio.move_on_after(0.5):
            await box.run(STUBBORN)
    async with asyncio.timeout(30):
        assert (await box.run("1")).text == "1"


async def test_a_group_of_anyio_that_fails_ends_the_runs_beside(session: AsyncSession) -> None:
    async def fail() -> None:
        await anyio.sleep(0.2)
        raise ValueError("on purpose")

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(session.run, ENDLESS)
            group.start_soon(fail)

    async with back_within(0.2 + BACK_WITHIN_S):
        with pytest.raises(ExceptionGroup):
            await both()
    await assert_usable(session)


async def test_a_session_closed_in_a_cancelled_scope_is_closed(box: AsyncSandbox) -> None:
    with anyio.CancelScope() as scope:
        async with box.session() as session:
            task = await started(session, STUBBORN)
            scope.cancel()
    assert not session.is_live
    with pytest.raises(SessionClosed):
        await task


async def test_a_sandbox_closed_in_a_cancelled_scope_leaves_nothing(tier: Tier) -> None:
    with anyio.CancelScope() as scope:
        async with AsyncSandbox(Policy(tier=tier), pool_size=1) as box:
            await box.run("1")
            scope.cancel()
    with pytest.raises(SessionClosed):
        await box.run("1")


async def test_a_start_whose_caller_is_cancelled_serves_the_next(tier: Tier) -> None:
    box = AsyncSandbox(Policy(tier=tier), pool_size=0)
    with anyio.move_on_after(0.01) as scope:
        await box.run("1")
    assert scope.cancelled_caught
    assert (await box.run("2")).text == "2"
    await box.close()


# ---- at every await -----------------------------------------------------------------------------


class CancelledAt:
    """Awaits `work` and cancels its own task when it waits for the `count`th time.

    With `goes_on`, at every later time too, as a cancelled scope does.
    """

    def __init__(self, work: Coroutine[Any, Any, object], count: int, *, goes_on: bool) -> None:
        self._work = work
        self._count = count
        self._goes_on = goes_on
        self.waited = 0

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._work.__await__()
        error: BaseException | None = None
        while True:
            try:
                awaited = steps.throw(error) if error is not None else next(steps)
            except StopIteration as stop:
                return stop.value
            self.waited += 1
            task = asyncio.current_task()
            assert task is not None
            if self.waited == self._count or (self._goes_on and self.waited > self._count):
                task.cancel()
            error = None
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 - it is thrown on
                error = thrown


async def _open(session: AsyncSession) -> object:
    box = AsyncSandbox(session._policy, pool_size=0)
    try:
        async with box.session() as other:
            return await other.run("1")
    finally:
        await box.close()


async def _roll_back(session: AsyncSession) -> None:
    mark = await session.checkpoint()
    await session.run("y = 1")
    await session.rollback(mark)


async def _fork(session: AsyncSession) -> object:
    for branch in await session.fork(2):
        await branch.close()
    return None


async def _stream(session: AsyncSession) -> object:
    return [event async for event in session.stream("print(1)")]


async def _values(session: AsyncSession) -> object:
    await session.set(n=[1, 2])
    return await session.get_value("n")


CALLS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    "run": lambda session: session.run("1"),
    "endless run": lambda session: session.run(ENDLESS, limits=Limits(wall_s=0.1, grace_s=0.1)),
    "stream": _stream,
    "checkpoint": lambda session: session.checkpoint(),
    "rollback": _roll_back,
    "checkpoints": lambda session: session.checkpoints(),
    "try_run": lambda session: session.try_run("1/0"),
    "check": lambda session: session.check("import os"),
    "open": _open,
    "exec": lambda session: session.exec(["true"]),
    "set and get_value": _values,
    "variables": lambda session: session.variables(),
    "complete": lambda session: session.complete("impo", 4),
}
BRANCHING = {
    "fork": _fork,
    "best_of": lambda session: session.best_of(["1", "1/0"]),
}
AWAITS_CAP = 200


@pytest.mark.slow
@pytest.mark.parametrize("goes_on", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_may_be_cancelled_at_every_await(
    session: AsyncSession, name: str, goes_on: bool
) -> None:
    await cancel_at_every_await(session, CALLS[name], goes_on=goes_on)


@pytest.mark.slow
@pytest.mark.parametrize("goes_on", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("name", BRANCHING)
async def test_a_branching_call_may_be_cancelled_at_every_await(name: str, goes_on: bool) -> None:
    async with AsyncSandbox(Policy(limits=LIMITS), pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        await cancel_at_every_await(session, BRANCHING[name], goes_on=goes_on)


async def cancel_at_every_await(
    session: AsyncSession, call: Callable[[AsyncSession], Any], *, goes_on: bool
) -> None:
    for count in range(1, AWAITS_CAP):
        one = CancelledAt(call(session), count, goes_on=goes_on)

        async def act(one: CancelledAt = one) -> None:
            await one

        task = asyncio.ensure_future(act())
        async with asyncio.timeout(30):
            with suppress(asyncio.CancelledError, SandboxError):
                await task
            await assert_usable(session)
        if one.waited < count:
            return
    raise AssertionError(f"more than {AWAITS_CAP} awaits")

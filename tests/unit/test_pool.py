"""The pool with workers that are no processes: bound, order, refusal, cancellation."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import cast

import pytest

from sandbox.errors import PoolFull, SessionClosed, ZygoteDied
from sandbox.processes.pool import FILLING_CAP, Pool
from sandbox.processes.worker import Worker


class FakeWorker:
    """What the pool sees of a worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_live = True
        self.closings = 0
        self.is_warm = False

    def warm(self) -> None:
        self.is_warm = True

    async def close(self) -> None:
        self.is_live = False
        self.closings += 1


class NamespaceBuilder:
    """Makes fake workers and keeps them all; fails while `error` is set."""

    def __init__(self) -> None:
        self.made: list[FakeWorker] = []
        self.error: Exception | None = None

    async def __call__(self) -> FakeWorker:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.made.append(FakeWorker(len(self.made)))
        return self.made[-1]


def pool_of(maker: NamespaceBuilder, *, warm: int = 0, most: int = 8, waiting: int = 8) -> Pool:
    make = cast(Callable[[], Coroutine[object, object, Worker]], maker)
    return Pool(make, warm=warm, most=most, waiting=waiting)


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_warm_workers_are_made_ahead_and_made_again() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker, warm=2)
    await pool.fill()
    assert (pool.ready, pool.live) == (2, 0)
    first = await pool.take()
    assert cast(FakeWorker, first).number == 0
    await settle()
    # The next one is made when the caller has had its turn, not in it.
    assert (pool.ready, pool.live, len(maker.made)) == (1, 1, 2)
    while pool.ready < 2:
        await asyncio.sleep(0.001)
    assert (pool.live, len(maker.made)) == (1, 3)
    assert all(worker.is_warm for worker in maker.made)
    await pool.close()


async def test_a_worker_that_comes_back_is_followed_by_a_fresh_one() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker, warm=1)
    await pool.fill()
    await pool.give_back(await pool.take())
    await pool.fill()
    assert (pool.ready, pool.live) == (1, 0)
    assert [worker.closings for worker in maker.made] == [1, 0]
    await pool.close()


async def test_expected_callers_find_a_worker_ready_a_few_made_at_a_time() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker, warm=1)
    pool.expect(6)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(maker.made) <= FILLING_CAP
    await settle()
    assert (pool.ready, len(maker.made)) == (7, 7)
    pool.expect(-1)
    await pool.take()
    await settle()
    assert (pool.ready, len(maker.made)) == (6, 7)
    await pool.close()


async def test_no_more_callers_are_expected_than_may_come() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker, most=3)
    pool.expect(100)
    await settle()
    assert pool.ready == 3
    await pool.close()


async def test_workers_that_nobody_came_for_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.processes.pool.SURPLUS_S", 0.0)
    maker = NamespaceBuilder()
    pool = pool_of(maker, warm=1)
    pool.expect(3)
    await settle()
    pool.expect(-3)
    await asyncio.sleep(0.01)
    assert (pool.ready, sum(worker.closings for worker in maker.made)) == (1, 3)
    await pool.close()


async def test_a_worker_that_was_used_never_comes_back() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker)
    used = await pool.take()
    await pool.give_back(used)
    assert cast(FakeWorker, used).closings == 1
    assert await pool.take() is not used
    await pool.close()


async def test_a_warm_worker_that_died_is_not_handed_out() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker, warm=2)
    await pool.fill()
    maker.made[0].is_live = False
    assert cast(FakeWorker, await pool.take()).number == 1
    await settle()
    assert maker.made[0].closings == 1
    await pool.close()


async def test_callers_past_the_bound_wait_in_the_order_in_which_they_came() -> None:
    pool = pool_of(NamespaceBuilder(), most=1)
    served: list[int] = []

    async def call(number: int) -> Worker:
        worker = await pool.take()
        served.append(number)
        return worker

    tasks = [asyncio.ensure_future(call(number)) for number in range(4)]
    await settle()
    for number, task in enumerate(tasks):
        assert served == list(range(number + 1))
        await pool.give_back(await task)
        await settle()
    assert pool.live == 0
    await pool.close()


async def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    pool = pool_of(NamespaceBuilder(), most=1)
    held = await pool.take()
    waiting = asyncio.ensure_future(pool.take())
    await settle()
    pool.give_back(held)
    newcomer = asyncio.ensure_future(pool.take())
    await settle()
    assert (waiting.done(), newcomer.done()) == (True, False)
    pool.give_back(waiting.result())
    await settle()
    assert newcomer.done()
    await pool.close()


async def test_a_full_queue_refuses_and_says_when_to_try_again() -> None:
    pool = pool_of(NamespaceBuilder(), most=1, waiting=1)
    await pool.take()
    waiting = asyncio.ensure_future(pool.take())
    await settle()
    with pytest.raises(PoolFull) as refused:
        await pool.take()
    assert (refused.value.live, refused.value.waiting) == (1, 1)
    assert refused.value.retry_after_s > 0
    waiting.cancel()
    await settle()
    await pool.close()


async def test_a_caller_that_goes_away_frees_its_place_in_the_queue() -> None:
    pool = pool_of(NamespaceBuilder(), most=1, waiting=2)
    held = await pool.take()
    leaving, staying = (asyncio.ensure_future(pool.take()) for _ in range(2))
    await settle()
    leaving.cancel()
    await settle()
    pool.give_back(held)
    await settle()
    assert staying.done()
    assert pool.live == 1
    await pool.close()


async def test_a_place_given_to_a_caller_that_just_left_goes_to_the_next() -> None:
    pool = pool_of(NamespaceBuilder(), most=1)
    held = await pool.take()
    leaving, staying = (asyncio.ensure_future(pool.take()) for _ in range(2))
    await settle()
    pool.give_back(held)
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    assert staying.done()
    assert pool.live == 1
    await pool.close()


async def test_a_caller_that_leaves_while_its_worker_is_made_frees_its_place() -> None:
    pool = pool_of(NamespaceBuilder(), most=1)
    taking = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    assert pool.live == 1
    taking.cancel()
    await settle()
    assert pool.live == 0
    assert await asyncio.wait_for(pool.take(), 1)
    await pool.close()


async def test_a_worker_that_cannot_be_made_frees_its_place_and_tells_the_caller() -> None:
    maker = NamespaceBuilder()
    maker.error = ZygoteDied("exit status 1")
    pool = pool_of(maker, warm=1, most=1)
    for _ in range(2):
        with pytest.raises(ZygoteDied):
            await pool.take()
    maker.error = None
    assert await pool.take()
    assert pool.live == 1
    await pool.close()


async def test_the_end_of_the_pool_ends_every_worker_and_turns_away_who_waits() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker, warm=1, most=1)
    await pool.fill()
    await pool.take()
    waiting = asyncio.ensure_future(pool.take())
    await settle()
    await pool.close()
    await settle()
    with pytest.raises(SessionClosed, match="sandbox"):
        await waiting
    assert [worker.closings for worker in maker.made] == [1] * len(maker.made)
    assert pool.ready == 0


async def test_a_worker_that_is_made_while_the_pool_closes_is_ended() -> None:
    maker = NamespaceBuilder()
    pool = pool_of(maker)
    taking = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(SessionClosed):
        await taking
    await settle()
    assert [worker.closings for worker in maker.made] == [1]

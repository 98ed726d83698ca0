"""Work that begins in its caller's task, and goes on without it."""

import asyncio
import gc
from collections.abc import Callable, Coroutine

import pytest

from sandbox.cancellation import Wait, apart, begun
from sandbox.session.runs.timers import Alarm


class Work:
    """Waits for `answer` and gives it back; counts, and tells in which tasks it ran."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ran_in: list[asyncio.Task[object] | None] = []
        self.result = ""

    async def quick(self) -> str:
        self.ran_in.append(asyncio.current_task())
        self.result = await Wait(self.answer)
        self.ran_in.append(asyncio.current_task())
        return self.result

    async def slow(self) -> str:
        self.ran_in.append(asyncio.current_task())
        await apart()
        self.ran_in.append(asyncio.current_task())
        async with asyncio.timeout(30):
            self.result = await self.answer
        return self.result

    async def failing(self) -> str:
        await Wait(self.answer)
        raise ValueError("on purpose")


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_quick_work_needs_no_task_and_one_turn_for_its_end() -> None:
    work = Work()
    caller = asyncio.ensure_future(begun(work.quick(), within_s=1.0))
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 2  # This one, and the caller's.
    work.answer.set_result("here")
    await asyncio.sleep(0)
    assert caller.done()
    assert caller.result() == "here"
    assert work.ran_in == [caller, caller]


async def test_work_that_never_waits_is_done_at_once() -> None:
    work = Work()
    work.answer.set_result("here")
    assert await begun(work.quick(), within_s=1.0) == "here"


async def test_an_error_is_the_callers() -> None:
    work = Work()
    work.answer.set_result("here")
    with pytest.raises(ValueError, match="on purpose"):
        await begun(work.failing(), within_s=1.0)


async def test_slow_work_is_a_task_of_its_own() -> None:
    work = Work()
    caller = asyncio.ensure_future(begun(work.slow(), within_s=1.0))
    await turns()
    work.answer.set_result("here")
    assert await caller == "here"
    assert work.ran_in[0] is caller
    assert work.ran_in[1] is not caller


@pytest.mark.parametrize("way", [Work.quick, Work.slow])
async def test_a_cancelled_caller_leaves_the_work_to_itself(
    way: Callable[[Work], Coroutine[object, object, str]],
) -> None:
    work = Work()
    told: list[int] = []
    caller = asyncio.ensure_future(begun(way(work), within_s=0.0, on_cancel=lambda: told.append(1)))
    await turns()
    caller.cancel("why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        await caller
    assert told == [1]
    assert not work.answer.cancelled()
    work.answer.set_result("late")
    await turns()
    assert work.result == "late"
    assert work.ran_in[-1] is not caller


async def test_a_cancelled_caller_waits_for_the_end_once() -> None:
    work = Work()
    caller = asyncio.ensure_future(
        begun(work.quick(), within_s=60.0, on_cancel=lambda: work.answer.set_result("ended"))
    )
    await turns(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.result == "ended"
    again = Work()
    caller = asyncio.ensure_future(begun(again.quick(), within_s=60.0))
    await turns(1)
    caller.cancel()
    await turns()
    assert not caller.done()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    again.answer.set_result("late")
    await turns()
    assert again.result == "late"


async def test_a_caller_cancelled_as_the_answer_comes_is_cancelled() -> None:
    work = Work()
    caller = asyncio.ensure_future(begun(work.quick(), within_s=60.0))
    await turns(1)
    work.answer.set_result("here")
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.result == "here"


async def test_a_timeout_around_it_is_told_as_one() -> None:
    work = Work()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await begun(work.quick(), within_s=0.0)
    work.answer.set_result("late")
    await turns()
    assert work.result == "late"


# ---- the alarm ----------------------------------------------------------------------------------


async def test_an_alarm_rings_once_and_when_it_was_set_for_last() -> None:
    alarm, rung = Alarm(), asyncio.Event()
    first: list[int] = []
    alarm.set(0.001, lambda: first.append(1))
    alarm.set(0.02, rung.set)
    await asyncio.sleep(0.01)
    assert not rung.is_set()
    async with asyncio.timeout(30):
        await rung.wait()
    assert first == []


async def test_an_alarm_that_is_due_sooner_does_not_wait_for_the_one_before() -> None:
    alarm, rung = Alarm(), asyncio.Event()
    alarm.set(1000, lambda: None)
    alarm.set(0.001, rung.set)
    async with asyncio.timeout(30):
        await rung.wait()


async def test_an_alarm_that_is_put_off_or_closed_does_not_ring() -> None:
    rung: list[int] = []
    off, closed = Alarm(), Alarm()
    off.set(0.001, lambda: rung.append(1))
    off.put_off()
    closed.set(0.001, lambda: rung.append(2))
    closed.close()
    await asyncio.sleep(0.02)
    assert rung == []


async def test_an_error_that_comes_too_late_for_its_caller_is_not_reported() -> None:
    reported: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    work = Work()
    caller = asyncio.ensure_future(begun(work.failing(), within_s=0.0))
    await turns(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    work.answer.set_result("late")
    await turns()
    del work, caller
    gc.collect()
    await turns()
    assert reported == []


def test_an_alarm_of_uvloop_may_be_due_already() -> None:
    uvloop = pytest.importorskip("uvloop", reason="pip install uvloop")
    rung: list[int] = []

    async def use() -> None:
        alarm = Alarm()
        for delay_s in (0, 0.5, 0, 0.001):  # Each time before the one before has rung.
            alarm.set(delay_s, lambda: rung.append(1))
        async with asyncio.timeout(30):
            while not rung:
                await asyncio.sleep(0.001)
        alarm.set(0, lambda: rung.append(2))
        alarm.close()
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())
    assert rung == [1]

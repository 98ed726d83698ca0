"""The thread behind the blocking face: wherever an interrupt hits a caller, nothing runs on."""

import asyncio
import concurrent.futures
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from sandbox.loop_thread import loop_thread

LONGEST_S = 0.001
"""Of the time to an interrupt: a call and the way to it take less."""


@contextmanager
def interrupted_after(delay_s: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in this thread once, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, delay_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # Hit before the call.
def test_an_interrupt_ends_the_call_wherever_it_hits() -> None:
    thread = loop_thread()
    running = set[object]()

    async def work(mark: object) -> None:
        running.add(mark)
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            running.discard(mark)

    chance = random.Random(1)
    for number in range(200):
        with pytest.raises(KeyboardInterrupt), interrupted_after(chance.uniform(1e-6, LONGEST_S)):
            thread.call(work(number))
        assert running == set()


def test_a_call_gives_back_and_raises_what_the_coroutine_does() -> None:
    thread = loop_thread()

    async def give() -> int:
        return 42

    async def fail() -> None:
        raise LookupError("lost")

    async def give_up() -> None:
        raise asyncio.CancelledError

    assert thread.call(give()) == 42
    with pytest.raises(LookupError, match="lost"):
        thread.call(fail())
    with pytest.raises(concurrent.futures.CancelledError):
        thread.call(give_up())

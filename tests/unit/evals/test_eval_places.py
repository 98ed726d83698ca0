"""Places for candidates: so many at a time, and none of the others waits for those that loop."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runner.evals.grading.places import Places


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


Run = Callable[[str, asyncio.Event], Awaitable[None]]


def candidate(places: Places, running: list[str]) -> Run:
    async def run(name: str, end: asyncio.Event) -> None:
        async with places.one():
            running.append(name)
            await end.wait()
        running.remove(name)

    return run


async def test_no_more_run_than_there_are_places_and_in_their_order() -> None:
    running: list[str] = []
    run = candidate(Places(2), running)
    ends = {name: asyncio.Event() for name in "abcd"}
    tasks = [asyncio.ensure_future(run(name, end)) for name, end in ends.items()]
    await settle()
    assert running == ["a", "b"]
    ends["a"].set()
    await settle()
    assert running == ["b", "c"]
    for end in ends.values():
        end.set()
    await asyncio.gather(*tasks)
    assert running == []


async def test_those_that_take_long_never_fill_all_places() -> None:
    running: list[str] = []
    run = candidate(Places(2, long_after_s=0.0), running)
    ends = {name: asyncio.Event() for name in "abcdef"}
    tasks = []
    for name in "abcde":
        tasks.append(asyncio.ensure_future(run(name, ends[name])))
        await asyncio.sleep(0.01)
    # Twice as many as there are places, all of them long by now: no more than that.
    assert running == ["a", "b", "c", "d"]
    ends["a"].set()
    await asyncio.sleep(0.01)
    assert running == ["b", "c", "d", "e"]
    for end in ends.values():
        end.set()
    await asyncio.gather(*tasks)


async def test_what_is_cancelled_while_it_waits_or_runs_leaves_its_place() -> None:
    running: list[str] = []
    run = candidate(Places(1), running)
    end = asyncio.Event()
    first, second, third = (asyncio.ensure_future(run(name, end)) for name in "abc")
    await settle()
    second.cancel()
    first.cancel()
    await settle()
    assert running == ["a", "c"]  # The first was cancelled in its block and never left the list.
    end.set()
    await third
    for task in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await task

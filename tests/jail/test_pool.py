"""The pool with real workers: warm starts, the bound, cancellation, many snippets, events."""

import asyncio
from collections.abc import Iterator

import pytest

from sandbox import (
    ArtifactMade,
    AsyncSandbox,
    Displayed,
    Finished,
    Limits,
    Policy,
    PoolFull,
    Sandbox,
    Session,
    Started,
    Stderr,
    Stdout,
)
from sandbox.outcome import Completed, LimitExceeded
from tests.jail.corpus import Tier
from tests.jail.hosts import wait_until


def warm(box: Sandbox) -> int:
    pool = box._box._supply.pool
    assert pool is not None
    return pool.ready


def test_workers_are_warm_when_a_sandbox_is_entered_and_are_made_again(tier: Tier) -> None:
    with Sandbox(Policy(tier=tier), pool_size=2) as box:
        assert warm(box) == 2
        assert box.run("1").text == "1"
        wait_until(lambda: warm(box) == 2, "the pool was not filled again")


def test_a_call_past_both_bounds_is_refused_with_a_time_to_try_again(tier: Tier) -> None:
    with (
        Sandbox(Policy(tier=tier), pool_size=0, max_sessions=1, max_waiting=0) as box,
        box.session() as session,
    ):
        with pytest.raises(PoolFull) as refused:
            box.run("1")
        assert (refused.value.live, refused.value.waiting) == (1, 0)
        assert refused.value.retry_after_s > 0
        assert session.run("1").text == "1"
        session.close()
        assert box.run("2").text == "2"


async def test_waiting_calls_are_served_in_turn_and_one_that_leaves_is_skipped(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0, max_sessions=1) as box:
        held = await box.session()
        served: list[int] = []

        async def call(number: int) -> None:
            await box.run(f"{number}")
            served.append(number)

        tasks = [asyncio.ensure_future(call(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        await held.close()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert served == [0, 2, 3]


async def test_a_cancelled_run_ends_its_jail_and_frees_its_place(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0, max_sessions=1) as box:
        task = asyncio.ensure_future(box.run("while True: pass"))
        pool = box._supply.pool
        assert pool is not None
        while not pool.live:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            assert (await box.run("1")).text == "1"


# ---- many snippets ------------------------------------------------------------------------------


def test_map_gives_outcomes_in_the_order_of_the_snippets(box: Sandbox) -> None:
    codes = [f"import time; time.sleep({0.05 if n == 0 else 0}); {n} * {n}" for n in range(6)]
    found = [(index, outcome.text) for index, outcome in box.map(codes, concurrency=3)]
    assert found == [(n, str(n * n)) for n in range(6)]


def test_map_gives_outcomes_as_they_come_when_asked_to(box: Sandbox) -> None:
    codes = ["import time; time.sleep(0.5); 0", "1", "2"]
    found = [index for index, _ in box.map(codes, concurrency=3, ordered=False)]
    assert sorted(found) == [0, 1, 2]
    assert found[-1] == 0


def test_map_takes_no_more_from_its_source_than_it_runs(box: Sandbox) -> None:
    taken: list[int] = []

    def source() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield str(number)

    results = box.map(source(), concurrency=2)
    assert next(results)[0] == 0
    assert len(taken) <= 4
    results.close()  # type: ignore[attr-defined]
    assert box.run("1").text == "1"


def test_one_snippet_of_a_map_that_dies_is_an_outcome_among_the_others(box: Sandbox) -> None:
    codes = ["1", "import os; os._exit(3)", "while True: pass", "4"]
    limits = Limits(wall_s=0.3, grace_s=0.1)
    statuses = [outcome.status for _, outcome in box.map(codes, limits=limits, concurrency=2)]
    assert statuses == ["completed", "died", "limit_exceeded", "completed"]


# ---- events -------------------------------------------------------------------------------------


def test_events_come_in_order_and_end_with_the_outcome(session: Session) -> None:
    code = (
        "import sys, time\nprint('one', flush=True)\ntime.sleep(0.05)\n"
        "print('two', file=sys.stderr, flush=True)\ntime.sleep(0.05)\ndisplay(3)\n"
        "open('a.txt', 'w').write('a')\n4"
    )
    events = list(session.stream(code))
    assert [type(event) for event in events] == [
        *(Started, Stdout, Stderr, Displayed, ArtifactMade, Finished)
    ]
    started, out, err, shown, made, finished = events
    assert started == Started(1)
    assert (out, err) == (Stdout("one\n"), Stderr("two\n"))
    assert isinstance(shown, Displayed)
    assert shown.bundle["text/plain"] == "3"
    assert isinstance(made, ArtifactMade)
    assert made.artifact.path == "a.txt"
    assert isinstance(finished, Finished)
    assert isinstance(finished.outcome, Completed)
    assert finished.outcome.text == "4"


def test_output_arrives_while_the_snippet_runs(session: Session) -> None:
    events = session.stream("print('first', flush=True)\ninput()\nimport time\ntime.sleep(60)")
    assert isinstance(next(events), Started)
    assert next(events) == Stdout("first\n")
    events.close()  # type: ignore[attr-defined]
    assert session.run("1").text == "1"


def test_leaving_a_stream_early_interrupts_the_snippet(session: Session) -> None:
    endless = "try:\n    print('on', flush=True)\n    while True: pass\nfinally: x = 'left'"
    for event in session.stream(endless):
        if isinstance(event, Stdout):
            break
    assert session.run("x").text == "'left'"


def test_a_character_that_is_split_over_two_writes_is_one_event(session: Session) -> None:
    code = "import os, time\nos.write(1, b'\\xc3')\ntime.sleep(0.05)\nos.write(1, b'\\xa9')"
    texts = [event.text for event in session.stream(code) if isinstance(event, Stdout)]
    assert texts == ["é"]


def test_a_stream_of_a_fresh_jail_ends_with_its_outcome(box: Sandbox) -> None:
    events = list(box.stream("while True: pass", limits=Limits(wall_s=0.1)))
    assert isinstance(events[-1], Finished)
    assert isinstance(events[-1].outcome, LimitExceeded)

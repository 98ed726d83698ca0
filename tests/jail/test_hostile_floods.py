"""A session may not keep the host's loop, or its memory, from the others."""

import asyncio
import gc
import time
import tracemalloc
from asyncio import events as loop_events
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from benchmarks.hostile import CHANNEL, FLOODS, HALF_A_FRAME
from sandbox import AsyncSandbox, CopyRefused, Limits, Policy, SandboxError, SessionLost
from sandbox.session import checkpoints
from tests.jail.corpus import Tier

MiB = 1024 * 1024
STALL_S = 0.05
HELD_BYTES = 16 * MiB
SESSIONS = 6
DEEP = """
import os
for _ in range({depth}):
    os.mkdir("d" * {length})
    os.chdir("d" * {length})
open("bottom.txt", "w").write("here")
os.chdir("/mnt/data" if os.path.isdir("/mnt/data") else os.environ["HOME"])
"""
MUTE = """
import sys
frame = sys._getframe()
while type(frame.f_locals.get("self")).__name__ != "SessionProcess":
    frame = frame.f_back
copies = sys.modules["sandbox.guest.session.copies"]
def asleep():
    import time
    time.sleep(60)
copies.private_bytes = asleep
"""


@pytest.fixture
async def box(tier: Tier) -> AsyncIterator[AsyncSandbox]:
    policy = Policy(tier=tier, limits=Limits(wall_s=8))
    async with AsyncSandbox(policy, pool_size=0) as opened:
        yield opened


@contextmanager
def busy_times(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Processor time of each callback of the loop: what other programs do is not in it."""
    times: list[float] = []
    run = loop_events.Handle._run  # type: ignore[attr-defined]

    def timed_run(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        times.append(time.thread_time() - began)

    gc.collect()
    gc.freeze()  # A collection walks what the tests themselves hold, which no host does.
    with monkeypatch.context() as patch:
        patch.setattr(loop_events.Handle, "_run", timed_run)
        yield times
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_leaves_the_loop_to_the_others(
    box: AsyncSandbox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with box.session() as hostile, box.session() as neighbour:
        await neighbour.run("1")
        served = 0
        with busy_times(monkeypatch) as times:
            task = asyncio.ensure_future(hostile.run(FLOODS[name]))
            while not task.done():
                assert (await neighbour.run("1")).text == "1"
                served += 1
            await task
    assert served
    assert max(times) < STALL_S


async def test_idle_sessions_have_the_host_hold_no_frames(box: AsyncSandbox) -> None:
    sessions = [await box.session() for _ in range(SESSIONS)]
    for session in sessions:
        await session.run("1")
    before = _resident()
    for kind in (30, 31):
        code = HALF_A_FRAME.replace("KIND", str(kind)).replace("SIZE", str(14 * MiB))
        for session in sessions:
            # It may be found out, and ended, before this call or in it.
            with suppress(SessionLost):
                assert (await session.run(code)).status in ("completed", "died")
    # What the frame did not end is as it was: the process that waited took over.
    for session in sessions:
        with suppress(SessionLost):
            assert (await session.run("1 + 1")).text == "2"
    assert _resident() - before < SESSIONS * MiB
    for session in sessions:
        await session.close()
    assert (await box.run("1")).text == "1"


@pytest.mark.slow
async def test_a_large_display_costs_the_host_what_the_outcome_keeps(box: AsyncSandbox) -> None:
    code = FLOODS["displays of escapes"]
    await box.run(code)
    before, peak = _resident(), 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, _resident())
            await asyncio.sleep(0.002)

    watching = asyncio.ensure_future(watch())
    outcome = await box.run(code)
    watching.cancel()
    kept = sum(len(text) for bundle in outcome.displays for text in bundle.values())
    assert kept == 3 * 7_000_000, outcome.status
    # The text of the message that is being read is the outcome's a moment later.
    assert peak - before - kept < HELD_BYTES + 7_000_000


WIDE_CHARACTERS = 9_000_000
CALLS = (
    CHANNEL
    + f"wide = 'a' * {WIDE_CHARACTERS} + chr(0x1F600)"
    + r"""
import json
ToolCall = sys.modules["sandbox.protocol.guest_messages"].ToolCall
body = json.dumps({"args": ["x" * 1_900_000], "kwargs": {}})
parts = json.dumps({"args": [[[]] * 30_000], "kwargs": {}})
for number in range(60):
    put(packed("ToolCall", id=number, name="wait", arguments=(body, parts)[number % 2]))
for number in range(4):
    put(packed("Display", bundle={"text/plain": wide}, metadata={}, number=number))
"""
)


async def test_all_that_the_host_holds_for_a_session_is_bounded_and_given_back(
    box: AsyncSandbox,
) -> None:
    """Long calls of host functions that are under way, and wide displays that come meanwhile."""
    called = 0

    async def wait(_value: object) -> None:
        nonlocal called
        called += 1
        await asyncio.sleep(0.5)

    async with box.session(tools={"wait": wait}) as session:
        await session.run("1")
        held = session._live.worker.held  # type: ignore[union-attr]
        # Not resident pages: what an allocator keeps depends on what ran in this process before.
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            outcome = await session.run(CALLS, limits=Limits(output_bytes=1_000_000))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert outcome.status in ("limit_exceeded", "died"), outcome
        assert called
        assert 4_000_000 < held.peak_bytes <= held.cap_bytes < HELD_BYTES
        # Beside what is counted, the tests' own.
        assert peak - before < HELD_BYTES + 8 * MiB
    await asyncio.sleep(0)
    assert held.bytes == 0
    assert (await box.run("1")).text == "1"


KINDS = {
    "displays": """packed("Display", bundle={"text/plain": "é" * 400_000,
 "text/html": "b" * 400_000}, metadata={}, number=0)""",
    "tables": """packed("Display", bundle={"application/json": "[" + "[[],[]]," * 90_000 + "1]"},
 metadata={str(n): "m" * 200 for n in range(60)}, number=0)""",
    "denials": """packed("Denied", layer="a" * 60, tried="b" * 200, rule="c" * 200,
 hint="d" * 200) * 200""",
    "attempts": """b"".join(packed("Attempted", layer="seccomp", action="a" * 60, tried=str(n),
 arguments={str(k): "v" * 200 for k in range(8)}, line=n, is_allowed=False, rule="r")
 for n in range(100))""",
    "calls": """b"".join(packed("ToolCall", id=n, name="wait",
 arguments=__import__("json").dumps({"args": ["x" * 400_000], "kwargs": {}})) for n in range(9))""",
    "answers": 'packed("Answered", body="x" * 500_000, refusal="") * 3',
    "output": 'b"no message at all" * 10_000',
}
"""What a session floods its channel with, again and again, as a Python expression."""
FLOOD = (
    CHANNEL
    + """
data = MADE
end = time.time() + 0.4
while time.time() < end:
    put(data)
    os.write(1, bytes(65536))
    os.write(2, bytes(65536))
    open(os.urandom(60).hex(), "w").close()
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_floods_of_eight_sessions_are_bounded_for_each(box: AsyncSandbox, kind: str) -> None:
    """Of each kind of message, beside output and files; given back when the sessions close."""

    async def wait(_value: object) -> None:
        await asyncio.sleep(0.5)

    code = FLOOD.replace("MADE", KINDS[kind])
    sessions = [await box.session(tools={"wait": wait}) for _ in range(8)]
    held = [session._live.worker.held for session in sessions]  # type: ignore[union-attr]
    limits = Limits(output_bytes=2 * MiB, kept_bytes=MiB, wall_s=6)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        runs = [session.run(code, limits=limits) for session in sessions]
        ends = await asyncio.gather(*runs, return_exceptions=True)
        peak = tracemalloc.get_traced_memory()[1] - before
        assert all(not isinstance(end, BaseException | None) or isinstance(end, SandboxError)
                   for end in ends), ends  # fmt: skip
        del ends, runs
        for session in sessions:
            await session.close()
        await asyncio.sleep(0)
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # What an outcome keeps is 2 MiB of output and as much of displays.
    assert peak < 8 * (HELD_BYTES + 6 * MiB)
    assert left < MiB
    assert [one.bytes for one in held] == [0] * 8
    assert max(one.peak_bytes for one in held) <= HELD_BYTES
    assert (await box.run("1")).text == "1"


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


# ---- odd trees ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "length"), [(1500, 100), (40, 250)])
async def test_a_tree_deeper_than_a_path_can_say_is_an_outcome(
    box: AsyncSandbox, depth: int, length: int
) -> None:
    async with box.session() as session:
        outcome = await session.run(DEEP.format(depth=depth, length=length))
        assert outcome.status == "completed", outcome
        found = [path for path in await session.files() if path.endswith("bottom.txt")]
        if depth < 64:
            assert [artifact.path for artifact in outcome.artifacts] == found
            assert await session.get(found[0]) == b"here"
        else:
            assert found == []
        assert (await session.run("1")).text == "1"


# ---- copies -------------------------------------------------------------------------------------


async def test_a_copy_that_does_not_say_what_it_holds_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "COPY_WITHIN_S", 1.0)
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        await session.checkpoint("honest")
        await session.run(MUTE)
        with pytest.raises(CopyRefused, match="did not say how much memory it holds"):
            await session.checkpoint("mute")
        assert [state.checkpoint.name for state in await session.checkpoints()] == ["honest"]
        assert (await session.run("x")).text == "1"


async def test_every_flood_ends_in_an_outcome_or_a_typed_error(box: AsyncSandbox) -> None:
    async with box.session() as session:
        await session.run("1")
        for code in (FLOODS["words of copies"], "import os; os.write(3, b'x' * 99)"):
            try:
                outcome = await session.run(code)
            except SandboxError:
                break
            assert outcome.status in ("completed", "raised", "died")
    assert (await box.run("1")).text == "1"

"""What one hostile session costs the loop and its neighbours."""

import asyncio
import time
from contextlib import suppress

from benchmarks.boxes import completed
from benchmarks.harness import Bench, benchmark
from benchmarks.hostile import FLOODS
from sandbox import AsyncSandbox, AsyncSession, Limits, Policy, SandboxError

BEAT_S = 0.005
QUIET_S = 1.0
WALL_S = 6.0


@benchmark
async def hostile_stall(bench: Bench) -> float:
    """The longest that a timer was late, in ms, while one session of two floods the host.

    Each kind of flood in turn; what a timer is late with the session at rest is taken off.
    """
    await _flood(bench)
    return max(0.0, max(bench.series["late"]) - max(bench.series["late at rest"])) * 1e3


@benchmark
async def hostile_neighbour(bench: Bench) -> float:
    """How much longer the slowest `1` of a neighbour took beside such a session than alone, in ms.

    The median over the kinds of flood.
    """
    await _flood(bench)
    return bench.extra("slowest", "slowest at rest") * 1e3


async def _flood(bench: Bench) -> None:
    policy = Policy(limits=Limits(wall_s=WALL_S))
    async with AsyncSandbox(policy, pool_size=0) as box:
        for code in FLOODS.values():
            async with box.session() as hostile, box.session() as neighbour:
                completed(await neighbour.run("1"))
                await _beside(bench, neighbour, asyncio.sleep(QUIET_S), " at rest")
                await _beside(bench, neighbour, hostile.run(code), "")


async def _beside(bench: Bench, neighbour: AsyncSession, work: object, when: str) -> None:
    """Series of timers and of a neighbour's snippets while `work` is done."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    watching = asyncio.ensure_future(_watch(bench, f"late{when}", task))
    slowest_s = 0.0
    while not task.done():
        began = time.perf_counter()
        completed(await neighbour.run("1"), text="1")
        slowest_s = max(slowest_s, time.perf_counter() - began)
        await asyncio.sleep(BEAT_S)
    await watching
    with suppress(SandboxError):
        await task
    bench.add(f"slowest{when}", slowest_s)


async def _watch(bench: Bench, name: str, task: "asyncio.Future[object]") -> None:
    while not task.done():
        due = time.perf_counter() + BEAT_S
        await asyncio.sleep(BEAT_S)
        bench.add(name, max(0.0, time.perf_counter() - due))

"""What one hostile session costs the loop and its neighbours.

Both figures are in terms of this process's own computing: how much of a delay it was busy for. What
other programs take of the machine is not in it; on an idle machine the two are about the same. The
figures in wall time are among the facts, a kind of flood each.
"""

import asyncio
import os
import time
from contextlib import suppress
from typing import NamedTuple

from benchmarks.boxes import completed
from benchmarks.harness import Bench, benchmark
from benchmarks.hostile import FLOODS
from sandbox import AsyncSandbox, AsyncSession, Limits, Policy, SandboxError

BEAT_S = 0.005
QUIET_S = 1.0
WALL_S = 6.0


class Delay(NamedTuple):
    """How late something was, and for how much of that this process was computing."""

    wall_s: float
    busy_s: float


@benchmark
async def hostile_stall(bench: Bench) -> float:
    """The longest that a timer was late, in ms, while one session of two floods the host.

    The worst kind of flood; of each delay counts what this process computed meanwhile.
    """
    return await _flood(bench, 0)


@benchmark
async def hostile_neighbour(bench: Bench) -> float:
    """How much longer the slowest `1` of a neighbour took beside such a session than alone, in ms.

    The worst kind of flood; of each `1` counts what this process computed meanwhile.
    """
    return await _flood(bench, 1)


async def _flood(bench: Bench, figure: int) -> float:
    policy = Policy(limits=Limits(wall_s=WALL_S))
    worst_ms = 0.0
    async with AsyncSandbox(policy, pool_size=0) as box:
        for name, code in FLOODS.items():
            async with box.session() as hostile, box.session() as neighbour:
                completed(await neighbour.run("1"))
                rest = await _beside(neighbour, asyncio.sleep(QUIET_S))
                beside = await _beside(neighbour, hostile.run(code))
            late = beside[0]
            more = Delay(*(b - a for a, b in zip(rest[1], beside[1], strict=True)))
            shown = (late, more)[figure]
            bench.facts[f"{name}, wall ms"] = shown.wall_s * 1e3
            bench.facts[f"{name}, busy ms"] = shown.busy_s * 1e3
            worst_ms = max(worst_ms, shown.busy_s * 1e3)
    bench.facts["load"] = os.getloadavg()[0]
    return worst_ms


async def _beside(neighbour: AsyncSession, work: object) -> tuple[Delay, Delay]:
    """The latest timer and the slowest snippet of a neighbour while `work` is done."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    watching = asyncio.ensure_future(_watch(task))
    slowest = Delay(0.0, 0.0)
    while not task.done():
        began, busy = time.perf_counter(), time.process_time()
        completed(await neighbour.run("1"), text="1")
        slowest = _worse(slowest, time.perf_counter() - began, time.process_time() - busy)
        await asyncio.sleep(BEAT_S)
    late = await watching
    with suppress(SandboxError):
        await task
    return late, slowest


async def _watch(task: "asyncio.Future[object]") -> Delay:
    latest = Delay(0.0, 0.0)
    while not task.done():
        due, busy = time.perf_counter() + BEAT_S, time.process_time()
        await asyncio.sleep(BEAT_S)
        late_s = max(0.0, time.perf_counter() - due)
        latest = _worse(latest, late_s, min(late_s, time.process_time() - busy))
    return latest


def _worse(one: Delay, wall_s: float, busy_s: float) -> Delay:
    return Delay(max(one.wall_s, wall_s), max(one.busy_s, busy_s))

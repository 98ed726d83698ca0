"""What one hostile session costs the loop and its neighbours.

A stall is told by how much of it this process was computing: what other programs take of the
machine is not in it, and on an idle machine the two are about the same. What a neighbour's snippet
takes longer is wall time, of medians, alone and beside by turns. All figures are among the facts, a
kind of flood each.
"""

import asyncio
import os
import statistics
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
ROUNDS = 3


class Delay(NamedTuple):
    """How late something was, and for how much of that this process was computing."""

    wall_s: float
    busy_s: float


@benchmark
async def hostile_stall(bench: Bench) -> float:
    """The longest that a timer was late, in ms, while one session of two floods the host.

    The worst kind of flood; of each delay counts what this process computed meanwhile.
    """
    worst_ms = 0.0
    async with _box() as box:
        for name, code in FLOODS.items():
            async with box.session() as hostile, box.session() as neighbour:
                completed(await neighbour.run("1"))
                task = asyncio.ensure_future(hostile.run(code))
                watching = asyncio.ensure_future(_watch(task))
                await _snippets_beside(neighbour, asyncio.shield(task))
                late = await watching
            bench.facts[f"{name}, wall ms"] = late.wall_s * 1e3
            bench.facts[f"{name}, busy ms"] = late.busy_s * 1e3
            worst_ms = max(worst_ms, late.busy_s * 1e3)
    bench.facts["load"] = os.getloadavg()[0]
    return worst_ms


@benchmark
async def hostile_neighbour(bench: Bench) -> float:
    """How much longer a neighbour's `1` took beside such a session than alone, in ms of wall time.

    The worst kind of flood; for each the median of rounds, and in a round of the snippets' medians.
    """
    worst_ms = 0.0
    async with _box() as box:
        for name, code in FLOODS.items():
            rounds = []
            for _ in range(ROUNDS):
                async with box.session() as hostile, box.session() as neighbour:
                    completed(await neighbour.run("1"))
                    alone = await _snippets_beside(neighbour, asyncio.sleep(QUIET_S))
                    beside = await _snippets_beside(neighbour, hostile.run(code))
                rounds.append((statistics.median(alone), statistics.median(beside), max(beside)))
            more_ms = statistics.median(more - alone for alone, more, _slowest in rounds) * 1e3
            bench.facts[f"{name}, more ms"] = more_ms
            bench.facts[f"{name}, slowest ms"] = max(slowest for *_both, slowest in rounds) * 1e3
            worst_ms = max(worst_ms, more_ms)
    bench.facts["load"] = os.getloadavg()[0]
    return worst_ms


def _box() -> AsyncSandbox:
    return AsyncSandbox(Policy(limits=Limits(wall_s=WALL_S)), pool_size=0)


async def _snippets_beside(neighbour: AsyncSession, work: object) -> list[float]:
    """How long each snippet of a neighbour takes while `work` is done, in seconds."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    took = []
    while not task.done():
        began = time.perf_counter()
        completed(await neighbour.run("1"), text="1")
        took.append(time.perf_counter() - began)
        await asyncio.sleep(BEAT_S)
    with suppress(SandboxError):
        await task
    return took


async def _watch(task: "asyncio.Future[object]") -> Delay:
    latest = Delay(0.0, 0.0)
    while not task.done():
        due, busy = time.perf_counter() + BEAT_S, time.process_time()
        await asyncio.sleep(BEAT_S)
        late_s = max(0.0, time.perf_counter() - due)
        busy_s = min(late_s, time.process_time() - busy)
        latest = Delay(max(latest.wall_s, late_s), max(latest.busy_s, busy_s))
    return latest

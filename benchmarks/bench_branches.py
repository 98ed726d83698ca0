"""Checkpoints and branches: how fast a session goes back, how fast and how lean it multiplies."""

import asyncio

from benchmarks.boxes import PRELOAD, at_rest, completed, sandbox
from benchmarks.harness import Bench, benchmark, timed
from benchmarks.processes import private_bytes, session_processes
from sandbox import AsyncSession, Limits

MiB = 1024**2
BRANCHES = 16
FRAME = "import numpy as np, pandas as pd\nframe = pd.DataFrame(np.ones((2**18, 100)))"
"""200 MiB of numbers."""
LIMITS = Limits(memory_bytes=1024 * MiB)
ROUNDS = 5


@benchmark
async def rollback(bench: Bench) -> float:
    """`session.rollback(mark)` after a snippet that changed a variable, pandas preloaded, in ms.

    Until the session can be used again. Leaves out making the checkpoint and the snippet.
    """
    async with sandbox(*PRELOAD) as box, box.session() as session:
        completed(await session.run("x = 1"))
        mark = await session.checkpoint()

        async def change() -> None:
            completed(await session.run("x += 1; x"), text="2")

        await bench.turns({"rollback": lambda: session.rollback(mark)}, rounds=30, between=change)
    return bench.median("rollback") * 1e3


@benchmark
async def branches_of_frame(bench: Bench) -> float:
    """`session.fork(16)` of a session with a DataFrame of 200 MiB, all of them, in ms.

    Until each has said that it waits and init has confirmed its jail. Leaves out their end.
    """
    async with sandbox(*PRELOAD, limits=LIMITS) as box, box.session() as session:
        completed(await session.run(FRAME))
        for number in range(ROUNDS + 1):
            branches: list[AsyncSession] = []

            async def fork(into: list[AsyncSession] = branches) -> None:
                into += await session.fork(BRANCHES)

            seconds = await timed(fork)
            if number:
                bench.add("16 branches", seconds)
            await asyncio.gather(*(branch.close() for branch in branches))
            await at_rest(box)
    return bench.median("16 branches") * 1e3


@benchmark
async def branch_memory(bench: Bench) -> float:
    """Private memory of the largest of 16 branches of that session, init included, in MiB.

    Before they run anything. Leaves out what the kernel holds: page tables, namespaces, mounts.
    """
    async with sandbox(*PRELOAD, limits=LIMITS) as box, box.session() as session:
        completed(await session.run(FRAME))
        branches = await session.fork(BRANCHES)
        for branch in branches:
            bench.add("private, MiB", private_bytes(session_processes(branch)) / MiB)
        await asyncio.gather(*(branch.close() for branch in branches))
    return max(bench.series["private, MiB"])

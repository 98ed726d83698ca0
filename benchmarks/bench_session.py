"""Snippets in a session: one more of them, what survival costs, ten thousand in a row."""

import asyncio
import gc
import os
import time

import psutil

from benchmarks.boxes import PRELOAD, completed, sandbox
from benchmarks.harness import Bench, benchmark, long_benchmark
from benchmarks.processes import memory_bytes, session_processes
from benchmarks.rivals import Echo, ForkServer, jupyter
from sandbox import AsyncSession, Limits

GiB = 1024**3
ARRAYS = "import numpy as np\nkept = [np.ones(2**24) for _ in range(8)]"
"""Eight arrays of 128 MiB each."""
FRAME = b"x" * 128
"""About what the messages of a short snippet take."""
SLEEP = "import time; time.sleep(0.15)"
LOOK_AFTER_S = 0.1
SNIPPETS = 10_000
SETTLED_AT = 1_000
AT_REST_S = 0.2


@benchmark
async def next_snippet(bench: Bench) -> float:
    """`session.run("1+1")` without the survival fork, against the same in a Jupyter kernel.

    Both are timed until the result is there and the next snippet may be sent. Leaves out
    opening the session and starting the kernel. Beside them a frame goes to a bare process and
    back: no session that a process of its own runs can answer faster.
    """
    async with (
        sandbox(*PRELOAD, survive=False) as box,
        box.session() as session,
        Echo() as echo,
        jupyter() as kernel,
    ):

        async def ours() -> None:
            completed(await session.run("1+1"), text="2")

        async def theirs() -> None:
            if await kernel.run("1+1") != "2":
                raise RuntimeError("the kernel gave a wrong answer")

        steps = {"session": ours, "kernel": theirs, "echo": lambda: echo.run(FRAME)}
        await bench.turns(steps, rounds=200, warmup=20)
    return bench.ratio("kernel", "session")


@benchmark
async def survival_cost(bench: Bench) -> float:
    """What a snippet takes longer with the survival fork, against a bare fork-and-wait.

    Two sessions take turns, one with and one without; pandas is preloaded and the state small.
    The bare fork is timed inside a process with the same preloads that has no layer on.
    """
    with ForkServer(*PRELOAD) as rival:
        async with (
            sandbox(*PRELOAD, survive=True) as safe_box,
            sandbox(*PRELOAD, survive=False) as box,
            safe_box.session() as safe,
            box.session() as plain,
        ):
            steps = {"survival": _run(safe, "1+1"), "plain": _run(plain, "1+1")}
            for _round in range(10):
                await bench.turns(steps, rounds=10)
                for _sample in range(10):
                    bench.add("bare fork", rival.bare_fork_s())
    return bench.extra("survival", "plain") / bench.median("bare fork")


@benchmark
async def survival_cost_large(bench: Bench) -> float:
    """What a snippet takes longer with the survival fork while 1 GiB of arrays is alive, in ms."""
    limits = Limits(memory_bytes=3 * GiB)
    async with (
        sandbox(*PRELOAD, survive=True, limits=limits) as safe_box,
        sandbox(*PRELOAD, survive=False, limits=limits) as box,
        safe_box.session() as safe,
        box.session() as plain,
    ):
        for session in (safe, plain):
            completed(await session.run(ARRAYS))
        await bench.turns({"survival": _run(safe, "1+1"), "plain": _run(plain, "1+1")}, rounds=50)
    return bench.extra("survival", "plain") * 1e3


@benchmark
async def survival_memory_large(bench: Bench) -> float:
    """How much more memory a session with 1 GiB of arrays takes beside its standby, in percent.

    Proportional set sizes of all its processes, while a snippet sleeps that touches no array.
    """
    limits = Limits(memory_bytes=3 * GiB)
    for survive in (False, True):
        async with (
            sandbox(*PRELOAD, survive=survive, limits=limits) as box,
            box.session() as session,
        ):
            completed(await session.run(ARRAYS))
            for _sample in range(3):
                sleeping = asyncio.ensure_future(session.run(SLEEP))
                await asyncio.sleep(LOOK_AFTER_S)
                size = memory_bytes(session_processes(session))
                bench.add("with a standby, GiB" if survive else "alone, GiB", size / GiB)
                completed(await sleeping)
    return (bench.ratio("with a standby, GiB", "alone, GiB") - 1) * 100


@long_benchmark
async def long_session(bench: Bench) -> float:
    """What grows from snippet 1000 to snippet 10000 of one session, with the survival fork.

    The figure is the growth in KiB of the memory of the session and of the private memory of
    this process, together. A process or a descriptor more, on either side, makes it infinite.
    """
    me = psutil.Process()
    async with sandbox(survive=True) as box, box.session() as session:
        for number in range(SNIPPETS + 1):
            if number in (SETTLED_AT, SNIPPETS):
                gc.collect()
                # The standby of the last snippet is on its way out, and shares the others' pages.
                await asyncio.sleep(AT_REST_S)
                processes = session_processes(session)
                bench.add("processes, in number", len(processes))
                bench.add("descriptors, in number", sum(_descriptors(pid) for pid in processes))
                bench.add("descriptors of the host, in number", _descriptors(os.getpid()))
                bench.add("memory, KiB", memory_bytes(processes) / 1024)
                bench.add("memory of the host, KiB", me.memory_full_info().uss / 1024)
            began = time.perf_counter()
            completed(await session.run(f"x = {number}"))
            if number < SNIPPETS:
                bench.add("snippet", time.perf_counter() - began)
    growth = {
        name: values[1] - values[0] for name, values in bench.series.items() if name != "snippet"
    }
    bench.facts.update({f"more {name}": value for name, value in growth.items()})
    if max(value for name, value in growth.items() if name.endswith("in number")) > 0:
        return float("inf")
    return max(0.0, growth["memory, KiB"]) + max(0.0, growth["memory of the host, KiB"])


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _run(session: AsyncSession, code: str):  # type: ignore[no-untyped-def]
    async def step() -> None:
        completed(await session.run(code), text="2")

    return step

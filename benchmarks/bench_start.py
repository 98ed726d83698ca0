"""Starts: a jail for one snippet, warm or cold; a session with a DataFrame; jails per second."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.boxes import PRELOAD, alone, at_rest, completed, sandbox
from benchmarks.harness import Bench, benchmark
from benchmarks.rivals import ForkServer, JupyterKernel, bare_python
from sandbox import Policy, Sandbox

FRAME = (
    "import pandas as pd\n"
    "print(pd.DataFrame({'city': ['Oslo', 'Rome', 'Lima'], 'rain_mm': [763, 878, 16]}))"
)
CORES = 2
WINDOWS = 5


@benchmark
async def oneshot_prewarmed(bench: Bench) -> float:
    """`box.run("1+1")`, against starting this interpreter with `-I -c "print(1+1)"`.

    Pandas is preloaded and the pool is full at each call. Leaves out making the next warm worker
    and clearing the used one away, which happen after the answer; `fresh_jails_*` has them.
    """
    async with sandbox(*PRELOAD, pool_size=2) as box:

        async def ours() -> None:
            completed(await box.run("1+1"), text="2")

        await bench.turns(
            {"jail": ours, "python": bare_python}, rounds=100, between=lambda: at_rest(box)
        )
    return bench.ratio("python", "jail")


@benchmark
async def oneshot_prewarmed_blocking(bench: Bench) -> float:
    """The same through `Sandbox`, the blocking face, whose loop is in a thread of its own."""
    with Sandbox(Policy(preload=PRELOAD), pool_size=2) as box:

        async def ours() -> None:
            completed(box.run("1+1"), text="2")

        async def rest() -> None:
            box._call(at_rest(box._box))

        box._call(alone(box._box))
        await bench.turns({"jail": ours, "python": bare_python}, rounds=60, between=rest)
    return bench.ratio("python", "jail")


@benchmark
async def oneshot_cold(bench: Bench) -> float:
    """`box.run("1+1")` with a pool of none, against `os.fork` of the same process.

    The rival is a server with the same preloads, prepared for forks in the same way, that forks
    for each request, runs the snippet with the same runner and no layer on. Both are asked over
    a socket, and timed until the answer is there. Leaves out the end of the processes of both.
    """
    with ForkServer(*PRELOAD) as rival:
        async with sandbox(*PRELOAD) as box:

            async def ours() -> None:
                completed(await box.run("1+1"), text="2")

            async def theirs() -> None:
                if rival.run("1+1") != "2":
                    raise RuntimeError("the fork server gave a wrong answer")

            await bench.turns(
                {"jail": ours, "fork": theirs}, rounds=100, between=lambda: at_rest(box)
            )
    return bench.ratio("jail", "fork")


@benchmark
async def first_frame(bench: Bench) -> float:
    """A session is opened and prints its first DataFrame, against a new Jupyter kernel.

    Pandas is preloaded and the pool is full, which a kernel has no way to be. Leaves out the end
    of session and kernel.
    """
    kernels: list[JupyterKernel] = []
    async with sandbox(*PRELOAD, pool_size=1) as box:

        async def ours() -> None:
            async with box.session() as session:
                outcome = completed(await session.run(FRAME))
                if "Lima" not in outcome.stdout:
                    raise RuntimeError(f"printed {outcome.stdout!r}")

        async def theirs() -> None:
            kernel = JupyterKernel()
            await kernel.start()
            kernels.append(kernel)
            if "Lima" not in await kernel.run(FRAME):
                raise RuntimeError("the kernel printed no DataFrame")

        async def rest() -> None:
            while kernels:
                await kernels.pop().close()
            await at_rest(box)

        await bench.turns({"session": ours, "kernel": theirs}, rounds=5, warmup=1, between=rest)
        await rest()
    return bench.ratio("kernel", "session")


@benchmark
async def fresh_jails_preloaded(bench: Bench) -> float:
    """Jails per second, each made for one `print(1+1)` and taken down, pandas preloaded.

    Two cores for everything, the host's part too. A window ends when nothing is left of its
    jails. Leaves out the start of the zygote.
    """
    return await _fresh_jails(bench, *PRELOAD, count=100)


@benchmark
async def fresh_jails_bare(bench: Bench) -> float:
    """The same with nothing preloaded."""
    return await _fresh_jails(bench, count=150)


async def _fresh_jails(bench: Bench, *preload: str, count: int) -> float:
    with _two_cores():
        async with sandbox(*preload, pool_size=CORES) as box:
            for window in range(-1, WINDOWS):
                began = time.perf_counter()
                async for _index, outcome in box.map(
                    ["print(1+1)"] * count, concurrency=2 * CORES, ordered=False
                ):
                    completed(outcome, stdout="2\n")
                await at_rest(box)
                if window >= 0:
                    bench.add("jail", (time.perf_counter() - began) / count)
    return 1 / bench.median("jail")


@contextmanager
def _two_cores() -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on two processors."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)

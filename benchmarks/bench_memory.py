"""Memory that an idle session takes."""

from contextlib import AsyncExitStack

from benchmarks.boxes import PRELOAD, completed, sandbox
from benchmarks.harness import Bench, benchmark
from benchmarks.processes import memory_bytes, session_processes

SESSIONS = 20
MiB = 1024**2


@benchmark
async def idle_memory_preloaded(bench: Bench) -> float:
    """Proportional set size per session of 20 that are open and wait, pandas preloaded.

    All processes of the sessions count, pages shared with the zygote by their share. Leaves out
    the zygote, the host and what the kernel holds (page tables, namespaces, mounts).
    """
    return await _idle_memory(bench, *PRELOAD)


@benchmark
async def idle_memory_bare(bench: Bench) -> float:
    """The same with nothing preloaded."""
    return await _idle_memory(bench)


async def _idle_memory(bench: Bench, *preload: str) -> float:
    async with sandbox(*preload) as box, AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(box.session()) for _ in range(SESSIONS)]
        fresh = [memory_bytes(session_processes(session)) / MiB for session in sessions]
        for session in sessions:
            completed(await session.run("1+1"), text="2")
        used = [memory_bytes(session_processes(session)) / MiB for session in sessions]
    for one, other in zip(fresh, used, strict=True):
        bench.add("fresh, MiB", one)
        bench.add("after one snippet, MiB", other)
    return sum(fresh) / SESSIONS

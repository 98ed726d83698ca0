"""What this process itself computes for a run, and what tracing costs.

Only its own CPU time counts, `getrusage(RUSAGE_SELF)`: a busy machine changes it less than it
changes latencies. Each figure is in terms of something plain that was measured in turns with it.
"""

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable

from benchmarks.boxes import at_rest, completed, sandbox
from benchmarks.harness import Bench, Step, benchmark
from benchmarks.rivals import Echo
from sandbox import AsyncSandbox, AsyncSession, Policy

FRAME = b"x" * 128
"""About what the messages of a short snippet take."""
SNIPPETS = 100
"""For one sample: the clock of CPU time may tick in milliseconds."""
ONE_SHOTS = 10
COMMANDS = 20
ROUNDS = 15
OPENS = 300
WORKING = f"""
import os
total = 0
for number in range({OPENS}):
    with open("/tmp/traced", "w") as stream:
        stream.write("x" * 1000)
    with open("/tmp/traced") as stream:
        total += len(stream.read())
    total += sum(range(20_000))
total
"""
"""Files as a program that analyses data has them, between some computing."""
WORKED = str(OPENS * (1000 + sum(range(20_000))))


@benchmark
async def host_cpu_snippet(bench: Bench) -> float:
    """CPU time of the host for `session.run("1+1")`, against a bare frame to a process and back.

    Without survival, which is measured beside it; so is a command, `session.exec(["true"])`. The
    same loop waits for all of them. Leaves out what the session's processes compute.
    """
    async with (
        sandbox(survive=False) as box,
        sandbox(survive=True) as safe_box,
        box.session() as session,
        safe_box.session() as safe,
        Echo() as echo,
    ):

        async def command() -> None:
            if (await session.exec(["true"])).exit_code != 0:
                raise RuntimeError("a command failed")

        steps: dict[str, tuple[Step, int]] = {
            "echo": (lambda: echo.run(FRAME), SNIPPETS),
            "snippet": (_run(session), SNIPPETS),
            "snippet with survival": (_run(safe), SNIPPETS),
            "command": (command, COMMANDS),
        }
        await _cpu_in_turns(bench, steps)
    return bench.ratio("snippet", "echo")


@benchmark
async def host_cpu_oneshot(bench: Bench) -> float:
    """CPU time of the host for `box.run("1+1")` in a fresh jail, against starting an interpreter.

    Both are started and waited for by asyncio, and what is done after the answer counts too: a
    jail is ended, its cgroups are removed. Leaves out the CPU time of both children.
    """
    async with sandbox(survive=False) as box:

        async def ours() -> None:
            completed(await box.run("1+1"), text="2")

        async def plain() -> None:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-c", "1+1"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            await child.communicate()

        steps: dict[str, tuple[Step, int]] = {
            "plain": (plain, ONE_SHOTS),
            "jail": (ours, ONE_SHOTS),
        }
        await _cpu_in_turns(bench, steps, after=lambda: at_rest(box))
    return bench.ratio("jail", "plain")


@benchmark
async def trace_cost(bench: Bench) -> float:
    """Percent that a snippet of files and computing takes longer with `Policy(trace=True)`.

    The same snippet in two sessions, in turns, by the wall clock of the host.
    """
    return (await _traced(bench, WORKING, WORKED, rounds=30)) * 100


@benchmark
async def trace_cost_tiny(bench: Bench) -> float:
    """What `1+1` takes longer with `Policy(trace=True)`, in ms: two messages more, and a count."""
    await _traced(bench, "1+1", "2", rounds=200)
    return bench.extra("traced", "plain") * 1e3


async def _traced(bench: Bench, code: str, text: str, *, rounds: int) -> float:
    """How much more it takes, as a share; series `traced` and `plain`."""
    async with (
        AsyncSandbox(Policy(survive=False), pool_size=0) as box,
        AsyncSandbox(Policy(survive=False, trace=True), pool_size=0) as traced_box,
        box.session() as plain,
        traced_box.session() as traced,
    ):
        steps = {"plain": _run(plain, code, text), "traced": _run(traced, code, text)}
        await bench.turns(steps, rounds=rounds, warmup=5)
    bench.facts["load"] = os.getloadavg()[0]
    return bench.ratio("traced", "plain") - 1


async def _cpu_in_turns(
    bench: Bench,
    steps: dict[str, tuple[Step, int]],
    after: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """The host's CPU time for one of each of `steps`, taken over so many of them at a time."""
    for number in range(-1, ROUNDS):
        for name, (step, times) in steps.items():
            began = _cpu_s()
            for _ in range(times):
                await step()
            if after is not None:
                await after()
            if number >= 0:
                bench.add(name, (_cpu_s() - began) / times)
    bench.facts["load"] = os.getloadavg()[0]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(session: AsyncSession, code: str = "1+1", text: str = "2") -> Step:
    async def step() -> None:
        completed(await session.run(code), text=text)

    return step

"""How cost grows with what there is: sessions alive, memory of a session, candidates.

Each figure is the cost at the largest number over the cost at the smallest, so that what does not
grow is 1. Every step is bounded in time: what takes longer is not measured, and the figure is
infinite. The host's own memory is among the facts.
"""

import asyncio
import os
import time
from contextlib import AsyncExitStack

import psutil

from benchmarks.bench_evals import grade, settings
from benchmarks.boxes import completed, sandbox
from benchmarks.harness import Bench, long_benchmark
from runner.evals.grading.grader import Grader
from runner.evals.samples.records import Row, Sample, Task, Verdict
from runner.evals.suites import SUITES
from runner.evals.suites.base import Suite
from sandbox import AsyncSandbox, AsyncSession, Limits

MiB = 1024**2
GiB = 1024**3
SESSIONS = (1, 10, 100)
HEAPS_MB = (50, 200, 1000)
CANDIDATES = (100, 500, 2000)
PROBES = 60
STEP_WITHIN_S = 60.0
CANDIDATES_WITHIN_S = 120.0


@long_benchmark
async def growth_sessions(bench: Bench) -> float:
    """`1+1` in a session while 100 are alive and hold a variable, against while it is alone.

    The others rest, stopped. Leaves out opening them, which is a series of its own. The host's
    memory for each session more is among the facts.
    """
    host = psutil.Process()
    async with (
        AsyncSandbox(pool_size=0, max_sessions=SESSIONS[-1]) as box,
        AsyncExitStack() as stack,
    ):
        sessions: list[AsyncSession] = []
        for count in SESSIONS:
            before = host.memory_info().rss
            more = count - len(sessions)
            try:
                async with asyncio.timeout(STEP_WITHIN_S):
                    while len(sessions) < count:
                        began = time.perf_counter()
                        sessions.append(await stack.enter_async_context(box.session()))
                        completed(await sessions[-1].run("kept = list(range(10_000)); 1"), text="1")
                        bench.add("opening one", time.perf_counter() - began)
                    await _probe(bench, sessions[0], f"{count} alive")
            except TimeoutError:
                return float("inf")
            if more > 1:
                gained = (host.memory_info().rss - before) / more / 1024
                bench.facts[f"host memory for one of {count}, KiB"] = gained
    return _growth(bench, f"{SESSIONS[-1]} alive", f"{SESSIONS[0]} alive")


@long_benchmark
async def growth_heap(bench: Bench) -> float:
    """`1+1` with the survival fork while 1 GB of lists is alive, against while 50 MB are.

    Lists of ints, so that it is all small pages of Python's own: nothing is mapped as a whole.
    """
    limits = Limits(memory_bytes=3 * GiB, wall_s=STEP_WITHIN_S, cpu_s=STEP_WITHIN_S)
    for size in HEAPS_MB:
        async with sandbox(limits=limits) as box, box.session() as session:
            # A list of ten thousand slots is 80 KB.
            made = await session.run(f"kept = [[i] * 10_000 for i in range({size * 1000 // 80})]")
            if made.status == "limit_exceeded":
                return float("inf")
            completed(made)
            await _probe(bench, session, f"{size} MB alive")
    return _growth(bench, f"{HEAPS_MB[-1]} MB alive", f"{HEAPS_MB[0]} MB alive")


@long_benchmark
async def growth_candidates(bench: Bench) -> float:
    """Time for one of 2000 short candidates, 2 at a time, against one of 100.

    Programs of one line in HumanEval's format, made here; every one is right.
    """
    suite = SUITES["humaneval"]()
    host = psutil.Process()
    async with Grader(suite, settings()) as grader:
        for count in (CANDIDATES[0], *CANDIDATES):
            work = _programs(suite, count)
            noted = _Wrong()
            before, began = host.memory_info().rss, time.perf_counter()
            try:
                async with asyncio.timeout(CANDIDATES_WITHIN_S):
                    await grade(grader, work, noted.note)
            except TimeoutError:
                return float("inf")
            wrong = noted.tasks
            if wrong:
                raise RuntimeError(f"{len(wrong)} candidates did not pass, first {wrong[0]}")
            # The first hundred, which warm it up, give way to the second.
            bench.series[f"one of {count}"] = [(time.perf_counter() - began) / count]
            bench.facts[f"host memory gained by {count}, MiB"] = (
                host.memory_info().rss - before
            ) / MiB
    return _growth(bench, f"one of {CANDIDATES[-1]}", f"one of {CANDIDATES[0]}")


class _Wrong:
    """Candidates that did not pass."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def note(self, pair: tuple[Task, Sample], verdict: Verdict) -> None:
        """Take the verdict of one."""
        if not verdict.passed:
            self.tasks.append(pair[0].task_id)


def _programs(suite: Suite, count: int) -> list[tuple[Task, Sample]]:
    rows = [
        {
            "task_id": f"Growth/{number}",
            "prompt": f"def add(value):\n    '''value and {number}'''\n",
            "entry_point": "add",
            "canonical_solution": f"    return value + {number}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {number + 1}\n",
        }
        for number in range(count)
    ]
    tasks = suite.load([Row("", at, row) for at, row in enumerate(rows)]).values()
    return [(task, _right(at, task)) for at, task in enumerate(tasks)]


def _right(number: int, task: Task) -> Sample:
    solution = task.row.text("prompt") + task.row.text("canonical_solution")
    return Sample(number, task.task_id, Row("", 0, {"solution": solution}))


async def _probe(bench: Bench, session: AsyncSession, name: str) -> None:
    """Time of a snippet as it is now."""
    for _ in range(PROBES):
        began = time.perf_counter()
        completed(await session.run("1+1"), text="2")
        bench.add(name, time.perf_counter() - began)


def _growth(bench: Bench, largest: str, smallest: str) -> float:
    bench.facts["load"] = os.getloadavg()[0]
    return bench.median(largest) / bench.median(smallest)

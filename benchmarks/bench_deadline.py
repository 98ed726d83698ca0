"""Deadlines: how late the outcome of a snippet is that does not want to end."""

import asyncio
import time

from benchmarks.boxes import sandbox
from benchmarks.harness import Bench, benchmark, quantile
from sandbox import AsyncSandbox, Limits, Outcome

WALL_S = 0.05
GRACE_S = 0.05
ROUNDS = 20
AT_ONCE = 2
HOSTILE = (  # what it does instead of ending
    "while True: pass",
    "import time\nwhile True: time.sleep(100)",
    "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\nwhile True: pass",
    "sum(range(10**12))",
    "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "10 ** 10 ** 8",
    "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "while True: print('x' * 1000)",
)


@benchmark
async def deadline_overshoot(bench: Bench) -> float:
    """From the end of limit and grace to the outcome in the caller's hands, p99 in ms.

    200 snippets, two at a time, each in a session that is open already: loops that ignore or
    block the interrupt, long calls in C, forks, floods. One that obeys the interrupt counts as
    being on time. Leaves out the start of the session and clearing it away.
    """
    limits = Limits(wall_s=WALL_S, grace_s=GRACE_S)
    async with sandbox(survive=True, limits=limits) as box:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(code: str) -> None:
            async with turns:
                bench.add("overshoot", await _overshoot(box, code))

        await asyncio.gather(*(one(code) for code in HOSTILE * ROUNDS))
    bench.facts["worst, ms"] = max(bench.series["overshoot"]) * 1e3
    return quantile(bench.series["overshoot"], 0.99) * 1e3


async def _overshoot(box: AsyncSandbox, code: str) -> float:
    async with box.session() as session:
        began = time.monotonic()
        outcome = await session.run(code)
        late = time.monotonic() - began - WALL_S - GRACE_S
    _check(outcome, code)
    return max(0.0, late)


def _check(outcome: Outcome, code: str) -> None:
    if outcome.status not in ("limit_exceeded", "died", "raised"):
        raise RuntimeError(f"{code!r} ended as {outcome.status}")

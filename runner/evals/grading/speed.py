"""How fast this machine is, against the one that limits are written for.

A limit is CPU seconds on the reference machine. Here it is as many times `speed`. The least of
many short loops counts, spread over a while: whatever else the machine does only makes a loop
longer. Beside a candidate that ended near its limit it is measured again.
"""

import asyncio
import time
from typing import NamedTuple

from runner.evals.errors import GradingFailed
from sandbox import AsyncSandbox, Completed

LOOPS = """
import time as _time
def _loop():
    began, total, table = _time.process_time(), 0, {}
    for number in range(50_000):
        total = (total * 31 + number) % 1_000_003
        table[number & 1023] = total
    return _time.process_time() - began
print(min(_loop() for _ in range(6)))
"""
REFERENCE_LOOP_S = 0.02 / 3
"""What a loop takes on a machine of speed 1."""
SLOWEST, FASTEST = 10.0, 0.5
BURSTS = 5
BURST_PAUSE_S = 0.05
KEPT_S = 3.0
"""So long a measurement beside a candidate holds for the next ones."""
STEADY = 1.15
"""A speed that changed by no more than this factor is the same."""


class SpeedRange(NamedTuple):
    """The lowest and the highest speed that was measured in a run."""

    lowest: float
    highest: float


class Speedometer:
    """Measures in jails of `box`; `given` is a speed that was set and is not measured."""

    def __init__(self, given: float | None = None) -> None:
        self._given = given
        self._measured_at = 0.0
        self._now: asyncio.Future[float] | None = None
        self.speed = given or 1.0
        """CPU seconds here for one second of the reference machine."""
        self.range = SpeedRange(self.speed, self.speed)

    async def start(self, box: AsyncSandbox) -> None:
        """Find the speed that the run's limits are made of. Raises GradingFailed, SandboxError."""
        if self._given is not None:
            return
        found = [await _burst(box)]
        for _ in range(BURSTS - 1):
            await asyncio.sleep(BURST_PAUSE_S)
            found.append(await _burst(box))
        self.speed = _bounded(min(found))
        self.range = SpeedRange(self.speed, self.speed)

    async def change(self, box: AsyncSandbox) -> float:
        """The speed now, in parts of the run's: 1.0 if it is the same, more if it is slower."""
        if self._given is not None:
            return 1.0
        if self._now is None or time.monotonic() - self._measured_at > KEPT_S:
            self._measured_at = time.monotonic()
            self._now = asyncio.ensure_future(self._measure(box))
        change = await asyncio.shield(self._now) / self.speed
        return 1.0 if 1 / STEADY <= change <= STEADY else change

    async def _measure(self, box: AsyncSandbox) -> float:
        speed = _bounded(min(await _burst(box), await _burst(box)))
        self.range = SpeedRange(min(self.range.lowest, speed), max(self.range.highest, speed))
        return speed


def _bounded(loop_s: float) -> float:
    return min(SLOWEST, max(FASTEST, loop_s / REFERENCE_LOOP_S))


async def _burst(box: AsyncSandbox) -> float:
    outcome = await box.run(LOOPS)
    if not isinstance(outcome, Completed):
        raise GradingFailed(f"the speed could not be measured: {outcome.status}")
    return float(outcome.stdout)

"""The speed that limits are made of: the least of many measurements, and how far it moves."""

from typing import cast

import pytest

from runner.evals.errors import GradingFailed
from runner.evals.grading import speed as module
from runner.evals.grading.speed import Speedometer
from sandbox import AsyncSandbox, Completed, Died, Outcome, Usage

LOOP = module.REFERENCE_LOOP_S


class Box:
    """An engine whose loops take so many reference times, one after the other."""

    def __init__(self, *loops: float) -> None:
        self._loops = list(loops)

    async def run(self, _code: str) -> Outcome:
        usage = Usage(wall_s=0, cpu_user_s=0, cpu_system_s=0, peak_memory_bytes=0)
        if not self._loops:
            return Died(exit_code=1, usage=usage, tier="namespaces", layers=())
        return Completed(
            stdout=f"{self._loops.pop(0) * LOOP}\n", usage=usage, tier="namespaces", layers=()
        )


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST_PAUSE_S", 0.0)


def box(*loops: float) -> AsyncSandbox:
    return cast(AsyncSandbox, Box(*loops))


async def test_a_moment_of_load_does_not_move_the_limit() -> None:
    speedometer = Speedometer()
    await speedometer.start(box(1.8, 1.0, 1.3, 0.95, 1.6))
    assert speedometer.speed == pytest.approx(0.95)


async def test_a_change_beside_a_sample_is_told_once_it_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speedometer = Speedometer()
    await speedometer.start(box(*[1.0] * 5))
    assert await speedometer.change(box(1.1, 1.2)) == 1.0
    # For some seconds the measurement holds: a time-out must not cost another one each.
    assert await speedometer.change(box()) == 1.0
    monkeypatch.setattr(module, "KEPT_S", -1.0)
    assert await speedometer.change(box(1.5, 1.4)) == pytest.approx(1.4)
    assert speedometer.range == (pytest.approx(1.0), pytest.approx(1.4))
    assert speedometer.speed == pytest.approx(1.0)


async def test_a_speed_that_was_set_is_not_measured() -> None:
    speedometer = Speedometer(2.0)
    await speedometer.start(box())
    assert speedometer.speed == 2.0
    assert await speedometer.change(box()) == 1.0


async def test_a_measurement_that_fails_is_no_speed() -> None:
    with pytest.raises(GradingFailed, match="could not be measured"):
        await Speedometer().start(box())

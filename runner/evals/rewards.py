"""Verdicts as rewards: 1.0 for a pass, 0.0 for anything else that a completion did.

A completion is what a model wrote, with its sentences, fences and thoughts, or the bare program
(see `samples/answers`).

What says nothing about a completion (the machine failed, the budget was spent before its turn)
is not a number: drop it, or draw again. Equal completions get equal rewards: chance is fixed,
limits are CPU time, and the order of a batch does not matter.
"""

import asyncio
import math
import os
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from runner.evals.errors import BadInput
from runner.evals.grading.grader import Grader
from runner.evals.grading.retries import decide
from runner.evals.samples import files
from runner.evals.samples.records import Json, Row, Sample, Task, Verdict
from runner.evals.settings import Settings
from runner.evals.suites import SUITES

NO_VERDICT = math.nan
T = TypeVar("T")
TaskGiven = str | Mapping[str, Json]
"""An id of the suite's data, or the record of a task."""


class Graded(NamedTuple):
    """One completion, as a trainer needs it."""

    reward: float
    """1.0, 0.0, or not a number where nothing can be said."""
    failure_reason: str | None
    reward_valid: bool
    mask_sample: bool
    """Leave it out of training: no verdict, or one near a limit that may be another next time."""
    verdict: Verdict | None
    """None where the budget was spent before its turn."""


class Reward:
    """A reward function with a warm engine, for many batches. A context manager.

    It has a thread of its own, and may be called from any, by several at once. `budget_s` is the
    wall time of one batch.
    """

    def __init__(
        self,
        suite: str = "custom",
        *,
        data: str | Path | None = None,
        timeout_s: float | None = None,
        budget_s: float | None = None,
        jobs: int | None = None,
        speed: float | None = None,
    ) -> None:
        kind = SUITES.get(suite)
        if kind is None:
            raise BadInput(
                "", f"there is no suite {suite!r}", remedy=f"Suites are {', '.join(SUITES)}"
            )
        self._suite = kind()
        self._known = self._suite.load(files.read(data).rows) if data is not None else {}
        self._budget_s = budget_s
        self._settings = Settings(
            timeout_s=timeout_s or kind.timeout_s,
            jobs=jobs or len(os.sched_getaffinity(0)),
            preload=kind.preloads(),
            recheck=False,
            speed=speed,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="cellblock-rewards", daemon=True
        )
        self._grader = Grader(self._suite, self._settings)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._grader.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._run(self._grader.__aexit__(kind, error, trace))
        finally:
            self._stop()

    def __call__(self, completions: Sequence[str], tasks: Sequence[TaskGiven]) -> list[float]:
        """The reward of each completion, for the task at its place. Raises BadInput."""
        return [graded.reward for graded in self.graded(completions, tasks)]

    def graded(self, completions: Sequence[str], tasks: Sequence[TaskGiven]) -> list[Graded]:
        """The rewards, with what a trainer needs to leave noise out. Raises BadInput."""
        return [_graded(verdict) for verdict in self.verdicts(completions, tasks)]

    def verdicts(
        self, completions: Sequence[str], tasks: Sequence[TaskGiven]
    ) -> list[Verdict | None]:
        """The verdicts behind the rewards; None where the budget was spent."""
        if len(completions) != len(tasks):
            raise BadInput("", f"there are {len(completions)} completions and {len(tasks)} tasks")
        work = [
            self._work(self._task(task, number), completion, number)
            for number, (completion, task) in enumerate(zip(completions, tasks, strict=True))
        ]
        return self._run(self._grade(work))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _work(self, task: Task, completion: str, number: int) -> tuple[Task, Sample]:
        """A task and its sample. Raises BadInput."""
        fields = self._suite.answer(task, completion)
        sample = Sample(number, task.task_id, Row("completions", number + 1, fields))
        self._suite.trial(task, sample)
        return task, sample

    def _task(self, given: TaskGiven, number: int) -> Task:
        if isinstance(given, str):
            if given not in self._known:
                raise BadInput("tasks", f"no task is called {given!r}", line=number + 1)
            return self._known[given]
        row = Row("tasks", number + 1, {"task_id": f"{number}", **given})
        return next(iter(self._suite.load([row]).values()))

    async def _grade(self, work: list[tuple[Task, Sample]]) -> list[Verdict | None]:
        ends = None if self._budget_s is None else time.monotonic() + self._budget_s
        found: list[Verdict | None] = [None] * len(work)
        left = iter(work)

        async def pull() -> None:
            for task, sample in left:
                found[sample.index] = await decide(self._grader, task, sample, recheck=False)

        pullers = [asyncio.ensure_future(pull()) for _ in range(self._settings.jobs)]
        timeout = None if ends is None else max(0.0, ends - time.monotonic())
        done, pending = await asyncio.wait(pullers, timeout=timeout)
        for puller in pending:
            puller.cancel()
        if pending:
            await asyncio.wait(pending)
        for puller in done:
            puller.result()
        return found


def reward(
    completions: Sequence[str],
    tasks: Sequence[TaskGiven],
    *,
    suite: str = "custom",
    data: str | Path | None = None,
    timeout_s: float | None = None,
    budget_s: float | None = None,
    jobs: int | None = None,
) -> list[float]:
    """The reward of each completion for the task at its place, with an engine of its own."""
    with Reward(suite, data=data, timeout_s=timeout_s, budget_s=budget_s, jobs=jobs) as function:
        return function(completions, tasks)


def _graded(verdict: Verdict | None) -> Graded:
    if verdict is None:
        return Graded(NO_VERDICT, "budget", False, True, None)
    return Graded(
        reward=float(verdict.passed) if verdict.reward_valid else NO_VERDICT,
        failure_reason=verdict.failure_reason,
        reward_valid=verdict.reward_valid,
        mask_sample=verdict.mask_sample,
        verdict=verdict,
    )

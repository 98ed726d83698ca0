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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.evals.errors import BadInput
from runner.evals.grading.grader import Grader
from runner.evals.grading.retries import decide
from runner.evals.samples import files
from runner.evals.samples.records import Json, Row, Sample, Task, Verdict
from runner.evals.settings import Settings
from runner.evals.suites import SUITES

NO_VERDICT = math.nan
TaskGiven = str | Mapping[str, Json]
"""An id of the suite's data, or the record of a task."""


class Reward:
    """A reward function with a warm engine, for many batches. A context manager; one thread.

    `budget_s` is the wall time of one batch.
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
            recheck=False,
            speed=speed,
        )
        self._runner = asyncio.Runner()
        self._grader = Grader(self._suite, self._settings)

    def __enter__(self) -> Self:
        try:
            self._runner.run(self._grader.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._grader.__aexit__(kind, error, trace))
        self._runner.close()

    def __call__(self, completions: Sequence[str], tasks: Sequence[TaskGiven]) -> list[float]:
        """The reward of each completion, for the task at its place. Raises BadInput."""
        return [_reward(verdict) for verdict in self.verdicts(completions, tasks)]

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
        return self._runner.run(self._grade(work))

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


def _reward(verdict: Verdict | None) -> float:
    if verdict is None or verdict.outcome == "infrastructure":
        return NO_VERDICT
    return 1.0 if verdict.passed else 0.0

"""Verdicts as rewards: 1.0 for a pass, 0.0 for anything else that a completion did.

A completion is what a model wrote, with its sentences, fences and thoughts, or the bare program
(see `samples/answers`).

What says nothing about a completion (the machine failed, the budget was spent before its turn)
is not a number: drop it, or draw again. Equal completions get equal rewards: chance is fixed,
limits are CPU time, and the order of a batch does not matter.
"""

import asyncio
import atexit
import math
import os
import threading
import time
import weakref
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
Completion = str | Sequence[Mapping[str, Any]]
"""What a model wrote; or a chat's messages, whose last one counts."""
LISTS = "Give a list of completions, each a text or a chat's messages, and a task for each"


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
    """A reward function with a warm engine, for many batches.

    A context manager; or the first call starts it, and `close` or the end of the program ends it.
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
        self._grader = Grader(self._suite, self._settings)
        self._starting = threading.Lock()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the engine and its thread; batches under way end first. May be called again."""
        with self._starting:
            loop, self._is_closed = self._loop, True
            if loop is None:
                return
            self._loop = None
            try:
                _wait_for(self._grader.__aexit__(None, None, None), loop)
            finally:
                self._stop(loop)
        _open.discard(self)

    def __call__(
        self, completions: Sequence[Completion], tasks: Sequence[TaskGiven]
    ) -> list[float]:
        """The reward of each completion, for the task at its place. Raises BadInput."""
        return [graded.reward for graded in self.graded(completions, tasks)]

    def graded(self, completions: Sequence[Completion], tasks: Sequence[TaskGiven]) -> list[Graded]:
        """The rewards, with what a trainer needs to leave noise out. Raises BadInput."""
        return [_graded(verdict) for verdict in self.verdicts(completions, tasks)]

    def verdicts(
        self, completions: Sequence[Completion], tasks: Sequence[TaskGiven]
    ) -> list[Verdict | None]:
        """The verdicts behind the rewards; None where the budget was spent. Raises BadInput."""
        for name, given in (("completions", completions), ("tasks", tasks)):
            if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
                raise BadInput("", f"is of type {type(given).__name__}", field=name, remedy=LISTS)
        if len(completions) != len(tasks):
            raise BadInput("", f"there are {len(completions)} completions and {len(tasks)} tasks")
        work = [
            self._work(self._task(task, number), _text_of(completion, number), number)
            for number, (completion, task) in enumerate(zip(completions, tasks, strict=True))
        ]
        loop = self._started()
        return _wait_for(self._grade(work), loop)

    def _started(self) -> asyncio.AbstractEventLoop:
        """The loop with the warm engine. Raises BadInput once it is closed."""
        with self._starting:
            if self._is_closed:
                raise BadInput("", "the Reward is closed", remedy="Make a new one")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=loop.run_forever, name="cellblock-rewards", daemon=True
                )
                self._thread.start()
                try:
                    _wait_for(self._grader.__aenter__(), loop)
                except BaseException:
                    self._stop(loop)
                    raise
                self._loop = loop
                _open.add(self)
            return self._loop

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join()
        loop.close()

    def _work(self, task: Task, completion: str, number: int) -> tuple[Task, Sample]:
        """A task and its sample. Raises BadInput."""
        fields = self._suite.answer(task, completion)
        sample = Sample(number, task.task_id, Row("completions", number + 1, fields))
        self._suite.trial(task, sample)
        return task, sample

    def _task(self, given: TaskGiven, number: int) -> Task:
        if not isinstance(given, str | Mapping):
            found = f"is of type {type(given).__name__}"
            raise BadInput("tasks", found, line=number + 1, remedy=LISTS)
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
    completions: Sequence[Completion],
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


def _text_of(completion: Completion, number: int) -> str:
    """What the model wrote last. Raises BadInput."""
    text: object = completion
    if isinstance(completion, Sequence) and not isinstance(completion, str) and completion:
        last = completion[-1]
        text = last.get("content") if isinstance(last, Mapping) else last
    if not isinstance(text, str):
        found = f"is of type {type(completion).__name__}, without a text"
        raise BadInput("completions", found, line=number + 1, remedy=LISTS)
    return text


def _wait_for(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()


_open: "weakref.WeakSet[Reward]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Leave nothing behind when the program ends without a close."""
    for one in list(_open):
        one.close()


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

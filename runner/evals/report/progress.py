"""How far a run is: a bar at a terminal, now and then a line anywhere else."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from runner.evals.samples.records import Sample, Verdict

LINE_EVERY_S = 5.0


class ProgressView:
    """Shows rate, time left and running pass@1 on `stream`. Call it after each verdict."""

    def __init__(
        self, total: int, stream: TextIO | None = None, *, began: float | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._total = total
        self._last_line = time.monotonic()
        self._began = self._last_line if began is None else began
        self._first: int | None = None
        self._tried: dict[str, int] = {}
        self._right: dict[str, int] = {}
        self._infrastructure = 0
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if self._stream.isatty():
            self._bar = Bar(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                console=Console(file=self._stream),
            )
            self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, sample: Sample, verdict: Verdict) -> None:
        if self._first is None:
            self._first = done - 1
        if verdict.outcome == "infrastructure":
            self._infrastructure += 1
        else:
            task = sample.task_id
            self._tried[task] = self._tried.get(task, 0) + 1
            self._right[task] = self._right.get(task, 0) + verdict.passed
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=self.words(done, now))
        elif done == total or now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._stream.write(f"{done}/{total} ({done / total:.0%})  {self.words(done, now)}\n")
            self._stream.flush()

    def words(self, done: int, now: float) -> str:
        """Rate, time left, pass@1 so far, and what stayed without a verdict."""
        elapsed = max(1e-6, now - self._began)
        rate = (done - (self._first or 0)) / elapsed
        left_s = (self._total - done) / rate if rate else 0.0
        words = f"{rate:.1f}/s, {_clock(left_s)} left"
        if self._tried:
            each = [self._right[task] / count for task, count in self._tried.items()]
            words += f", pass@1 {sum(each) / len(each):.4f}"
        if self._infrastructure:
            words += f", {self._infrastructure} WITHOUT A VERDICT"
        return words


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"

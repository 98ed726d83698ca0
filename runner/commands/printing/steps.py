"""Steps: how far a long piece of work is, on stderr; without a terminal a line now and then."""

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 5.0


class Steps:
    """A watcher of steps by name; `words` are what is shown for each."""

    def __init__(self, words: Mapping[str, str], console: Console | None = None) -> None:
        self._words = words
        self._console = console or Console(stderr=True, highlight=False)
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._step = ""
        self._task = TaskID(0)
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done of `step`; a total of 0 is not known."""
        words, is_new = self._words.get(step, step), step != self._step
        count = f"{done}/{total}" if total else ""
        if is_new:
            if self._step:
                self._bars.update(self._task, total=1, completed=1)
            self._step = step
            self._task = self._bars.add_task(words, total=total or None, count=count)
        self._bars.update(self._task, completed=done, total=total or None, count=count)
        now = time.monotonic()
        if not self._console.is_terminal and (is_new or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            self._console.print(f"{words} {count}".strip(), markup=False, soft_wrap=True)

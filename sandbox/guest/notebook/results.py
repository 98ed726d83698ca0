"""What magics give back: lines of a command, times of a statement, what `%%capture` kept."""

import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class Lines(list[str]):
    """Lines that a shell command wrote, with the forms that IPython's have."""

    @property
    def l(self) -> list[str]:  # noqa: E743
        """The lines as a list."""
        return self

    @property
    def n(self) -> str:
        """The lines as one text."""
        return "\n".join(self)

    nlstr = n

    @property
    def s(self) -> str:
        """The lines in one line, for a command."""
        return " ".join(self)

    spstr = s

    def grep(self, pattern: str | Callable[[str], Any], prune: bool = False) -> "Lines":
        """The lines that match `pattern`; with `prune`, those that do not."""
        matches = pattern if callable(pattern) else re.compile(pattern, re.IGNORECASE).search
        return Lines(line for line in self if bool(matches(line)) is not prune)

    def fields(self, *columns: int) -> "list[Any]":
        """The given columns of each line, split at white space; all of them without any."""
        rows = [line.split() for line in self if line.split()]
        if not columns:
            return rows
        return Lines(" ".join(row[at] for at in columns if at < len(row)) for row in rows)


class Times:
    """What `%timeit -o` gives: seconds of one loop."""

    def __init__(self, loops: int, runs: Sequence[float]) -> None:
        import statistics

        self.loops = loops
        self.repeat = len(runs)
        self.all_runs = list(runs)
        self.timings = [run / loops for run in runs]
        self.best = min(self.timings)
        self.worst = max(self.timings)
        self.average = statistics.fmean(self.timings)
        self.stdev = statistics.pstdev(self.timings)

    def __str__(self) -> str:
        runs, loops = ("s" if count != 1 else "" for count in (self.repeat, self.loops))
        return (
            f"{duration(self.average)} ± {duration(self.stdev)} per loop"
            f" (mean ± std. dev. of {self.repeat} run{runs}, {self.loops:,} loop{loops} each)"
        )

    def __repr__(self) -> str:
        return f"<TimeitResult : {self}>"


class Captured:
    """What `%%capture` kept."""

    def __init__(self, display: Callable[..., object]) -> None:
        self._display = display
        self.stdout_stream, self.stderr_stream = io.StringIO(), io.StringIO()
        self.outputs: list[dict[str, str]] = []
        """What would have been shown, each as a MIME bundle."""

    @property
    def stdout(self) -> str:
        return self.stdout_stream.getvalue()

    @property
    def stderr(self) -> str:
        return self.stderr_stream.getvalue()

    def show(self) -> None:
        """Write out what was kept."""
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)
        for bundle in self.outputs:
            self._display(bundle, raw=True)

    __call__ = show

    def __str__(self) -> str:
        return self.stdout


def duration(seconds: float) -> str:
    """`seconds` in the unit that suits it."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"

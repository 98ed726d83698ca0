"""What every benchmark is made of: series measured in turns, a figure, a budget, a verdict.

A benchmark is an async function that takes a `Bench`, fills named series of raw samples and
returns its figure. Two things are compared only when they were measured in turns in one run, so
that a busy machine slows both; the figure is then the median of the ratios of the pairs.
"""

import math
import statistics
import time
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

BUDGETS = Path(__file__).with_name("budgets.toml")

Verdict = Literal["met", "missed", "unmeasured"]
Step = Callable[[], Awaitable[object]]


class Unmeasured(Exception):
    """A benchmark cannot be run here; the message says what is missing."""


class Budget(NamedTuple):
    """One promise. Exactly one of the bounds is set."""

    promise: str
    unit: str
    at_least: float | None
    at_most: float | None

    def holds(self, figure: float) -> bool:
        """Whether `figure` keeps the promise; what is no number does not."""
        if self.at_least is not None:
            return figure >= self.at_least
        assert self.at_most is not None
        return figure <= self.at_most

    @property
    def text(self) -> str:
        """The bound as people write it."""
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:g} {self.unit}"


def budgets() -> dict[str, Budget]:
    """The promises by name. Raises ValueError for a row that does not have exactly one bound."""
    found = {}
    for name, row in tomllib.loads(BUDGETS.read_text()).items():
        budget = Budget(row["promise"], row["unit"], row.get("at_least"), row.get("at_most"))
        if (budget.at_least is None) == (budget.at_most is None):
            raise ValueError(f"{name}: exactly one of at_least and at_most")
        found[name] = budget
    return found


@dataclass
class Bench:
    """The series of one benchmark: raw samples by name; seconds, or in the unit behind a comma."""

    series: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    """Numbers beside the figure that help to read it."""

    def add(self, name: str, value: float) -> None:
        self.series.setdefault(name, []).append(value)

    async def turns(
        self, steps: dict[str, Step], *, rounds: int, warmup: int = 2, between: Step | None = None
    ) -> None:
        """Time each of `steps` once a round, in an order that turns; the first rounds are lost.

        `between` runs before each step and is not timed.
        """
        names = list(steps)
        for number in range(-warmup, rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                if between is not None:
                    await between()
                seconds = await timed(steps[name])
                if number >= 0:
                    self.add(name, seconds)

    def ratio(self, above: str, below: str) -> float:
        """Median over the rounds of `above` divided by `below`."""
        pairs = zip(self.series[above], self.series[below], strict=True)
        return statistics.median(one / other for one, other in pairs)

    def extra(self, with_it: str, without: str) -> float:
        """Median over the rounds of `with_it` minus `without`."""
        pairs = zip(self.series[with_it], self.series[without], strict=True)
        return statistics.median(one - other for one, other in pairs)

    def median(self, name: str) -> float:
        return statistics.median(self.series[name])


async def timed(step: Step) -> float:
    """Seconds that `step` took."""
    began = time.perf_counter()
    await step()
    return time.perf_counter() - began


def quantile(samples: Sequence[float], q: float) -> float:
    """The smallest sample that at least the share `q` of them does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


class Result(NamedTuple):
    """What one benchmark came to."""

    name: str
    budget: Budget
    figure: float | None
    reason: str
    series: dict[str, list[float]]
    facts: dict[str, float]
    took_s: float

    @property
    def verdict(self) -> Verdict:
        if self.figure is None:
            return "unmeasured"
        return "met" if self.budget.holds(self.figure) else "missed"


Function = Callable[[Bench], Awaitable[float]]


class Benchmark(NamedTuple):
    """A function that measures the promise `name`."""

    name: str
    function: Function
    is_long: bool
    """Whether a plain run leaves it out: by itself it takes longer than a few others together."""

    @property
    def leaves_out(self) -> str:
        """Its docstring: what is measured, and what is left out."""
        return self.function.__doc__ or ""

    @cached_property
    def budget(self) -> Budget:
        return budgets()[self.name]

    async def measure(self) -> Result:
        """Run it. Raises what the function raises but Unmeasured, which becomes the result."""
        bench, began = Bench(), time.perf_counter()
        figure: float | None = None
        reason = ""
        try:
            figure = await self.function(bench)
        except Unmeasured as missing:
            reason = str(missing)
        took_s = time.perf_counter() - began
        return Result(
            self.name, budgets()[self.name], figure, reason, bench.series, bench.facts, took_s
        )


REGISTERED: dict[str, Benchmark] = {}


def benchmark(function: Function) -> Function:
    """Register `function`; its name is the name of its budget."""
    return _register(function, is_long=False)


def long_benchmark(function: Function) -> Function:
    """As `benchmark`, for one that only runs when it is named or all are asked for."""
    return _register(function, is_long=True)


def _register(function: Function, *, is_long: bool) -> Function:
    name = function.__name__
    if name not in budgets():
        raise ValueError(f"{name} has no budget")
    REGISTERED[name] = Benchmark(name, function, is_long)
    return function

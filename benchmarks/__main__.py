"""`python -m benchmarks [NAME...] [--all] [--json] [--save a.json] [--compare a.json]`.

Without a name it runs those that fit into three minutes together on two processors, none of them
shortened, and says which it left out; --all runs these too. Exits with 1 if a promise is missed,
0 if all that could be measured are kept.
"""

import argparse
import asyncio
import importlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.facts import facts
from benchmarks.harness import REGISTERED, Result, quantile

MODULES = (
    "bench_start",
    "bench_session",
    "bench_host",
    "bench_branches",
    "bench_memory",
    "bench_output",
    "bench_deadline",
    "bench_evals",
    "bench_server",
    "bench_tracing",
    "bench_hostile",
    "bench_growth",
)
COLUMNS = "{:<24} {:>16} {:>12} {:<10} {}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    for module in MODULES:
        importlib.import_module(f"benchmarks.{module}")
    unknown = [name for name in options.names if name not in REGISTERED]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(REGISTERED)}")
        return 2
    if options.list:
        for name, entry in REGISTERED.items():
            mark = " (long: only by its name or with --all)" if entry.is_long else ""
            print(f"{name}{mark}\n    {entry.leaves_out.strip()}\n")
        return 0
    before = Saved.load(options.compare) if options.compare else None
    say = _say_nothing if options.json else print
    say(COLUMNS.format("benchmark", "budget", "measured", "verdict", "medians"))
    began = time.perf_counter()
    left_out = [
        name
        for name, entry in REGISTERED.items()
        if entry.is_long and not options.names and not options.all
    ]
    names = options.names or [name for name in REGISTERED if name not in left_out]
    results = asyncio.run(_measure(names, before, say))
    missed = [result.name for result in results if result.verdict == "missed"]
    measured = [result for result in results if result.verdict != "unmeasured"]
    say(
        f"{len(measured) - len(missed)} of {len(measured)} promises kept,"
        f" {len(results) - len(measured)} unmeasured, {time.perf_counter() - began:.0f} s"
    )
    if left_out:
        say(f"left out, as they take longest: {', '.join(left_out)}; --all runs them too")
    if before is not None and not options.json:
        _print_facts_that_differ(before)
    if options.json:
        print(json.dumps(_document(results), indent=1))
    if options.save:
        _save(Path(options.save), results)
    return 1 if missed else 0


def _say_nothing(_line: str) -> None:
    """In place of `print`, where the figures alone are asked for."""


async def _measure(
    names: list[str], before: "Saved | None", say: Callable[[str], None]
) -> list[Result]:
    results = []
    for name in names:
        result = await REGISTERED[name].measure()
        results.append(result)
        say(_row(result))
        if before is not None:
            say(before.against(result))
        sys.stdout.flush()
    return results


def _row(result: Result) -> str:
    if result.figure is None:
        return COLUMNS.format(result.name, result.budget.text, "-", result.verdict, result.reason)
    notes = [
        in_its_unit(name, statistics.median(samples), seconds=True)
        for name, samples in result.series.items()
    ]
    notes += [in_its_unit(name, value) for name, value in result.facts.items()]
    return COLUMNS.format(
        result.name,
        result.budget.text,
        f"{result.figure:.3g}",
        result.verdict,
        ", ".join(notes),
    )


def in_its_unit(name: str, value: float, *, seconds: bool = False) -> str:
    """`value` with the unit that `name` ends in behind a comma; else in ms, if it is `seconds`."""
    what, _comma, unit = name.rpartition(", ")
    if what:
        return f"{what} {value:.4g} {unit}"
    return f"{name} {value * 1e3:.3g} ms" if seconds else f"{name} {value:.4g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="run these only")
    parser.add_argument("--all", action="store_true", help="run the long ones too")
    parser.add_argument("--save", metavar="FILE", help="write raw series and facts as JSON")
    parser.add_argument(
        "--json", action="store_true", help="print all figures as one JSON object and nothing else"
    )
    parser.add_argument("--compare", metavar="FILE", help="show figures of a saved run beside")
    parser.add_argument("--list", action="store_true", help="say what each measures; run none")
    return parser


# ---- saved runs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Saved:
    """A run that was saved."""

    facts: dict[str, str]
    figures: dict[str, float | None]
    series: dict[str, dict[str, list[float]]]

    @classmethod
    def load(cls, path: str) -> "Saved":
        raw = json.loads(Path(path).read_text())
        rows = raw["results"]
        return cls(
            raw["facts"],
            {name: row["figure"] for name, row in rows.items()},
            {name: row["series"] for name, row in rows.items()},
        )

    def against(self, result: Result) -> str:
        """The saved figure beside the new one; a change is claimed only beyond the quartiles."""
        figure = self.figures.get(result.name)
        if figure is None or result.figure is None:
            return COLUMNS.format("", "saved", "-", "", "")
        words = []
        for name, samples in result.series.items():
            old = self.series.get(result.name, {}).get(name)
            if old:
                words.append(f"{name} {_change(old, samples)}")
        change = f"{result.figure / figure:.2f} of it" if figure else ""
        return COLUMNS.format("", "saved", f"{figure:.3g}", change, ", ".join(words))


def _change(old: list[float], new: list[float]) -> str:
    if quantile(new, 0.75) < quantile(old, 0.25):
        return "lower"
    if quantile(new, 0.25) > quantile(old, 0.75):
        return "higher"
    return "same"


def _print_facts_that_differ(before: Saved) -> None:
    for name, value in facts().items():
        old = before.facts.get(name, "unknown")
        if old != value and name != "load_average":
            print(f"differs from the saved run: {name} {old} -> {value}")


def _save(path: Path, results: list[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_document(results), indent=1) + "\n")


def _document(results: list[Result]) -> dict[str, object]:
    """All that is known of a run, as JSON has it; a figure that has no bound is null there."""
    return {
        "facts": facts(),
        "results": {
            result.name: {
                "figure": _finite(result.figure),
                "unit": result.budget.unit,
                "bound": result.budget.text,
                "verdict": result.verdict,
                "reason": result.reason,
                "took_s": result.took_s,
                "facts": result.facts,
                "series": result.series,
            }
            for result in results
        },
    }


def _finite(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


if __name__ == "__main__":
    sys.exit(main())

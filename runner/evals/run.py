"""A run over all samples: work is pulled by jobs, each verdict is on disk before the next."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from runner.evals.errors import BadInput
from runner.evals.grading.grader import Grader
from runner.evals.grading.retries import decide
from runner.evals.grading.score import Score, score
from runner.evals.samples import files, manifest
from runner.evals.samples.files import Source
from runner.evals.samples.journal import Journal, require_free, result_record
from runner.evals.samples.manifest import Manifest
from runner.evals.samples.records import Sample, Task, Verdict
from runner.evals.settings import Settings
from runner.evals.suites.base import Suite
from runner.evals.suites.loading import choose, load_suite

IN_FLIGHT = 6
"""Samples under way, for each that runs: the others are judged, several at a time."""
Progress = Callable[[int, int, Sample, Verdict], None]
"""Called after each verdict: how many are done, of how many, and the newest."""


class Job(NamedTuple):
    """What there is to do: a suite, its tasks, the samples."""

    suite: Suite
    tasks: dict[str, Task]
    samples: list[Sample]
    data: Source
    given: Source


class Report(NamedTuple):
    """What came of a run."""

    score: Score
    samples: list[Sample]
    verdicts: list[Verdict]
    """In the order of the samples."""
    manifest: Manifest
    out: Path | None = None
    """Where the results lie; the manifest is beside them."""
    tasks: Mapping[str, Task] = {}
    """By their ids."""

    def records(self) -> Iterator[dict[str, object]]:
        """The lines of the results: each sample's fields, and its verdict."""
        for sample, verdict in zip(self.samples, self.verdicts, strict=True):
            yield result_record(sample.row.fields, verdict)

    def flaky(self) -> list[tuple[Sample, Verdict]]:
        """Samples whose verdict may be another one the next time."""
        pairs = zip(self.samples, self.verdicts, strict=True)
        return [(sample, verdict) for sample, verdict in pairs if verdict.flaky]


class Engine(Protocol):
    """Gives the verdicts of samples, in any order."""

    def verdicts(
        self, job: Job, samples: Sequence[Sample], settings: Settings
    ) -> AsyncIterator[tuple[Sample, Verdict]]:
        """(sample, verdict) of each of `samples`, once each."""
        ...

    @property
    def policy(self) -> dict[str, object]:
        """The policy of the jails, after the first verdict."""
        ...

    @property
    def speed(self) -> float:
        """CPU seconds for one of the reference machine's, after the first verdict."""
        ...

    @property
    def speed_range(self) -> tuple[float, float]:
        """The lowest and the highest speed that was measured, after the last verdict."""
        ...


class LocalEngine:
    """Grades on this machine."""

    def __init__(self) -> None:
        self.policy: dict[str, object] = {}
        self.speed = 0.0
        self.speed_range: tuple[float, float] = (0.0, 0.0)

    async def verdicts(
        self, job: Job, samples: Sequence[Sample], settings: Settings
    ) -> AsyncIterator[tuple[Sample, Verdict]]:
        """(sample, verdict) of each of `samples` as they are done."""
        done: asyncio.Queue[tuple[Sample, Verdict] | BaseException] = asyncio.Queue()
        left = iter(samples)
        async with Grader(job.suite, settings) as grader:
            self.policy = grader.policy.model_dump(mode="json")
            self.speed = grader.speedometer.speed

            async def work() -> None:
                try:
                    for sample in left:
                        task = job.tasks[sample.task_id]
                        verdict = await decide(grader, task, sample, recheck=settings.recheck)
                        done.put_nowait((sample, verdict))
                except Exception as error:  # noqa: BLE001
                    done.put_nowait(error)

            width = settings.jobs * IN_FLIGHT
            workers = [asyncio.ensure_future(work()) for _ in range(width)]
            try:
                for _ in samples:
                    item = await done.get()
                    if isinstance(item, BaseException):
                        raise item
                    self.speed_range = grader.speedometer.range
                    yield item
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.wait(workers)


def prepare(
    suite: str,
    samples: Source,
    data: str | Path | None,
    *,
    sha256: str | None = None,
    tasks: str = "",
    limit: int | None = None,
) -> Job:
    """Load and check everything before anything runs; samples of other tasks are left out.

    Raises BadInput.
    """
    loaded = load_suite(suite, data, sha256)
    chosen = choose(loaded.tasks, tasks, limit)
    given = files.index_samples(samples.rows, loaded.tasks, loaded.suite.id_field)
    answers = [
        replace(sample, index=index)
        for index, sample in enumerate(one for one in given if one.task_id in chosen)
    ]
    if not answers:
        raise BadInput(samples.path, "holds no sample" + (" of these tasks" if given else ""))
    for sample in answers:
        loaded.suite.trial(chosen[sample.task_id], sample)
    return Job(loaded.suite, chosen, answers, loaded.source, samples)


async def run(
    job: Job,
    settings: Settings,
    *,
    engine: Engine,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    ks: Sequence[int] = (1, 10, 100),
    progress: Progress | None = None,
) -> Report:
    """Grade every sample of `job`. Raises OutputFailed, BadInput, SandboxError."""
    if out is not None and not (resume or overwrite):
        require_free(out)
    plan = manifest.describe(job.suite.name, job.data, job.given, len(job.samples), settings, {})
    verdicts: dict[int, Verdict] = {}
    with _journal(out, plan, resume, len(job.samples)) as journal:
        if journal is not None:
            verdicts = journal.verdicts
        left = [sample for sample in job.samples if sample.index not in verdicts]
        if left:
            done = len(job.samples) - len(left)
            async for sample, verdict in engine.verdicts(job, left, settings):
                if sample.index in verdicts:
                    continue
                if journal is not None:
                    journal.add(sample.index, verdict)
                else:
                    verdicts[sample.index] = verdict
                done += 1
                if progress is not None:
                    progress(done, len(job.samples), sample, verdict)
            plan = plan.model_copy(
                update={
                    "policy": engine.policy,
                    "speed": engine.speed,
                    "speed_range": engine.speed_range,
                }
            )
        if journal is not None and out is not None:
            if left:
                manifest.write(plan, out)
            journal.finish(job.samples)
    ordered = [verdicts[sample.index] for sample in job.samples]
    return Report(_score(job, ordered, ks), job.samples, ordered, plan, out, job.tasks)


class _NoJournal:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_error: object) -> None:
        return None


def _journal(out: Path | None, plan: Manifest, resume: bool, samples: int) -> Journal | _NoJournal:
    """The journal of a run, opened; its manifest is beside it before the first record."""
    if out is None:
        return _NoJournal()
    before = manifest.read(out) if resume else None
    if before is not None:
        plan.require_same(before, str(manifest.path_beside(out)))
    else:
        manifest.write(plan, out)
    journal = Journal(out)
    journal.start(resume=resume, samples=samples)
    return journal


def _score(job: Job, verdicts: Iterable[Verdict], ks: Sequence[int]) -> Score:
    pairs = zip(job.samples, verdicts, strict=True)
    return score(
        ((sample.task_id, verdict.outcome) for sample, verdict in pairs), ks, tasks=len(job.tasks)
    )

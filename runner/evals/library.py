"""The evaluation as a function, for programs."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from runner.evals.errors import BadInput
from runner.evals.run import Engine, LocalEngine, Progress, Report, prepare, run
from runner.evals.samples import files
from runner.evals.samples.files import Source
from runner.evals.samples.journal import require_free
from runner.evals.samples.records import Json, Row
from runner.evals.settings import Settings
from runner.evals.suites import SUITES

Samples = str | Path | Iterable[Mapping[str, Json]]


def evaluate(
    suite: str,
    samples: Samples,
    *,
    data: str | Path | None = None,
    sha256: str | None = None,
    out: str | Path | None = None,
    k: Sequence[int] = (1, 10, 100),
    jobs: int | None = None,
    timeout_s: float | None = None,
    limits: Literal["cpu", "reference"] = "cpu",
    speed: float | None = None,
    tasks: str = "",
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    recheck: bool = True,
    fresh_jails: bool = False,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Report:
    """Grade `samples`, a file or the records themselves, by the suite called `suite`.

    `data` is the suite's file; without it the one that an installed package brings; with `sha256`
    only if its bytes have that hash. `tasks` is a pattern of ids and `limit` a number of tasks.
    With `out` results are kept there as they come; results of an earlier run are gone on with by
    `resume`, written over by `overwrite`, and else refused. A sample's `timeout_s` are CPU
    seconds on a machine of the reference speed, or by `limits="reference"` wall time, as the
    reference harnesses count. With `fresh_jails` nothing of a jail is kept from one run to the
    next, not even what is proven to be untouched. Raises BadInput, OutputFailed, SandboxError.
    """
    return asyncio.run(
        evaluate_async(
            suite,
            samples,
            data=data,
            sha256=sha256,
            out=out,
            k=k,
            jobs=jobs,
            timeout_s=timeout_s,
            limits=limits,
            speed=speed,
            tasks=tasks,
            limit=limit,
            resume=resume,
            overwrite=overwrite,
            recheck=recheck,
            fresh_jails=fresh_jails,
            engine=engine,
            progress=progress,
        )
    )


async def evaluate_async(
    suite: str,
    samples: Samples,
    *,
    data: str | Path | None = None,
    sha256: str | None = None,
    out: str | Path | None = None,
    k: Sequence[int] = (1, 10, 100),
    jobs: int | None = None,
    timeout_s: float | None = None,
    limits: Literal["cpu", "reference"] = "cpu",
    speed: float | None = None,
    tasks: str = "",
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    recheck: bool = True,
    fresh_jails: bool = False,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Report:
    """As `evaluate`, for a program that has an event loop."""
    if resume and out is None:
        raise BadInput(
            "",
            "there is nothing to resume without a results file",
            remedy="Say where the results are with --out",
        )
    if out is not None and not (resume or overwrite):
        require_free(out)
    job = prepare(suite, _source(samples), data, sha256=sha256, tasks=tasks, limit=limit)
    kind = SUITES[suite]
    settings = Settings(
        timeout_s=timeout_s or kind.timeout_s,
        jobs=jobs or len(os.sched_getaffinity(0)),
        preload=kind.preloads(),
        recheck=recheck,
        fresh_jails=fresh_jails,
        limits=limits,
        speed=speed,
        tasks=tasks,
        limit=limit,
    )
    return await run(
        job,
        settings,
        engine=engine or LocalEngine(),
        out=Path(out) if out else None,
        resume=resume,
        overwrite=overwrite,
        ks=k,
        progress=progress,
    )


def _source(samples: Samples) -> Source:
    if isinstance(samples, str | Path):
        return files.read(samples)
    rows = [Row("samples", number, dict(record)) for number, record in enumerate(samples, 1)]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row.fields, sort_keys=True).encode())
    return Source("samples", digest.hexdigest(), rows)

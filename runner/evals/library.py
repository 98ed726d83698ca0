"""The evaluation as a function, for programs."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from runner.evals.errors import BadInput
from runner.evals.run import Engine, LocalEngine, Progress, Report, prepare, run
from runner.evals.samples import files
from runner.evals.samples.files import Source
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
    resume: bool = False,
    recheck: bool = True,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Report:
    """Grade `samples`, a file or the records themselves, by the suite called `suite`.

    `data` is the suite's file; without it the one that an installed package brings; with `sha256`
    only if its bytes have that hash. With `out`
    results are kept there as they come, and `resume` goes on with them. Raises BadInput,
    OutputFailed, SandboxError.
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
            resume=resume,
            recheck=recheck,
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
    resume: bool = False,
    recheck: bool = True,
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
    job = prepare(suite, _source(samples), data, sha256=sha256)
    kind = SUITES[suite]
    settings = Settings(
        timeout_s=timeout_s or kind.timeout_s,
        jobs=jobs or len(os.sched_getaffinity(0)),
        preload=tuple(name for name in kind.preload if find_spec(name) is not None),
        recheck=recheck,
    )
    return await run(
        job,
        settings,
        engine=engine or LocalEngine(),
        out=Path(out) if out else None,
        resume=resume,
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

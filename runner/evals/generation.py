"""Samples drawn from a model: a line of the samples file for each answer, kept as it comes."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from runner.errors import ReplayMismatch, UpstreamError
from runner.evals.errors import BadInput, GenerationFailed, OutputFailed
from runner.evals.samples import files
from runner.evals.samples.records import Json, Task
from runner.evals.suites.base import Suite
from runner.evals.suites.loading import choose, load_suite
from runner.events import TextDelta
from runner.models.port import Model, ModelRequest, Sampling
from runner.transcript import Instruction, Question

Progress = Callable[[int, int], None]
"""Called after each answer: how many samples are there, of how many."""


class Draw(BaseModel):
    """What to ask a model for. `temperature` None leaves it to the model's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    samples: int = Field(default=1, ge=1, le=10_000)
    """Answers to each task."""
    temperature: float | None = Field(default=None, ge=0)
    system: str = ""
    """The system's instruction before each question."""
    max_tokens: int | None = Field(default=None, ge=1)
    at_once: int = Field(default=8, ge=1, le=256)
    """Requests under way at a time."""


async def generate(
    suite: str,
    model: Model,
    draw: Draw,
    out: str | Path,
    *,
    data: str | Path | None = None,
    sha256: str | None = None,
    tasks: str = "",
    limit: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> int:
    """Fill the samples file `out` with `draw.samples` answers to each task; how many are new.

    `tasks` is a pattern of ids and `limit` a number of tasks.

    With `resume` answers that are there already are kept, and only the others asked for. Every
    answer is on disk before it counts. Raises BadInput, OutputFailed, and GenerationFailed if the
    endpoint left some out.
    """
    kind, known, _source = load_suite(suite, data, sha256)
    chosen = choose(known, tasks, limit)
    path = Path(out)
    there = _taken_over(path, known) if resume else _nothing(path)
    wanted = [
        (task, number)
        for number in range(draw.samples)
        for task in chosen.values()
        if _sample_id(task, number) not in there
    ]
    if not wanted:
        return 0
    with SamplesFile(path) as stream:
        return await _ask_all(model, kind, draw, wanted, stream, len(there), progress)


async def _ask_all(
    model: Model,
    kind: Suite,
    draw: Draw,
    wanted: list[tuple[Task, int]],
    stream: "SamplesFile",
    there: int,
    progress: Progress | None,
) -> int:
    left = iter(wanted)
    failures: list[UpstreamError | ReplayMismatch] = []
    done = 0

    async def ask() -> None:
        nonlocal done
        for task, number in left:
            try:
                text = await _answer(model, kind.question(task), draw, number)
            except (UpstreamError, ReplayMismatch) as error:
                failures.append(error)
                continue
            stream.add(
                {
                    "task_id": task.task_id,
                    "sample_id": _sample_id(task, number),
                    **kind.answer(task, text),
                    "answer": text,
                    "model": draw.model,
                    "temperature": draw.temperature,
                }
            )
            done += 1
            if progress is not None:
                progress(there + done, there + len(wanted))

    askers = [asyncio.ensure_future(ask()) for _ in range(min(draw.at_once, len(wanted)))]
    try:
        await asyncio.gather(*askers)
    finally:
        for asker in askers:
            asker.cancel()
        await asyncio.wait(askers)
    if failures:
        raise GenerationFailed(str(failures[0]), missing=len(failures), saved=there + done)
    return done


async def _answer(model: Model, question: str, draw: Draw, number: int) -> str:
    before = (Instruction(text=draw.system),) if draw.system else ()
    request = ModelRequest(
        entries=(*before, Question(text=question)),
        model=draw.model,
        # Another seed for each draw, and the same ones in each run.
        sampling=Sampling(temperature=draw.temperature, seed=number),
        max_tokens=draw.max_tokens,
    )
    parts = []
    async with aclosing(model.stream(request)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                parts.append(event.text)
    return "".join(parts)


def _sample_id(task: Task, number: int) -> str:
    return f"{task.task_id}#{number}"


def _nothing(path: Path) -> set[str]:
    """Raise BadInput if there are samples that would be written over."""
    if path.exists() and path.stat().st_size:
        raise BadInput(
            str(path),
            "holds samples already",
            remedy="Go on with it by --resume, or name another file",
        )
    return set()


def _taken_over(path: Path, tasks: dict[str, Task]) -> set[str]:
    """Ids of the answers in `path`, which loses a last line that a crash cut."""
    if not path.exists():
        return set()
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    samples = files.index_samples(files.read(path).rows, tasks, "task_id")
    return {sample.row.name("sample_id") for sample in samples if sample.row.has("sample_id")}


class SamplesFile:
    """A samples file that only grows, by whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = 0

    def __enter__(self) -> "SamplesFile":
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise OutputFailed(str(self._path), error.strerror or str(error), 0) from error
        self._size = os.fstat(self._fd).st_size
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)

    def add(self, record: dict[str, Json]) -> None:
        """Append one line. Raises OutputFailed; what was saved stays."""
        line = json.dumps(record).encode() + b"\n"
        try:
            files.write_whole(self._fd, line, self._size)
        except OSError as error:
            detail = error.strerror or str(error)
            raise OutputFailed(str(self._path), detail, self._saved) from error
        self._size += len(line)
        self._saved += 1

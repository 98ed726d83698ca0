"""The results file: append-only while the run lasts, in the samples' order when it is over.

While it runs, each verdict is one line of `FILE.part`, written whole by one `write` as it comes,
in the order of completion. When all are there, FILE is written in order beside it and put in its
place by a rename, and the part goes away. Killed at any moment, a run loses what was in flight.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from runner.evals.errors import BadInput, OutputFailed
from runner.evals.samples.files import write_whole
from runner.evals.samples.records import Json, Sample, Verdict

SYNC_EVERY = 64
"""Records between two fsyncs: what a crash of the whole machine may cost."""


DERIVED = ("failure_reason", "reward_valid", "mask_sample")
"""What the results hold beside the verdict's fields, for those who train on them."""


class Journal:
    """Verdicts by the index of their sample, kept on disk as they come."""

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self.part = self.out.with_name(self.out.name + ".part")
        self.verdicts: dict[int, Verdict] = {}
        self._fd = -1
        self._size = 0
        self._unsynced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, *, resume: bool, samples: int) -> None:
        """Open the part; with `resume` take over what it holds. Raises OutputFailed, BadInput."""
        try:
            if resume:
                self._take_over(samples)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if resume else os.O_TRUNC)
            self._fd = os.open(self.part, flags, 0o644)
            # A line that was cut by a crash goes, and with it only itself.
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
        except OSError as error:
            raise OutputFailed(str(self.part), error.strerror or str(error), 0) from error

    def add(self, index: int, verdict: Verdict) -> None:
        """Keep the verdict of sample `index`. Raises OutputFailed; what was saved stays."""
        line = json.dumps({"index": index, **verdict.model_dump(mode="json")}).encode() + b"\n"
        try:
            write_whole(self._fd, line, self._size)
            self._unsynced += 1
            if self._unsynced >= SYNC_EVERY:
                os.fsync(self._fd)
                self._unsynced = 0
        except OSError as error:
            detail = error.strerror or str(error)
            raise OutputFailed(str(self.part), detail, len(self.verdicts)) from error
        self._size += len(line)
        self.verdicts[index] = verdict

    def finish(self, samples: Iterable[Sample]) -> None:
        """Write the results in the samples' order and drop the part. Raises OutputFailed."""
        new = self.out.with_name(self.out.name + ".new")
        try:
            with new.open("w", encoding="utf-8") as stream:
                for sample in samples:
                    record = result_record(sample.row.fields, self.verdicts[sample.index])
                    stream.write(json.dumps(record) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.out)
            self.close()
            self.part.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            detail = error.strerror or str(error)
            raise OutputFailed(str(self.out), detail, len(self.verdicts)) from error

    def close(self) -> None:
        """Stop writing; the part stays. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take_over(self, samples: int) -> None:
        if not self.part.exists():
            self._take_results(samples)
            return
        data = self.part.read_bytes()
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            try:
                record = json.loads(line)
                index = record.pop("index")
                verdict = Verdict.model_validate(record)
                if not 0 <= index < samples:
                    raise ValueError(f"there is no sample {index}")
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                if self._size + len(line) + 1 >= len(data):
                    break  # The last line may be torn.
                raise BadInput(
                    str(self.part),
                    f"is no record of a run: {error}",
                    line=number,
                    remedy="Remove it, or run without --resume",
                ) from error
            self._size += len(line) + 1
            if verdict.outcome != "infrastructure":
                self.verdicts[index] = verdict

    def _take_results(self, samples: int) -> None:
        """Take over a finished run, to try again what stayed infrastructure."""
        if not self.out.exists():
            return
        rows = [json.loads(line) for line in self.out.read_text("utf-8").splitlines()]
        names = set(Verdict.model_fields)
        for index, row in enumerate(rows[:samples]):
            with contextlib.suppress(ValidationError):
                verdict = Verdict.model_validate({key: row[key] for key in names & row.keys()})
                if verdict.outcome != "infrastructure":
                    self.verdicts[index] = verdict
        kept = dict(self.verdicts)
        self.verdicts = {}
        self._fd = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        for index, verdict in kept.items():
            self.add(index, verdict)
        self.close()


def require_free(out: str | Path) -> None:
    """Raise BadInput if there are results that a new run would write over."""
    journal = Journal(out)
    for path, what in ((journal.out, "results"), (journal.part, "part of the results of a run")):
        if path.exists() and path.stat().st_size:
            raise BadInput(
                str(path),
                f"holds {what} already",
                remedy="Go on with them by --resume, write over them by --overwrite, or name"
                " another file",
            )


def result_record(fields: Mapping[str, Json], verdict: Verdict) -> dict[str, object]:
    """A line of the results: the sample's own fields, then the verdict's."""
    fields_of_verdict = verdict.model_dump(mode="json")
    ordered = {
        "passed": verdict.passed,
        "result": fields_of_verdict["result"],
        "outcome": fields_of_verdict["outcome"],
        "usage": fields_of_verdict["usage"],
    }
    derived = {name: getattr(verdict, name) for name in DERIVED}
    rest = {key: fields_of_verdict[key] for key in fields_of_verdict if key not in ordered}
    return {**fields, **ordered, **rest, **derived}

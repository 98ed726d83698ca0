"""An append-only log of runs: one JSON object a line, each with the hash of all before it.

A line that was changed, removed from the middle, or put in breaks the chain at that line. Lines cut
off at the end leave a run without its last event. The log does not say who wrote it: keep the last
hash elsewhere to know that the whole file was not written anew.
"""

import datetime
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from sandbox import Outcome, Verdict

START = "0" * 64
LINE_CAP_BYTES = 4 * 1024 * 1024
FIRST, LAST = "run", "end"
Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]


class Checked(NamedTuple):
    """What `verify` found: how many lines and runs, the last hash, and the first thing wrong."""

    lines: int
    runs: int
    last: str
    problem: str = ""
    line: int = 0


def append(path: Path, events: Iterable[dict[str, Value]]) -> None:
    """Add `events` at the end of the log. Raises OSError, or ValueError for a broken log."""
    with _locked(path) as stream:
        found = _checked(stream)
        number, previous = found.lines, found.last
        for event in events:
            number += 1
            record = {"seq": number, "time": _now(), "previous": previous, **event}
            previous = _hash(record)
            stream.write(_line({**record, "hash": previous}))
        stream.flush()
        os.fsync(stream.fileno())


def require_whole(path: Path) -> None:
    """Raise what `append` would: OSError, or ValueError for a broken log. Makes no file."""
    if not path.exists():
        folder = path.absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK):
            number = errno.EACCES if folder.is_dir() else errno.ENOENT
            raise OSError(number, os.strerror(number), str(path))
        return
    with _locked(path) as stream:
        _checked(stream)


def is_log(path: Path) -> bool:
    """Whether the first line of the file `path` is an event of such a log. Raises OSError."""
    with open(path, "rb") as stream:
        record = _record(stream.readline(LINE_CAP_BYTES))
    return record is not None and {"seq", "previous", "event", "hash"} <= record.keys()


def verify(path: Path) -> Checked:
    """Follow the chain from the first line to the last. Raises OSError."""
    with open(path, "rb") as stream:
        return _verify(stream)


def events_of(
    outcome: Outcome, verdict: Verdict, code: str, name: str
) -> Iterator[dict[str, Value]]:
    """Give a run as events: its source by hash, each attempt and denial, its end."""
    digest = hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
    yield {"event": FIRST, "name": name, "sha256": digest, "tier": outcome.tier}
    for attempt in outcome.attempts:
        yield {"event": "attempt", **attempt.model_dump(mode="json")}
    for denial in outcome.denials:
        yield {"event": "denial", **denial.model_dump(mode="json")}
    usage = outcome.usage.model_dump(mode="json")
    shown = verdict.model_dump(mode="json")
    yield {"event": LAST, "status": outcome.status, "verdict": shown, "usage": usage}


def _checked(stream: IO[bytes]) -> Checked:
    """What the log holds, if another run can be added to it. Raises ValueError."""
    found = _verify(stream)
    if found.problem and not found.problem.startswith(CUT_SHORT):
        raise ValueError(f"is no whole log: line {found.line}: {found.problem}")
    return found


CUT_SHORT = "the last run has no end"


def _verify(stream: IO[bytes]) -> Checked:
    lines = runs = 0
    previous, event = START, LAST
    stream.seek(0)
    while line := stream.readline(LINE_CAP_BYTES):
        lines += 1
        record = _record(line)
        if record is None:
            return Checked(lines - 1, runs, previous, "is no event of a log", lines)
        # By its bytes: of a key that is there twice a reader may see the one that no hash is of.
        is_as_written = line == _line(record)
        said = record.pop("hash", None)
        if record.get("seq") != lines or record.get("previous") != previous:
            return Checked(lines - 1, runs, previous, "does not follow the line before", lines)
        if said != _hash(record) or not is_as_written:
            return Checked(lines - 1, runs, previous, "was changed", lines)
        previous, event = str(said), str(record.get("event"))
        runs += event == FIRST
    if event != LAST:
        return Checked(lines, runs, previous, CUT_SHORT, lines)
    return Checked(lines, runs, previous)


def _record(line: bytes) -> dict[str, Value] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _line(record: dict[str, Value]) -> bytes:
    return json.dumps(record, sort_keys=True).encode() + b"\n"


def _hash(record: dict[str, Value]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The log open to read and to add to, and no other process at it."""
    with open(path, "ab+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream

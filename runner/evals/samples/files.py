"""Reading suites and samples: JSONL, plain or gzipped, or one JSON list; errors have a place."""

import codecs
import contextlib
import errno
import gzip
import hashlib
import importlib.util
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from runner.evals.errors import BadInput
from runner.evals.samples.records import Json, Row, Sample, Task

LINE_CAP_BYTES = 64 * 1024 * 1024
SHOWN = 60


class Source(NamedTuple):
    """A file that was read: its rows, and the hash of its bytes."""

    path: str
    sha256: str
    rows: list[Row]


def read(path: str | Path) -> Source:
    """All rows of the file `path`. Raises BadInput."""
    name = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(name, f"cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(name, f"is no whole gzip file: {error}") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    if data.lstrip()[:1] == b"[":
        return Source(name, digest, list(_list_rows(name, data)))
    return Source(name, digest, list(_line_rows(name, data)))


def _list_rows(name: str, data: bytes) -> Iterator[Row]:
    try:
        items = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(name, f"is no JSON: {error}", line=getattr(error, "lineno", 0)) from error
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise BadInput(name, f"item {number} is no JSON object")
        yield Row(name, number, item)


def _line_rows(name: str, data: bytes) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), 1):
        # Files that were put together have the mark within.
        line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        if len(line) > LINE_CAP_BYTES:
            raise BadInput(
                name, f"has {len(line)} bytes, at most {LINE_CAP_BYTES} fit", line=number
            )
        yield Row(name, number, _parse(name, number, line))


def _parse(name: str, number: int, line: bytes) -> dict[str, Json]:
    try:
        # Left to itself, the parser would take zero bytes for a sign of UTF-16.
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadInput(
            name, f"is no UTF-8: {error.reason} at byte {error.start}", line=number
        ) from error
    except (ValueError, RecursionError) as error:
        shown = line[:SHOWN].decode("utf-8", "backslashreplace")
        raise BadInput(name, f"is no JSON: {error}; it begins {shown!r}", line=number) from error
    if not isinstance(value, dict):
        raise BadInput(name, "is no JSON object", line=number)
    return value


def index_tasks(rows: Iterable[Row], id_field: str) -> dict[str, Task]:
    """Tasks by id, in the order of the file. Raises BadInput for an id that comes twice."""
    tasks: dict[str, Task] = {}
    for row in rows:
        task = Task(row.name(id_field), row)
        first = tasks.setdefault(task.task_id, task)
        if first is not task:
            raise row.bad(id_field, f"{task.task_id!r} is the id of line {first.row.line} already")
    return tasks


def index_samples(rows: Iterable[Row], tasks: dict[str, Task], id_field: str) -> list[Sample]:
    """Samples in the order of the file. Raises BadInput for unknown tasks and repeated ids.

    Many samples of one task are as it should be; two with one `sample_id` are not.
    """
    samples: list[Sample] = []
    seen: dict[str, int] = {}
    for row in rows:
        field = "task_id" if row.has("task_id") or not row.has(id_field) else id_field
        task_id = row.name(field)
        if task_id not in tasks:
            known = next(iter(tasks), "none")
            raise row.bad(
                field,
                f"no task of the suite is called {task_id!r}",
                f"Its tasks are called like {known!r}",
            )
        if row.has("sample_id"):
            first = seen.setdefault(row.name("sample_id"), row.line)
            if first != row.line:
                raise row.bad("sample_id", f"is the id of line {first} already")
        samples.append(Sample(len(samples), task_id, row))
    return samples


def write_whole(fd: int, line: bytes, size: int) -> None:
    """Append `line` to a file of `size` bytes, or nothing of it. Raises OSError."""
    try:
        written = os.write(fd, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise


def packaged(places: Iterable[tuple[str, str]]) -> Path | None:
    """The first of (package, file in it or beside it) that is installed here."""
    for package, file in places:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for folder in (Path(root), Path(root).parent):
                if (folder / file).is_file():
                    return folder / file
    return None

"""Tells a model what it is given: a table's columns, types and first rows, a file's kind and size.

A model that knows the columns need not guess them. Only the head of a file is read for that.
"""

import csv
import datetime
import io
import json
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from runner.terminal import one_line

HEAD_BYTES: Final = 64 * 1024
ROWS_SHOWN, ROWS_READ = 3, 200
COLUMNS_SHOWN: Final = 40
CELL_CHARS: Final = 40
FILES_DESCRIBED: Final = 20
DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
KIB: Final = 1024


def words_for(files: Mapping[str, bytes]) -> str:
    """Say what lies in the current directory; `files` has the content by name."""
    described = [describe(name, data) for name, data in list(files.items())[:FILES_DESCRIBED]]
    more = len(files) - FILES_DESCRIBED
    described += [f"- and {more} more"] if more > 0 else []
    return "\n".join(("Files in the current directory, from the user:", *described))


def describe(name: str, data: bytes) -> str:
    """Say what one file is, in a line or, for a table, in some."""
    shown = one_line(name)
    size = f"{len(data)} B" if len(data) < KIB else f"{len(data) / KIB:.0f} KiB"
    suffix = "." + name.rpartition(".")[2].lower()
    head = data[:HEAD_BYTES]
    if suffix in DELIMITERS and (rows := _rows(head, DELIMITERS[suffix])):
        is_whole = len(data) <= HEAD_BYTES
        return f"- {shown}: {_table(rows, count=_count(rows) if is_whole else '', size=size)}"
    if suffix in (".jsonl", ".ndjson") and (keys := _keys(head.split(b"\n", 1)[0])):
        return f"- {shown}: JSON lines, {size}, each with {keys}"
    if suffix == ".json" and len(data) <= HEAD_BYTES and (keys := _keys(data)):
        return f"- {shown}: JSON, {size}, {keys}"
    kind = mimetypes.guess_type(name)[0] or ("text" if _is_text(head) else "binary")
    return f"- {shown}: {kind}, {size}"


def _rows(head: bytes, delimiter: str) -> list[list[str]]:
    """Return the first rows; none where it is no table after all."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return []
        text = head[: error.start].decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    if delimiter == "," and first.count(";") > first.count(","):
        delimiter = ";"
    found: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            if row:
                found.append(row)
    except csv.Error:
        return []
    if len(head) == HEAD_BYTES:
        found = found[:-1]  # It may have been cut.
    return found if len(found) > 1 else []


def _count(rows: Sequence[Sequence[str]]) -> str:
    return f"{len(rows) - 1} rows, "


def _table(rows: Sequence[Sequence[str]], *, count: str, size: str) -> str:
    names, body = rows[0], rows[1 : ROWS_READ + 1]
    columns = [
        f"{_cell(name)} ({_kind(row[at] for row in body if at < len(row))})"
        for at, name in enumerate(names[:COLUMNS_SHOWN])
    ]
    more = len(names) - COLUMNS_SHOWN
    columns += [f"and {more} more"] if more > 0 else []
    shown = [", ".join(map(_cell, row[:COLUMNS_SHOWN])) for row in body[:ROWS_SHOWN]]
    first = "\n  ".join((f"first rows of {', '.join(map(_cell, names[:COLUMNS_SHOWN]))}:", *shown))
    return f"table, {count}{size}; columns {', '.join(columns)};\n  {first}"


def _cell(text: str) -> str:
    text = one_line(text.strip())
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}..."


def _kind(cells: Iterable[str]) -> str:
    """Name what all cells that are not empty can be read as."""
    found = [cell.strip() for cell in cells if cell.strip()]
    if not found:
        return "empty"
    for name, read in (("int", int), ("float", float), ("date", datetime.date.fromisoformat)):
        try:
            for cell in found:
                read(cell)
        except ValueError:
            continue
        return name
    return "text"


def _keys(data: bytes) -> str:
    """Say which keys the object in `data` has, or what a list holds; empty if it is neither."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if isinstance(value, dict):
        names = [_cell(name) for name in list(value)[:COLUMNS_SHOWN]]
        return f"keys {', '.join(names)}" if names else "an empty object"
    if isinstance(value, list):
        first = f", the first with {_keys_of(value[0])}" if value else ""
        return f"a list of {len(value)}{first}"
    return ""


def _keys_of(value: object) -> str:
    if not isinstance(value, dict):
        return f"type {type(value).__name__}"
    return f"keys {', '.join(_cell(str(name)) for name in list(value)[:COLUMNS_SHOWN])}"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 4
    return b"\0" not in head

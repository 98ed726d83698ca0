"""Reads JSON of any length in slices, so that other threads have their turn between.

JSON's own decoder keeps the interpreter's lock for as long as it reads: a second for 100 MiB. Here
it is given pieces that take it a millisecond; only what is longer than a piece is read by Python.
"""

import json
from typing import Any

from sandbox.protocol.slices import string_in_slices

AT_ONCE_BYTES = 1 << 18
"""Shorter texts are read at one go."""
WINDOW_BYTES = 1 << 16
COUNTED_BYTES = 1 << 20
VALUES_CAP = 5_000_000
CONTAINERS_CAP = 50_000
"""Lists and objects: each takes 64 bytes or more, and is walked by every full garbage collection,
which keeps the lock as well."""
STRING_CAP_BYTES = 256 * 1024 * 1024
"""Memory of one string: its parts are joined at one go."""
NESTING_CAP = 200
SPACE = b" \t\r\n"


class TooMuch(ValueError):
    """A text that would make more of itself than its reader should hold."""


def read_long_json(data: bytes) -> Any:
    """The value that is all of `data`. Raises ValueError, TooMuch or RecursionError."""
    _count(data)
    if len(data) <= AT_ONCE_BYTES:
        return _loads(data)
    reader = _Reader(data)
    value, end = reader.value(reader.skip_space(0), 0)
    if reader.skip_space(end) != len(data):
        raise ValueError("more follows behind the value")
    return value


def _loads(data: bytes) -> Any:
    # Of bytes alone `json` would guess the encoding: what was counted is UTF-8.
    return json.loads(data.decode("utf-8", "surrogatepass"))


def _count(data: bytes) -> None:
    """Raise TooMuch for too many values or containers; what is inside of strings is not counted."""
    values = containers = 0
    is_inside = False
    rest = b""
    for start in range(0, len(data), COUNTED_BYTES):
        whole = (rest + data[start : start + COUNTED_BYTES]).replace(b"\\\\", b"")
        rest = b"\\" if whole.endswith(b"\\") else b""
        texts = whole.removesuffix(rest).replace(b'\\"', b"").split(b'"')
        outside = b"".join(texts[is_inside::2])
        values += outside.count(b",")
        containers += outside.count(b"[") + outside.count(b"{")
        is_inside ^= len(texts) % 2 == 0
        if values > VALUES_CAP:
            raise TooMuch(f"it has more than {VALUES_CAP} parts; an array holds more")
        if containers > CONTAINERS_CAP:
            raise TooMuch(
                f"it has more than {CONTAINERS_CAP} lists and dicts; an array or a table holds more"
            )


class _Reader:
    """A text of which a window is decoded at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._base = 0
        self._window = ""
        self._scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

    def skip_space(self, at: int) -> int:
        """Where the next character is that is no space."""
        data = self._data
        while at < len(data) and data[at] in SPACE:
            at += 1
        return at

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """The value that begins at `at`, and where it ends."""
        if depth > NESTING_CAP:
            raise ValueError(f"it is nested deeper than {NESTING_CAP}")
        self._look_at(at)
        window_end = self._base + len(self._window)
        try:
            value, end = self._scan(self._window, at - self._base)
            # A number that reaches the window's end may go on behind it.
            if self._base + end < window_end or window_end == len(self._data):
                return value, self._base + end
        except (StopIteration, ValueError):
            if window_end == len(self._data):
                raise ValueError("no JSON") from None
        first = self._data[at]
        if first == ord('"'):
            return self._string(at)
        if first == ord("["):
            return self._list(at, depth)
        if first == ord("{"):
            return self._object(at, depth)
        raise ValueError("no JSON")

    def _look_at(self, at: int) -> None:
        """Have the window hold what follows `at`, half of itself at least."""
        offset = at - self._base
        ahead = len(self._window) - offset
        is_last = self._base + len(self._window) == len(self._data)
        if offset < 0 or ahead <= 0 or (ahead < WINDOW_BYTES // 2 and not is_last):
            self._base = at
            self._window = self._data[at : at + WINDOW_BYTES].decode("ascii")

    def _string(self, at: int) -> tuple[str, int]:
        reading = string_in_slices(self._data, at + 1, STRING_CAP_BYTES)
        try:
            while True:
                next(reading)
        except StopIteration as stop:
            text, end = stop.value
            return text, end

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self.skip_space(at + 1)
        if self._byte(at) == b"]":
            return found, at + 1
        while True:
            plain = self._plain_items(at)
            if plain is not None:
                items, at = plain
                found += items
                continue
            item, at = self.value(self.skip_space(at), depth + 1)
            found.append(item)
            at = self.skip_space(at)
            mark = self._byte(at)
            at += 1
            if mark == b"]":
                return found, at
            if mark != b",":
                raise ValueError("a list without a comma")

    def _plain_items(self, at: int) -> tuple[list[Any], int] | None:
        """A window's worth of numbers and the like, and where the next item begins."""
        part = self._data[at : at + WINDOW_BYTES]
        cut = part.rfind(b",")
        if len(part) < WINDOW_BYTES or cut < 0 or any(mark in part for mark in b'"[]{}'):
            return None
        items = _loads(b"[" + part[:cut] + b"]")
        if not items:
            raise ValueError("a comma without a value")
        return items, at + cut + 1

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self.skip_space(at + 1)
        if self._byte(at) == b"}":
            return found, at + 1
        while True:
            at = self.skip_space(at)
            if self._byte(at) != b'"':
                raise ValueError("a key that is no string")
            key, at = self.value(at, depth + 1)
            at = self.skip_space(at)
            if self._byte(at) != b":":
                raise ValueError("a key without a value")
            found[key], at = self.value(self.skip_space(at + 1), depth + 1)
            at = self.skip_space(at)
            mark = self._byte(at)
            at += 1
            if mark == b"}":
                return found, at
            if mark != b",":
                raise ValueError("an object without a comma")

    def _byte(self, at: int) -> bytes:
        return self._data[at : at + 1]

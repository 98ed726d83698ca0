"""EventDecoder: the bytes of an answer into events, however they are cut.

Server-sent events as endpoints send them (WHATWG HTML, section 9.2.6), and what some send in their
place: a JSON body, one object or one a line.
"""

import json
import re
from typing import Literal, NamedTuple

EVENT_BYTES = 16 * 1024 * 1024
HEAD_BYTES = 200
LINE_END = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"
UNREADABLE = "unreadable"
"""The name of an event whose data is a line that no stream should have."""
Kind = Literal["unknown", "events", "body"]


class ServerEvent(NamedTuple):
    """A block of the stream that has data; `name` is what its `event:` line says."""

    data: str
    name: str = ""


class TooLong(Exception):
    """An event or a body is larger than any answer needs to be."""


class EventDecoder:
    """Bytes in, whole events out. Any split of the bytes gives the same events."""

    def __init__(self, *, cap_bytes: int = EVENT_BYTES) -> None:
        self._cap_bytes = cap_bytes
        self._rest = bytearray()
        self._seen = 0
        self._skips_newline = False
        self._kind: Kind = "unknown"
        self._data: list[bytes] = []
        self._held_bytes = 0
        self._name = ""
        self._head = bytearray()
        self._is_first_line = True

    @property
    def head(self) -> str:
        """The first bytes of the answer, for an error's words."""
        return bytes(self._head).decode("utf-8", "replace")

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Events that `chunk` completes. Raises TooLong before it holds more than the cap."""
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        self._rest += chunk
        found: list[ServerEvent] = []
        at = 0
        if self._skips_newline and self._rest:
            at = int(self._rest.startswith(b"\n"))
            self._skips_newline = False
        while (end := LINE_END.search(self._rest, max(at, self._seen))) is not None:
            self._line(bytes(self._rest[at : end.start()]), found)
            at = self._seen = end.end()
            # A line feed behind this carriage return may be the next chunk's first byte.
            self._skips_newline = end[0] == b"\r" and at == len(self._rest)
        del self._rest[:at]
        self._seen = len(self._rest)
        self._check(len(self._rest))
        return found

    def finish(self) -> list[ServerEvent]:
        """What the end of the answer completes: some endpoints leave out the last empty line."""
        found: list[ServerEvent] = []
        if self._rest:
            self._line(bytes(self._rest), found)
            self._rest.clear()
        self._dispatch(found)
        return found

    def _check(self, more: int) -> None:
        if self._held_bytes + more > self._cap_bytes:
            raise TooLong(f"an event has more than {self._cap_bytes} bytes")

    def _line(self, line: bytes, found: list[ServerEvent]) -> None:
        self._check(len(line))
        if self._is_first_line:
            line = line.removeprefix(BOM)
            self._is_first_line = False
        if self._kind == "unknown" and (start := line.lstrip()[:1]):
            self._kind = "body" if start in b"{[" else "events"
        if self._kind == "body":
            self._body_line(line, found)
        elif not line:
            self._dispatch(found)
        elif line[:1] == b"{":
            # An error that is written into the stream without a field's name.
            self._dispatch(found)
            self._body_line(line, found)
        else:
            self._field(line, found)

    def _field(self, line: bytes, found: list[ServerEvent]) -> None:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.removeprefix(b" ")
        if name == b"data":
            if len(self._data) == 1 and value[:1] in (b"{", b"[") and _is_event(self._data[0]):
                # No empty line in between: each line is an event of its own.
                self._dispatch(found)
            self._keep(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace").strip()
        elif name == b"error":
            # No field of the standard: llama.cpp's server has written its errors so.
            self._dispatch(found)
            found.append(ServerEvent(value.decode("utf-8", "replace"), "error"))
        elif name and name not in (b"id", b"retry"):
            # No field of the standard, so perhaps text where a stream should be.
            found.append(ServerEvent(line.decode("utf-8", "replace"), UNREADABLE))

    def _body_line(self, line: bytes, found: list[ServerEvent]) -> None:
        stripped = line.strip()
        if not self._data and stripped[:1] == b"{" and stripped[-1:] == b"}" and _is_json(stripped):
            found.append(ServerEvent(stripped.decode("utf-8", "replace")))
        elif self._kind == "events":
            found.append(ServerEvent(stripped.decode("utf-8", "replace"), UNREADABLE))
        elif stripped or self._data:
            self._keep(line)

    def _keep(self, value: bytes) -> None:
        self._held_bytes += len(value) + 1
        self._check(0)
        self._data.append(value)

    def _dispatch(self, found: list[ServerEvent]) -> None:
        data = b"\n".join(self._data).decode("utf-8", "replace")
        if data.strip():
            found.append(ServerEvent(data, self._name))
        self._data.clear()
        self._held_bytes = 0
        self._name = ""


def _is_event(text: bytes) -> bool:
    """Whether `text` is complete as it is: an object, or the word for the end."""
    return text.lstrip()[:1] == b"{" and _is_json(text)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

"""What a snippet writes: head and tail in flat memory, the rest counted; text in whole characters.

The guest can write any bytes, and can imitate any mark in its text: what was cut is told by
numbers too (`cut`).
"""

import codecs
from typing import NamedTuple

from sandbox.outcome import StreamCut

Chunk = bytes | bytearray | memoryview

REPLACEMENT = "\ufffd"
LONGEST_CHARACTER = 4
"""Bytes of one character in UTF-8, at most."""


class HeadTailBuffer:
    """Keeps the first and the last bytes of a stream, `kept_bytes` in all.

    Memory stays below twice `kept_bytes` plus one chunk, whatever the size of the chunks.
    """

    def __init__(self, kept_bytes: int) -> None:
        self._head_cap = kept_bytes // 2
        self._tail_cap = kept_bytes - self._head_cap
        self._head = bytearray()
        self._tail = bytearray()
        self._made: tuple[bytes, bytes] | None = None
        """What `_parts` gave, until the next bytes come."""
        self.total = 0
        """Bytes seen."""

    def add(self, chunk: Chunk) -> None:
        """Take the next bytes of the stream."""
        size = len(chunk)
        self.total += size
        self._made = None
        room = self._head_cap - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            if size <= room:
                return
            chunk = chunk[room:]
            size -= room
        if size >= self._tail_cap:
            self._tail = bytearray(chunk[size - self._tail_cap :])
            return
        self._tail += chunk
        # Trimmed only when twice its size, so that each byte is moved once on average.
        if len(self._tail) > 2 * self._tail_cap:
            del self._tail[: len(self._tail) - self._tail_cap]

    @property
    def kept(self) -> int:
        """Bytes that `text` and `raw` give back."""
        head, tail = self._parts()
        return len(head) + len(tail)

    @property
    def dropped(self) -> int:
        """Bytes that were left out."""
        return self.total - self.kept

    @property
    def cut(self) -> StreamCut:
        """The same two numbers as an outcome has them."""
        kept = self.kept
        return StreamCut(kept_bytes=kept, dropped_bytes=self.total - kept)

    @property
    def had_invalid(self) -> bool:
        """Whether `text` has a replacement for kept bytes that are no UTF-8."""
        for part in self._parts():
            try:
                part.decode()
            except UnicodeDecodeError:
                return True
        return False

    def raw(self) -> bytes:
        """The kept bytes, nothing between head and tail."""
        head, tail = self._parts()
        return head + tail

    def text(self) -> str:
        """The kept text, with a line in the middle that says how many bytes were left out."""
        head, tail = self._parts()
        dropped = self.total - len(head) - len(tail)
        if not dropped:
            return (head + tail).decode(errors="replace")
        mark = f"\n... [{dropped} bytes left out] ...\n"
        return head.decode(errors="replace") + mark + tail.decode(errors="replace")

    def _parts(self) -> tuple[bytes, bytes]:
        """Head and tail; the tail empty if nothing was left out, else both in whole characters."""
        if self._made is None:
            del self._tail[: max(0, len(self._tail) - self._tail_cap)]
            if len(self._head) + len(self._tail) == self.total:
                self._made = bytes(self._head + self._tail), b""
            else:
                head, tail = bytes(self._head), bytes(self._tail)
                self._made = _without_half_end(head), _without_half_start(tail)
        return self._made


class Decoded(NamedTuple):
    """The next text of a stream; its bytes too, where it has replacements for some of them."""

    text: str
    raw: bytes | None


class StreamDecoder:
    """Turns chunks into text as they come; a character split by two chunks comes out whole."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""

    def feed(self, chunk: Chunk) -> Decoded:
        """The text that `chunk` completes; may be empty."""
        return self._decoded(bytes(chunk), is_last=False)

    def finish(self) -> Decoded:
        """What is left of an unfinished character, as a replacement; else empty."""
        return self._decoded(b"", is_last=True)

    def _decoded(self, chunk: bytes, *, is_last: bool) -> Decoded:
        text = self._decoder.decode(chunk, final=is_last)
        seen = self._held + chunk
        self._held = self._decoder.getstate()[0]
        if REPLACEMENT not in text:
            return Decoded(text, None)
        data = seen[: len(seen) - len(self._held)]
        return Decoded(text, data if text.encode() != data else None)


def _without_half_end(part: bytes) -> bytes:
    """`part` without the beginning of a character whose rest is missing."""
    for back in range(1, min(LONGEST_CHARACTER, len(part) + 1)):
        byte = part[-back]
        if byte & 0xC0 == 0x80:
            continue
        return part[:-back] if _length(byte) > back else part
    return part


def _without_half_start(part: bytes) -> bytes:
    """`part` without the end of a character whose beginning is missing."""
    start = 0
    while start < min(LONGEST_CHARACTER - 1, len(part)) and part[start] & 0xC0 == 0x80:
        start += 1
    return part[start:]


def _length(lead: int) -> int:
    """Bytes of the character that starts with `lead`; 1 for what starts none."""
    if lead >= 0xF5 or lead < 0xC2:
        return 1
    return 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4

"""Unpacks large messages of a guest in slices, so that what reads them can do other things between.

JSON's own decoder takes a body in one go: 24 MiB of escapes kept a loop for a tenth of a second
and longer. Here the strings are cut out and decoded piece by piece; what is left of the body, its
structure, is small and decoded at the end, with numbers in place of the strings.
"""

import sys
from collections.abc import Generator
from json.decoder import scanstring  # type: ignore[attr-defined]

from sandbox.protocol.codec import (
    QUOTES_CAP,
    STRUCTURE_CAP_BYTES,
    Direction,
    Message,
    MessageError,
    checked,
    decode_object,
    not_json,
    spec_of,
)
from sandbox.protocol.frames import Frame

SLICE_BYTES = 1 << 16
MEMORY_CAP_BYTES = 48 * 1024 * 1024
"""What the strings of one message may take: one wide character makes a text four times as large."""
PAUSE_EVERY = 64
"""Short strings between two pauses."""
LONGEST_ESCAPE = 6
BACKSLASH = ord("\\")
SHORT = 200
"""What a `str` takes beside its characters is not seen from here on."""
HIGH_SURROGATES = range(0xD800, 0xDC00)


class OverRoom(MessageError):
    """A message whose texts take more memory than there is for them."""


def unpack_in_slices(
    direction: Direction, frame: Frame, memory_cap_bytes: int = MEMORY_CAP_BYTES
) -> Generator[None, None, Message]:
    """The message in `frame`, as `unpack` gives it; a pause where it has taken a while.

    A body that is a `bytearray` is used up: what was read of it is given back at once.
    """
    spec = spec_of(direction, frame.kind)
    try:
        raw = yield from _object(frame.body, min(memory_cap_bytes, MEMORY_CAP_BYTES))
    except MessageError:
        raise
    except (ValueError, RecursionError) as error:
        raise not_json(spec, error) from None
    return checked(spec, raw)


def _object(body: bytes | bytearray, memory_cap_bytes: int) -> Generator[None, None, object]:
    outside: list[str] = []
    outside_bytes = 0
    strings: list[str] = []
    memory_bytes = 0
    position = 0
    while (quote := body.find(b'"', position)) >= 0:
        outside.append(body[position:quote].decode("ascii"))
        outside_bytes += quote - position
        if outside_bytes > STRUCTURE_CAP_BYTES or 2 * len(strings) >= QUOTES_CAP:
            raise ValueError("too much structure")
        text, position = yield from string_in_slices(
            body, quote + 1, memory_cap_bytes - memory_bytes
        )
        memory_bytes += len(text) * _width(text)
        outside.append(f'"{len(strings)}"')
        strings.append(text)
        if len(strings) % PAUSE_EVERY == 0:
            yield
    if len(body) - position > STRUCTURE_CAP_BYTES:
        raise ValueError("too much structure")
    outside.append(body[position:].decode("ascii"))
    return _with_strings(decode_object("".join(outside)), strings)


def string_in_slices(
    body: bytes | bytearray, start: int, memory_cap_bytes: int
) -> Generator[None, None, tuple[str, int]]:
    """The string whose content begins at `start`, and where the body goes on behind it."""
    pieces: list[str] = []
    characters = 0
    width = 1
    while True:
        end = _safe_end(body, start)
        is_last = end == len(body)
        piece = body[start:end].decode("ascii") + ("" if is_last else '"')
        text, used = scanstring(piece, 0, True)
        characters += len(text)
        width = max(width, _width(text))
        if characters * width > memory_cap_bytes:
            raise OverRoom("a message of a guest takes more memory than it may")
        pieces.append(text)
        if is_last or used < len(piece):
            if type(body) is bytearray and len(pieces) > 1:
                del body[: start + used]
                return "".join(pieces), 0
            return "".join(pieces), start + used
        start = end
        if type(body) is bytearray:
            del body[:start]
            start = 0
        yield


def _safe_end(body: bytes | bytearray, start: int) -> int:
    """Where a slice from `start` ends, without an escape or a pair of them cut in two."""
    end = start + SLICE_BYTES
    if end >= len(body):
        return len(body)
    part = bytes(body[start:end])
    for index in range(len(part) - 1, len(part) - LONGEST_ESCAPE, -1):
        if part[index] == BACKSLASH:
            is_short = part[index + 1 : index + 2] not in (b"", b"u")
            length = 2 if is_short else LONGEST_ESCAPE
            if _is_escape(part[:index]) and index + length > len(part):
                part = part[:index]
            break
    last = part[-LONGEST_ESCAPE:]
    if last[:2] == b"\\u" and _is_escape(part[:-LONGEST_ESCAPE]) and _is_high(last[2:]):
        part = part[:-LONGEST_ESCAPE]  # The other half of the character may follow.
    return start + len(part)


def _is_escape(before: bytes) -> bool:
    """Whether a backslash behind `before` begins an escape, and is not the end of one."""
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0


def _is_high(digits: bytes) -> bool:
    try:
        return int(digits, 16) in HIGH_SURROGATES
    except ValueError:
        return False


def _width(text: str) -> int:
    """Bytes that each character of `text` takes, at most."""
    if text.isascii():
        return 1
    return 4 if len(text) < SHORT else sys.getsizeof(text) // len(text)


def _with_strings(value: object, strings: list[str]) -> object:
    if isinstance(value, str):
        return strings[int(value)]
    if isinstance(value, list):
        return [_with_strings(item, strings) for item in value]
    if isinstance(value, dict):
        return {strings[int(key)]: _with_strings(item, strings) for key, item in value.items()}
    return value

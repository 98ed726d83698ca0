"""Length-prefixed frames: bytes in, frames out, no I/O.

A frame is a kind (1 byte), a body length (4 bytes, big endian) and the body. Both sides use
this module; neither believes the other: the length is checked before anything is buffered.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

HEADER = struct.Struct("!BI")
ADMITTED_BYTES = 1 << 16
"""Bodies up to this size need no room that is counted."""
COPIED_BYTES = 1 << 20
"""Bodies up to this size are copied out of the buffer."""


class FrameError(ValueError):
    """The bytes are no frame that the receiver accepts: the channel is of no further use."""


class Frame(NamedTuple):
    kind: int
    body: bytes | bytearray


def encode(kind: int, body: bytes) -> bytes:
    """The bytes of one frame."""
    # Not `len`: a snippet may have replaced the built-in function.
    return HEADER.pack(kind, body.__len__()) + body


class FrameReader:
    """Cuts a byte stream into frames, whatever way the stream is split."""

    def __init__(
        self,
        cap_bytes: int,
        cap_of: Callable[[int], int] | None = None,
        admit: Callable[[int], bool] | None = None,
    ) -> None:
        """`cap_of` gives the cap of a kind at the time when a frame of it begins.

        `admit` says whether there is room for a frame of so many bytes, if it has more than
        `ADMITTED_BYTES`; until then it waits.
        """
        self._buffer = bytearray()
        self._cap_bytes = cap_bytes
        self._cap_of = cap_of
        self._admit = admit
        self.is_waiting = False
        """Whether the next frame has no room yet: `feed` tries again."""
        self._is_begun = False
        """Whether the cap of the frame that the buffer begins with was looked at."""

    @property
    def is_mid_frame(self) -> bool:
        """Whether bytes of an unfinished frame are held."""
        return bool(self._buffer)

    @property
    def missing_bytes(self) -> int:
        """How much is to come of the frame that has begun; 0 before its header is whole."""
        if not self._is_begun:
            return 0
        _kind, length = HEADER.unpack_from(self._buffer)
        return HEADER.size + int(length) - len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that `data` completes. Raises FrameError for a header that claims too much.

        Frames before such a header are given first: the call after that one raises, with or
        without more data.
        """
        self.is_waiting = False
        if not self._buffer and len(data) >= HEADER.size:
            # Most often one frame comes by itself and whole: nothing of it is held back.
            kind, length = HEADER.unpack_from(data)
            is_whole = HEADER.size + length == len(data)
            if is_whole and length <= ADMITTED_BYTES and length <= self._cap(kind):
                return [Frame(kind, data[HEADER.size :])]
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer, start)
            if not self._is_begun and length > self._cap(kind):
                if frames:
                    break
                raise FrameError(
                    f"frame {kind} claims {length} bytes, the cap is {self._cap(kind)}"
                )
            if not self._is_begun and not self._has_room(length):
                self.is_waiting = True
                break
            end = start + HEADER.size + length
            self._is_begun = len(self._buffer) < end
            if self._is_begun:
                break
            if length > COPIED_BYTES and not start:
                frames.append(self._handed_over(kind, end))
                continue
            frames.append(Frame(kind, bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return frames

    def _has_room(self, length: int) -> bool:
        return length <= ADMITTED_BYTES or self._admit is None or self._admit(length)

    def _cap(self, kind: int) -> int:
        return self._cap_bytes if self._cap_of is None else self._cap_of(kind)

    def _handed_over(self, kind: int, end: int) -> Frame:
        """The first frame, whose body is the buffer itself: a copy of a large one takes long."""
        body, self._buffer = self._buffer, self._buffer[end:]
        del body[end:]
        del body[: HEADER.size]
        return Frame(kind, body)

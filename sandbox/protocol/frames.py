"""Length-prefixed frames: bytes in, frames out, no I/O.

A frame is a kind (1 byte), a body length (4 bytes, big endian) and the body. Both sides use
this module; neither believes the other: the length is checked before anything is buffered.
"""

import struct
from typing import NamedTuple

HEADER = struct.Struct("!BI")


class FrameError(ValueError):
    """The bytes are no frame that the receiver accepts: the channel is of no further use."""


class Frame(NamedTuple):
    kind: int
    body: bytes


def encode(kind: int, body: bytes) -> bytes:
    """The bytes of one frame."""
    return HEADER.pack(kind, len(body)) + body


class FrameReader:
    """Cuts a byte stream into frames, whatever way the stream is split."""

    def __init__(self, cap_bytes: int) -> None:
        self._buffer = bytearray()
        self._cap_bytes = cap_bytes

    @property
    def is_mid_frame(self) -> bool:
        """Whether bytes of an unfinished frame are held."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that `data` completes. Raises FrameError for a header that claims too much.

        Frames before such a header are given first: the call after that one raises, with or
        without more data.
        """
        if not self._buffer and len(data) >= HEADER.size:
            # Most often one frame comes by itself and whole: nothing of it is held back.
            kind, length = HEADER.unpack_from(data)
            if HEADER.size + length == len(data) and length <= self._cap_bytes:
                return [Frame(kind, data[HEADER.size :])]
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer, start)
            if length > self._cap_bytes:
                if frames:
                    break
                raise FrameError(
                    f"frame {kind} claims {length} bytes, the cap is {self._cap_bytes}"
                )
            end = start + HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append(Frame(kind, bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return frames

"""Blocking message channel over a stream socket, with descriptors: how guest processes talk.

The host reads its own ends without blocking, in `sandbox/processes/host_channel.py`.
"""

import _socket
import os
import socket
from array import array
from collections.abc import Sequence

from sandbox.protocol.frames import Frame, FrameReader
from sandbox.protocol.messages import Direction, Message, pack, unpack

CHUNK_BYTES = 1 << 16
DESCRIPTORS_CAP = 16
RIGHTS_BYTES = socket.CMSG_LEN(DESCRIPTORS_CAP * array("i").itemsize)


class ChannelClosed(EOFError):
    """The other side is gone."""


class GuestChannel:
    """One end of a channel, used by a single thread."""

    def __init__(self, fd: int, incoming: Direction, cap_bytes: int) -> None:
        # The class below `socket.socket`: a fork that makes one touches half as many pages.
        self._socket = _socket.socket(fileno=fd)
        self._incoming: Direction = incoming
        self._reader = FrameReader(cap_bytes)
        self._frames: list[Frame] = []
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Write `message` whole; `descriptors` go with its first byte."""
        self.send_frame(pack(message), descriptors)

    def send_frame(self, frame: bytes, descriptors: Sequence[int] = ()) -> None:
        """Write a message that is packed already, as `send` does."""
        data = memoryview(frame)
        if descriptors:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
            data = data[self._socket.sendmsg([data], [rights]) :]
        if data:
            # Not even of nothing: the other side may have taken all it needs and be gone.
            self._socket.sendall(data)

    def receive(self) -> Message:
        """The next message; waits for it. Raises ChannelClosed at the end of the stream."""
        while not self._frames:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                CHUNK_BYTES, RIGHTS_BYTES, _socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array("i")
                    numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                    self._descriptors += numbers
            if not data:
                raise ChannelClosed
            self._frames += self._reader.feed(data)
        return unpack(self._incoming, self._frames.pop(0))

    @property
    def has_more(self) -> bool:
        """Whether `receive` has a message already, so that a poll would wait in vain."""
        return bool(self._frames)

    def take_descriptors(self, count: int) -> list[int]:
        """The `count` oldest descriptors that came with messages and were not taken yet."""
        if len(self._descriptors) < count:
            raise ValueError(f"{count} descriptors expected, {len(self._descriptors)} came")
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def drop_descriptors(self) -> None:
        """Close every descriptor that came and was not taken."""
        for fd in self._descriptors:
            os.close(fd)
        self._descriptors.clear()

    def close(self) -> None:
        """Close this end; the channel is over once every copy of it is closed."""
        self._socket.close()

"""The host's end of a channel: frames in and out of a socket without ever blocking the loop."""

import array
import asyncio
import os
import socket
import struct
from collections.abc import Callable

from sandbox.protocol.frames import FrameError, FrameReader
from sandbox.protocol.messages import Direction, Message, MessageError, pack, unpack

READ_BYTES = 1 << 16
"""From 128 KiB on the C library would map and unmap memory for each read: mallopt(3)."""
DESCRIPTORS_CAP = 16
_CREDENTIALS = struct.Struct("iII")


class HostChannel:
    """A non-blocking channel whose messages go to a callback, in order.

    `on_message` gets each message; `on_end` is called once, with None when the other side closed
    and with the fault when it sent what no trusted reader may act on. With `trusted` the channel
    takes descriptors and the sender's pid from the kernel; a hostile side gets neither.
    """

    def __init__(
        self,
        end: socket.socket,
        incoming: Direction,
        cap_bytes: int,
        *,
        on_message: Callable[[Message], None],
        on_end: Callable[[str | None], None],
        trusted: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = end
        self._incoming: Direction = incoming
        self._reader = FrameReader(cap_bytes)
        self._on_message = on_message
        self._on_end = on_end
        self._unsent: list[memoryview] = []
        self._trusted = trusted
        self._is_open = True
        self.descriptors: list[int] = []
        self.sender_pid: int | None = None
        end.setblocking(False)
        if trusted:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._loop.add_reader(end.fileno(), self._on_readable)

    @property
    def is_open(self) -> bool:
        return self._is_open

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Queue `message`; write at once what the socket takes. Nothing happens once closed."""
        if not self._is_open:
            return
        data = memoryview(pack(message))
        if not self._unsent:
            data = data[self._write(data, descriptors) :]
        elif descriptors:
            raise BlockingIOError("descriptors cannot wait behind unsent messages")
        if data:
            if not self._unsent:
                self._loop.add_writer(self._socket.fileno(), self._on_writable)
            self._unsent.append(data)

    def fileno(self) -> int:
        return self._socket.fileno()

    def take_descriptors(self, count: int) -> list[int]:
        """The `count` oldest descriptors that came; they are the caller's to close."""
        taken, self.descriptors = self.descriptors[:count], self.descriptors[count:]
        return taken

    def close(self) -> None:
        """Stop and close. `on_end` is not called."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket.fileno())
            if self._unsent:
                self._loop.remove_writer(self._socket.fileno())
                self._unsent.clear()
            self._socket.close()
            for fd in self.descriptors:
                os.close(fd)
            self.descriptors.clear()

    def read_now(self) -> None:
        """Take in what has arrived, without waiting for the loop to say so."""
        if self._is_open:
            self._on_readable()

    def _write(self, data: memoryview, descriptors: tuple[int, ...] = ()) -> int:
        try:
            if descriptors:
                return socket.send_fds(self._socket, [data], list(descriptors))
            return self._socket.send(data)
        except BlockingIOError:
            if descriptors:
                raise
            return 0
        except (BrokenPipeError, ConnectionResetError):
            # The reader learns of the end in its own time, and only once.
            return len(data)

    def _on_writable(self) -> None:
        while self._unsent:
            sent = self._write(self._unsent[0])
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
                return
            self._unsent.pop(0)
        self._loop.remove_writer(self._socket.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._receive_trusted() if self._trusted else self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._end(None)
            return
        try:
            frames = self._reader.feed(data)
            while frames:
                for frame in frames:
                    if self._is_open:
                        self._on_message(unpack(self._incoming, frame))
                # A fault behind these frames is told now, however they were split.
                frames = self._reader.feed(b"") if self._reader.is_mid_frame else []
        except (FrameError, MessageError) as fault:
            self._end(str(fault))

    def _receive_trusted(self) -> bytes:
        space = socket.CMSG_LEN(DESCRIPTORS_CAP * 4) + socket.CMSG_LEN(_CREDENTIALS.size)
        data, ancillary, _flags, _address = self._socket.recvmsg(
            READ_BYTES, space, socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self.descriptors += numbers
            elif kind == socket.SCM_CREDENTIALS:
                self.sender_pid = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
        return data

    def _end(self, fault: str | None) -> None:
        if self._is_open:
            self.close()
            self._on_end(fault)

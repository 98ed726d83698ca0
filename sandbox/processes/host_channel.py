"""The host's end of a channel: frames in and out of a socket without ever blocking the loop."""

import array
import asyncio
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Generator

from sandbox.protocol.frames import ADMITTED_BYTES, Frame, FrameError, FrameReader
from sandbox.protocol.messages import Direction, Message, MessageError, pack, unpack
from sandbox.protocol.slices import MEMORY_CAP_BYTES, SLICE_BYTES, OverRoom, unpack_in_slices

READ_BYTES = 1 << 16
"""From 128 KiB on the C library would map and unmap memory for each read: mallopt(3)."""
SHORT_READ_BYTES = 1 << 14
"""Where no long frame has begun: 64 KiB may be thousands of short ones."""
TURN_S = 0.002
"""How long one channel keeps the loop from the others before they have their turn."""
DESCRIPTORS_CAP = 16
_CREDENTIALS = struct.Struct("iII")
HELD_CAP_BYTES = 15 * 1024 * 1024
"""For all of a session together. Beside it are what the outcome keeps, and buffers that are small:
64 KiB of each channel, and half of `kept_bytes` for each stream."""


class HeldMemory:
    """Counts what one session has the host hold: long messages, arguments of calls."""

    def __init__(self, cap_bytes: int = HELD_CAP_BYTES) -> None:
        self.cap_bytes = cap_bytes
        self.bytes = 0
        self.peak_bytes = 0
        self._waiting: list[Callable[[], None]] = []

    def take(self, count: int) -> bool:
        """Take `count` bytes; False if there are not so many."""
        if self.bytes + count > self.cap_bytes:
            return False
        self.bytes += count
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        return True

    def give_back(self, count: int) -> None:
        """Give `count` bytes back; what waits for some tries again in the next turn of the loop."""
        if not count:
            return
        self.bytes -= count
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            asyncio.get_running_loop().call_soon(callback)

    def call_when_given(self, callback: Callable[[], None]) -> None:
        """Call back once, after some were given back."""
        if callback not in self._waiting:
            self._waiting.append(callback)


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
        cap_of: Callable[[int], int] | None = None,
        on_message: Callable[[Message], None],
        on_end: Callable[[str | None], None],
        trusted: bool = False,
        held: HeldMemory | None = None,
        room: Callable[[], int] | None = None,
        listens: bool = True,
    ) -> None:
        """`held` counts long frames; one for which it has no place waits in the socket.

        `room` says how much memory the texts of a large message may take, see `over_room`. Where
        it does not listen, nothing is read before `read_now` or `listen`.
        """
        self._held = held
        self._held_bytes = 0
        self._room = room
        self.over_room: Callable[[], None] | None = None
        """Called in place of a large message whose texts take more than `room`."""
        self._loop = asyncio.get_running_loop()
        self._socket = end
        self._incoming: Direction = incoming
        self._reader = FrameReader(cap_bytes, cap_of, self._admit if held is not None else None)
        self._on_message = on_message
        self._on_end = on_end
        self._unsent: list[memoryview] = []
        self._trusted = trusted
        self._frames: deque[Frame] = deque()
        self._unpacking: Generator[None, None, Message] | None = None
        """A large message of which slices have been read."""
        self._unpacked_bytes = 0
        """How long its frame was, as `held` counts it; 0 for a short one."""
        self._is_paused = False
        self._is_open = True
        self.descriptors: list[int] = []
        self.sender_pid: int | None = None
        end.setblocking(False)
        if trusted:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._listens = False
        if listens:
            self.listen()

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

    @property
    def unsent_bytes(self) -> int:
        """What waits for the other side to read."""
        return sum(map(len, self._unsent))

    def take_descriptors(self, count: int) -> list[int]:
        """The `count` oldest descriptors that came; they are the caller's to close."""
        taken, self.descriptors = self.descriptors[:count], self.descriptors[count:]
        return taken

    def close(self) -> None:
        """Stop and close. `on_end` is not called."""
        if self._is_open:
            self._is_open = False
            if self._listens:
                self._loop.remove_reader(self._socket.fileno())
            if self._unsent:
                self._loop.remove_writer(self._socket.fileno())
                self._unsent.clear()
            self._socket.close()
            for fd in self.descriptors:
                os.close(fd)
            self.descriptors.clear()
            self._reader = FrameReader(0)  # What it holds of a frame is given back.
            self._frames.clear()
            self._unpacking = None
            self._give_back(self._held_bytes)

    def listen(self) -> None:
        """Read what comes from now on as it comes."""
        if self._is_open and not self._listens:
            self._listens = True
            self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def read_now(self) -> None:
        """Take in what has arrived, without waiting for the loop to say so."""
        if self._is_open and not self._is_paused:
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
            data = self._receive_trusted() if self._trusted else self._receive()
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._end(None)
            return
        try:
            frames = self._reader.feed(data)
            if len(frames) == 1 and self._is_all(frames[0]):
                self._on_message(unpack(self._incoming, frames[0]))
                return
        except (FrameError, MessageError) as fault:
            self._end(str(fault))
            return
        self._frames += frames
        self._work()

    def _is_all(self, frame: Frame) -> bool:
        """Whether a short `frame`, as most are, is all that has come: it is told at once."""
        is_behind_others = self._frames or self._unpacking is not None or self._is_paused
        if is_behind_others or self._reader.is_mid_frame:
            return False
        return len(frame.body) <= SLICE_BYTES

    def _work(self) -> None:
        """Tell what has come, for a moment; the rest in the next turn of the loop.

        Meanwhile nothing more is read: the other side waits, and not this one's memory.
        """
        until = time.monotonic() + TURN_S
        try:
            while self._is_open and self._has_work():
                self._take_one()
                if time.monotonic() > until:
                    break
            self._pause_reading(self._has_work())
            if self._reader.is_waiting and self._held is not None and self._is_open:
                self._stop_reading()
                self._held.call_when_given(self._work)
        except (FrameError, MessageError) as fault:
            self._end(str(fault))

    def _take_one(self) -> None:
        """Tell the next message, or read a slice of it; give back what it took when it is told."""
        frame_bytes = len(self._frames[0].body) if self._unpacking is None else 0
        if frame_bytes > ADMITTED_BYTES:
            self._unpacked_bytes = frame_bytes
        try:
            message = self._next_message()
        except OverRoom:
            self._unpacking = None
            if self.over_room is None:
                raise
            self.over_room()
        else:
            if message is None:
                return
            self._on_message(message)
        counted, self._unpacked_bytes = self._unpacked_bytes, 0
        if self._is_open:
            self._give_back(counted)

    def _admit(self, length: int) -> bool:
        if self._held is None or length <= ADMITTED_BYTES:
            return True
        if not self._held.take(length):
            return False
        self._held_bytes += length
        return True

    def _give_back(self, count: int) -> None:
        if self._held is not None:
            self._held_bytes -= count
            self._held.give_back(count)

    def _has_work(self) -> bool:
        if self._frames or self._unpacking is not None:
            return True
        if self._reader.is_mid_frame:
            # A fault behind the frames before it is told now, however they were split.
            self._frames += self._reader.feed(b"")
        return bool(self._frames)

    def _next_message(self) -> Message | None:
        """The next message; None after a slice of one that is large."""
        if self._unpacking is None:
            frame = self._frames.popleft()
            if self._trusted or len(frame.body) <= SLICE_BYTES:
                return unpack(self._incoming, frame)
            room = self._room() if self._room is not None else MEMORY_CAP_BYTES
            self._unpacking = unpack_in_slices(self._incoming, frame, room)
        try:
            next(self._unpacking)
        except StopIteration as stop:
            self._unpacking = None
            message: Message = stop.value
            return message
        return None

    def _pause_reading(self, pauses: bool) -> None:
        if not self._is_open:
            return
        if pauses:
            self._loop.call_soon(self._work)
            self._stop_reading()
        elif self._is_paused:
            self._is_paused = False
            self.listen()

    def _stop_reading(self) -> None:
        if not self._is_paused:
            self._loop.remove_reader(self._socket.fileno())
            self._listens = False
            self._is_paused = True

    def _receive(self) -> bytes:
        is_long = self._reader.missing_bytes > SHORT_READ_BYTES
        return self._socket.recv(READ_BYTES if is_long else SHORT_READ_BYTES)

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

"""A process that runs guest code, as the host hears it: its channel and its output pipes.

The session process is one, and so is each copy of it that waits: a standby, a checkpoint, a
branch on its way. All that such a process says may be forged: its pid is of use to the init of
its own session alone, and is taken once.
"""

import asyncio
import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Callable

from sandbox.errors import CopyRefused, GuestFault
from sandbox.processes.host_channel import HeldMemory, HostChannel
from sandbox.protocol.codec import SPECS
from sandbox.protocol.messages import (
    TO_HOST_CAP_BYTES,
    AttemptCounts,
    Attempted,
    CopyReady,
    CopyResult,
    Denied,
    Measured,
    Message,
)

PIPE_BYTES = 1 << 18
IDLE_CAP_BYTES = 1 << 16
"""Longest frame of a process that was not asked for more: an idle one has the host hold no more."""
COPY_CAP_BYTES = 1 << 13
"""Longest frame of a copy that waits: it has a word to say, and there may be very many."""
LEAST_ROOM_BYTES = 6 * 1024 * 1024
"""What the texts of a message may always take: no end of a snippet has more."""
CAPS_BYTES = {
    SPECS[CopyReady].kind: 64,
    SPECS[CopyResult].kind: 1 << 15,
    SPECS[Measured].kind: 1 << 10,
    SPECS[Denied].kind: 1 << 16,
    SPECS[Attempted].kind: 1 << 17,
    SPECS[AttemptCounts].kind: 1 << 14,
}
"""Longest frames of kinds that are always short; others may be as long as any."""


class GuestProcess:
    """One process behind a guest channel. A copy waits until it becomes the session process."""

    def __init__(
        self,
        end: socket.socket,
        *,
        on_message: Callable[[Message], None],
        on_end: Callable[[str | None], None],
        held: HeldMemory | None = None,
        listens: bool = True,
    ) -> None:
        """The callbacks get what the session process says; of a copy they hear nothing.

        A copy whose word is asked for, if ever, by `read_now` need not be listened to before it
        becomes the session process.
        """
        self.pid = 0
        """As its pid namespace numbers it; 0 until init or the process itself has said so."""
        self.refusal = ""
        """Why the copy that was to wait on this channel was not made, if that was said."""
        self.runs_snippet = False
        """Whether it may say as much as a snippet may show."""
        self.room: Callable[[], int] | None = None
        """What the texts of a message may take in memory; `LEAST_ROOM_BYTES` where it is None."""
        self._is_copy = True
        self._answer: asyncio.Future[Message] | None = None
        self._is_ready_or_over = asyncio.Event()
        self._exited = asyncio.Event()
        self._on_message = on_message
        self._on_end = on_end
        self._channel = HostChannel(
            end,
            "from_guest",
            TO_HOST_CAP_BYTES,
            on_message=self._hear,
            on_end=self._hear_end,
            cap_of=self._cap_of,
            held=held,
            room=lambda: self.room() if self.room is not None else LEAST_ROOM_BYTES,
            listens=listens,
        )

    @property
    def is_open(self) -> bool:
        return self._channel.is_open

    @property
    def unsent_bytes(self) -> int:
        """What waits for the process to read."""
        return self._channel.unsent_bytes

    def make_room(self, room: Callable[[], int] | None, over: Callable[[], None] | None) -> None:
        """Let messages have texts of `room()` bytes; `over` is called in place of a larger one."""
        self.room = room
        self._channel.over_room = over

    def become_session(self, pid: int) -> None:
        """Become the session process, whose number is `pid`."""
        self.pid = pid
        self._is_copy = False
        self._channel.listen()

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Queue `message`; nothing happens once the channel is closed."""
        self._channel.send(message, descriptors)

    def read_now(self) -> None:
        """Take in what has arrived, without waiting for the loop to say so."""
        self._channel.read_now()

    async def ask(
        self, question: Message, descriptors: tuple[int, ...] = (), *, within_s: float
    ) -> Message:
        """The next message after `question`. Raises TimeoutError, or GuestFault at its end."""
        if not self.is_open:
            raise GuestFault("its channel was closed before")
        self._answer = asyncio.get_running_loop().create_future()
        self.send(question, descriptors)
        try:
            async with asyncio.timeout(within_s):
                return await self._answer
        finally:
            self._answer = None

    async def pid_when_ready(self, within_s: float) -> int:
        """The pid that a copy gave, once it waits. Raises CopyRefused or TimeoutError."""
        async with asyncio.timeout(within_s):
            await self._is_ready_or_over.wait()
        if not self.pid:
            raise CopyRefused(self.refusal or "the copy ended at once")
        return self.pid

    async def exited(self) -> None:
        """Wait until init has reported the end of the process, or is gone itself."""
        await self._exited.wait()

    @property
    def has_exited(self) -> bool:
        return self._exited.is_set()

    def note_exit(self) -> None:
        """Wake the tasks that wait in `exited`."""
        self._exited.set()

    def close(self) -> None:
        """Close the channel; the process ends by that when it has nothing else to do."""
        self._channel.close()
        self._give_up(None)

    def fileno(self) -> int:
        return self._channel.fileno()

    def _cap_of(self, kind: int) -> int:
        cap = CAPS_BYTES.get(kind, TO_HOST_CAP_BYTES)
        is_asked = self.runs_snippet or self._answer is not None
        if self._is_copy:
            return min(cap, COPY_CAP_BYTES)
        return cap if is_asked else min(cap, IDLE_CAP_BYTES)

    def _hear(self, message: Message) -> None:
        if isinstance(message, CopyReady) and not self.pid:
            self.pid = message.pid
            self._is_ready_or_over.set()
        elif isinstance(message, CopyResult) and self._is_copy:
            self.refusal = message.refusal
            self.close()
        elif self._answer is not None:
            if not self._answer.done():
                self._answer.set_result(message)
        elif self._is_copy:
            self.close()  # A copy that waits has nothing to say: it is of no more use.
        else:
            self._on_message(message)

    def _hear_end(self, fault: str | None) -> None:
        self._give_up(fault)
        if not self._is_copy:
            self._on_end(fault)

    def _give_up(self, fault: str | None) -> None:
        """Wake the tasks that wait for a message of it."""
        self._is_ready_or_over.set()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(GuestFault(fault or "a copy of the session ended"))


class OutputPipes:
    """Pipes for what a session's processes write; the host reads without ever waiting."""

    def __init__(self) -> None:
        self.stdout, self.stdout_write = _pipe()
        self.stderr, self.stderr_write = _pipe()
        """The write ends are for the processes, and closed by the code that hands them over."""
        self._poll = select.poll()
        self._poll.register(self.stdout, select.POLLIN)
        self._poll.register(self.stderr, select.POLLIN)

    @property
    def is_open(self) -> bool:
        return self.stdout >= 0

    def unread(self) -> list[int]:
        """Those of `stdout` and `stderr` that have something to be read; none once closed."""
        if not self.is_open:
            return []
        return [fd for fd, _events in self._poll.poll(0)]

    def close(self) -> None:
        """Close the read ends; once is enough."""
        if self.is_open:
            loop = asyncio.get_running_loop()
            for fd in (self.stdout, self.stderr):
                loop.remove_reader(fd)
                os.close(fd)
            self.stdout = self.stderr = -1


def _pipe() -> tuple[int, int]:
    """A pipe whose read end, the host's, does not block."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with contextlib.suppress(PermissionError):
        # Past the user's share of pipe memory the default size stays; only speed suffers.
        fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write

"""A session's init, as the kernel shows it to the host, and the kills that it was asked for."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from sandbox.protocol.messages import Killed


class InitProcess:
    """The first process of a session, held by a descriptor (pidfd), which no other can become."""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self.pid = 0
        """Host pid; 0 until `watch`."""
        self._pidfd = -1
        self._gone = asyncio.Event()
        self._was_killed = False
        self._on_gone = on_gone

    @property
    def is_known(self) -> bool:
        """Whether there is one that has not been given back."""
        return self._pidfd >= 0

    def watch(self, pidfd: int) -> None:
        """Hold the process behind `pidfd` from now on."""
        self._pidfd = pidfd
        self.pid = _pid_of(pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._on_readable)

    def kill(self) -> None:
        """SIGKILL to it, if it is there; once is enough. Does not wait."""
        if self._pidfd >= 0 and not self._was_killed:
            self._was_killed = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def gone(self, within_s: float) -> bool:
        """Wait until it has ended; whether that was so in time."""
        if self._pidfd < 0:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._gone.wait()
        except TimeoutError:
            return False
        return True

    def fileno(self) -> int:
        return self._pidfd

    def close(self) -> None:
        """Give the descriptor back; once is enough."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_readable(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._gone.set()
        self._on_gone()


class Kills:
    """Kills that init was asked for, until it has reported all of them."""

    def __init__(self) -> None:
        self.gone_copies: set[int] = set()
        """Pids of copies that were to be spared and had been killed by the guest itself."""
        self._asked = 0
        self._is_over = asyncio.Event()

    def note_asked(self) -> None:
        """Count one more that was asked for."""
        if not self._asked:
            self.gone_copies.clear()
        self._asked += 1
        self._is_over.clear()

    def note_killed(self, message: Killed) -> None:
        """Count one that was done."""
        self._asked -= 1
        self.gone_copies.update(message.gone)
        if not self._asked:
            self._is_over.set()

    def give_up(self) -> None:
        """Wake the tasks that wait: init is gone."""
        self._is_over.set()

    async def over(self) -> None:
        """Wait until every kill was done."""
        await self._is_over.wait()


def _pid_of(pidfd: int) -> int:
    """The number of a process, as this one sees it; 0 if it has ended. Source: pidfd_open(2)."""
    fd = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = os.read(fd, 4096)
    finally:
        os.close(fd)
    number = told.partition(b"\nPid:")[2].split(None, 1)
    return max(0, int(number[0])) if number else 0

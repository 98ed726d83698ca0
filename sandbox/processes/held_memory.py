"""Counts what one session has the host hold in memory: long messages, arguments of calls."""

import asyncio
from collections.abc import Callable

HELD_CAP_BYTES = 15 * 1024 * 1024
"""For all of a session together. Beside it are what the outcome keeps, and buffers that are small:
64 KiB of each channel, and half of `kept_bytes` for each stream."""
UNCOUNTED_BYTES = 1 << 16


class HeldMemory:
    """A number of bytes, of which some are taken and given back."""

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

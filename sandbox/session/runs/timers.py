"""Timers by name: at most one of each runs."""

import asyncio
from collections.abc import Callable


class Timers:
    """Callbacks of the running loop that are due later, until they are cancelled."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def start(self, name: str, delay_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `delay_s` seconds, and what was started as `name` before no more."""
        before = self._handles.get(name)
        if before is not None:
            before.cancel()
        self._handles[name] = self._loop.call_later(delay_s, callback)

    def stop(self, name: str) -> None:
        """Stop the one that was started as `name`, if it runs."""
        before = self._handles.pop(name, None)
        if before is not None:
            before.cancel()

    def cancel(self) -> None:
        """Stop all of them."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

"""Timers by name: at most one of each runs."""

import asyncio
from collections.abc import Callable


class Timers:
    """Callbacks of the running loop that are due later, until they are cancelled."""

    def __init__(self) -> None:
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def start(self, name: str, delay_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `delay_s` seconds, and what was started as `name` before no more."""
        before = self._handles.get(name)
        if before is not None:
            before.cancel()
        loop = asyncio.get_running_loop()
        self._handles[name] = loop.call_later(delay_s, callback)

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


class Alarm:
    """One call in a while, set for every snippet and most often put off before it is due.

    That is cheap: the loop's own timer is left alone, and looks when it rings what is due by then.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._callback: Callable[[], None] | None = None
        self._due = self._rings = 0.0

    def set(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `delay_s` seconds, and what it was set for before no more."""
        self._due, self._callback = self._loop.time() + delay_s, callback
        if self._handle is not None and self._rings > self._due:
            self._handle.cancel()
            self._handle = None
        if self._handle is None:
            self._start()

    def put_off(self) -> None:
        """Call nothing."""
        self._callback = None

    def close(self) -> None:
        """Call nothing, and stop the loop's timer."""
        self._callback = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        callback = self._callback
        if callback is None:
            return
        if self._due > self._loop.time():
            self._start()
        else:
            self._callback = None
            callback()

    def _start(self) -> None:
        # Not the handle's own `when`: uvloop's has none where the time has come already.
        self._rings = self._due
        self._handle = self._loop.call_at(self._due, self._ring)

"""The event loop behind the blocking face, in a thread of its own; made on first use."""

import asyncio
import concurrent.futures
import os
import queue
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

CLOSE_WITHIN_S = 15.0
SIGNALS_WAIT_S = 0.5
"""A signal that comes just before a thread begins to wait does not wake it: for so long at most is
its handler held up."""


class _Call(Generic[T]):
    """One coroutine on the loop and the caller that waits for it.

    An interrupt may hit the caller between any two steps: nothing here holds a lock of Python's
    then, and `cancel` finds out how far the call got.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[object, object, T]) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._over: queue.SimpleQueue[asyncio.Task[T] | None] = queue.SimpleQueue()

    def wait(self) -> asyncio.Task[T]:
        """Have it run; the task, once it is over."""
        self._loop.call_soon_threadsafe(self._start)
        while True:
            with suppress(queue.Empty):
                task = self._over.get(timeout=SIGNALS_WAIT_S)
                assert task is not None
                return task

    def cancel(self) -> None:
        """Cancel it, and wait until it is over; further interrupts change nothing."""
        self._loop.call_soon_threadsafe(self._cancel)
        deadline = time.monotonic() + CLOSE_WITHIN_S
        while True:
            try:
                self._over.get(timeout=max(0.0, deadline - time.monotonic()))
            except KeyboardInterrupt:
                continue
            except queue.Empty:
                pass
            return

    def _start(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._over.put)

    def _cancel(self) -> None:
        if self._task is None:
            self._work.close()
            self._over.put(None)
        elif self._task.done():
            self._over.put(self._task)
        else:
            self._task.cancel()


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.made_in = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="cellblock", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[object, object, T]) -> T:
        """The result of `work`, run on the loop; an interrupt of the caller cancels it."""
        call = _Call(self.loop, work)
        try:
            task = call.wait()
        except BaseException:
            call.cancel()
            raise
        if task.cancelled():
            raise concurrent.futures.CancelledError
        return task.result()


_thread: LoopThread | None = None
_thread_lock = threading.Lock()


def loop_thread() -> LoopThread:
    """The thread of this process; a forked child makes its own."""
    global _thread
    with _thread_lock:
        if _thread is None or _thread.made_in != os.getpid():
            _thread = LoopThread()
        return _thread

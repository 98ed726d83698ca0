"""Work that is carried out although its caller is cancelled.

Half way through an exchange with a session's processes an answer would be on its way and no task
there to take it. So the work is a task of its own, and a cancelled caller leaves it to itself.
A caller may be cancelled again on each turn of the loop (anyio does that until the scope is left):
it waits once, for a bounded time, and never swallows a cancellation.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_tasks: set[asyncio.Task[Any]] = set()
"""The loop itself refers to tasks weakly."""


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task of `work` that runs on whether or not it is awaited."""
    task = asyncio.get_running_loop().create_task(work)
    _hold(task)
    return task


async def shielded(
    work: Coroutine[Any, Any, T],
    *,
    within_s: float,
    on_cancel: Callable[[], None] | None = None,
    undo: Callable[[T], object] | None = None,
) -> T:
    """The result of `work`, which goes on to its end if the caller is cancelled.

    Then `on_cancel` is called, and the caller waits for the end, but no longer than `within_s`
    and not when it is cancelled once more. `undo` gets the result that came too late for it.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    carried_out = _carry_out(work, result, undo)
    if sys.version_info >= (3, 12):
        # It begins in this turn of the loop, not in the next.
        task = asyncio.Task(carried_out, loop=loop, eager_start=True)
    else:
        task = loop.create_task(carried_out)
    try:
        return await result
    except asyncio.CancelledError:
        if undo is not None and _has_come(result):
            undo(result.result())  # It came in the same turn of the loop.
        if on_cancel is not None and not task.done():
            on_cancel()
        await wait_for_end(task, within_s=within_s)
        raise
    finally:
        _hold(task)  # Until here this function has held it.


@coroutine
def begun(
    work: Coroutine[Any, Any, T],
    *,
    within_s: float,
    on_cancel: Callable[[], None] | None = None,
) -> Generator[object, Any, T]:
    """As `shielded`, but the caller's own task carries `work` out, as long as that is quick.

    It begins at once, and a `Wait` is the caller's wait. What waits for anything else, or is left
    by a caller that was cancelled, is a task of its own from there on: two turns of the loop and a
    task are saved for all that does not. `asyncio.timeout` must not be entered before `apart`:
    it would cancel the caller.
    """
    try:
        awaited = work.send(None)
        while isinstance(awaited, Wait):
            try:
                yield awaited
            except asyncio.CancelledError:
                rest = in_background(_rest(work, awaited.once_more()))
                rest.add_done_callback(_hear)
                if on_cancel is not None:
                    on_cancel()
                yield from wait_for_end(rest, within_s=within_s).__await__()
                raise
            awaited = work.send(None)
    except StopIteration as stop:
        made: T = stop.value
        return made
    rest_of_it = shielded(_rest(work, awaited), within_s=within_s, on_cancel=on_cancel)
    return (yield from rest_of_it.__await__())


def _hear(left: asyncio.Task[Any]) -> None:
    """Take note of how it ended: an error that comes too late for its caller is told to none."""
    if not left.cancelled():
        left.exception()


async def apart() -> None:
    """Have what `begun` carries out be a task of its own from here on."""
    await asyncio.sleep(0)


class Wait(Generic[T]):
    """A wait for `future`, which is not cancelled when the wait is.

    The task that waits takes it for a future.
    """

    _asyncio_future_blocking = False

    def __init__(self, future: "asyncio.Future[T]") -> None:
        self._future = future
        self._callback: Callable[..., object] | None = None
        self._context: Context | None = None
        self._error: asyncio.CancelledError | None = None

    def __await__(self) -> "Generator[Wait[T], None, T]":
        if not self._future.done():
            self._asyncio_future_blocking = True
            yield self
        return self._future.result()

    def once_more(self) -> "Wait[T]":
        """The same wait, for another task."""
        again = Wait(self._future)
        again._asyncio_future_blocking = True
        return again

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._future.get_loop()

    def add_done_callback(
        self, callback: Callable[..., object], *, context: Context | None = None
    ) -> None:
        self._callback, self._context = callback, context
        self._future.add_done_callback(callback, context=context)

    def cancel(self, msg: object = None) -> bool:
        """Wake the task that waits; False if the end has come before."""
        if self._future.done() or self._callback is None:
            return False
        if self._error is None:
            self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
            self._future.remove_done_callback(self._callback)
            self.get_loop().call_soon(self._callback, self, context=self._context)
        return True

    def result(self) -> T:
        """Raise what the task that waited is woken by."""
        assert self._error is not None
        raise self._error


@coroutine
def _pass_on(awaited: object) -> Generator[object, None, None]:
    yield awaited


async def _rest(work: Coroutine[Any, Any, T], awaited: object) -> T:
    """The result of `work`, which waits for `awaited` now."""
    try:
        while True:
            try:
                await _pass_on(awaited)
            except BaseException as error:  # noqa: BLE001 - it is the work's
                awaited = work.throw(error)
            else:
                awaited = work.send(None)
    except StopIteration as stop:
        made: T = stop.value
        return made


def _hold(task: asyncio.Task[Any]) -> None:
    if not task.done():
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def wait_for_end(task: asyncio.Task[Any], *, within_s: float) -> None:
    """Wait until `task` has ended, for `within_s` at most, whatever came of it."""
    await asyncio.wait([task], timeout=within_s)


async def wait_out(task: asyncio.Task[Any], *, within_s: float) -> None:
    """Wait as `wait_for_end` does, however often the caller is cancelled meanwhile.

    For an end after which nothing may be left: the loop turns without rest in a cancelled scope.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and (left_s := deadline - loop.time()) > 0:
        try:
            await asyncio.wait([task], timeout=left_s)
        except asyncio.CancelledError as error:
            cancelled = error  # The same one goes on: scopes know their own by what it says.
    if cancelled is not None:
        raise cancelled


async def _carry_out(
    work: Coroutine[Any, Any, T], result: "asyncio.Future[T]", undo: Callable[[T], object] | None
) -> None:
    # A future set by hand, where `asyncio.shield` would take two more turns of the loop.
    try:
        made = await work
    except asyncio.CancelledError:
        result.cancel()  # The loop is being closed.
        raise
    except Exception as error:  # noqa: BLE001 - it is raised again, by the future
        if not result.done():
            result.set_exception(error)
        return
    if not result.done():
        result.set_result(made)
    elif undo is not None:
        undo(made)


def _has_come(result: "asyncio.Future[Any]") -> bool:
    return result.done() and not result.cancelled() and result.exception() is None

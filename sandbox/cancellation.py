"""Work that is carried out although its caller is cancelled.

Half way through an exchange with a session's processes an answer would be on its way and no task
there to take it. So the work is a task of its own, and a cancelled caller leaves it to itself.
A caller may be cancelled again on each turn of the loop (anyio does that until the scope is left):
it waits once, for a bounded time, and never swallows a cancellation.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

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

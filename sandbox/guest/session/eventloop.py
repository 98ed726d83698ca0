"""The event loop of a session: made when a snippet first awaits, kept until the session ends.

Tasks that a snippet leaves behind go on whenever a later one awaits. asyncio is imported only
when it is needed: a session that awaits nothing has no selector and no descriptors for one.
"""

import os
import signal
import threading
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from functools import wraps
from time import monotonic
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sandbox.guest.language.hooks import ImportHooks

if TYPE_CHECKING:
    import asyncio
    import selectors

UNWIND_S = 0.05
"""How long a task that was interrupted may take to unwind; the host's grace is longer."""
GO_ON_S = 0.05
GO_ON_PASSES = 100
"""How long tasks that are ready may go on after the snippet that left them; the next await goes on
with them."""


class EventLoop:
    """Runs coroutines of snippets, one at a time, in the context of the session.

    It is the current loop of the main thread, so that `asyncio.create_task` and
    `asyncio.get_event_loop` work at top level whether the snippet awaits or not.
    """

    def __init__(self, hooks: ImportHooks) -> None:
        self._loop: asyncio.SelectorEventLoop | None = None
        self._pid = 0
        self._watched: list[tuple[Any, list[selectors.SelectorKey]]] = []
        """Loops that hold no descriptor of their own for the moment, with what each watched."""
        self._made: WeakSet[Any] = WeakSet()
        """Every loop of asyncio's that is there, also those that a snippet made."""
        hooks.when_imported("asyncio", self._teach)

    @property
    def is_made(self) -> bool:
        """Whether a snippet has awaited, or has had a loop made."""
        return self._loop is not None

    def begin(self) -> None:
        """Begin with a snippet: this process has the loop to itself."""
        if self._loop is not None and not self._loop.is_closed():
            self._current()

    def go_on(self) -> None:
        """Let tasks that are ready run, for a moment: nothing else may await for long."""
        loop: Any = self._loop
        if loop is None or loop.is_closed() or loop.is_running():
            return
        until = monotonic() + GO_ON_S
        for _ in range(GO_ON_PASSES):
            if not loop._ready or monotonic() > until:
                break
            loop.call_soon(loop.stop)
            loop.run_forever()

    def let_go(self) -> None:
        """Close the descriptors of all loops, which do not run, until `take_up`."""
        self._watched = [(loop, _take_apart(loop)) for loop in self._open_loops()]

    def take_up(self) -> None:
        """Give the loops descriptors again, here or in a copy."""
        for loop, watched in self._watched:
            _put_together(loop, watched)
        self._watched = []
        self._pid = os.getpid()

    def renew(self) -> None:
        """Give loops that a snippet made descriptors of their own, in a copy that is to be used."""
        for loop in self._open_loops():
            if loop is not self._loop:  # That one is looked at when it is next used.
                _put_together(loop, _take_apart(loop))

    def _open_loops(self) -> list[Any]:
        return [
            loop
            for loop in list(self._made)
            if not (loop.is_closed() or loop.is_running()) and loop._ssock is not None
        ]

    def run(self, coroutine: Coroutine[Any, Any, object], context: Context) -> object:
        """What `coroutine` returns; raises what it raises.

        An interrupt ends this coroutine only. Its traceback then shows where the coroutine
        was, also if nothing but the loop ran at that moment.
        """
        loop = self._current()
        task: asyncio.Task[object] = loop.create_task(coroutine, context=context)
        try:
            _drive(loop, task)
            return task.result()
        except KeyboardInterrupt as interrupt:
            place = _place_of(task, loop) or interrupt.__traceback__
            raise interrupt.with_traceback(place) from None
        finally:
            if not task.done():
                task.cancel()  # Or it would go on as a part of later snippets.
            elif not task.cancelled():
                task.exception()  # Or asyncio reports it as never seen.
            # A traceback leads to this frame; with the task in it, it would keep itself alive.
            del task

    def _teach(self, asyncio: ModuleType) -> None:
        """Make this the current loop, and have tasks made on it when none runs."""
        kind = type(asyncio.get_event_loop_policy())
        session = self

        class Policy(kind):  # type: ignore[misc, valid-type]
            """The policy that was in force, with the session's loop for the main thread."""

            _own: Any = None

            def set_event_loop(self, loop: Any) -> None:
                if _is_main_thread():
                    self._own = loop
                super().set_event_loop(loop)

            def get_event_loop(self) -> Any:
                if _is_main_thread() and (self._own is None or self._own.is_closed()):
                    self.set_event_loop(session._current())
                return super().get_event_loop()

        self._follow(asyncio.selector_events.BaseSelectorEventLoop)
        create: Any = asyncio.create_task

        @wraps(create)
        def create_task(coro: Any, **options: Any) -> Any:
            if asyncio._get_running_loop() is None and _is_main_thread():
                return asyncio.get_event_loop().create_task(coro, **options)
            return create(coro, **options)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(Policy())
        for module in (asyncio, asyncio.tasks):
            setattr(module, "create_task", create_task)  # noqa: B010

    def _follow(self, kind: Any) -> None:
        """Know of each loop of the class `kind` that is made from now on."""
        begin = kind.__init__

        @wraps(begin)
        def init(loop: Any, *arguments: Any, **options: Any) -> None:
            begin(loop, *arguments, **options)
            self._made.add(loop)

        kind.__init__ = init

    def _current(self) -> "asyncio.SelectorEventLoop":
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.SelectorEventLoop()
        elif self._pid != os.getpid():
            # Both copies hold the same epoll instance and the same socket: a thread that wakes one
            # loop could wake the other, and a change to one registration would change both.
            _put_together(self._loop, _take_apart(self._loop))
        self._pid = os.getpid()
        return self._loop


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _drive(loop: "asyncio.AbstractEventLoop", task: "asyncio.Task[object]") -> None:
    """Run `loop` until `task` is done, or other code stops the loop."""

    def stop(_: object) -> None:
        # Called late, by the run of a later snippet, it must not stop that.
        if is_awaited:
            loop.stop()

    is_awaited = True
    task.add_done_callback(stop)
    try:
        loop.run_forever()
    finally:
        is_awaited = False
        task.remove_done_callback(stop)
        is_done = task.done()
        # As in `run`: this frame is behind those of the traceback.
        del task
    if not is_done:
        raise RuntimeError("the event loop was stopped before the snippet was done")


def _place_of(
    task: "asyncio.Task[object]", loop: "asyncio.AbstractEventLoop"
) -> TracebackType | None:
    """Where `task` waited when it was interrupted. Cancels it; one that goes on is left behind."""
    import asyncio

    if task.done():
        return None
    task.cancel()
    timer = loop.call_later(UNWIND_S, loop.stop)
    try:
        with suppress(RuntimeError):
            _drive(loop, task)
    finally:
        timer.cancel()
    if task.cancelled():
        try:
            task.result()
        except asyncio.CancelledError as cancelled:
            return cancelled.__traceback__
    return None


def _take_apart(loop: Any) -> "list[selectors.SelectorKey]":
    """Close the selector and the wake-up socket of `loop`; gives back what else it watched.

    In a copy this leaves the descriptors and registrations of the original as they are.
    """
    if getattr(loop, "_signal_handlers", None):
        signal.set_wakeup_fd(-1)
    watched = [key for key in loop._selector.get_map().values() if key.fd != loop._ssock.fileno()]
    loop._ssock.close()
    loop._csock.close()
    loop._ssock = loop._csock = None
    loop._internal_fds -= 1
    loop._selector.close()
    return watched


def _put_together(loop: Any, watched: "list[selectors.SelectorKey]") -> None:
    """Give `loop` a selector and a wake-up socket of its own."""
    import selectors

    loop._selector = selectors.DefaultSelector()
    for key in watched:
        loop._selector.register(key.fileobj, key.events, key.data)
    loop._make_self_pipe()
    if getattr(loop, "_signal_handlers", None):
        signal.set_wakeup_fd(loop._csock.fileno())

"""Errors that nothing catches: of threads, of programs, of code that the interpreter calls.

Its own hooks print them without the lines of a snippet, which lie in no file.
"""

import sys
import threading
from types import TracebackType
from typing import Any

from sandbox.guest.display import tracebacks


def install() -> None:
    """Have such errors printed as those of snippets are."""
    threading.excepthook = _of_a_thread
    sys.unraisablehook = _of_no_caller


def call_hook(error: BaseException) -> None:
    """Have the `sys.excepthook` that a program has set print the error that ends it."""
    hook = getattr(sys, "excepthook", None)
    if hook is None or hook is sys.__excepthook__ or isinstance(error, SystemExit):
        return
    try:
        hook(type(error), error, tracebacks.from_the_guest(error.__traceback__))
    # The hook is guest code; the error itself is told in any case.
    except Exception as failure:  # noqa: BLE001
        _print("Error in sys.excepthook:\n", failure, failure.__traceback__)


def _of_a_thread(told: Any) -> None:
    """Print the error that ended a thread; an exit is none."""
    if told.exc_type is SystemExit:
        return
    name = threading.get_ident() if told.thread is None else told.thread.name
    _print(f"Exception in thread {name}:\n", told.exc_value, told.exc_traceback)


def _of_no_caller(told: Any) -> None:
    """Print an error that nothing can catch, such as one in `__del__`."""
    said = told.err_msg or "Exception ignored in"
    heading = f"{said}: {told.object!r}\n" if told.object is not None else f"{said}:\n"
    _print(heading, told.exc_value, told.exc_traceback)


def _print(heading: str, error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or sys.stderr is None:
        return
    text = tracebacks.describe(error.with_traceback(trace)).traceback
    sys.stderr.write(heading + text)
    sys.stderr.flush()

"""How a program ends, for code that is one, and what every snippet leaves written out."""

import _thread
import atexit
import gc
import io
import logging
import os
import stat
import threading
from contextlib import suppress
from typing import Any

from sandbox.guest.display import streams

WRITERS = (io.BufferedWriter, io.BufferedRandom)

_exit_functions = 0
"""How many are there before any program has run."""


def leave_logging_out() -> None:
    """Have the end of a program shut logging down only if there is something to shut down.

    Called in the zygote, which then counts the functions that are left. For the one handler that
    `logging` always makes, which holds nothing back, the function that it registered touches thirty
    pages.
    """
    global _exit_functions
    atexit.unregister(logging.shutdown)
    _exit_functions = atexit._ncallbacks()


def rehearse() -> None:
    """Do what the end of every program does, for the interpreter to adapt its code."""
    _clear({"_a": None, "a": None}, young_only=True)
    write_out_files()
    streams.flush()


def end_program(namespace: dict[str, Any]) -> None:
    """Do what the interpreter does at its end: threads, exit functions, variables, files."""
    has_threads = _thread._count() > 0  # Beside the main one.
    exit_functions = atexit._ncallbacks()
    if has_threads or exit_functions != _exit_functions:
        # Pools of threads are told first, so that their threads end and none begins.
        for tell in reversed(getattr(threading, "_threading_atexits", [])):
            tell()
    if has_threads:
        _await_threads()
    if exit_functions:
        atexit._run_exitfuncs()
    if len(logging._handlerList) > 1:  # type: ignore[attr-defined]
        logging.shutdown()
    _clear(namespace)
    write_out_files()
    streams.flush()


def _await_threads() -> None:
    own = threading.current_thread()
    while waited := [
        thread
        for thread in threading.enumerate()
        if not thread.daemon and thread not in (own, threading.main_thread())
    ]:
        waited[0].join()


def write_out_files() -> None:
    """Write out what Python holds back of open files on disk, as their end would."""
    if not has_files():
        return
    for value in gc.get_objects():
        kind = type(value)
        if kind is io.TextIOWrapper:
            # Below it may be a class of the snippet's, or compression.
            if type(value.buffer) in WRITERS:
                _write_out(value)
        elif kind in WRITERS:
            _write_out(value)


def has_files() -> bool:
    """Whether a file on disk is open; each open descriptor is below the lowest free one."""
    try:
        free = os.dup(1)
    except OSError:
        return True  # Closed, or none left: it costs a closer look.
    os.close(free)
    return any(_is_file(fd) for fd in range(3, free))


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _write_out(file: Any) -> None:
    # A pipe might wait for ever; a full disk or a closed file is the snippet's own affair.
    with suppress(OSError, ValueError):
        if not file.closed and _is_file(file.fileno()):
            file.flush()


def _clear(namespace: dict[str, Any], *, young_only: bool = False) -> None:
    """Drop the variables as the end of the interpreter does: private names first."""
    names = [name for name in namespace if isinstance(name, str)]
    for name in names:
        if name.startswith("_") and not name.startswith("__"):
            namespace[name] = None
    for name in names:
        if not name.startswith("__"):
            namespace[name] = None
    for name in names:
        if not name.startswith("__"):
            namespace.pop(name, None)
    gc.collect(0 if young_only else 2)

"""The guest's `sys.stdin`, `sys.stdout` and `sys.stderr`: lines at once, floods in blocks.

Theory of operation
===================

A line that is printed is written at once, so that it is seen at once and is not lost when the
process is killed. That is one system call a line, four times what Python's own block buffering
costs. So `Stdout` counts: a few dozen lines within a few milliseconds are a flood, and from there
on text is collected as on any pipe, until a timer of the kernel writes it out and goes back to
lines. What a flood leaves unwritten is 20 ms old at most, unless the main thread is in native
code that holds the interpreter: no handler runs there.

A child process must neither write again what its parent had collected nor overtake it: every
fork, and every start of a program that Python tells its audit hooks about, writes it out first.
"""

import contextlib
import io
import math
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from ctypes import create_string_buffer
from types import FrameType
from typing import TextIO

from sandbox.guest.kernel import sysapi

BUFFER_BYTES = 1 << 16
FLOOD_LINES = 32
FLOOD_S = 0.004
"""So many lines within so many seconds, measured when the last of them is written."""
COLLECTED_S = 0.02
TICK = signal.SIGRTMAX - 3
"""The signal of the timer: one that neither the C library nor Python uses."""
PROGRAM_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
"""Audit events before which collected text has to be written."""

_SIGEV_THREAD_ID = 4
_SIGEVENT_BYTES = 64
_NANOSECONDS = 1_000_000_000


class Stdout:
    """Text to a descriptor, by lines or in blocks as the module says.

    `stream` is what a snippet prints to. It is of the very class that Python itself would make: of
    a subclass each write asks three objects whether they are closed, by the long way.
    """

    def __init__(self, fd: int) -> None:
        self.stream = io.TextIOWrapper(
            _Lines(fd, self.collect),
            encoding="utf-8",
            errors="surrogateescape",
            line_buffering=True,
        )
        self._timer = _Timer()
        self._is_collecting = False
        self._is_heeding = False
        os.register_at_fork(before=self.settle)

    def settle(self) -> None:
        """Write out what is collected and go back to lines."""
        if self._is_collecting:
            self._timer.stop()
            # The snippet may have closed the stream, or filled what it leads to.
            with contextlib.suppress(OSError, ValueError):
                self.stream.reconfigure(line_buffering=True)
            self._is_collecting = False

    def collect(self) -> None:
        """Write no more lines one by one, for a while."""
        if not self.stream.line_buffering:
            return
        if threading.current_thread() is threading.main_thread():
            if not self._is_heeding:
                # It cannot be removed; sessions without a flood do without.
                sys.addaudithook(self._on_audit)
                self._is_heeding = True
            self._timer.start(self._on_tick)
            self.stream.reconfigure(line_buffering=False)
            self._is_collecting = True

    def _on_audit(self, event: str, _arguments: tuple[object, ...]) -> None:
        if self._is_collecting and event in PROGRAM_STARTS:
            self.settle()

    def _on_tick(self, _number: int, _frame: FrameType | None) -> None:
        try:
            self.settle()
        except RuntimeError:
            # The signal came in the middle of a write to the very same buffer.
            self._timer.start(self._on_tick)


class _Lines(io.BufferedWriter):
    """Calls `on_flood` when it is flushed so often that the lines are a flood."""

    closed = False
    """As an attribute it is found at once; the one of the base class asks the raw file."""

    def __init__(self, fd: int, on_flood: Callable[[], None]) -> None:
        super().__init__(_Unseekable(fd, "w", closefd=False), BUFFER_BYTES)
        self._on_flood = on_flood
        self._count = 0
        self._since = -math.inf  # Not 0: a machine's clock starts there with its boot.

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.closed = True

    def flush(self) -> None:
        super().flush()
        self._count += 1
        if self._count >= FLOOD_LINES:
            now = time.monotonic()
            is_flood = now - self._since < FLOOD_S
            self._count = 0
            self._since = now
            if is_flood:
                self._on_flood()


class _Timer:
    """One shot after `COLLECTED_S`, as a signal to the thread that starts it.

    Source: timer_create(2). The timers of a process are not its children's.
    """

    def __init__(self) -> None:
        self._owner = 0
        self._id = 0

    def start(self, handler: "signal._HANDLER") -> None:
        """Raises OSError if the kernel gives no timer."""
        if self._owner != os.getpid():
            event = struct.pack("=Qiii", 0, TICK, _SIGEV_THREAD_ID, threading.get_native_id())
            made = create_string_buffer(4)
            sysapi.syscall(
                "timer_create", time.CLOCK_MONOTONIC, event.ljust(_SIGEVENT_BYTES, b"\0"), made
            )
            (self._id,) = struct.unpack("=i", made.raw)
            self._owner = os.getpid()
            signal.signal(TICK, handler)
        self._set(COLLECTED_S)

    def stop(self) -> None:
        if self._owner == os.getpid():
            self._set(0.0)

    def _set(self, delay_s: float) -> None:
        value = struct.pack("=qqqq", 0, 0, 0, int(delay_s * _NANOSECONDS))
        sysapi.syscall("timer_settime", self._id, 0, value, None)


class _Unseekable(io.FileIO):
    """A descriptor that will be a pipe when it is used, whatever stands there when it is made."""

    def seekable(self) -> bool:
        return False


_stdout: Stdout | None = None


def replace() -> None:
    """Fresh Python streams on descriptors 0 to 2; those of before may hold buffered text."""
    global _stdout
    replace_stdin()
    _stdout = Stdout(1)
    stderr = io.TextIOWrapper(
        io.BufferedWriter(_Unseekable(2, "w", closefd=False), BUFFER_BYTES),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
    for name, stream in (("stdout", _stdout.stream), ("stderr", stderr)):
        setattr(stream, "mode", "w")  # noqa: B010
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def reopen() -> None:
    """Put fresh streams in place of those that a snippet has closed: the next one prints again."""
    # What the snippet has put in place of one of them is its own affair.
    if (
        _is_closed(sys.stdout, sys.__stdout__)
        or _is_closed(sys.stderr, sys.__stderr__)
        or _is_closed(sys.stdin, sys.__stdin__)
    ):
        replace()


def _is_closed(stream: TextIO | None, own: TextIO | None) -> bool:
    try:
        return stream is own and stream is not None and stream.closed
    # It may be any object all the same.
    except Exception:  # noqa: BLE001
        return False


def replace_stdin() -> None:
    """Put a fresh `sys.stdin` on descriptor 0."""
    stream = io.TextIOWrapper(
        io.FileIO(0, closefd=False), encoding="utf-8", errors="surrogateescape"
    )
    setattr(stream, "mode", "r")  # noqa: B010
    for name in ("stdin", "__stdin__"):
        setattr(sys, name, stream)


def settle() -> None:
    """Write out what the engine's own standard output has collected."""
    if _stdout is not None:
        _stdout.settle()


def flush() -> None:
    """Write out all that Python has collected, whatever the snippet put in place of its streams."""
    settle()
    out, err, own_out, own_err = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    _flush(out)
    _flush(err)
    if own_out is not out:
        _flush(own_out)
    if own_err is not err:
        _flush(own_err)


def _flush(stream: TextIO | None) -> None:
    # The snippet may have put any object there; what its flush does is its own affair.
    with contextlib.suppress(Exception):
        if stream is not None:
            stream.flush()


def nameless_file() -> int:
    """Make a file to write and read; in memory, or where that is refused, among those of /tmp."""
    try:
        return os.memfd_create("stdin")
    except OSError:
        with tempfile.TemporaryFile() as stream:
            return os.dup(stream.fileno())

"""Knows which threads of this process a copy can do without.

A fork has one thread. Idle Python threads whose loss is harmless are known by their class. A pool
of OpenMP is ended before the fork and starts again by itself; one of OpenBLAS re-creates itself. A
copy of a process with another library's pool would wait for threads that it does not have, for
ever: such a session is not copied, and the library is named.
"""

import ctypes
import os
import sys
import threading
import time
from typing import Any

HARMLESS = (("tqdm._monitor", "TMonitor"),)
"""Threads that only watch, by module and class: what they belong to works without them."""
OPENMP = ("libgomp", "libomp", "libiomp5")
PAUSE_HARD = 2
"""omp_pause_hard of the OpenMP specification, 5.1, section 3.6.1."""
ENDED_WITHIN_S = 0.2
LOOK_AGAIN_S = 0.001
KEPT_POOLS = (  # part of a file's name    library
    ("polars", "polars"),
    ("duckdb", "duckdb"),
    ("onnxruntime", "onnxruntime"),
    ("lib_lightgbm", "lightgbm"),
)
"""Not pyarrow, torch and TBB: they are loaded by others and most often have started no thread."""
REMEDY = "use it in a child process, or put what matters into files"


def obstacle() -> str:
    """Name the threads that a copy of this process could not do without; empty for none.

    Ends the pools that can be ended. Called by the main thread between snippets.
    """
    frames = sys._current_frames()
    if len(frames) > 1:
        named = [
            getattr(threading._active.get(ident), "name", "one without a name")  # type: ignore[attr-defined]
            for ident in frames
            if ident != threading.get_ident() and not _is_harmless(ident)
        ]
        if named:
            return f"the session has live Python threads ({', '.join(map(str, named[:5]))})"
    native = _native_threads(len(frames))
    if native == 0:
        return ""
    libraries = _libraries()
    if _end_openmp(libraries):
        native = _await_fewer(native, len(frames))
    if native == 0:
        return ""
    for part, name in KEPT_POOLS:
        if any(part in os.path.basename(path) for path in libraries):
            return f"{name} keeps threads of its own that a copy would not have: {REMEDY}"
    return ""


def _is_harmless(ident: int) -> bool:
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    kind = type(thread)
    return (kind.__module__, kind.__name__) in HARMLESS


def _native_threads(python_threads: int) -> int | None:
    """How many threads of this process are none of Python's; None where /proc is not shown."""
    try:
        return max(0, len(os.listdir("/proc/self/task")) - python_threads)
    except OSError:
        return None


class _Loaded(ctypes.Structure):
    """The beginning of struct dl_phdr_info. Source: dl_iterate_phdr(3)."""

    _fields_ = (("address", ctypes.c_void_p), ("name", ctypes.c_char_p))


_Visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Loaded), ctypes.c_size_t, ctypes.c_void_p)


def _libraries() -> set[str]:
    """Paths of the shared objects that are loaded."""
    found: set[str] = set()

    def visit(loaded: Any, _size: int, _data: object) -> int:
        found.add(os.fsdecode(loaded.contents.name or b""))
        return 0

    ctypes.CDLL(None).dl_iterate_phdr(_Visit(visit), None)
    return found


def _end_openmp(libraries: set[str]) -> bool:
    """Have every OpenMP runtime end its idle threads; whether one did."""
    paused = False
    for path in sorted(libraries):
        if os.path.basename(path).startswith(OPENMP):
            runtime = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
            pause = getattr(runtime, "omp_pause_resource_all", None)
            paused = (pause is not None and pause(PAUSE_HARD) == 0) or paused
    return paused


def _await_fewer(native: int | None, python_threads: int) -> int | None:
    """Wait a moment until threads that were told to end have ended; how many are left."""
    end = time.monotonic() + ENDED_WITHIN_S
    left = native
    while left and left == native and time.monotonic() < end:
        time.sleep(LOOK_AGAIN_S)
        left = _native_threads(python_threads)
    return left

"""Knows which pools of native threads a copy of this process can do without.

A fork has one thread. What a library's pool does over a fork was found by trying each of them:
`docs/survival.md` has the table. Some notice and start anew: OpenBLAS, Arrow, torch, numexpr,
OpenCV, scipy's FFT. A pool of OpenMP is ended before the fork and starts again by itself; so are
duckdb's threads. With any other known pool a copy would wait for threads that it does not have,
for ever: such a session is not copied, and the library and the remedy are named.
"""

import ctypes
import gc
import os
import sys
import time
from typing import Any

from sandbox.guest.survival import duckdb_threads, python_threads

OPENMP = ("libgomp", "libomp", "libiomp5")
PAUSE_HARD = 2
"""omp_pause_hard of the OpenMP specification, 5.1, section 3.6.1."""
ENDED_WITHIN_S = 0.2
LOOK_AGAIN_S = 0.001
KEPT_THREADS = (  # beginning of a thread's name    library, the surest first
    ("polars-0", "polars"),
    ("async-executor", "polars"),
    ("tokio-", "a library with tokio"),
)
KEPT_POOLS = ("blosc2",)
"""Modules whose threads cannot be told from others; once imported they count as used."""
WHERE_NAMES_ARE_HIDDEN = ("polars",)
"""The same where /proc is not shown."""
IN_A_CHILD = "use it in a child process, or put what matters into files"
ONE_THREAD = "make its sessions with SessionOptions whose intra_op_num_threads is 1"

_paused: duckdb_threads.Paused = []


def obstacle() -> str:
    """Name the native threads that a copy of this process could not do without; empty for none.

    Ends the pools that can be ended: `resume` starts them again, here and in a copy. Called by the
    main thread between snippets.
    """
    native = _native_threads()
    if native == 0:
        return ""
    if _end_openmp(libraries()):
        native = _await_fewer(native)
    found = _refusal(native)
    if found or native == 0:
        return found
    try:
        _paused.extend(duckdb_threads.pause())
    except duckdb_threads.NotPaused as error:
        return f"duckdb keeps threads of its own, and does not let them end ({error})"
    return ""


def refusal() -> str:
    """As `obstacle`, as far as it can be said without ending anything."""
    return _refusal(_native_threads())


def resume() -> None:
    """Start again what `obstacle` has ended and what does not start by itself."""
    duckdb_threads.resume(_paused)


def threads() -> int | None:
    """How many threads this process has, native ones counted; None where /proc is not shown.

    Where Landlock keeps it from being read, it still tells this.
    """
    try:
        # A directory has two links, and this one a directory below it for each of them.
        return os.stat("/proc/self/task").st_nlink - 2
    except OSError:
        return None


def _native_threads() -> int | None:
    """How many threads of this process are none of Python's; None where /proc is not shown."""
    count = threads()
    return None if count is None else max(0, count - python_threads.count())


def _refusal(native: int | None) -> str:
    if native == 0:
        return ""
    listed = _threads_listed()
    imported = KEPT_POOLS if listed is not None else (*KEPT_POOLS, *WHERE_NAMES_ARE_HIDDEN)
    for library in imported:
        if library in sys.modules:
            return _keeps(library)
    return _onnxruntime() or _kept_threads(listed or [])


def _threads_listed() -> list[str] | None:
    """Numbers of the threads; None where /proc is not shown, or not to be read."""
    try:
        return os.listdir("/proc/self/task")
    except OSError:
        return None


def _kept_threads(listed: list[str]) -> str:
    """Name the library whose threads are there by the names that it gave them."""
    names = set()
    for thread in listed:
        try:
            with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
                names.add(file.read())
        except OSError:
            continue  # It has ended.
    for beginning, library in KEPT_THREADS:
        if any(name.startswith(beginning) for name in names):
            return _keeps(library)
    return ""


def _onnxruntime() -> str:
    """Name onnxruntime if one of its sessions has threads."""
    module = sys.modules.get("onnxruntime")
    if module is None:
        return ""
    kind: Any = module.InferenceSession
    for one in gc.get_objects():
        if issubclass(type(one), kind):
            options = one.get_session_options()
            is_parallel = options.execution_mode == module.ExecutionMode.ORT_PARALLEL
            if options.intra_op_num_threads != 1 or is_parallel:
                return _keeps("onnxruntime", ONE_THREAD)
    return ""


def _keeps(library: str, remedy: str = IN_A_CHILD) -> str:
    return f"{library} keeps threads of its own that a copy would not have: {remedy}"


class _Loaded(ctypes.Structure):
    """The beginning of struct dl_phdr_info. Source: dl_iterate_phdr(3)."""

    _fields_ = (("address", ctypes.c_void_p), ("name", ctypes.c_char_p))


_Visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Loaded), ctypes.c_size_t, ctypes.c_void_p)


def libraries() -> set[str]:
    """Paths of the shared objects that are loaded."""
    found: set[str] = set()

    def visit(loaded: Any, _size: int, _data: object) -> int:
        found.add(os.fsdecode(loaded.contents.name or b""))
        return 0

    ctypes.CDLL(None).dl_iterate_phdr(_Visit(visit), None)
    return found


def _end_openmp(loaded: set[str]) -> bool:
    """Have every OpenMP runtime end its idle threads; whether one did."""
    paused = False
    for path in sorted(loaded):
        if os.path.basename(path).startswith(OPENMP):
            runtime = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
            pause = getattr(runtime, "omp_pause_resource_all", None)
            paused = (pause is not None and pause(PAUSE_HARD) == 0) or paused
    return paused


def _await_fewer(native: int | None) -> int | None:
    """Wait a moment until threads that were told to end have ended; how many are left."""
    end = time.monotonic() + ENDED_WITHIN_S
    left = native
    while left and left == native and time.monotonic() < end:
        time.sleep(LOOK_AGAIN_S)
        left = _native_threads()
    return left

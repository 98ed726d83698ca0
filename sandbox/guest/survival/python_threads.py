"""Knows which Python threads a copy of this process can do without.

A fork has one thread. One that only watches is not missed. The idle workers of a
ThreadPoolExecutor, asyncio's included, are not missed either once the executor in the copy knows
that it has none: it starts new ones. Threads of idle pools of processes are in `child_pools`.
"""

import sys
import threading
import time
from types import FrameType
from typing import Any

from sandbox.guest.survival import child_pools

WATCHERS = (("tqdm._monitor", "TMonitor"),)
"""Threads that only watch, by module and class: what they belong to works without them."""
POOLS = "concurrent.futures.thread"
ENDED_WITHIN_S = 0.1
LOOK_AGAIN_S = 0.001
NAMED = 5
NAME_CHARS = 60


def obstacle() -> str:
    """Name the Python threads that a copy could not do without; empty for none."""
    until = time.monotonic() + ENDED_WITHIN_S
    while True:
        found = _not_harmless()
        if not found:
            return ""
        if not all(map(_is_ending, found)) or time.monotonic() > until:
            break
        time.sleep(LOOK_AGAIN_S)
    named = [str(getattr(one, "name", "one without a name"))[:NAME_CHARS] for one in found]
    more = ", ..." if len(named) > NAMED else ""
    listed = ", ".join(named[:NAMED]) + more
    return f"the session has live Python threads ({listed}): {_remedy(found)}"


def _remedy(found: list[threading.Thread | None]) -> str:
    """What the author of a snippet does about the first of the threads, or all of them."""
    first = found[0]
    if any(map(child_pools.is_manager, found)):
        return "await the results of its pool of processes, or shut it down"
    function = getattr(first, "_target", None)
    if (getattr(function, "__qualname__", "") or "").startswith("Pool._handle_"):
        return "close and join the Pool, or use it in a `with` statement"
    if isinstance(first, threading.Timer):
        return "cancel the timer, or let it end"
    if _executor_of(first) is not None:
        return "await the results of the executor"
    return "join them, or let them end, before the snippet ends"


def _not_harmless() -> list[threading.Thread | None]:
    return [
        _thread(ident)
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident() and not _is_harmless(ident, frame)
    ]


def _is_ending(thread: threading.Thread | None) -> bool:
    """Whether it is a worker of a ThreadPool, such as joblib's, that was ended a moment ago.

    Where all others of its pool have ended: those that wait for work have a thread that hands it
    out.
    """
    pools = sys.modules.get("multiprocessing.pool")
    return pools is not None and getattr(thread, "_target", None) is pools.worker


def count() -> int:
    """How many Python threads there are."""
    return len(sys._current_frames())


def executors() -> list[Any]:
    """Executors that had workers when this process was forked; before the hooks of the fork."""
    found = (_executor_of(thread) for thread in list(_active().values()))
    return list({id(one): one for one in found if one is not None}.values())


def renew(lost: list[Any]) -> None:
    """Let executors whose workers a fork has lost start new ones when they are next used."""
    pools = sys.modules.get(POOLS)
    for executor in lost:
        for thread in executor._threads:
            pools._threads_queues.pop(thread, None)  # type: ignore[union-attr]
        executor._threads.clear()
        executor._idle_semaphore = threading.Semaphore(0)


def _active() -> dict[int, threading.Thread]:
    return threading._active  # type: ignore[attr-defined,no-any-return]


def _thread(ident: int) -> threading.Thread | None:
    return _active().get(ident)


def _is_harmless(ident: int, frame: FrameType) -> bool:
    thread = _thread(ident)
    kind = type(thread)
    if (kind.__module__, kind.__name__) in WATCHERS:
        return True
    if child_pools.is_idle(thread):
        return True
    executor = _executor_of(thread)
    return (
        executor is not None
        and frame.f_code is sys.modules[POOLS]._worker.__code__
        and "work_item" not in frame.f_locals
        and executor._work_queue.empty()
    )


def _executor_of(thread: threading.Thread | None) -> Any:
    """The ThreadPoolExecutor that `thread` works for; None if it is none of its workers."""
    pools = sys.modules.get(POOLS)
    if pools is None or getattr(thread, "_target", None) is not pools._worker:
        return None
    return thread._args[0]()  # type: ignore[union-attr]

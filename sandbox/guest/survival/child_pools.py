"""Knows pools of child processes that a copy of this process can do without: idle ones.

Those of `concurrent.futures` and of loky, which joblib and scikit-learn use. The children stay the
original's, and end with it. In the copy the executor knows that it has none, and makes itself anew
when it is next used. So it is with the processes that `multiprocessing` keeps beside its pools: the
resource trackers and the fork server.
"""

import gc
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

MANAGERS = ("concurrent.futures.process", ".loky.process_executor", "loky.process_executor")
"""How the names of modules end whose executors are known."""
TRACKERS = ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker")
FORK_SERVER = "multiprocessing.forkserver"
BECOMES_S = 0.001
MANAGER_NAME = re.compile(r"\w*Manager-[\d:]+")
"""How `multiprocessing` calls the process of a manager."""
NAMED = 3
NAME_CHARS = 60


def is_manager(thread: object) -> bool:
    """Whether `thread` hands out the work of an executor of processes."""
    kind = type(thread)
    name = kind.__name__.lstrip("_")
    return name == "ExecutorManagerThread" and kind.__module__.endswith(MANAGERS)


def is_idle(thread: object) -> bool:
    """Whether `thread` belongs to an executor of processes that waits for work."""
    if is_manager(thread):
        return _arguments(thread.executor_reference()) is not None  # type: ignore[attr-defined]
    return getattr(thread, "name", "") == "QueueFeederThread" and any(
        thread is getattr(one._call_queue, "_thread", None) for one in found()
    )


def found() -> list[Any]:
    """The idle executors of processes that have any."""
    if "multiprocessing.process" not in sys.modules:
        return []
    managers = [one for one in threading.enumerate() if is_manager(one)]
    executors = (one.executor_reference() for one in managers)  # type: ignore[attr-defined]
    return [one for one in executors if _arguments(one) is not None]


def other_children(copies: Collection[int]) -> str:
    """Name the children of this process that belong to none of those, nor to its `copies`.

    Empty for none.
    """
    pids = _children()
    if pids is None:
        return "the session has a child process of its own"
    known = {pid for one in found() for pid in one._processes}
    known |= {tracker._pid for tracker in _trackers()}
    known |= {server._forkserver_pid for server in _fork_servers()}
    known |= set(copies)
    others = sorted(pids - known)
    if not others:
        return ""
    started = _started()
    names = {pid: getattr(started.get(pid), "name", "") or _name(pid) for pid in others[:NAMED]}
    named = ", ".join(f"{pid} {name[:NAME_CHARS]}".strip() for pid, name in names.items())
    more = ", ..." if len(others) > NAMED else ""
    remedy = _remedy(started.get(others[0]))
    return f"the session has a child process of its own ({named}{more}): {remedy}"


def _started() -> dict[int, Any]:
    """Processes that `multiprocessing` has started, by their number."""
    process = sys.modules.get("multiprocessing.process")
    found = ((one, getattr(one, "_popen", None)) for one in getattr(process, "_children", ()))
    return {popen.pid: one for one, popen in found if popen is not None}


def _remedy(process: Any) -> str:
    """What the author of a snippet does about a child process."""
    if MANAGER_NAME.fullmatch(getattr(process, "name", "")):
        return "shut the manager down, or use it in a `with` statement"
    return "join it, or end it" if process is not None else "wait for it, or end it"


def end() -> None:
    """End the idle executors, and what is kept beside them, in this process."""
    for executor in found():
        _shut_down(executor)
    for server in _fork_servers():
        with suppress(ChildProcessError):  # The snippet may have ended and awaited it.
            server._stop()
    trackers = list(_trackers())
    if trackers:
        gc.collect()  # What goes now is still taken off a tracker's list.
    for tracker in trackers:
        # Asked to end, it would remove what variables of the session still refer to.
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(tracker._pid, signal.SIGKILL)
            os.waitpid(tracker._pid, 0)
        _forget(tracker)


def renew(lost: list[Any]) -> None:
    """Have executors that a fork took the processes of make themselves anew when next used."""
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return
    for executor in lost:
        arguments = _arguments(executor)
        assert arguments is not None
        for child in executor._processes.values():
            _close(child)
        wakeups = getattr(sys.modules[_base(executor).__module__], "_threads_wakeups", {})
        wakeups.pop(executor._executor_manager_thread, None)
        _close_pipes(executor)
        executor._executor_manager_thread = executor._executor_manager_thread_wakeup = None
        executor._call_queue = executor._result_queue = None
        _make_anew_when_used(executor, arguments)
    process._children.clear()
    for tracker in _trackers():
        _forget(tracker)
    for server in _fork_servers():
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_pid = server._forkserver_address = None


def _base(executor: Any) -> Any:
    """The class that has the processes, below those that only keep one of it."""
    return next(kind for kind in type(executor).__mro__ if kind.__name__ == "ProcessPoolExecutor")


def _arguments(executor: Any) -> dict[str, Any] | None:
    """What an idle executor was made with; None if it works, or is not known."""
    if executor is None:
        return None
    try:
        if executor._pending_work_items or not executor._processes:
            return None
        same = ("max_workers", "initializer", "initargs")
        arguments = {name: getattr(executor, f"_{name}") for name in same}
        if hasattr(executor, "_mp_context"):
            arguments["mp_context"] = executor._mp_context
            arguments["max_tasks_per_child"] = executor._max_tasks_per_child
        else:
            arguments |= {name: getattr(executor, f"_{name}") for name in ("context", "timeout")}
            arguments["env"] = executor._env
            arguments["job_reducers"] = executor._call_queue._reducers
            arguments["result_reducers"] = executor._result_queue._reducers
    except AttributeError:
        return None
    return arguments


def _shut_down(executor: Any) -> None:
    arguments = _arguments(executor)
    assert arguments is not None
    children = list(executor._processes.values())
    executor.shutdown(wait=True)
    for child in children:
        _close(child)
    _make_anew_when_used(executor, arguments)


def _make_anew_when_used(executor: Any, arguments: dict[str, Any]) -> None:
    again = partial(_base(executor).__init__, executor, **arguments)
    if hasattr(executor, "_flags"):
        # loky makes another one in the place of one that was shut down.
        executor._flags.shutdown = True
    else:
        executor._shutdown_thread = False

    def submit(fn: Callable[..., object], /, *args: object, **options: object) -> Any:
        vars(executor).pop("submit", None)
        if not getattr(executor, "_shutdown_thread", False):
            again()
        return executor.submit(fn, *args, **options)

    executor.submit = submit


def _trackers() -> Iterator[Any]:
    for name in TRACKERS:
        tracker = getattr(sys.modules.get(name), "_resource_tracker", None)
        if getattr(tracker, "_fd", None) is not None:
            yield tracker


def _forget(tracker: Any) -> None:
    os.close(tracker._fd)
    tracker._fd = tracker._pid = None


def _fork_servers() -> Iterator[Any]:
    server = getattr(sys.modules.get(FORK_SERVER), "_forkserver", None)
    if server is not None and server._forkserver_pid is not None:
        yield server


def _close(child: Any) -> None:
    """Close what this process holds of a process that is no child of it, or has ended."""
    for finalizer in list(sys.modules["multiprocessing.util"]._finalizer_registry.values()):
        of = getattr(finalizer, "_weakref", None)  # One that was called has none any more.
        if of is not None and of() is child._popen:
            finalizer._callback(*finalizer._args, **finalizer._kwargs)
            finalizer.cancel()


def _close_pipes(executor: Any) -> None:
    for queue in (executor._call_queue, executor._result_queue):
        queue._reader.close()
        queue._writer.close()
    executor._executor_manager_thread_wakeup.close()


def _children() -> set[int] | None:
    """Numbers of the children; None where /proc is not shown. Source: proc_pid_task(5)."""
    pids: set[int] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            # The thread may have ended.
            with (
                suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/self/task/{thread}/children", "rb") as stream,
            ):
                pids.update(map(int, stream.read().split()))
    except OSError:
        return None
    return pids


def _name(pid: int) -> str:
    """What the program of a process is called; empty for one that is hidden, as forks are.

    One that has just become its program is hidden for a moment too.
    """
    for wait_s in (BECOMES_S, 0.0):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                return stream.read(15).strip()
        except OSError:
            time.sleep(wait_s)
    return ""

"""A session's process tree as the host sees it, where no cgroup counts for us.

An ordinary user may read the resident pages, faults and times of these processes, but not their
proportional share, so memory is an estimate. A process counts with the private pages that it
cannot have inherited by fork: at least its growth over what its parent held, and at least one
page for each fault, but never more than all its private pages. Pages of tmpfs are added from the
file systems. Pages of shared mappings count as what all processes together map, but as no more
than the machine's shared memory has grown, and no less than the largest mapper has. Memory files
(memfd_create(2)) can be filled without being mapped: the seccomp filter refuses them here.
"""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import psutil

TICK_S = 0.05
ORPHANS_WITHIN_S = 2.0
REAPED_AFTER_S = 0.001
PAGE_BYTES = resource.getpagesize()
_MINOR_FAULTS = 7
_THREADS = 17
"""Fields of /proc/PID/stat behind the command name, counted from 0. Source: proc(5)."""


class Reading(NamedTuple):
    memory_bytes: int
    cpu_user_s: float
    cpu_system_s: float
    processes: int
    """Processes and threads, as a cgroup counts them."""


class _Row(NamedTuple):
    pid: int
    number: int
    """Its pid in the pid namespace that it lives in."""
    parent: int
    private_bytes: int
    shared_memory_bytes: int
    fault_bytes: int
    threads: int
    user_s: float
    system_s: float


class Meter:
    """Reads the tree below one init process."""

    def __init__(self, init_pid: int, foreign: Callable[[], set[int]]) -> None:
        self._init_pid = init_pid
        self._foreign = foreign
        """Gives pids below which the processes are another session's."""
        self._inherited: dict[int, int] = {}
        self._private: dict[int, int] = {}
        self._copies: set[int] = set()
        self._times: dict[int, tuple[float, float]] = {}
        self._ended = (0.0, 0.0)
        self._machine_shared_bytes = 0

    def set_baseline(self) -> None:
        """Take what the tree holds now as inherited: the pages that the zygote had."""
        self._machine_shared_bytes = psutil.virtual_memory().shared
        self._inherited = {row.pid: row.private_bytes for row in self._rows()}
        self._private = dict(self._inherited)

    def read(self, copies: Collection[int] = ()) -> Reading:
        """What the tree holds and has used. CPU time of ended processes stays in the sum.

        `copies` are pids of processes that wait, as their namespace numbers them. What one of them
        had when it was first seen is not counted, for it is not the snippet's.
        """
        rows = self._rows()
        for row in rows:
            if row.number in copies and row.pid not in self._copies:
                self._copies.add(row.pid)
                self._inherited[row.pid] = row.private_bytes
            if row.pid not in self._inherited:
                self._inherited[row.pid] = self._private.get(row.parent, 0)
        self._private = {row.pid: row.private_bytes for row in rows}
        self._count_times(rows)
        return Reading(
            sum(map(self._own_bytes, rows)) + self._shared_bytes(rows),
            self._ended[0] + sum(row.user_s for row in rows),
            self._ended[1] + sum(row.system_s for row in rows),
            sum(row.threads for row in rows),
        )

    def _shared_bytes(self, rows: list[_Row]) -> int:
        """Pages of shared mappings, which several of the processes may have in common."""
        mapped = [row.shared_memory_bytes for row in rows]
        if len(rows) < 3:
            return max(mapped, default=0)  # Init maps none.
        growth = psutil.virtual_memory().shared - self._machine_shared_bytes
        return max(max(mapped), min(sum(mapped), growth))

    def _own_bytes(self, row: _Row) -> int:
        growth = row.private_bytes - self._inherited[row.pid]
        return min(row.private_bytes, max(growth, row.fault_bytes))

    def _count_times(self, rows: list[_Row]) -> None:
        alive = {row.pid: (row.user_s, row.system_s) for row in rows}
        for pid, (user, system) in self._times.items():
            if pid not in alive:
                self._ended = (self._ended[0] + user, self._ended[1] + system)
        self._times = alive

    def _tree(self, init: psutil.Process) -> list[psutil.Process]:
        foreign = self._foreign()
        if not foreign:
            return [init, *init.children(recursive=True)]
        tree = []
        waiting = [init]
        while waiting:
            process = waiting.pop()
            tree.append(process)
            waiting += [child for child in process.children() if child.pid not in foreign]
        return tree

    def _rows(self) -> list[_Row]:
        try:
            tree = self._tree(psutil.Process(self._init_pid))
        except psutil.NoSuchProcess:
            return []
        rows = []
        for process in tree:
            try:
                rows.append(_read_row(process))
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue
        return rows


def _read_row(process: psutil.Process) -> _Row:
    with process.oneshot():
        memory = process.memory_info()
        times = process.cpu_times()
        parent = process.ppid()
    with open(f"/proc/{process.pid}/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    private_bytes, at = memory.rss - memory.shared, f"/proc/{process.pid}"
    if not memory.rss and int(fields[_THREADS]) > 1:
        # A first thread that has ended alone shows no memory, while others of the process use it.
        private_bytes, at = _memory_of_threads(process.pid)
    number, shared_bytes = _number_and_shared_memory(at)
    return _Row(
        process.pid,
        number,
        parent,
        private_bytes,
        shared_bytes,
        int(fields[_MINOR_FAULTS]) * PAGE_BYTES,
        int(fields[_THREADS]),
        times.user,
        times.system,
    )


def end_orphans(launcher_pid: int) -> None:
    """SIGKILL to what an init that was killed from outside left behind; it blocks for a moment.

    It comes to the launcher, whose first child is the zygote; every other one is an orphan. Their
    own children come to it when they are gone, so it is looked at again until there are none.
    """
    deadline = time.monotonic() + ORPHANS_WITHIN_S
    while time.monotonic() < deadline and psutil.pid_exists(launcher_pid):
        try:
            children = psutil.Process(launcher_pid).children()
            orphans = sorted(children, key=psutil.Process.create_time)[1:]
        except psutil.NoSuchProcess:
            continue  # One of them ended while they were listed.
        if not orphans:
            return
        for one in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        time.sleep(REAPED_AFTER_S)


def private_bytes(pid: int, *, init: int) -> int:
    """Memory that only the process `pid` holds, or, where that is not told, the most it can be.

    That is its private pages without as many as `init` has: those came to both from the zygote. It
    counts what the session shares with it. 0 once it is gone, and for a number, which a guest may
    have given, that is not of a child of `init`, nor of a child of one.
    """
    try:
        parent = _parent_of(pid)
        if parent != init and _parent_of(parent) != init:
            return 0
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as stream:
                rows = [line.split() for line in stream if line.startswith(b"Private_")]
            return sum(int(row[1]) for row in rows) * 1024
        except PermissionError:
            own, inherited = (psutil.Process(one).memory_info() for one in (pid, init))
            return max(0, int(own.rss - own.shared - (inherited.rss - inherited.shared)))
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return 0


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stream:
        return int(stream.read().rpartition(b")")[2].split()[1])


def _memory_of_threads(pid: int) -> tuple[int, str]:
    """Private bytes of a process, as a live thread of it shows them, and where that is in /proc."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        at = f"/proc/{pid}/task/{thread}"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"{at}/statm", "rb") as stream:
                _size, resident, shared, *_rest = map(int, stream.read().split())
            if resident:
                return (resident - shared) * PAGE_BYTES, at
    return 0, f"/proc/{pid}"


def _number_and_shared_memory(at: str) -> tuple[int, int]:
    """The number of a process in its own pid namespace, and its resident shared memory.

    That is pages of shared mappings that no file of a disk stands behind; `at` is in /proc.
    """
    number = shared_bytes = 0
    with open(f"{at}/status", "rb") as stream:
        for line in stream:
            if line.startswith(b"NSpid:"):
                number = int(line.split()[-1])
            elif line.startswith(b"RssShmem:"):
                shared_bytes = int(line.split()[1]) * 1024
    return number, shared_bytes

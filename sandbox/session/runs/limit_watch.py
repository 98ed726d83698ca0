"""Watches what a snippet spends: time, memory, processes, disk, output; and tells of a breach."""

import asyncio
import os
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from sandbox.cancellation import in_background
from sandbox.outcome import Denial, Limit
from sandbox.policy.limits import Limits
from sandbox.processes.cgroup import COPYING, CpuTime
from sandbox.processes.meter import TICK_S
from sandbox.processes.worker import Worker
from sandbox.protocol.plan import ENGINE_PROCESSES
from sandbox.session.runs.copies_memory import own_bytes
from sandbox.session.runs.timers import Timers

CPU_CHECK_S = 0.01
CPUS = os.cpu_count() or 1
MEMORY_CHECK_S = 0.005
FILLED_BYTES_PER_S = 4 * 1024**3
"""As fast as a few processors write fresh pages; past that the kernel's limit holds."""
DISK_CHECK_S = 0.1
DISK_CHECK_SHARE = 10
"""A look at many files comes after ten times the time that the last one took."""


class Breach(NamedTuple):
    """The first limit that the snippet went over."""

    limit: Limit
    allowed: float
    observed: float

    @property
    def grows_on(self) -> bool:
        """Whether what runs on after an interrupt would take still more."""
        return self.limit in ("memory_bytes", "processes")


class LimitWatch:
    """Meters one snippet. `on_breach` is called once, while the snippet runs."""

    def __init__(
        self,
        worker: Worker,
        limits: Limits,
        *,
        spared: int,
        copies: Callable[[], Collection[int]],
        timers: Timers,
        on_breach: Callable[[Breach], None],
    ) -> None:
        """`spared` is the number of copies that live beside the snippet and are not its own.

        `copies` gives the pids of those and of the standby, as far as they are known.
        """
        self.breach: Breach | None = None
        self.peak_bytes = 0
        self.peak_processes = 1
        self._worker = worker
        self._limits = limits
        self._spared = spared
        self._copies = copies
        self.copies_bytes = 0
        """The most that was seen to be held by copies alone."""
        self._timers = timers
        self._on_breach = on_breach
        self._started = 0.0
        self._is_over = False
        self._stopped = 0.0
        """Since when the clock stands still, in monotonic seconds; 0 while it runs."""
        self._is_followed = False
        self._metered = CpuTime(0.0, 0.0)
        self._cpu_before = self._cpu_now()
        self._ooms_before = 0
        self._forks_before = 0
        if worker.group is not None:
            worker.group.start_peak()
            self._ooms_before = worker.group.oom_kills()
            self._forks_before = worker.group.forks_refused()

    def begin(self, started: float) -> None:
        """Count wall time from `started`, in monotonic seconds."""
        self._started = started

    def follow(self) -> None:
        """Look at each limit from now on, when it can be reached at the earliest."""
        worker, start = self._worker, self._timers.start
        self._is_followed = True
        spent_s = time.monotonic() - self._started
        if not self._stopped:
            start("wall", self._limits.wall_s - spent_s, self._on_wall)
        if worker.group is not None:
            start("cpu", self._soonest_cpu_breach(self._limits.cpu_s), self._check_cpu)
            if self._counts_copies_apart:
                start("memory", MEMORY_CHECK_S, self._check_memory)
        else:
            start("meter", TICK_S - spent_s, self._read_meter)
        if worker.disk.path:
            start("disk", DISK_CHECK_S - spent_s, self._check_disk)

    def stop_clock(self) -> None:
        """Let wall time stand still: the host works for the snippet."""
        self._stopped = time.monotonic()
        self._timers.stop("wall")

    def start_clock(self) -> None:
        """Let wall time go on."""
        if self._stopped:
            self._started += time.monotonic() - self._stopped
            self._stopped = 0.0
            if self._is_followed and self.breach is None:
                left_s = self._limits.wall_s - (time.monotonic() - self._started)
                self._timers.start("wall", max(0.0, left_s), self._on_wall)

    def check_output(self, produced_bytes: int) -> None:
        """Compare what the snippet has written and displayed with its limit."""
        if produced_bytes > self._limits.output_bytes:
            self._exceed("output_bytes", self._limits.output_bytes, produced_bytes)

    def cpu_used(self) -> CpuTime:
        """CPU time of the session since the snippet began."""
        now, before = self._cpu_now(), self._cpu_before
        return CpuTime(now.user_s - before.user_s, now.system_s - before.system_s)

    def note_at_end(self, produced_bytes: int) -> None:
        """Record a breach that is seen only now that the snippet is over; stop nothing."""
        if self.breach is None and produced_bytes > self._limits.output_bytes:
            self.breach = Breach("output_bytes", self._limits.output_bytes, produced_bytes)

    async def take_peaks(self, *, ended_by_itself: bool) -> Denial | None:
        """Read what the kernel counted; a denial if it killed another process than the snippet."""
        worker = self._worker
        self._is_over = True
        self._on_breach = _tell_none  # It would keep the run, and the run this.
        if worker.disk.path and self.breach is None:
            used = await self._worker.disk.directory_bytes()
            if used > worker.plan.workspace_bytes:
                self.breach = Breach("disk_bytes", worker.plan.workspace_bytes, used)
        if worker.group is None:
            return None
        peak_bytes = worker.group.peak_bytes()
        if ended_by_itself and self._counts_copies_apart and peak_bytes > self._limits.memory_bytes:
            await self._weigh_copies()
        self.peak_bytes = max(0, peak_bytes - self.copies_bytes)
        self.peak_processes = max(1, worker.group.processes() - 1)
        if worker.group.oom_kills() == self._ooms_before:
            return None
        if ended_by_itself:
            return Denial(
                layer="cgroup",
                tried=f"more than {self._limits.memory_bytes} bytes of memory",
                rule="memory_bytes",
                hint="a child process was killed; the snippet itself went on",
            )
        if self.breach is None:
            allowed = self._limits.memory_bytes
            observed = max(self.peak_bytes, allowed) if self._counts_copies_apart else peak_bytes
            self.breach = Breach("memory_bytes", allowed, observed)
        return None

    def was_refused_forks(self) -> bool:
        """Whether a fork failed because the session was at its limit."""
        group = self._worker.group
        if group is not None:
            return group.forks_refused() > self._forks_before
        return self.peak_processes >= self._worker.plan.processes

    def _exceed(self, limit: Limit, allowed: float, observed: float) -> None:
        if self.breach is None:
            breach = Breach(limit, allowed, observed)
            self._on_breach(breach)

    def _on_wall(self) -> None:
        self._exceed("wall_s", self._limits.wall_s, time.monotonic() - self._started)

    def _check_cpu(self) -> None:
        used = sum(self.cpu_used())
        if used >= self._limits.cpu_s:
            self._exceed("cpu_s", self._limits.cpu_s, used)
        else:
            delay_s = self._soonest_cpu_breach(self._limits.cpu_s - used)
            self._timers.start("cpu", delay_s, self._check_cpu)

    @property
    def _counts_copies_apart(self) -> bool:
        """Whether the kernel's limit has room for copies, so that the host has to look."""
        group = self._worker.group
        return group is not None and group.memory_limit_bytes > self._limits.memory_bytes

    def _check_memory(self) -> None:
        assert self._worker.group is not None
        left = self._limits.memory_bytes - self._worker.group.used_bytes()
        if left >= 0:
            self._timers.start("memory", _soonest_memory_breach(left), self._check_memory)
        else:
            in_background(self._compare_memory())

    async def _compare_memory(self) -> None:
        own = await self._weigh_copies()
        left = self._limits.memory_bytes - own
        if left < 0:
            self._exceed("memory_bytes", self._limits.memory_bytes, own)
        elif not self._is_over:
            self._timers.start("memory", _soonest_memory_breach(left), self._check_memory)

    async def _weigh_copies(self) -> int:
        """Memory of the session without its copies."""
        group = self._worker.group
        assert group is not None
        own = await asyncio.to_thread(own_bytes, self._worker, group, self._copies())
        if not self._is_over or self._worker.is_live:
            self.copies_bytes = max(self.copies_bytes, group.held_bytes() - own)
        return own

    def _check_disk(self) -> None:
        """Where no file system of its own caps the session, its files are added up."""
        in_background(self._add_up_files())

    async def _add_up_files(self) -> None:
        began = time.monotonic()
        used = await self._worker.disk.directory_bytes()
        allowed = self._worker.plan.workspace_bytes
        if used > allowed:
            self._exceed("disk_bytes", allowed, used)
        elif not self._is_over:
            took_s = time.monotonic() - began
            delay_s = max(DISK_CHECK_S, took_s * DISK_CHECK_SHARE)
            self._timers.start("disk", delay_s, self._check_disk)

    def _soonest_cpu_breach(self, left_s: float) -> float:
        """When the limit can be reached at the earliest, every processor busy."""
        return max(CPU_CHECK_S, left_s / CPUS)

    def _read_meter(self) -> None:
        memory = self._meter_reading()
        if memory > self._limits.memory_bytes:
            self._exceed("memory_bytes", self._limits.memory_bytes, memory)
            return
        plan = self._worker.plan
        own = self.peak_processes - ENGINE_PROCESSES - COPYING - self._spared
        if plan.rlimits.processes is None and own > plan.processes:
            # Where sessions share the user's id there is no limit on forks but this one.
            self._exceed("processes", plan.processes, own)
            return
        used = sum(self.cpu_used())
        if used >= self._limits.cpu_s:
            self._exceed("cpu_s", self._limits.cpu_s, used)
            return
        self._timers.start("meter", TICK_S, self._read_meter)

    def _meter_reading(self) -> int:
        """Memory of the session now; the last reading of CPU time is kept for `_cpu_now`."""
        meter = self._worker.meter
        assert meter is not None
        reading = meter.read(self._copies())
        self._metered = CpuTime(reading.cpu_user_s, reading.cpu_system_s)
        memory = reading.memory_bytes + self._worker.disk.temporary_bytes()
        self.peak_bytes = max(self.peak_bytes, memory)
        self.peak_processes = max(self.peak_processes, reading.processes - 1)
        return memory

    def _cpu_now(self) -> CpuTime:
        worker = self._worker
        if worker.group is not None:
            return worker.group.cpu()
        if worker.meter is None or not worker.is_live:
            return self._metered
        self._meter_reading()
        return self._metered


def _soonest_memory_breach(left_bytes: int) -> float:
    return max(MEMORY_CHECK_S, left_bytes / FILLED_BYTES_PER_S)


def _tell_none(_breach: Breach) -> None:
    """Do nothing: the snippet is over."""

"""One snippet on one worker: hand-over, deadlines, and what the end of it means.

The host decides how a snippet ended from what the kernel and init say: limits that were hit,
the wait status, and only then the session process's own `Done`, which must carry the nonce of
this run. Time runs from the hand-over to the end of everything the snippet can delay: echo,
traceback, flush.

The module is longer than others, so that every way in which a run can end stands in one place.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sandbox import events
from sandbox.outcome import Denial, Limit, State, Usage
from sandbox.policy.limits import Limits
from sandbox.processes.cgroup import COPYING, CpuTime
from sandbox.processes.host_channel import HostChannel
from sandbox.processes.meter import TICK_S
from sandbox.processes.worker import Worker
from sandbox.processes.worker_state import Event
from sandbox.processes.worker_state import State as WorkerState
from sandbox.protocol.messages import Denied, Display, Done, Message, Run
from sandbox.protocol.plan import ENGINE_PROCESSES
from sandbox.session.output import Decoded, HeadTailBuffer, StreamDecoder

READ_BYTES = 1 << 18
DRAIN_BYTES = 1 << 21
"""More than a pipe holds: what was written before the end is read, a later flood is not."""
TAKE_OVER_S = 2.0
STANDBY_CHECK_S = 0.002
SILENCE_S = 0.5
"""From the end of the guest channel to the word of init that the process has ended."""
CPU_CHECK_S = 0.01
CPUS = os.cpu_count() or 1
LISTEN_AFTER_S = 0.002
"""Most snippets are over by then; what they have written is read at their end, all at once."""
DISK_CHECK_S = 0.1
DISK_CHECK_SHARE = 10
"""A look at many files comes after ten times the time that the last one took."""
NONCE_BYTES = 8
DISPLAYS_CAP = 256
DENIALS_CAP = 200

Sink = Callable[[events.Event], None]
T = TypeVar("T")


class Breach(NamedTuple):
    """The first limit that the snippet went over."""

    limit: Limit
    allowed: float
    observed: float


class Exit(NamedTuple):
    """The session process ended with this wait status."""

    status: int


class Fault(NamedTuple):
    """The session process sent what it must not, or closed its channel."""

    said: str


class Gone(NamedTuple):
    """Init is gone, and everything with it, by nobody's order."""


End = Done | Exit | Fault | Gone


class Ran(NamedTuple):
    """What a run came to; the session makes the outcome of it."""

    end: End
    breach: Breach | None
    was_cancelled: bool
    state: State
    survives: bool
    survives_reason: str
    stdout: HeadTailBuffer
    stderr: HeadTailBuffer
    displays: tuple[dict[str, str], ...]
    denials: tuple[Denial, ...]
    usage: Usage
    was_refused_forks: bool
    """Whether a fork failed because the session was at its limit; told of a run that raised."""


class SnippetRun:
    """Runs one snippet on `worker`. Used once."""

    def __init__(
        self,
        worker: Worker,
        code: str,
        *,
        number: int,
        limits: Limits,
        stdin: str | None,
        survive: bool,
        spare: tuple[int, ...],
        sink: Sink | None,
    ) -> None:
        self._worker = worker
        self._code = code
        self._number = number
        self._limits = limits
        self._stdin = stdin
        self._survive = survive
        self._spare = spare
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._nonce = os.urandom(NONCE_BYTES).hex()
        self._end: asyncio.Future[End] = self._loop.create_future()
        self._has_exited = False
        self._exit: asyncio.Future[None] | None = None
        """Waits for the end of the session process, once somebody does."""
        self._breach: Breach | None = None
        self._is_cancelled = False
        self._was_killed = False
        self._standby: HostChannel | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stdout = HeadTailBuffer(limits.kept_bytes)
        self._stderr = HeadTailBuffer(limits.kept_bytes)
        self._decoders = (StreamDecoder(), StreamDecoder()) if sink is not None else None
        self._displays: list[dict[str, str]] = []
        self._displayed_bytes = 0
        self._denials: list[Denial] = []
        self._peak_bytes = 0
        self._peak_processes = 1
        self._metered = CpuTime(0.0, 0.0)
        self._is_listening = False
        self._ooms_before = 0
        self._forks_before = 0

    async def run(self) -> Ran:
        """Run to the end, whatever it is. When cancelled, the snippet is interrupted first."""
        worker = self._worker
        began = time.monotonic()
        self._begin()
        handed_over = self._started
        end = await self._wait_for_end()
        for timer in self._timers.values():
            timer.cancel()
        wall_s = time.monotonic() - handed_over
        cpu = self._cpu_used()
        self._note_what_was_hit()
        if isinstance(end, Done) and worker.is_live:
            state: State = self._keep()
        else:
            state = await self._wait_out(asyncio.ensure_future(self._settle(end)))
        self._finish_streams()
        worker.on_exit = worker.on_gone = None
        in_place = end.in_place if isinstance(end, Done) else self._in_place()
        usage = Usage(
            wall_s=wall_s,
            cpu_user_s=max(0.0, cpu.user_s),
            cpu_system_s=max(0.0, cpu.system_s),
            peak_memory_bytes=self._peak_bytes,
            written_bytes=self._stdout.total + self._stderr.total,
            processes=self._peak_processes,
            start_s=handed_over - began,
        )
        return Ran(
            end,
            self._breach,
            self._is_cancelled,
            state,
            self._survive and not in_place,
            in_place,
            self._stdout,
            self._stderr,
            tuple(self._displays),
            tuple(self._denials),
            usage,
            isinstance(end, Done) and end.ended == "raised" and self._was_refused_forks(),
        )

    def interrupt(self) -> None:
        """End the snippet softly, and by force when the grace is over."""
        self._stop_softly()

    async def _wait_for_end(self) -> End:
        """How the snippet ended; a cancelled caller interrupts it and waits on."""
        while True:
            try:
                return await self._end
            except asyncio.CancelledError:
                self._is_cancelled = True
                if self._end.done() and not self._end.cancelled():
                    return self._end.result()
                # The cancellation took the future with it.
                self._end = self._loop.create_future()
                self._stop_softly()

    async def _wait_out(self, future: asyncio.Future[T]) -> T:
        """The result of `future`, however often the caller is cancelled before it is there."""
        while True:
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                if future.cancelled():
                    raise
                self._is_cancelled = True
                self._stop_softly()

    # ---- the start ------------------------------------------------------------------------------

    def _begin(self) -> None:
        worker = self._worker
        worker.happen(Event.RUN)
        worker.on_guest = self._on_guest
        worker.on_fault = self._on_fault
        worker.on_exit = self._on_exit
        worker.on_gone = lambda: self._finish(Gone())
        self._cpu_before = self._cpu_now()
        if worker.group is not None:
            worker.group.start_peak()
            self._ooms_before = worker.group.oom_kills()
            self._forks_before = worker.group.forks_refused()
        message = Run(self._nonce, self._number, self._code, self._stdin, self._survive)
        if self._survive:
            host_end, guest_end = socket.socketpair()
            self._standby = worker.open_guest_channel(host_end)
            with guest_end:
                worker.guest.send(message, (guest_end.fileno(),))
        else:
            worker.guest.send(message)
        self._after(min(LISTEN_AFTER_S, self._limits.wall_s), "listen", self._listen)
        self._started = time.monotonic()
        if self._sink is not None:
            self._tell(events.Started(self._number))

    def _after(self, delay_s: float, name: str, callback: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(delay_s, callback)

    def _tell(self, event: events.Event) -> None:
        if self._sink is not None:
            self._sink(event)

    # ---- limits ---------------------------------------------------------------------------------

    def _on_wall(self) -> None:
        self._exceed("wall_s", self._limits.wall_s, time.monotonic() - self._started)

    def _check_cpu(self) -> None:
        used = sum(self._cpu_used())
        if used >= self._limits.cpu_s:
            self._exceed("cpu_s", self._limits.cpu_s, used)
        else:
            delay = self._soonest_cpu_breach(self._limits.cpu_s - used)
            self._after(delay, "cpu", self._check_cpu)

    def _check_disk(self) -> None:
        """Where no file system of its own caps the session, its files are added up."""
        began = time.monotonic()
        used = self._worker.directory_bytes()
        allowed = self._worker.plan.workspace_bytes
        if used > allowed:
            self._exceed("disk_bytes", allowed, used)
        else:
            took = time.monotonic() - began
            self._after(max(DISK_CHECK_S, took * DISK_CHECK_SHARE), "disk", self._check_disk)

    def _soonest_cpu_breach(self, left_s: float) -> float:
        """When the limit can be reached at the earliest, every processor busy."""
        return max(CPU_CHECK_S, left_s / CPUS)

    def _read_meter(self) -> None:
        memory = self._meter_reading()
        if memory > self._limits.memory_bytes:
            self._exceed("memory_bytes", self._limits.memory_bytes, memory)
            return
        plan = self._worker.plan
        own = self._peak_processes - ENGINE_PROCESSES - COPYING - len(self._spare)
        if plan.rlimits.processes is None and own > plan.processes:
            # Where sessions share the user's id there is no limit on forks but this one.
            self._exceed("processes", plan.processes, own)
            return
        used = sum(self._cpu_used())
        if used >= self._limits.cpu_s:
            self._exceed("cpu_s", self._limits.cpu_s, used)
            return
        self._after(TICK_S, "meter", self._read_meter)

    def _meter_reading(self) -> int:
        """Memory of the session now; the last reading of CPU time is kept for `_cpu_now`."""
        meter = self._worker.meter
        assert meter is not None
        reading = meter.read()
        self._metered = CpuTime(reading.cpu_user_s, reading.cpu_system_s)
        memory = reading.memory_bytes + self._worker.temporary_bytes()
        self._peak_bytes = max(self._peak_bytes, memory)
        self._peak_processes = max(self._peak_processes, reading.processes - 1)
        return memory

    def _exceed(self, limit: Limit, allowed: float, observed: float) -> None:
        """Take note of the first breach; end the snippet softly, or at once what still grows."""
        if self._breach is not None or self._end.done():
            return
        self._breach = Breach(limit, allowed, observed)
        if limit in ("memory_bytes", "processes"):
            self._stop_hard()
        else:
            self._stop_softly()

    def _stop_softly(self) -> None:
        """SIGINT now, and the end of everything when the grace is over."""
        worker = self._worker
        if self._end.done() or worker.state is not WorkerState.RUNNING:
            return
        worker.happen(Event.INTERRUPT)
        worker.interrupt()
        self._after(self._limits.grace_s, "grace", self._stop_hard)

    def _stop_hard(self) -> None:
        """End the session process; `_settle` goes on with the standby, if there is one."""
        if self._end.done():
            return
        standby_pid = self._standby_pid()
        if standby_pid is not None:
            self._was_killed = True
            self._worker.kill_snippet([standby_pid, *self._spare])
            self._after(TAKE_OVER_S, "kill", self._worker.kill)
        elif self._is_standby_coming():
            self._after(STANDBY_CHECK_S, "grace", self._stop_hard)
        else:
            self._worker.kill()

    def _is_standby_coming(self) -> bool:
        """Whether a copy was asked for, has not come yet, and may still come."""
        is_early = time.monotonic() < self._started + TAKE_OVER_S
        return self._standby is not None and self._standby.is_open and is_early

    def _cpu_now(self) -> CpuTime:
        worker = self._worker
        if worker.group is not None:
            return worker.group.cpu()
        if worker.meter is None or not worker.is_live:
            return self._metered
        self._meter_reading()
        return self._metered

    def _cpu_used(self) -> CpuTime:
        now = self._cpu_now()
        before = self._cpu_before
        return CpuTime(now.user_s - before.user_s, now.system_s - before.system_s)

    # ---- what the guest says and writes ---------------------------------------------------------

    def _on_guest(self, message: Message) -> None:
        if isinstance(message, Display) and message.nonce == self._nonce:
            self._show(message.bundle)
        elif isinstance(message, Denied) and message.nonce == self._nonce:
            self._deny(
                Denial(
                    layer=message.layer, tried=message.tried, rule=message.rule, hint=message.hint
                )
            )
        elif isinstance(message, Done) and message.nonce == self._nonce:
            self._finish(message)
        else:
            self._finish(Fault(f"{type(message).__name__} out of place"))

    def _show(self, bundle: dict[str, str]) -> None:
        self._displayed_bytes += sum(map(_size, bundle.values()))
        self._check_output()
        if self._breach is not None and self._breach.limit == "output_bytes":
            return
        if len(self._displays) >= DISPLAYS_CAP:
            self._finish(Fault("more displays than a snippet may have"))
            return
        self._displays.append(bundle)
        self._tell(events.Displayed(bundle))

    def _deny(self, denial: Denial) -> None:
        if len(self._denials) < DENIALS_CAP:
            self._denials.append(denial)

    def _listen(self) -> None:
        """Follow a snippet that is not over at once: its output, and its limits from here on."""
        worker = self._worker
        self._is_listening = True
        for index, fd in enumerate((worker.stdout, worker.stderr)):
            self._loop.add_reader(fd, self._on_output, index)
        spent_s = time.monotonic() - self._started
        self._after(self._limits.wall_s - spent_s, "wall", self._on_wall)
        if worker.group is not None:
            self._after(self._soonest_cpu_breach(self._limits.cpu_s), "cpu", self._check_cpu)
        else:
            self._after(TICK_S - spent_s, "meter", self._read_meter)
        if worker.directory:
            self._after(DISK_CHECK_S - spent_s, "disk", self._check_disk)

    def _on_output(self, index: int) -> None:
        fd = (self._worker.stdout, self._worker.stderr)[index]
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(fd)
            return
        self._take_output(index, data)
        self._check_output()

    def _take_output(self, index: int, data: bytes) -> None:
        (self._stdout, self._stderr)[index].add(data)
        if self._decoders is not None:
            self._tell_output(index, self._decoders[index].feed(data))

    def _tell_output(self, index: int, found: Decoded) -> None:
        if found.text:
            self._tell(events.Stderr(*found) if index else events.Stdout(*found))

    def _finish_streams(self) -> None:
        """Read what was written before the end, and stop listening until the next run."""
        worker = self._worker
        if self._is_listening:
            self._loop.remove_reader(worker.stdout)
            self._loop.remove_reader(worker.stderr)
        for fd in worker.unread():
            index = 0 if fd == worker.stdout else 1
            left = DRAIN_BYTES
            with contextlib.suppress(BlockingIOError):
                while left > 0 and (data := os.read(fd, READ_BYTES)):
                    self._take_output(index, data)
                    left -= len(data)
        if self._decoders is not None:
            for index, decoder in enumerate(self._decoders):
                self._tell_output(index, decoder.finish())
        produced = self._produced_bytes()
        if self._breach is None and produced > self._limits.output_bytes:
            self._breach = Breach("output_bytes", self._limits.output_bytes, produced)

    def _check_output(self) -> None:
        produced = self._produced_bytes()
        if produced > self._limits.output_bytes:
            self._exceed("output_bytes", self._limits.output_bytes, produced)

    def _produced_bytes(self) -> int:
        """What the snippet has written and displayed."""
        return self._stdout.total + self._stderr.total + self._displayed_bytes

    # ---- the end --------------------------------------------------------------------------------

    def _finish(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)

    def _on_fault(self, said: str | None) -> None:
        if said is not None:
            self._finish(Fault(said))
        else:
            # Most often the process has died, and init is about to say how.
            self._after(SILENCE_S, "silence", lambda: self._finish(Fault("the channel was closed")))

    def _on_exit(self, status: int) -> None:
        # What the process wrote before it died is on its way already; its word comes first.
        self._worker.guest.read_now()
        self._has_exited = True
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(None)
        self._finish(Exit(status))

    def _note_what_was_hit(self) -> None:
        """Take the peak, and see whether the kernel ended something for memory."""
        worker = self._worker
        if worker.directory and self._breach is None:
            used = worker.directory_bytes()
            if used > worker.plan.workspace_bytes:
                self._breach = Breach("disk_bytes", worker.plan.workspace_bytes, used)
        if worker.group is None:
            return
        self._peak_bytes = worker.group.peak_bytes()
        self._peak_processes = max(1, worker.group.processes() - 1)
        ooms = worker.group.oom_kills() - self._ooms_before
        if not ooms:
            return
        if isinstance(self._end.result(), Done):
            self._deny(
                Denial(
                    layer="cgroup",
                    tried=f"more than {self._limits.memory_bytes} bytes of memory",
                    rule="memory_bytes",
                    hint="a child process was killed; the snippet itself went on",
                )
            )
        elif self._breach is None:
            self._breach = Breach("memory_bytes", self._limits.memory_bytes, self._peak_bytes)

    def _keep(self) -> State:
        """Go on with the session process as it is."""
        self._worker.happen(Event.DONE)
        if self._standby is not None:
            self._standby.close()
        return "kept"

    async def _settle(self, end: End) -> State:
        """Bring the worker back to idle, or end it: whether it rolled back or is lost."""
        worker = self._worker
        if isinstance(end, Fault):
            self._deny(Denial(layer="protocol", tried=end.said, rule="messages in their place"))
        standby_pid = self._standby_pid()
        while standby_pid is None and worker.is_live and self._is_standby_coming():
            # The snippet died so soon that its copy has not said yet that it waits.
            await asyncio.sleep(STANDBY_CHECK_S)
            standby_pid = self._standby_pid()
        if standby_pid is None or isinstance(end, Gone) or not worker.is_live:
            worker.kill()
            if self._standby is not None:
                self._standby.close()
            return "lost"
        worker.happen(Event.LOSE)
        if not self._was_killed:
            # What died by itself may have left processes; they belong to what is undone.
            worker.kill_snippet([standby_pid, *self._spare])
        try:
            async with asyncio.timeout(TAKE_OVER_S):
                if not self._has_exited:
                    self._exit = self._loop.create_future()
                    await self._exit
                await worker.killed()
        except TimeoutError:
            worker.kill()
            return "lost"
        assert self._standby is not None
        if standby_pid in worker.gone_copies:
            worker.kill()  # The snippet had ended its own copy before it died.
            return "lost"
        worker.adopt(self._standby, standby_pid)
        worker.happen(Event.TAKE_OVER)
        return "rolled_back"

    def _standby_pid(self) -> int | None:
        """The standby's pid, if it has said that it waits and its channel is still open."""
        if self._standby is None:
            return None
        self._standby.read_now()
        return self._standby.copy_pid if self._standby.is_open else None

    def _in_place(self) -> str:
        if not self._survive:
            return ""
        if self._standby_pid() is not None:
            return ""
        said = self._standby.refusal if self._standby is not None else ""
        return said or "the session could not be copied"

    def _was_refused_forks(self) -> bool:
        group = self._worker.group
        if group is not None:
            return group.forks_refused() > self._forks_before
        return self._peak_processes >= self._worker.plan.processes


def signal_name(status: int) -> str | None:
    """Name of the signal in a wait status; None for an exit."""
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None


def _size(text: str) -> int:
    """Bytes of `text` as UTF-8, which no copy is made for where they are as many as characters."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

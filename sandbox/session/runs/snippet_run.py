"""One snippet on one worker: hand-over, deadlines, and what the end of it means.

The host decides how a snippet ended from what the kernel and init say: limits that were hit,
the wait status, and only then the session process's own `Done`, which must carry the nonce of
this run. Time runs from the hand-over to the end of everything the snippet can delay: echo,
traceback, flush.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from sandbox import events
from sandbox.cancellation import Wait, apart
from sandbox.outcome import Attempt, Denial, HostCall, State, Usage, filled
from sandbox.policy import arguments
from sandbox.processes.guest_process import LEAST_ROOM_BYTES
from sandbox.processes.worker import Worker
from sandbox.processes.worker_state import Event
from sandbox.processes.worker_state import State as WorkerState
from sandbox.protocol.messages import (
    AttemptCounts,
    Attempted,
    Call,
    ClearDisplays,
    Denied,
    Display,
    Done,
    Message,
    Run,
    ToolCall,
)
from sandbox.protocol.plan import JailPlan
from sandbox.session.host_tools import ToolRun
from sandbox.session.runs.limit_watch import Breach, LimitWatch
from sandbox.session.runs.output import HeadTailBuffer
from sandbox.session.runs.request import SnippetRequest
from sandbox.session.runs.run_output import RunOutput, Sink
from sandbox.session.runs.takeover import STANDBY_CHECK_S, TAKE_OVER_S, Takeover
from sandbox.session.runs.timers import Alarm, Timers
from sandbox.trace import remedies
from sandbox.trace.collector import OUT_OF_PLACE, Tracing

SILENCE_S = 0.5
"""From the end of the guest channel to the word of init that the process has ended."""
LISTEN_AFTER_S = 0.005
"""Most snippets are over by then; what they have written is read at their end, all at once."""
COPIED_WITHIN_S = 0.003
"""A snippet that has a standby begins so much later, most often."""
NONCE_BYTES = 8
NOTHING_USED = Usage()


class Exit(NamedTuple):
    """The session process ended with this wait status."""

    status: int


class Fault(NamedTuple):
    """The session process sent what it must not, or closed its channel."""

    said: str


class Gone(NamedTuple):
    """Init is gone, and everything with it, though the host did not order it."""


End = Done | Exit | Fault | Gone


class Ran(NamedTuple):
    """What a run came to; the session makes the outcome of it."""

    end: End
    breach: Breach | None
    state: State
    survives: bool
    survives_reason: str
    stdout: HeadTailBuffer
    stderr: HeadTailBuffer
    tool_calls: tuple[HostCall, ...]
    displays: tuple[dict[str, str], ...]
    denials: tuple[Denial, ...]
    attempts: tuple[Attempt, ...]
    usage: Usage
    was_refused_forks: bool
    """Whether a fork failed because the session was at its limit; told of a run that raised."""


class SnippetRun:
    """Runs one snippet on `worker`. Used once."""

    def __init__(
        self,
        worker: Worker,
        request: SnippetRequest,
        *,
        number: int,
        survive: bool,
        spare: Sequence[int],
        sink: Sink | None,
        alarm: Alarm,
    ) -> None:
        """`alarm` rings for what is not over at once; one is enough for all runs of a session."""
        self._began = time.monotonic()
        self._worker = worker
        self._request = request
        self._number = number
        self._survive = survive
        self._nonce = os.urandom(NONCE_BYTES).hex()
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._timers = Timers()
        self._alarm = alarm
        self._output = RunOutput(worker.output, request.limits, sink)
        self._takeover = Takeover(worker, spare=spare)
        self._trace = Tracing(worker.plan) if worker.plan.trace else None
        self._tools = self._tool_run() if request.tools else None
        self._watch = LimitWatch(
            worker,
            request.limits,
            spared=len(spare),
            copies=self._takeover.copies,
            timers=self._timers,
            on_breach=self._on_breach,
        )

    async def run(self) -> Ran:
        """Run to the end, whatever it is."""
        self._worker.happen(Event.RUN)
        guest = self._worker.guest
        guest.runs_snippet = True
        guest.make_room(self._room, self._on_over_room)
        with self._worker.heard_by(self):
            self._hand_over()
            handed_over = time.monotonic()
            self._watch.begin(handed_over)
            self._output.tell(events.Started(self._number))
            end = await Wait(self._end)
            guest.runs_snippet = False
            guest.make_room(None, None)
            self._alarm.put_off()
            self._timers.cancel()
            if self._tools is not None:
                self._tools.end()
            wall_s = time.monotonic() - handed_over
            cpu = self._watch.cpu_used()
            await self._take_peaks(end)
            if self._trace is not None:
                await self._trace.finish(self._worker.refused_calls)
            state = await self._go_on_after(end)
        self._output.finish()
        self._watch.note_at_end(self._output.produced_bytes)
        usage = filled(
            NOTHING_USED,
            {
                "wall_s": wall_s,
                "cpu_user_s": max(0.0, cpu.user_s),
                "cpu_system_s": max(0.0, cpu.system_s),
                "peak_memory_bytes": self._watch.peak_bytes,
                "copies_memory_bytes": self._watch.copies_bytes,
                "written_bytes": self._output.written_bytes,
                "processes": self._watch.peak_processes,
                "start_s": handed_over - self._began,
                "host_s": self._tools.host_s if self._tools is not None else 0.0,
            },
        )
        return self._ran(end, state, usage)

    def interrupt(self) -> None:
        """End the snippet softly, and by force when the grace is over."""
        worker = self._worker
        if self._end.done() or worker.state is not WorkerState.RUNNING:
            return
        worker.happen(Event.INTERRUPT)
        worker.interrupt()
        self._timers.start("grace", self._request.limits.grace_s, self._stop_hard)

    # ---- what the worker tells ------------------------------------------------------------------

    def on_guest(self, message: Message) -> None:
        if isinstance(message, Done) and message.nonce == self._nonce:
            self._finish(message)
        elif isinstance(message, Display) and message.nonce == self._nonce:
            self._show(message.bundle, message.number)
        elif isinstance(message, ClearDisplays) and message.nonce == self._nonce:
            self._output.clear()
            self._check_output()
        elif isinstance(message, Denied) and message.nonce == self._nonce:
            self._output.deny(_denial(message, self._worker.plan))
        elif isinstance(message, Attempted | AttemptCounts) and message.nonce == self._nonce:
            if self._trace is None or not self._trace.hear(message):
                self._finish(Fault(OUT_OF_PLACE))
        elif isinstance(message, ToolCall) and message.nonce == self._nonce:
            if self._tools is None or not self._tools.begin(message):
                self._finish(Fault("a call of a function that it was not given"))
        else:
            self._finish(Fault(f"{type(message).__name__} out of place"))

    def on_fault(self, said: str | None) -> None:
        if said is not None:
            self._finish(Fault(said))
        elif not self._end.done():
            # Most often the process has died, and init is about to say how.
            closed = Fault("the channel was closed")
            self._timers.start("silence", SILENCE_S, lambda: self._finish(closed))

    def on_exit(self, status: int) -> None:
        # What the process wrote before it died is on its way already; its word comes first.
        self._worker.guest.read_now()
        self._finish(Exit(status))

    def on_gone(self) -> None:
        self._finish(Gone())

    def _finish(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)

    def _room(self) -> int:
        left = self._request.limits.output_bytes - self._output.produced_bytes
        return max(LEAST_ROOM_BYTES, left)

    def _on_over_room(self) -> None:
        """A display was larger than what is left to be displayed, and was not made."""
        self._output.count_lost(self._room())
        self._check_output()

    def _show(self, bundle: dict[str, str], number: int) -> None:
        self._output.count_display(bundle)
        self._check_output()
        breach = self._watch.breach
        if breach is not None and breach.limit == "output_bytes":
            return
        if not self._output.show(bundle, number):
            self._finish(Fault("more displays than a snippet may have"))

    def _tool_run(self) -> ToolRun:
        return ToolRun(
            self._request.tools,
            self._worker.guest,
            self._worker.held,
            on_clock=self._on_host_work,
            on_unread=lambda: self._finish(Fault("answers that it does not read")),
        )

    # ---- while it runs --------------------------------------------------------------------------

    def _hand_over(self) -> None:
        request = self._request
        if request.function:
            self._takeover.send(Call(self._nonce, request.function, request.code))
        else:
            self._takeover.send(
                Run(
                    self._nonce,
                    self._number,
                    request.code,
                    request.stdin,
                    self._survive,
                    request.script,
                    request.tools.specs if request.tools else "",
                )
            )
        listen_after_s = LISTEN_AFTER_S + (COPIED_WITHIN_S if self._survive else 0.0)
        self._alarm.set(min(listen_after_s, request.limits.wall_s), self._listen)

    def _listen(self) -> None:
        """Follow a snippet that is not over at once: its output, and its limits from here on."""
        self._output.listen(self._check_output)
        self._watch.follow()

    def _on_host_work(self, begins: bool) -> None:
        """Stop the snippet's clock while the host works for it."""
        if begins:
            self._watch.stop_clock()
        else:
            self._watch.start_clock()

    def _check_output(self) -> None:
        self._watch.check_output(self._output.produced_bytes)

    def _on_breach(self, breach: Breach) -> None:
        """Record the first breach. Interrupt the snippet; for what grows on, kill it at once."""
        if self._end.done():
            return
        self._watch.breach = breach
        if breach.grows_on:
            self._stop_hard()
        else:
            self.interrupt()

    def _stop_hard(self) -> None:
        """End the session process; `Takeover` goes on with the standby, if there is one."""
        if self._end.done():
            return
        standby_pid = self._takeover.pid
        if standby_pid:
            self._takeover.kill_snippet(standby_pid)
            self._timers.start("kill", TAKE_OVER_S, self._worker.kill)
        elif self._takeover.is_coming:
            self._timers.start("grace", STANDBY_CHECK_S, self._stop_hard)
        else:
            self._worker.kill()

    # ---- the end --------------------------------------------------------------------------------

    async def _take_peaks(self, end: End) -> None:
        denial = await self._watch.take_peaks(ended_by_itself=isinstance(end, Done))
        if denial is not None:
            self._output.deny(denial)

    async def _go_on_after(self, end: End) -> State:
        """Bring the worker back to idle, or end it: whether its state is kept, older or lost."""
        worker = self._worker
        if isinstance(end, Done) and worker.is_live:
            worker.happen(Event.DONE)
            self._takeover.drop()
            return "kept"
        if isinstance(end, Fault):
            self._output.deny(
                Denial(layer="protocol", tried=end.said, rule="messages in their place")
            )
        await apart()
        return await self._takeover.carry_out()

    def _ran(self, end: End, state: State, usage: Usage) -> Ran:
        why = ""
        if isinstance(end, Done):
            why = end.in_place
        elif state != "rolled_back" and self._survive:
            why = self._takeover.why_none()
        raised = isinstance(end, Done) and end.ended == "raised"
        attempts: tuple[Attempt, ...] = ()
        denials = tuple(self._output.denials)
        if self._trace is not None:
            attempts = self._trace.attempts()
            denials += self._trace.denials(attempts)
        return Ran(
            end=end,
            breach=self._watch.breach,
            state=state,
            survives=self._survive and not why,
            survives_reason=why,
            stdout=self._output.stdout,
            stderr=self._output.stderr,
            tool_calls=tuple(self._tools.calls) if self._tools is not None else (),
            displays=tuple(self._output.displays),
            denials=denials,
            attempts=attempts,
            usage=usage,
            was_refused_forks=raised and self._watch.was_refused_forks(),
        )


def _denial(message: Denied, plan: JailPlan) -> Denial:
    arguments = {"module": message.tried}
    return Denial(
        layer=message.layer,
        tried=message.tried,
        rule=message.rule,
        hint=message.hint,
        line=message.line,
        arguments=arguments,
        allow_with=remedies.allow_import(message.tried, plan.import_rules, plan.import_default),
        sentence=remedies.sentence("import", message.tried, message.hint or message.rule),
        is_guests_word=True,
    )


def signal_name(status: int) -> str | None:
    """Name of the signal in a wait status; None for an exit."""
    return arguments.signal_name(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None

"""Worker: one session's process tree from the host's side. See `zygote` for the whole.

The host learns of it from three sources, trusted in this order: the kernel (pidfd of init,
cgroups), init (`Exited`, `Killed`), the session process (everything else).
"""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.errors import EngineTimeout, LayerUnavailable, SessionLost
from sandbox.processes import fork_safety
from sandbox.processes.cgroup import KeptGroup, SessionGroup
from sandbox.processes.commands import CommandTable
from sandbox.processes.directories import SessionDisk
from sandbox.processes.entry_gate import EntryGate
from sandbox.processes.guest_process import GuestProcess, OutputPipes
from sandbox.processes.host_channel import HeldMemory, HostChannel
from sandbox.processes.init_process import InitProcess, Kills
from sandbox.processes.meter import Meter
from sandbox.processes.worker_state import Event, Lifecycle, State
from sandbox.protocol.messages import (
    TRUSTED_CAP_BYTES,
    CallRefused,
    CommandEnded,
    CommandStarted,
    EscapedKilled,
    Exited,
    Failed,
    Interrupt,
    Kill,
    Killed,
    Message,
    NamespacesReady,
    Pause,
    Ready,
    RefusalCounts,
    SetnsDenied,
    SpareEnded,
    Spawn,
    Warm,
    Watch,
)
from sandbox.protocol.plan import JailPlan
from sandbox.trace.call_refusals import CallRefusals

START_WITHIN_S = 30.0
GONE_WITHIN_S = 10.0
READY_DESCRIPTORS = 9
"""With `Ready`, at most, beside the pidfd of init: the directories and the listeners."""


class WorkerListener(Protocol):
    """Hears of a worker while it is in charge of it: see `Worker.heard_by`."""

    def on_guest(self, message: Message) -> None:
        """Hear `message` of the session process."""

    def on_fault(self, said: str | None) -> None:
        """Hear that its channel is over; `said` names what it must not have sent, if it did."""

    def on_exit(self, status: int) -> None:
        """Hear that the session process has ended with this wait status."""

    def on_gone(self) -> None:
        """Hear that init is gone, and everything with it."""


class Parent(Protocol):
    """The zygote, as far as its workers need it."""

    def death(self) -> Exception:
        """Why it is of no more use, as the error to raise."""

    def end_orphans(self) -> None:
        """End what is left of a session whose init was ended from outside."""


class Birth(Protocol):
    """The way in which a worker comes to be: forked by a zygote, or branched."""

    def init_pidfd(self, control: HostChannel) -> int:
        """A pidfd of the init that has just said `Ready`."""

    def hear(self, message: NamespacesReady) -> None:
        """Take what init says before `Ready`."""

    def failed(self, message: Failed) -> Exception:
        """What it means that a step failed, as the error to raise."""

    def ended(self) -> Exception:
        """What it means that init ended before `Ready`, as the error to raise."""


@dataclass
class HandedOver:
    """Descriptors that a worker's processes get, until they have them."""

    control: int
    guest: int
    stdout: int
    stderr: int
    cgroups: tuple[int, ...]

    @property
    def streams(self) -> tuple[int, int, int, int]:
        return self.control, self.guest, self.stdout, self.stderr

    def close_control(self) -> None:
        """Close the end of the control channel: the host is to see when init closes its own."""
        os.close(self.control)
        self.control = -1

    def close(self) -> None:
        """Close the host's copies; once is enough."""
        for fd in (*self.streams, *self.cgroups):
            if fd >= 0:
                os.close(fd)
        self.control = self.guest = self.stdout = self.stderr = -1
        self.cgroups = ()


@dataclass(eq=False)
class Lineage:
    """Where a session was branched from, and what was branched from it."""

    origin: "Worker | None" = None
    root: "Worker | None" = None
    """The worker whose init keeps the gate of this branch; None for itself."""
    branches: set["Worker"] = field(default_factory=set)
    """Branches that live; they end with this session's init."""
    generation: int = 0
    """How many branches led here from the first session."""
    lingers: bool = False
    """Whether it is to be closed when its last branch is."""


class Worker:
    """One session's processes. Made by `Zygote.new_worker`; of use once `start` has returned."""

    def __init__(
        self,
        plan: JailPlan,
        number: int,
        group: SessionGroup | None,
        directory: str,
        parent: Parent,
    ) -> None:
        self.plan = plan
        self.number = number
        self.group = group
        self.parent = parent
        self.birth: Birth = _FromZygote(parent)
        self.lineage = Lineage()
        self.is_in_kept_jail = isinstance(group, KeptGroup)
        self.meter: Meter | None = None
        self.layers: tuple[str, ...] = ()
        self.disk = SessionDisk(plan, directory)
        self.listeners: tuple[int, ...] = ()
        """Sockets that listen in the session's net namespace, as the plan's `listen_ports`."""
        self.held = HeldMemory()
        self.init = InitProcess(self._on_init_gone)
        self.kills = Kills()
        self._lifecycle = Lifecycle()
        self._was_abandoned = False
        """Whether init closed its channel before the host asked it to go."""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listeners: list[WorkerListener] = [_Unused(self)]
        control_host, control_guest = socket.socketpair()
        guest_host, guest_guest = socket.socketpair()
        self.output = OutputPipes()
        self.ends = HandedOver(
            control_guest.detach(),
            guest_guest.detach(),
            self.output.stdout_write,
            self.output.stderr_write,
            tuple(group.join_fds() if group is not None else ()),
        )
        self.control = HostChannel(
            control_host,
            "from_init",
            TRUSTED_CAP_BYTES,
            on_message=self._on_control,
            on_end=self._on_control_end,
            trusted=True,
        )
        self.guest = self.open_guest_channel(guest_host)
        """The session process; `adopt` puts a copy in its place."""
        self.gate = EntryGate(self.control)
        self.commands = CommandTable(self.control)
        self.refused_calls = CallRefusals(self.control)
        fork_safety.add(self)

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def is_live(self) -> bool:
        return self._lifecycle.is_live

    @property
    def identity(self) -> int:
        """The number whose host id the processes have: a branch has that of its origin."""
        return (self.lineage.root or self).number

    def happen(self, event: Event) -> None:
        """Move to the state that `event` leads to."""
        self._lifecycle.happen(event)

    # ---- the start ------------------------------------------------------------------------------

    def ask_zygote(self, zygote_channel: HostChannel) -> None:
        """Have a fresh worker forked; await `start` after this."""
        try:
            spawn = Spawn(self.number, len(self.ends.cgroups), self.disk.path)
            zygote_channel.send(spawn, (*self.ends.streams, *self.ends.cgroups))
        finally:
            self.ends.close()

    def open_guest_channel(self, end: socket.socket, *, listens: bool = True) -> GuestProcess:
        """A copy of the session process on its way, which answers on the other side of `end`."""
        return GuestProcess(
            end,
            on_message=lambda message: self._listeners[-1].on_guest(message),
            on_end=lambda fault: self._listeners[-1].on_fault(fault),
            held=self.held,
            listens=listens,
        )

    async def start(self) -> None:
        """Wait until the jail holds. Raises LayerUnavailable, ZygoteDied or EngineTimeout."""
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._ready
        except TimeoutError:
            await self.close()
            raise EngineTimeout("the start of a worker", START_WITHIN_S) from None
        except BaseException:
            await self.close()
            raise

    def fail_to_start(self, error: Exception) -> None:
        """Have `start` raise `error`, if the worker has not started."""
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # A branch that was given up is not waited for.

    def warm(self) -> None:
        """Have all that a snippet needs ready before there is one."""
        if self.group is not None:
            self.group.get_ready()
        self.guest.send(Warm())

    # ---- in use ---------------------------------------------------------------------------------

    def heard_by(self, listener: WorkerListener) -> "_Hearing":
        """Within this context `listener`, and no other, is told what happens."""
        return _Hearing(self._listeners, listener)

    async def exited(self) -> None:
        """Wait until the session process has ended, or all of it with init."""
        await self.guest.exited()

    def interrupt(self) -> None:
        """SIGINT to the session process."""
        self.control.send(Interrupt(self.guest.pid))

    def kill_snippet(self, spare: list[int], *, keeps_commands: bool = True) -> None:
        """End every process of the session but init and those in `spare`; see `killed`.

        Commands go on too, unless the session itself is to end.
        """
        self.kills.note_asked()
        self.control.send(Kill(spare, keeps_commands))

    async def killed(self) -> None:
        """Wait until init has done every kill that it was asked for."""
        await self.kills.over()

    def pause(self, *, stopped: bool) -> None:
        """Stop every process of the session but init, or let them all go on.

        In a kept jail they go on: a session is there for a program that runs at once.
        """
        if not self.is_in_kept_jail:
            self.control.send(Pause(stopped))

    def adopt(self, copy: GuestProcess) -> None:
        """Make `copy` the session process."""
        self.guest.close()
        self.guest = copy
        copy.become_session(copy.pid)
        self.control.send(Watch(copy.pid))

    # ---- the end --------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL to every process of the session. Does not wait.

        A pid namespace ends with its init. Without one the end of init would set the others free:
        it ends them first, and itself, when its channel closes.
        """
        if self.is_live:
            self.happen(Event.KILL)
        if not self._ready.done():
            self.fail_to_start(self.parent.death())
        if self.lineage.branches and self.control.is_open:
            # Init stays: the branches would end with it.
            self.kill_snippet([], keeps_commands=False)
        elif self.init.is_known and self.plan.asks_for("pid_namespace"):
            self.init.kill()
        else:
            self.control.close()

    def kill_with_branches(self) -> None:
        """Kill it and all branches below, whose namespaces end with this one's."""
        for branch in self.lineage.branches:
            branch.kill_with_branches()
        if self.is_live:
            self.happen(Event.KILL)
        self.init.kill()

    async def gone(self, within_s: float) -> bool:
        """Wait until nothing of it runs; whether that was so in time."""
        return await self.init.gone(within_s)

    async def close(self) -> None:
        """Kill, wait until nothing is left, and give back what the host holds; once is enough."""
        self.kill()
        if self.lineage.branches and self.control.is_open:
            self.lineage.lingers = True
            return
        if self.init.is_known and self.plan.asks_for("pid_namespace"):
            # The kernel ends all of it; one by one, the channels would only wake the loop.
            self.control.close()
            self.guest.close()
        if not await self.gone(GONE_WITHIN_S):
            self.init.kill()
            raise EngineTimeout("the end of a worker", GONE_WITHIN_S)
        if not self.output.is_open:
            return  # Another caller was faster.
        if self.state is not State.DEAD:
            self.happen(Event.EXITED)  # It never came to have an init.
        self.control.close()
        self.guest.close()
        self.init.close()
        self.output.close()
        if self.group is not None:
            self.group.close()
            self.group = None
        await self.disk.close()
        for fd in self.listeners:
            os.close(fd)
        self.listeners = ()
        self.ends.close()
        fork_safety.discard(self)
        origin, self.lineage.origin = self.lineage.origin, None
        if origin is not None:
            origin.lineage.branches.discard(self)
            if origin.lineage.lingers and not origin.lineage.branches:
                await origin.close()

    def close_in_child(self) -> None:
        """Close the descriptors without a word to the loop: for a forked child."""
        channels = (self.control.fileno(), self.guest.fileno(), self.init.fileno())
        outputs = (self.output.stdout, self.output.stderr)
        for fd in (*channels, *outputs, *self.disk.directories, *self.listeners):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        fork_safety.discard(self)

    # ---- what init says -------------------------------------------------------------------------

    def _on_control(self, message: Message) -> None:
        if isinstance(message, Ready):
            self._become_ready(message)
        elif isinstance(message, Exited):
            if message.pid == self.guest.pid:
                self.guest.note_exit()
                self._listeners[-1].on_exit(message.status)
        elif isinstance(message, Killed):
            self.kills.note_killed(message)
        elif isinstance(message, SetnsDenied | EscapedKilled):
            self.gate.hear(message)
        elif isinstance(message, CallRefused | RefusalCounts):
            self.refused_calls.hear(message)
        elif isinstance(message, CommandStarted | CommandEnded | SpareEnded):
            self.commands.hear(message)
        elif isinstance(message, NamespacesReady):
            self.birth.hear(message)
        elif isinstance(message, Failed):
            if not self._ready.done():
                self.fail_to_start(self.birth.failed(message))
            else:
                self.kill()  # Init met an error that it did not expect, and ends the session.

    def _become_ready(self, message: Ready) -> None:
        self.init.watch(self.birth.init_pidfd(self.control))
        fds = self.control.take_descriptors(READY_DESCRIPTORS)
        own = len(fds) - len(self.plan.listen_ports)
        self.disk.directories, self.listeners = tuple(fds[:own]), tuple(fds[own:])
        self.guest.become_session(message.pid)
        self.layers = tuple(message.layers)
        if self.group is None:
            self.meter = Meter(self.init.pid, self._branch_pids)
            self.meter.set_baseline()
        self.happen(Event.READY)
        if self.guest.is_open and not self._ready.done():
            self._ready.set_result(None)
        else:
            self.fail_to_start(SessionLost("its process ended while it started"))

    def _branch_pids(self) -> set[int]:
        """Host pids of the inits of branches: what is below them is not this session's."""
        return {branch.init.pid for branch in self.lineage.branches}

    def _on_control_end(self, _fault: str | None) -> None:
        if not self._ready.done():
            self.fail_to_start(self.birth.ended())
        elif self.is_live:
            self._was_abandoned = True
            self.kill()

    def _on_init_gone(self) -> None:
        if self.is_live or self._was_abandoned:
            self.parent.end_orphans()
        self.happen(Event.EXITED)
        self.kills.give_up()
        self.gate.close()
        self.commands.give_up()
        self.refused_calls.give_up()
        self.guest.note_exit()
        self._listeners[-1].on_gone()


class _Hearing:
    """The time in which one listener is told; the one before it is told again after."""

    def __init__(self, listeners: list[WorkerListener], listener: WorkerListener) -> None:
        self._listeners = listeners
        self._listener = listener

    def __enter__(self) -> None:
        self._listeners.append(self._listener)

    def __exit__(self, *_exception: object) -> None:
        if self._listeners[-1] is self._listener:
            self._listeners.pop()
            return
        # By identity: one that ends late must not put back what has ended before it.
        for index, one in enumerate(self._listeners):
            if one is self._listener:
                del self._listeners[index]
                return


class _Unused:
    """Hears a worker that waits for its first session."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def on_guest(self, message: Message) -> None:
        self.on_fault(f"{type(message).__name__} before any snippet")

    def on_fault(self, _said: str | None) -> None:
        if self._worker.state is State.IDLE:
            self._worker.kill()  # It cannot serve a session any more.

    def on_exit(self, _status: int) -> None:
        """Do nothing: its channel ends with it."""

    def on_gone(self) -> None:
        """Do nothing: the pool finds it dead."""


class _FromZygote:
    """The birth of a fresh worker."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def init_pidfd(self, control: HostChannel) -> int:
        [pidfd] = control.take_descriptors(1)
        return pidfd

    def hear(self, _message: NamespacesReady) -> None:
        """Take nothing: it has the namespaces from its zygote's fork."""

    def failed(self, message: Failed) -> Exception:
        remedy = "Run `cellblock doctor` for the remedy"
        return LayerUnavailable(message.step, message.message, remedy)

    def ended(self) -> Exception:
        return self._parent.death()

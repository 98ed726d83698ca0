"""Worker: one session's process tree from the host's side. See `supervisor` for the whole.

The host learns of it from three sources, trusted in this order: the kernel (pidfd of init,
cgroups), init (`Exited`, `Killed`), the session process (everything else).

The module is longer than others: the order in which a worker's parts come and go is one subject.
"""

import asyncio
import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.errors import (
    CopyRefused,
    EngineTimeout,
    GuestFault,
    LayerUnavailable,
    SessionLost,
)
from sandbox.processes import fork_safety
from sandbox.processes.cgroup import SessionGroup
from sandbox.processes.host_channel import HostChannel
from sandbox.processes.meter import Meter
from sandbox.processes.namespace_builder import NamespaceBuilder
from sandbox.processes.worker_state import Event, State, after
from sandbox.protocol.messages import (
    NO_PROCESS,
    TO_HOST_CAP_BYTES,
    TRUSTED_CAP_BYTES,
    AllowSetns,
    Branch,
    Confirm,
    CopyReady,
    CopyResult,
    EnterNamespaces,
    EscapedKilled,
    Exited,
    Failed,
    Interrupt,
    Kill,
    Killed,
    KillEscaped,
    Message,
    NamespacesReady,
    Pause,
    Ready,
    SetnsDenied,
    Spawn,
    Warm,
    Watch,
)
from sandbox.protocol.plan import JailPlan
from sandbox.protocol.trees import remove_tree
from sandbox.session.workspace import used_below

START_WITHIN_S = 30.0
GONE_WITHIN_S = 10.0
PIPE_BYTES = 1 << 18
READY_DESCRIPTORS = 4
"""With `Ready`, at most: the pidfd of init and the directories."""


class HandedOver(NamedTuple):
    """Descriptors that a worker's processes get, until they have them."""

    control: int
    guest: int
    stdout: int
    stderr: int
    cgroups: tuple[int, ...]

    @property
    def streams(self) -> tuple[int, ...]:
        return tuple(fd for fd in self[:4] if fd >= 0)


@dataclass
class SetnsGrant:
    """One opening of the gate that a session's init keeps."""

    passed: int = 0
    """How many namespaces were entered, once it is shut."""
    entrant: int = 0
    """Who entered them, as the gate's init numbers it; 0 for nobody."""


NOTHING_HANDED_OVER = HandedOver(-1, -1, -1, -1, ())


class Worker:
    """One session's processes. Made by `Zygote.spawn`; of use once `start` has returned."""

    def __init__(
        self,
        plan: JailPlan,
        number: int,
        group: SessionGroup | None,
        directory: str,
        *,
        why_no_zygote: Callable[[], Exception],
    ) -> None:
        self.plan = plan
        self._why_no_zygote = why_no_zygote
        self.number = number
        self.group = group
        self.directory = directory
        self.state = State.STARTING
        self.meter: Meter | None = None
        self.layers: tuple[str, ...] = ()
        self.init_pid = 0
        """Host pid of init."""
        self.session_pid = 0
        """Pid of the session process, as its own pid namespace numbers it."""
        self.directories: tuple[int, ...] = ()
        """Descriptors of the workspace and of the temporary file systems."""
        self.start_s = 0.0
        self._was_abandoned = False
        """Whether init was gone before anybody asked it to go."""
        self.on_orphaned: Callable[[], None] | None = None
        """Called when init was ended from outside and the kernel ends nothing else for it."""
        self.on_guest: Callable[[Message], None] | None = None
        self.on_fault: Callable[[str | None], None] | None = None
        self.on_exit: Callable[[int], None] | None = None
        """Called with the wait status when the session process has ended."""
        self.on_gone: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = -1
        self._kills_asked = 0
        self.gone_copies: set[int] = set()
        """Pids of copies that were to be spared and had been killed by somebody else."""
        self._is_killed = asyncio.Event()
        self._prepared: asyncio.Future[int] = self._loop.create_future()
        self._gate = asyncio.Lock()
        self._is_shut: asyncio.Future[SetnsDenied] = self._loop.create_future()
        self._grant = SetnsGrant()
        self._arrived = 0
        self._entrants: list[int] = []
        """Pids of those who departed from here, as the init of the gate numbers them."""
        self._sweeping = asyncio.Lock()
        self._swept: asyncio.Future[int] = self._loop.create_future()
        self.branches: set[Worker] = set()
        """Branches of this session that live; they end with its init."""
        self.notifier_worker: Worker | None = None
        """The worker whose init holds the gate of this branch; None for itself."""
        self._origin: Worker | None = None
        self._builder: NamespaceBuilder | None = None
        """Who makes the namespaces of this branch."""
        self.generation = 0
        """How many branches led here from the first session."""
        self._lingers = False
        self._open_channels()
        fork_safety.add(self)

    def _open_channels(self) -> None:
        control_host, control_guest = socket.socketpair()
        guest_host, guest_guest = socket.socketpair()
        self.stdout, stdout_write = _pipe()
        self.stderr, stderr_write = _pipe()
        self._outputs = select.poll()
        self._outputs.register(self.stdout, select.POLLIN)
        self._outputs.register(self.stderr, select.POLLIN)
        self._handed_over = HandedOver(
            control_guest.detach(),
            guest_guest.detach(),
            stdout_write,
            stderr_write,
            tuple(self.group.join_fds() if self.group is not None else ()),
        )
        self._control = HostChannel(
            control_host,
            "from_init",
            TRUSTED_CAP_BYTES,
            on_message=self._on_control,
            on_end=self._on_control_end,
            trusted=True,
        )
        self.guest = self.open_guest_channel(guest_host)

    def ask_zygote(self, zygote_channel: HostChannel) -> None:
        """Have a fresh worker forked; await `start` after this."""
        ends = self._handed_over
        try:
            spawn = Spawn(self.number, len(ends.cgroups), self.directory)
            zygote_channel.send(spawn, (*ends.streams, *ends.cgroups))
        finally:
            self._close_handed_over()

    def new_builder(self) -> NamespaceBuilder:
        """Have a builder of branches of this session forked; `ask_builder` of each comes next."""
        builder = NamespaceBuilder(self.generation)
        with builder.guest_end as end:
            self._control.send(Branch(), (end.fileno(),))
        return builder

    def ask_builder(self, builder: NamespaceBuilder, origin: "Worker") -> None:
        """Have the namespaces of a branch of `origin` made; `enter_namespaces` comes after this."""
        self._origin = origin
        self._builder = builder
        self.generation = origin.generation + 1
        self.notifier_worker = origin.notifier_worker or origin
        origin.branches.add(self)
        ends = self._handed_over
        try:
            builder.make(ends.control, ends.cgroups)
        except BaseException:
            self._close_handed_over()
            raise
        os.close(ends.control)  # Its end is to be seen.
        self._handed_over = ends._replace(control=-1)

    async def enter_namespaces(self, origin: "Worker") -> None:
        """Have the session process of `origin` fork into the namespaces. Raises CopyRefused.

        `wait_ready`, `reap_entrant` of the origin and `verify` come next, in this order.
        """
        assert self._builder is not None
        assert self.notifier_worker is not None
        async with asyncio.timeout(START_WITHIN_S):
            count = await self._builder.unless_it_fails(self._prepared)
        namespaces = self._control.take_descriptors(count)
        # The entrant enters the user namespace with its first branch, and stays in it.
        entrant = origin._entrants[0] if origin._entrants else 0
        to_enter = namespaces[1:] if entrant else namespaces
        ends = self._handed_over
        try:
            opened = self.notifier_worker._open_gate(len(to_enter), entrant)
            async with opened as self._grant:
                answer = await origin.guest.ask(
                    EnterNamespaces("enter", len(to_enter), len(ends.cgroups)),
                    (ends.guest, ends.stdout, ends.stderr, *to_enter, *ends.cgroups),
                    within_s=START_WITHIN_S,
                )
        finally:
            for fd in namespaces:
                os.close(fd)
            self._close_handed_over()
            if self._grant.entrant not in (0, entrant):
                origin._entrants.append(self._grant.entrant)
        with self._no_misuse():
            if not isinstance(answer, CopyResult) or answer.refusal:
                why = answer.refusal if isinstance(answer, CopyResult) else "it said nonsense"
                raise CopyRefused(why)

    async def wait_ready(self) -> None:
        """Wait for the one who departed. Raises CopyRefused."""
        with self._no_misuse():
            self._arrived = await self.guest.copy_pid_when_ready(START_WITHIN_S)

    async def reap_entrant(self) -> None:
        """In the origin: make sure that who departed is there or has ended. Raises CopyRefused."""
        if not self.guest.is_open or self._pidfd < 0:
            raise SessionLost("its process ended while it was branched")
        try:
            await self.guest.ask(EnterNamespaces("reap", 0, 0), within_s=START_WITHIN_S)
        finally:
            await self._end_entrants()

    async def _end_entrants(self) -> None:
        entrants, self._entrants = self._entrants, []
        notifier_worker = self.notifier_worker or self
        if notifier_worker is not self:
            # There, others may be on their way from other branches.
            await notifier_worker._sweep(KillEscaped(entrants, looks=False))
        if await self._sweep(KillEscaped(entrants, looks=True)):
            notifier_worker.kill_with_branches()
            raise CopyRefused("a process entered a namespace of a branch and stayed outside of it")

    async def verify(self) -> None:
        """Wait until the branch's jail holds. Raises CopyRefused."""
        with self._no_misuse():
            self._control.send(Confirm(self._arrived))
            await self.start()

    @contextlib.contextmanager
    def _no_misuse(self) -> Iterator[None]:
        """End the origin if somebody went through the gate and no branch comes of it.

        But for the one who says that it could not fork there: `reap_entrant` ends it and looks for
        others, and the branch's namespaces end with its init.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, CopyRefused) and error.why.startswith(NO_PROCESS):
                raise
            if self._grant.passed and self.notifier_worker is not None:
                # Whoever it was is not where it should be: see `guest/branch`.
                self.notifier_worker.kill_with_branches()
            raise

    async def _sweep(self, order: KillEscaped) -> int:
        """Have it done; how many escaped processes there were."""
        async with self._sweeping:
            if self._gone.done():
                return 0
            self._swept = self._loop.create_future()
            self._control.send(order)
            async with asyncio.timeout(START_WITHIN_S):
                return await self._swept

    @asynccontextmanager
    async def _open_gate(self, namespaces: int, entrant: int) -> AsyncIterator[SetnsGrant]:
        """Open the gate that this worker's init keeps, for one process; one at a time.

        It is `entrant`, or with 0 the first that comes.
        """
        grant = SetnsGrant()
        async with self._gate:
            self._control.send(AllowSetns(namespaces, entrant))
            try:
                yield grant
            finally:
                self._is_shut = self._loop.create_future()
                self._control.send(AllowSetns(0, 0))
                async with asyncio.timeout(START_WITHIN_S):
                    shut = await self._is_shut
                grant.passed, grant.entrant = shut.passed, shut.entrant

    def _close_handed_over(self) -> None:
        """Close the host's copies of what the worker holds itself by now."""
        ends, self._handed_over = self._handed_over, NOTHING_HANDED_OVER
        for fd in (*ends.streams, *ends.cgroups):
            os.close(fd)

    def open_guest_channel(self, end: socket.socket) -> HostChannel:
        """A channel to a process of this session, whose messages go where `guest`'s go."""
        channel = HostChannel(
            end,
            "from_guest",
            TO_HOST_CAP_BYTES,
            on_message=lambda message: self._on_guest(channel, message),
            on_end=lambda fault: self._on_guest_end(channel, fault),
        )
        return channel

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

    def warm(self) -> None:
        """Have the session process ready itself for a snippet before there is one."""
        self.guest.send(Warm())

    def unread(self) -> list[int]:
        """Those of `stdout` and `stderr` that have something to be read; none once closed."""
        if self.stdout < 0:
            return []
        return [fd for fd, _events in self._outputs.poll(0)]

    def temporary_bytes(self) -> int:
        """Bytes in the session's temporary file systems, where it has its own."""
        return sum(_used_bytes(fd) for fd in self._own_filesystems())

    def directory_bytes(self) -> int:
        """Bytes on disk in the session's directory, where no file system of its own caps them.

        A file counts with at least its share of `workspace_bytes`, so that one bound holds for
        bytes and for files.
        """
        share = self.plan.workspace_bytes // self.plan.workspace_files
        return used_below(self.directory, least_bytes=share) if self.directory else 0

    def disk_used_bytes(self) -> int:
        """Bytes in the fullest file system that the guest may write to."""
        return max((_used_bytes(fd) for fd in self._own_filesystems()), default=0)

    def is_disk_full(self) -> bool:
        """Whether not one more page fits into one of them."""
        return any(os.fstatvfs(fd).f_bfree == 0 for fd in self._own_filesystems())

    def _own_filesystems(self) -> tuple[int, ...]:
        return self.directories if self.plan.asks_for("mount_namespace") else ()

    @property
    def identity(self) -> int:
        """The number whose host id the processes have: a branch has that of its origin."""
        return (self.notifier_worker or self).number

    @property
    def is_live(self) -> bool:
        return self.state not in (State.DEAD, State.KILLING)

    def happen(self, event: Event) -> None:
        """Move to the state that `event` leads to."""
        self.state = after(self.state, event)

    def interrupt(self) -> None:
        """SIGINT to the session process."""
        self._control.send(Interrupt(self.session_pid))

    def kill_snippet(self, spare: list[int]) -> None:
        """End every process of the session but init and those in `spare`; see `killed`."""
        if not self._kills_asked:
            self.gone_copies.clear()
        self._kills_asked += 1
        self._is_killed.clear()
        self._control.send(Kill(spare))

    async def killed(self) -> None:
        """Wait until init has done every kill that it was asked for."""
        await self._is_killed.wait()

    def pause(self, *, stopped: bool) -> None:
        """Stop every process of the session but init, or let them all go on."""
        self._control.send(Pause(stopped))

    def adopt(self, channel: HostChannel, pid: int) -> None:
        """From now on the session process is `pid`, heard on `channel`."""
        self.guest.close()
        self.guest = channel
        self.session_pid = pid
        self._control.send(Watch(pid))

    def kill(self) -> None:
        """SIGKILL to every process of the session. Does not wait.

        A pid namespace ends with its init. Without one the end of init would set the others free:
        it ends them first, and itself, when its channel closes.
        """
        if self.is_live:
            self.happen(Event.KILL)
        if not self._ready.done():
            self._ready.set_exception(self._why_no_zygote())
            self._ready.exception()  # A branch that was given up is not waited for.
        if self.branches and self._control.is_open:
            self.kill_snippet([])  # Init stays: the branches would end with it.
        elif self._pidfd >= 0 and self.plan.asks_for("pid_namespace"):
            self._kill_init()
        else:
            self._control.close()

    def kill_with_branches(self) -> None:
        """As `kill`, but with all branches below, whose namespaces end with this one's."""
        for branch in self.branches:
            branch.kill_with_branches()
        if self.is_live:
            self.happen(Event.KILL)
        self._kill_init()

    async def gone(self, within_s: float) -> bool:
        """Wait until nothing of it runs; whether that was so in time."""
        if self._pidfd < 0:
            return True
        ended, _late = await asyncio.wait([self._gone], timeout=within_s)
        return bool(ended)

    def _kill_init(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """Kill, wait until nothing is left, and give back what the host holds; once is enough."""
        self.kill()
        if self.branches and self._control.is_open:
            self._lingers = True
            return
        if self._pidfd >= 0 and self.plan.asks_for("pid_namespace"):
            # The kernel ends all of it; one by one, the channels would only wake the loop.
            self._control.close()
            self.guest.close()
        if not await self.gone(GONE_WITHIN_S):
            self._kill_init()
            raise EngineTimeout("the end of a worker", GONE_WITHIN_S)
        if self.stdout < 0:
            return  # Another caller was faster.
        self.state = State.DEAD
        self._control.close()
        self.guest.close()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for fd in (self.stdout, self.stderr, *self.directories):
            self._loop.remove_reader(fd)
            os.close(fd)
        self.directories = ()
        self.stdout = self.stderr = -1
        if self.group is not None:
            self.group.close()
            self.group = None
        if self.directory:
            remove_tree(self.directory)
        self._close_handed_over()
        fork_safety.discard(self)
        origin, self._origin = self._origin, None
        if origin is not None:
            origin.branches.discard(self)
            if origin._lingers and not origin.branches:
                await origin.close()

    def close_in_child(self) -> None:
        """Close the descriptors without a word to the loop: for a forked child."""
        wires = (self._control.fileno(), self.guest.fileno())
        for fd in (self.stdout, self.stderr, self._pidfd, *self.directories, *wires):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        fork_safety.discard(self)

    def _on_control(self, message: Message) -> None:
        if isinstance(message, Ready):
            self._become_ready(message)
        elif isinstance(message, Exited):
            if message.pid == self.session_pid and self.on_exit is not None:
                self.on_exit(message.status)
        elif isinstance(message, Killed):
            self._kills_asked -= 1
            self.gone_copies.update(message.gone)
            if not self._kills_asked:
                self._is_killed.set()
        elif isinstance(message, SetnsDenied):
            if not self._is_shut.done():
                self._is_shut.set_result(message)
        elif isinstance(message, EscapedKilled):
            if not self._swept.done():
                self._swept.set_result(message.escaped)
        elif isinstance(message, NamespacesReady):
            if not self._prepared.done():
                self._prepared.set_result(message.namespaces)
        elif isinstance(message, Failed) and not self._ready.done():
            if self._builder is not None:
                self._give_up(self._builder.why(message))
                return
            self._ready.set_exception(
                LayerUnavailable(
                    message.step, message.message, "Run `cellblock doctor` for the remedy"
                )
            )

    def _become_ready(self, message: Ready) -> None:
        if self._origin is None:
            self._pidfd, *directories = self._control.take_descriptors(READY_DESCRIPTORS)
            self.init_pid = _pid_of(self._pidfd)
        else:
            directories = self._control.take_descriptors(READY_DESCRIPTORS)
            assert self._control.sender_pid is not None
            self.init_pid = self._control.sender_pid
            self._pidfd = os.pidfd_open(self.init_pid)
        self._loop.add_reader(self._pidfd, self._on_init_gone)
        self.directories = tuple(directories)
        self.session_pid = message.pid
        self.layers = tuple(message.layers)
        if self.group is None:
            self.meter = Meter(self.init_pid, self._branch_pids)
            self.meter.set_baseline()
        self.start_s = time.monotonic() - self._started
        self.happen(Event.READY)
        if self._ready.done():
            return
        if self.guest.is_open:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(SessionLost("its process ended while it started"))

    def _branch_pids(self) -> set[int]:
        """Host pids of the inits of branches: what is below them is not this session's."""
        return {branch.init_pid for branch in self.branches}

    def _on_control_end(self, _fault: str | None) -> None:
        if self._origin is not None and not self._ready.done():
            self._give_up(CopyRefused("the branch's first process ended"))
        elif not self._ready.done():
            self._ready.set_exception(self._why_no_zygote())
        elif self.is_live:
            self._was_abandoned = True
            self.kill()

    def _give_up(self, error: CopyRefused) -> None:
        """The branch does not come to be; whoever waits for it is told why."""
        for future in (self._prepared, self._ready):
            if not future.done():
                future.set_exception(error)
                future.exception()  # Not every one of them is awaited.

    def _on_init_gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        if (self.is_live or self._was_abandoned) and self.on_orphaned is not None:
            self.on_orphaned()
        self.state = State.DEAD
        self._is_killed.set()
        if not self._is_shut.done():
            self._is_shut.set_result(SetnsDenied(0, 0))
        if not self._swept.done():
            self._swept.set_result(0)
        if not self._gone.done():
            self._gone.set_result(None)
        if self.on_gone is not None:
            self.on_gone()

    def _on_guest(self, channel: HostChannel, message: Message) -> None:
        if isinstance(message, CopyReady):
            channel.note_copy(message.pid)
        elif isinstance(message, CopyResult) and (
            channel is not self.guest or self.state is State.STARTING
        ):
            channel.refusal = message.refusal
            channel.close()
        elif channel.answer is not None:
            if not channel.answer.done():
                channel.answer.set_result(message)
        elif channel is self.guest:
            if self.on_guest is not None:
                self.on_guest(message)
        else:
            channel.close()  # A copy that waits has nothing to say: it is of no more use.

    def _on_guest_end(self, channel: HostChannel, fault: str | None) -> None:
        if channel.answer is not None and not channel.answer.done():
            channel.answer.set_exception(GuestFault(fault or "a copy of the session ended"))
        if channel is not self.guest:
            return
        if self.on_fault is not None:
            self.on_fault(fault)
        elif self.state is State.IDLE:
            self.kill()  # It waits for its first session, and cannot serve one any more.


def _pipe() -> tuple[int, int]:
    """A pipe whose read end, the host's, does not block."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with contextlib.suppress(PermissionError):
        # Past the user's share of pipe memory the default size stays; only speed suffers.
        fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def _pid_of(pidfd: int) -> int:
    """The number of a process, as this one sees it; 0 if it has ended. Source: pidfd_open(2)."""
    with open(f"/proc/self/fdinfo/{pidfd}") as stream:
        for line in stream:
            if line.startswith("Pid:"):
                return max(0, int(line.split()[1]))
    return 0


def _used_bytes(fd: int) -> int:
    usage = os.fstatvfs(fd)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize

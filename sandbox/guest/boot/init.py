"""Runs worker init, the first process of a session: forks the session process, and reaps.

Trusted: it never runs guest code, and no guest can stop, trace or signal it (it is pid 1 of the
session's pid namespace, undumpable, and signals without a handler do not reach a pid 1 from
inside). The host believes what it says on the control channel, which the session process
does not hold.
"""

import _socket
import os
import select
import signal

# What `signal.signal` calls; its enumerations would touch forty pages more in each session.
from _signal import SIG_DFL, SIGCHLD  # type: ignore[import-not-found]
from _signal import signal as set_handler
from array import array
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from sandbox.guest.boot.children import ENDS_KEPT, Children
from sandbox.guest.boot.commands import Commands, own_variables
from sandbox.guest.branching import branch, namespace_builder
from sandbox.guest.branching.refused_calls import RefusedCalls
from sandbox.guest.branching.seccomp_notifier import SeccompNotifier
from sandbox.guest.jail import jail
from sandbox.guest.jail.jail import JailError
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.guest.session import session_process
from sandbox.protocol.messages import (
    TO_GUEST_CAP_BYTES,
    AllowSetns,
    Branch,
    Confirm,
    EndSpare,
    EscapedKilled,
    Exec,
    Exited,
    Failed,
    Interrupt,
    Kill,
    Killed,
    KillEscaped,
    Pause,
    Ready,
    RefusalCounts,
    SetnsDenied,
    SignalCommand,
    SpareEnded,
    TakeRefusals,
    Watch,
    ready_frame,
)

FAILURES_CAP = 100
"""After so many unexpected errors an init that stays for its branches ends with them."""

BOUND = b"b"
"""Word of init to the session process: init has given up its rights, snippets may run."""
NO_INIT_FDS = jail.InitFds(-1, -1, -1)
HELD = bytes(len(NO_INIT_FDS))
"""Shape of the word that goes with what a session process hands over: a byte for each."""
HELD_SPACE = _socket.CMSG_LEN(len(HELD) * array("i").itemsize)


class SessionFds(NamedTuple):
    """Descriptors that a session is born with."""

    control: int
    guest: int
    stdout: int
    stderr: int
    init: int
    session: int
    """This and the one before are the two ends of a socket pair."""


def serve(
    context: jail.JailContext,
    ends: SessionFds,
    others: tuple[int, ...],
    session: session_process.SessionProcess,
) -> NoReturn:
    """Fork the session process, give up all rights, and serve the host until it goes.

    `others` are descriptors of the zygote's that no session may keep. Every page that is touched
    here is a page more in each session. So this does as little as it can, forks the process that
    puts the jail on and says whether it holds, and waits until it is needed.
    """
    try:
        _serve(context, ends, others, session)
    finally:
        os._exit(1)  # Nothing may unwind into the frames of the zygote, whose copy this is.


def _serve(
    context: jail.JailContext,
    ends: SessionFds,
    others: tuple[int, ...],
    session: session_process.SessionProcess,
) -> NoReturn:
    try:
        set_handler(SIGCHLD, SIG_DFL)
        if not context.plan.asks_for("pid_namespace"):
            sysapi.prctl(sysapi.PR_SET_CHILD_SUBREAPER, 1)
        jail.join_cgroups(context)
        if context.plan.asks_for("cgroup_namespace"):
            # Its root is the group that this process is in now; all that it forks are in it too.
            sysapi.unshare(sysapi.CLONE_NEWCGROUP)
        pid = sysapi.fork()
    except OSError as error:
        fail(ends.control, JailError("session process", str(error)))
    if pid == 0:
        for fd in (ends.init, *others):
            os.close(fd)
        _become_session_process(context, ends)
        own = GuestChannel(ends.guest, "to_guest", TO_GUEST_CAP_BYTES)
        session_process.serve(session, own)
    # Not os.closerange, which tries one number after the other where Python was built with a C
    # library that is older than close_range(2).
    sysapi.close_all_but((ends.control, ends.init, *context.template.rule_fds))
    os.setsid()
    try:
        jail.apply(context.template.init_steps, context)
    except JailError as error:
        fail(ends.control, error)
    with suppress(ConnectionError):
        os.write(ends.init, BOUND)
    held = _meet_session(ends.init)
    context.proc_fd = held.proc_fd
    self_pipe = SelfPipe((ends.control, held.listener))
    ends_seen = _reap_copies(self_pipe, pid)
    keeps_capabilities = not context.plan.asks_for("capabilities")
    children = Children(context.proc_fd, ends_seen, has_capabilities=keeps_capabilities)
    children.watch(pid)
    control = GuestChannel(ends.control, "to_init", TO_GUEST_CAP_BYTES)
    Init(context, control, children, self_pipe, held).attend()


def _reap_copies(self_pipe: "SelfPipe", session_pid: int) -> "OrderedDict[int, int]":
    """Reap what ends, and return what did once there is more to do than that.

    An ordinary snippet asks no more of an init than this: its standby ends with it. What the rest
    of an init touches is memory that most sessions then never take.
    """
    seen: OrderedDict[int, int] = OrderedDict()
    while session_pid not in seen and len(seen) < ENDS_KEPT and not self_pipe.wait():
        with suppress(ChildProcessError):
            while (end := os.waitpid(-1, os.WNOHANG))[0]:
                seen[end[0]] = end[1]
    return seen


def fail(control_fd: int, error: JailError) -> NoReturn:
    """Report `error` to the host, which then ends what is left of the session, and exit."""
    answer = Failed(error.step, error.detail)
    GuestChannel(control_fd, "to_init", TO_GUEST_CAP_BYTES).send(answer)
    os._exit(1)


def _meet_session(fd: int) -> jail.InitFds:
    """What the session process hands over when it is in its jail. Exits if it failed."""
    session = _socket.socket(fileno=fd)
    word, ancillary, _flags, _address = session.recvmsg(len(HELD), HELD_SPACE)
    session.close()
    if not word:
        os._exit(1)  # The session process has said why.
    fds = iter(array("i", ancillary[0][2]) if ancillary else ())
    return jail.InitFds(*(next(fds) if is_there else -1 for is_there in word))


def _become_session_process(context: jail.JailContext, ends: SessionFds) -> None:
    """Put the jail on, and report it to the host and to init."""
    # A scheduling group of its own (autogroup, sched(7)): however many processes a snippet
    # starts, init gets to run beside them.
    os.setsid()
    wire_standard_streams(ends.stdout, ends.stderr)
    init = os.pidfd_open(os.getppid())
    try:
        held = jail.confine_session_process(context)
    except JailError as error:
        fail(ends.control, error)
    if not os.read(ends.session, len(BOUND)):
        os._exit(1)  # Init has said why.
    for name, value in own_variables(context).items():
        os.environ[name] = value
    there = [fd for fd in held if fd >= 0]
    hand_over(ends.session, bytes([fd >= 0 for fd in held]), there)
    given = [init, *context.handed_over]
    with suppress(ConnectionError):
        hand_over(ends.control, ready_frame(os.getpid(), context.template.layers), given)
    for fd in there + given:
        os.close(fd)


def hand_over(fd: int, word: bytes, descriptors: list[int]) -> None:
    """Say `word` on the socket `fd`, `descriptors` with it, and close the socket."""
    end = _socket.socket(fileno=fd)
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", descriptors))
        end.sendmsg([word], [rights] if descriptors else [])
    finally:
        end.close()


def wire_standard_streams(stdout_fd: int, stderr_fd: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    for fd, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(fd, target)
        os.close(fd)


class SelfPipe:
    """Wakes an init: a child has ended, or there is something to read."""

    def __init__(self, sources: tuple[int, ...]) -> None:
        self._poll = select.poll()
        self._sources = sources
        wake_read, wake_write = _socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        self._wake_read, self._wake_write = wake_read, wake_write
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        set_handler(SIGCHLD, _be_woken)
        for source in (*sources, wake_read.fileno()):
            if source >= 0:
                self._poll.register(source, select.POLLIN)
        # A child that ended before now wrote nothing to it.
        self._may_be_late = True

    def wait(self) -> list[int]:
        """Those of the sources that can be read; none of them when a child has ended."""
        if self._may_be_late:
            self._may_be_late = False
            with suppress(ChildProcessError):
                if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return []
        ready = [fd for fd, _events in self._poll.poll()]
        if self._wake_read.fileno() in ready:
            self._wake_read.recv(4096)
        return [fd for fd in self._sources if fd in ready]

    def add(self, source: int) -> None:
        """Wait for `source` too."""
        self._sources = (*self._sources, source)
        self._poll.register(source, select.POLLIN)

    def remove(self, source: int) -> None:
        """Wait for `source` no more."""
        self._sources = tuple(fd for fd in self._sources if fd != source)
        self._poll.unregister(source)


def _be_woken(_number: int, _frame: FrameType | None) -> None:
    """Ask Python to write to the descriptor that wakes this process."""


class Init:
    """The loop of an init: obeys the host, reaps, answers the seccomp filter."""

    def __init__(
        self,
        context: jail.JailContext,
        control: GuestChannel,
        children: Children,
        self_pipe: SelfPipe,
        held: jail.InitFds = NO_INIT_FDS,
    ) -> None:
        self._context = context
        self._control = control
        self._children = children
        self._self_pipe = self_pipe
        self._notifier: SeccompNotifier | None = None
        self._refused: RefusedCalls | None = None
        if held.listener >= 0 and context.plan.trace:
            rules = context.template.rules
            self._refused = RefusedCalls(rules, children.processes, control.send)
        if held.listener >= 0:
            self._notifier = SeccompNotifier(
                held.listener,
                children.processes,
                lambda: children.has_branches,
                has_own_numbers=context.plan.asks_for("pid_namespace"),
                refused=self._refused,
            )
        self._user_namespace = held.user_namespace
        self._ready: list[int] = []
        self._builder = -1
        """A pidfd of the builder of the branches that were asked for last."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            Interrupt: self._interrupt,
            Kill: self._kill,
            Watch: self._watch,
            Pause: self._pause,
            Branch: self._branch,
            AllowSetns: self._allow_setns,
            Confirm: self._confirm,
            KillEscaped: self._kill_escaped,
            Exec: self._exec,
            SignalCommand: self._signal_command,
            EndSpare: self._make_way,
            TakeRefusals: self._take_refusals,
        }
        self._commands: Commands | None = None

    def attend(self) -> NoReturn:
        """Answer the host and reap, until the host closes the channel."""
        for _ in range(FAILURES_CAP):
            try:
                while True:
                    self._attend_once()
            # Whatever it is, it ends this session, and is reported; branches are not this session.
            except Exception as error:  # noqa: BLE001
                self._end_session(error)
        os._exit(1)

    def _attend_once(self) -> None:
        ready, self._ready = self._ready, []
        for fd in ready:
            if fd == self._control.fileno():
                self._obey()
            elif self._commands is not None and self._commands.answer(fd):
                continue
            elif self._notifier is not None:
                # An `AllowSetns` was sent before the message that makes its entrant ask.
                while select.select([self._control], [], [], 0)[0]:
                    self._obey()
                self._notifier.answer()
        # After what the host sent: a process that it asks about may have ended before.
        self._report_ends()
        self._ready = self._self_pipe.wait()

    def _end_session(self, error: Exception) -> None:
        """End every process of this session after an unexpected `error`, and report it.

        This process ends with them, but for the branches below, which would end with it.
        """
        with suppress(ConnectionError):
            self._control.send(Failed("init", f"{type(error).__name__}: {error}"))
        if not self._children.has_branches:
            self._children.end()
            os._exit(1)
        self._children.doom_all_but(())
        self._children.bury_all_but(())

    def _obey(self) -> None:
        try:
            while True:
                message = self._control.receive()
                self._handlers[type(message)](message)
                if not self._control.has_more:
                    return
        except (ChannelClosed, ConnectionError):
            self._children.end()
            os._exit(0)

    def _interrupt(self, message: Interrupt) -> None:
        self._children.interrupt(message.pid)

    def _kill(self, message: Kill) -> None:
        self._end_spare()
        keeps = message.keeps_commands
        count = self._children.doom_all_but(message.spare, keeps_commands=keeps)
        spared = self._children.spared(message.spare)
        self._report_ends()
        self._control.send(Killed(count, [pid for pid in message.spare if pid not in spared]))
        self._children.bury_all_but(message.spare, keeps_commands=keeps)

    def _report_ends(self) -> None:
        # The host may be gone. That is seen where its messages are read, and ends all.
        with suppress(ConnectionError):
            for pid, status in self._children.reap():
                if pid in self._children.commands and self._commands is not None:
                    self._control.send(self._commands.ended(pid, status))
                else:
                    self._control.send(Exited(pid, status))

    def _watch(self, message: Watch) -> None:
        self._children.watch_named(message.pid)

    def _pause(self, message: Pause) -> None:
        if message.stopped:
            self._end_spare()
        self._children.pause(stopped=message.stopped)

    def _exec(self, message: Exec) -> None:
        if self._commands is None:
            self._commands = Commands(
                self._context, self._control, self._children, self._self_pipe, self._user_namespace
            )
        self._commands.start(message)

    def _signal_command(self, message: SignalCommand) -> None:
        if self._commands is not None:
            self._commands.signal(message)

    def _make_way(self, _message: EndSpare) -> None:
        self._end_spare()
        self._control.send(SpareEnded())

    def _end_spare(self) -> None:
        if self._commands is not None:
            self._commands.end_spare()

    def _allow_setns(self, message: AllowSetns) -> None:
        if self._notifier is not None and message.namespaces:
            kinds = [kind for _name, kind in branch.KINDS[-message.namespaces :]]
            self._notifier.allow(kinds, message.entrant)
        else:
            passed, entrant = self._notifier.deny() if self._notifier is not None else (0, 0)
            self._control.send(SetnsDenied(passed, entrant))

    def _take_refusals(self, _message: TakeRefusals) -> None:
        counts = self._refused.take() if self._refused is not None else RefusalCounts([], 0)
        self._control.send(counts)

    def _branch(self, message: Branch) -> None:
        [channel_fd] = self._control.take_descriptors(1)
        self._end_spare()
        self._end_builder()
        self._children.has_branches = True
        try:
            self._enter_user_namespace()
            pid = sysapi.fork_into(namespace_builder.NAMESPACES)
            if pid == 0:
                signal.set_wakeup_fd(-1)
                set_handler(signal.SIGCHLD, int(signal.SIG_DFL))
                namespace_builder.serve(self._context, channel_fd, _attend_to_branch)
            self._builder = os.pidfd_open(pid)
        except OSError as error:
            namespace_builder.say_why_not(
                GuestChannel(os.dup(channel_fd), "to_init", TO_GUEST_CAP_BYTES), error
            )
        os.close(channel_fd)

    def _kill_escaped(self, message: KillEscaped) -> None:
        if self._notifier is not None:
            self._notifier.end(message.entrants)
        escaped = 0
        if message.looks:
            self._end_builder()  # It has capabilities, and would be taken for one of them.
            escaped = self._children.end_escaped()
        self._control.send(EscapedKilled(escaped))

    def _end_builder(self) -> None:
        if self._builder >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._builder, signal.SIGKILL)
            select.select([self._builder], [], [])
            os.close(self._builder)
            self._builder = -1

    def _enter_user_namespace(self) -> None:
        """Join the session's own, below which branches are; no capability comes with it to stay."""
        if self._user_namespace >= 0:
            sysapi.setns(self._user_namespace, sysapi.CLONE_NEWUSER)
            os.close(self._user_namespace)
            self._user_namespace = -1
            if self._commands is not None:
                self._commands.user_namespace = -1
            sysapi.drop_capabilities()
            sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)

    def _confirm(self, message: Confirm) -> None:
        try:
            branch.confirm(message.pid, self._context.proc_fd)
        except (JailError, OSError) as error:
            self._control.send(Failed("branch", str(error)))
        else:
            self._children.watch(message.pid)
            self._control.send(Ready(message.pid, list(self._context.plan.layers)))


def _attend_to_branch(context: jail.JailContext, control_fd: int) -> NoReturn:
    """The first process of a branch, in its jail, goes on as an init."""
    control = GuestChannel(control_fd, "to_init", TO_GUEST_CAP_BYTES)
    Init(context, control, Children(context.proc_fd), SelfPipe((control_fd,))).attend()

"""Runs the holder of a reused jail: forks one session process after the other, each from nothing.

Theory of operation
===================

A fresh jail costs more than most programs that are graded in it. What of it need not be made anew
for each of them is held here: the net namespace, as long as no session has left a trace in it, and
the cgroup. All else is a session's own, and ends with it: pid, mount, ipc, uts, user and cgroup
namespaces, file systems, id, descriptors, the memory that it writes to.

The holder is trusted, as the zygote is that it was forked from: it is root in the zygote's user
namespace, pid 1 of a pid namespace of its own, and reads what the host sends and nothing else. It
has preloaded all that sessions need, and never ran anything of a session. For each `Spawn`

* it clones pid 1 of the session's pid namespace: a task that waits for ever in pause(2), shares the
  memory of the holder, and so costs next to nothing. It has every signal blocked, runs no code but
  that call, and the kernel reaps what is left to it (SIGCHLD is ignored there).
* it enters that pid namespace for its children and forks the session process, which puts on the
  jail as any other does. It is a child of the holder, which a session cannot name: no signal,
  priority, limit or affinity of a session's reaches a process outside of its pid namespace.

A session is over when its pid 1 has ended, by the hand of the host or of the holder, when the
session process has: the kernel ends all in that namespace first. It waits until each is reaped,
also those that were made children of the holder (CLONE_PARENT in clone(2)). So the host that sees
this end has the proof. Then the holder looks at the net namespace: where a counter or a number of
sockets is not what it was at the start, another one is made.
"""

import os
import re
import time

# Those of `signal` make enumerations of all that they get and give: sixty pages a session.
from _signal import (  # type: ignore[import-not-found]
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIGCHLD,
    SIGINT,
    SIGKILL,
    pthread_sigmask,
    valid_signals,
)
from _signal import signal as set_handler
from collections.abc import Mapping, Sequence
from contextlib import suppress
from select import POLLIN, poll
from typing import NamedTuple, NoReturn

from sandbox.guest.boot import init
from sandbox.guest.jail import jail
from sandbox.guest.jail.jail import JailContext, JailError, LayerStep
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.guest.session import session_process
from sandbox.protocol.messages import (
    TO_GUEST_CAP_BYTES,
    Exited,
    Failed,
    Interrupt,
    Spawn,
    ready_frame,
)

FIRST = 1
"""The first process of a pid namespace, as that numbers it."""
SESSION = 2
"""The session process, the first one after it."""
STANDARD = (0, 1, 2)
"""The standard streams stay open, so that nothing that comes later gets these numbers."""
SPAWN_DESCRIPTORS = 4
STACK_BYTES = 64 * 1024
EVERY_SIGNAL = valid_signals()
ENDS_WITHIN_S = 0.05
LOOK_AGAIN_S = 0.001
IDLE = sysapi.CLONE_VM | sysapi.CLONE_FILES | sysapi.CLONE_FS | sysapi.CLONE_NEWPID
OWN_NAMESPACES = {
    "mount_namespace": sysapi.CLONE_NEWNS,
    "ipc_namespace": sysapi.CLONE_NEWIPC,
    "uts_namespace": sysapi.CLONE_NEWUTS,
    "cgroup_namespace": sysapi.CLONE_NEWCGROUP,
}
"""What a session process leaves the holder's for; its pid namespace is there before."""
TRACES = ("sockstat", "sockstat6", "dev", "snmp", "snmp6", "netstat")
"""Files of /proc/self/net that tell what was done in a net namespace: sockets that are there, also
those that wait for late packets, and counters. One that is missing was switched off in the kernel.
"""
OF_ALL = re.compile(rb"(?:orphan|alloc|mem) \d+")
"""Numbers in sockstat that count for all of the host."""
TRACE_BYTES = 1 << 16


def _make_namespaces(context: JailContext) -> None:
    flags = [flag for layer, flag in OWN_NAMESPACES.items() if context.plan.asks_for(layer)]
    sysapi.unshare(sum(flags))


def _verify(context: JailContext) -> None:
    jail.verify(jail.facts_of(context.plan, HELD_LAYERS))


STEPS = (
    LayerStep("", "join cgroups", jail.join_cgroups),
    LayerStep("", "make namespaces", _make_namespaces),
    LayerStep("mount_namespace", "make workspace", jail.make_workspace),
    LayerStep("pid_namespace", "mount proc", jail.mount_guests_proc),
    *(row for row in jail.SESSION_STEPS if row.name not in ("mount proc", "verify")),
    LayerStep("", "verify", _verify),
)
"""All that a session process does between its fork and Landlock."""
HELD_LAYERS: Mapping[str, jail.Holds] = {
    **jail.FIRST_LAYERS,
    # Its parent is outside of the namespace, and it came right after the first process.
    "pid_namespace": lambda: (os.getpid(), os.getppid()) == (SESSION, 0),
}


def serve(
    context: JailContext,
    channel_fd: int,
    cgroup_fds: Sequence[int],
    session: session_process.SessionProcess,
) -> NoReturn:
    """Be the holder until the host closes the channel. `context` is of the namespaces around."""
    try:
        keep = (channel_fd, *cgroup_fds, *context.template.rule_fds)
        sysapi.close_all_but((*STANDARD, *keep))
        Holder(context, channel_fd, cgroup_fds, session).serve()
    finally:
        os._exit(1)  # Nothing may unwind into the frames of the zygote, whose copy this is.


class _Held(NamedTuple):
    """The session that there is now."""

    first_pid: int
    pid: int
    """Both as the holder numbers them."""
    pidfd: int
    control: GuestChannel


class Holder:
    """Forks sessions on request, one at a time."""

    def __init__(
        self,
        context: JailContext,
        channel_fd: int,
        cgroup_fds: Sequence[int],
        session: session_process.SessionProcess,
    ) -> None:
        self._plan = context.plan
        self._template = context.template
        self._channel = GuestChannel(channel_fd, "to_zygote", TO_GUEST_CAP_BYTES)
        self._cgroup_fds = cgroup_fds
        self._session = session
        self._steps = jail.steps_of(self._plan, STEPS)
        self._held: _Held | None = None
        self._poll = poll()
        os.setsid()
        for filesystem in reversed(self._template.filesystems):
            sysapi.unmount(filesystem.path)
        sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)
        # What the first process of a session does with signals is what this one does.
        set_handler(SIGINT, SIG_DFL)
        set_handler(SIGCHLD, SIG_DFL)
        self._home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._stack = sysapi.make_stack(STACK_BYTES)
        self._traces: list[int] = []
        self._baseline: list[bytes] = []
        self._begin_traces()

    def serve(self) -> NoReturn:
        """Obey the host until it closes the channel; what is left ends with this process."""
        self._poll.register(self._channel, POLLIN)
        while True:
            ready = {fd for fd, _events in self._poll.poll()}
            if self._held is not None and not ready.isdisjoint(
                (self._held.pidfd, self._held.control.fileno())
            ):
                self._attend(self._held, has_ended=self._held.pidfd in ready)
            if self._channel.fileno() in ready:
                try:
                    request = self._channel.receive()
                except (ChannelClosed, ConnectionError):
                    os._exit(0)
                assert isinstance(request, Spawn)
                self._spawn(request)

    # ---- the start of a session -----------------------------------------------------------------

    def _spawn(self, request: Spawn) -> None:
        if self._held is not None:
            self._end(self._held)
        control, guest, *streams = self._channel.take_descriptors(SPAWN_DESCRIPTORS)
        # What is made here is made by code that has run before: each page that it touches in the
        # session's process would have to be copied.
        channel = GuestChannel(control, "to_init", TO_GUEST_CAP_BYTES)
        own = GuestChannel(guest, "to_guest", TO_GUEST_CAP_BYTES)
        context = JailContext(self._plan, self._template)
        context.host_id = jail.host_id(self._plan, request.session)
        context.cgroup_fds = self._cgroup_fds
        keep = (*STANDARD, control, guest, *streams, *self._cgroup_fds, *self._template.rule_fds)
        try:
            self._renew_net_namespace()
            first = self._make_first_process()
            pid = self._fork(first)
        except (JailError, OSError) as error:
            named = error if isinstance(error, JailError) else JailError("fork", str(error))
            with suppress(ConnectionError):
                channel.send(Failed(named.step, named.detail))
            channel.close()
            pid = -1
        if pid == 0:
            self._become_session(context, channel, own, streams, keep)
        own.close()
        for fd in streams:
            os.close(fd)
        if pid < 0:
            return
        self._held = _Held(first, pid, os.pidfd_open(pid), channel)
        self._poll.register(channel, POLLIN)
        self._poll.register(self._held.pidfd, POLLIN)

    def _make_first_process(self) -> int:
        # What the kernel leaves to it, it is to reap; and no signal may make it run a handler,
        # which would do so in the memory of this process.
        set_handler(SIGCHLD, SIG_IGN)
        before = pthread_sigmask(SIG_BLOCK, EVERY_SIGNAL)
        try:
            return sysapi.clone_idle(IDLE, self._stack)
        finally:
            pthread_sigmask(SIG_SETMASK, before)
            set_handler(SIGCHLD, SIG_DFL)

    def _fork(self, first: int) -> int:
        """Fork into the pid namespace of the process `first`; it is ended if that cannot be."""
        pidfd = os.pidfd_open(first)
        try:
            # The kernel lets a process enter the namespaces of one that it may look into. There is
            # no session now that could.
            sysapi.prctl(sysapi.PR_SET_DUMPABLE, 1)
            sysapi.setns(pidfd, sysapi.CLONE_NEWPID)
            sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)
            pid = sysapi.fork()
        except OSError:
            sysapi.setns(self._home, sysapi.CLONE_NEWPID)
            _bury(first)
            raise
        finally:
            os.close(pidfd)
        if pid:
            sysapi.setns(self._home, sysapi.CLONE_NEWPID)
        return pid

    def _become_session(
        self,
        context: JailContext,
        control: GuestChannel,
        own: GuestChannel,
        streams: Sequence[int],
        keep: Sequence[int],
    ) -> NoReturn:
        try:
            sysapi.close_all_but(keep)
            os.setsid()
            init.wire_standard_streams(*streams)
            first = os.pidfd_open(FIRST)
            try:
                jail.apply(self._steps, context)
                # What the filter would ask an init about is refused: it can have no branches.
                jail.restrict(context, listens=False)
            except JailError as error:
                init.fail(control.fileno(), error)
            given = [first, *context.handed_over]
            os.close(context.user_namespace)
            frame = ready_frame(os.getpid(), context.template.layers)
            with suppress(ConnectionError):
                control.send_frame(frame, given)
            control.close()
            for fd in given:
                os.close(fd)
            session_process.serve(self._session, own)
        finally:
            os._exit(1)

    # ---- its end --------------------------------------------------------------------------------

    def _attend(self, held: _Held, *, has_ended: bool) -> None:
        if has_ended:
            self._report_end(held)
            self._end(held)
            return
        try:
            message = held.control.receive()
        except (ChannelClosed, ConnectionError):
            self._end(held)
            return
        if isinstance(message, Interrupt):
            # It was not reaped: its number cannot be another's by now.
            os.kill(held.pid, SIGINT)
        else:
            with suppress(ConnectionError):
                name = type(message).__name__
                held.control.send(Failed("holder", f"a kept jail knows no {name}"))

    def _report_end(self, held: _Held) -> None:
        """Tell the host how the session process ended, before that is the end of all of it.

        Where the first process was killed, the kernel has killed the session process as well, and
        how that ended tells nothing: the host sees the end of the first one.
        """
        _pid, status = os.waitpid(held.pid, 0)
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == SIGKILL
        if is_killed and self._has_ended(held.first_pid):
            return
        with suppress(ConnectionError):
            held.control.send(Exited(SESSION, status))

    def _has_ended(self, first: int) -> bool:
        """Whether the process `first` is on its way out; it ends when all are reaped."""
        end = time.monotonic() + ENDS_WITHIN_S
        while time.monotonic() < end:
            self._reap_adopted(first)
            if os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            time.sleep(LOOK_AGAIN_S)
        return False

    def _reap_adopted(self, first: int) -> None:
        """Reap what a session has made children of this process (CLONE_PARENT), but `first`."""
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid == first:
                return
            os.waitpid(ended.si_pid, 0)

    def _end(self, held: _Held) -> None:
        """End all of the session `held`; its channel closes when nothing of it is left."""
        self._held = None
        self._poll.unregister(held.control)
        self._poll.unregister(held.pidfd)
        os.close(held.pidfd)
        _bury(held.first_pid)
        held.control.close()

    # ---- the net namespace ----------------------------------------------------------------------

    def _begin_traces(self) -> None:
        for fd in self._traces:
            os.close(fd)
        self._traces = [
            os.open(f"/proc/self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for name in TRACES
            if name == TRACES[0] or os.path.exists(f"/proc/self/net/{name}")
        ]
        self._baseline = self._look()

    def _look(self) -> list[bytes]:
        seen = [os.pread(fd, TRACE_BYTES, 0) for fd in self._traces]
        seen[0] = OF_ALL.sub(b"", seen[0])
        return seen

    def _renew_net_namespace(self) -> None:
        """Have the next session find a net namespace in which nothing has happened."""
        if self._look() == self._baseline:
            return
        with jail.step("make net namespace"):
            sysapi.unshare(sysapi.CLONE_NEWNET)
            sysapi.bring_loopback_up()
            self._begin_traces()


def _bury(first: int) -> None:
    """Kill the pid namespace of `first`, and reap all of it that is this process's to reap."""
    os.kill(first, SIGKILL)
    # Its end waits until each process of the namespace is reaped, also those that were made
    # children of this one.
    while os.waitpid(-1, 0)[0] != first:
        pass

"""Worker init: the first process of a session. It jails itself, forks the session process, reaps.

Trusted: it never runs guest code, and no guest can stop, trace or signal it (it is pid 1 of the
session's pid namespace, undumpable, and signals without a handler do not reach a pid 1 from
inside). The supervisor believes what it says on the control channel, which the session process
does not hold.
"""

import dataclasses
import os
import select
import signal
import socket
import time

# What `signal.signal` calls; its enumerations would touch forty pages more in each session.
from _signal import signal as set_handler  # type: ignore[import-not-found]
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NoReturn

from sandbox.guest import branch, jail, sysapi, worker
from sandbox.guest.channel import Channel, ChannelClosed
from sandbox.guest.gate import Gate
from sandbox.guest.jail import HOME, JailError
from sandbox.guest.processes import Processes, field, is_live
from sandbox.protocol.messages import (
    TO_GUEST_CAP_BYTES,
    Admit,
    Branch,
    Confirm,
    Exited,
    Failed,
    Interrupt,
    Kill,
    Killed,
    Pause,
    Prepared,
    Ready,
    Shut,
    Spawn,
    Sweep,
    Swept,
    Watch,
)
from sandbox.protocol.plan import WORKSPACE, JailPlan

LOOK_AGAIN_S = 0.0002
SIGKILL_PENDING = 1 << (signal.SIGKILL - 1)
ENDS_KEPT = 1024
"""How many ends of unwatched processes are remembered for a later Watch."""


def serve(
    plan: JailPlan,
    prepared: jail.Prepared,
    session: worker.Worker,
    request: Spawn,
    descriptors: list[int],
) -> NoReturn:
    """Enter the jail, fork the session process, and serve the supervisor until it goes."""
    control_fd, guest_fd, stdout_fd, stderr_fd, *cgroup_fds = descriptors
    control = Channel(control_fd, "to_init", TO_GUEST_CAP_BYTES)
    try:
        os.setsid()
        set_handler(signal.SIGCHLD, int(signal.SIG_DFL))
        workspace = f"{request.directory}/workspace" if request.directory else WORKSPACE
        scratch = f"{request.directory}/tmp" if request.directory else "/tmp"
        if not plan.asks_for("pid_namespace"):
            sysapi.prctl(sysapi.PR_SET_CHILD_SUBREAPER, 1)
        entry = jail.Entry(plan, prepared, request.session, cgroup_fds, workspace, scratch)
        _wire_standard_streams(stdout_fd, stderr_fd)
        jail.enter(entry)
    except JailError as error:
        control.send(Failed(error.step, error.detail))
        os._exit(1)
    if request.directory:
        os.environ.update(HOME=f"{scratch}/{HOME}", TMPDIR=scratch)
    children = Children(entry.proc_fd)
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        here.close()
        _become_session_process(entry, control, children, there)
        worker.serve(session, guest_fd)
    there.close()
    _word, listeners, _flags, _address = socket.recv_fds(here, 1, 1)
    if not _word:
        os._exit(1)  # The session process has said why.
    here.close()
    jail.close_rule_fds(entry)
    jail.filter_init(entry)
    os.close(guest_fd)
    for fd in (0, 1, 2):
        os.close(fd)
    try:
        control.send(Ready(pid, list(plan.layers)), tuple(entry.directories))
    except ConnectionError:
        children.end()
        os._exit(0)
    for fd in entry.directories:
        os.close(fd)
    children.watch(pid)
    gate = None
    if listeners:
        gate = Gate(listeners[0], children.processes, lambda: children.has_branches)
    Init(entry, control, children, gate).attend()


def _become_session_process(
    entry: jail.Entry, control: Channel, children: "Children", parent: socket.socket
) -> None:
    """Put the last layers on, and tell the parent."""
    # A scheduling group of its own (autogroup, sched(7)): however many processes a snippet
    # starts, init gets to run beside them.
    os.setsid()
    for fd in entry.directories:
        os.close(fd)
    children.forget()
    try:
        listener = jail.confine_session_process(entry)
    except JailError as error:
        control.send(Failed(error.step, error.detail))
        os._exit(1)
    control.close()
    socket.send_fds(parent, [b"x"], [listener] if listener >= 0 else [])
    parent.close()
    if listener >= 0:
        os.close(listener)


def _wire_standard_streams(stdout_fd: int, stderr_fd: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    for fd, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(fd, target)
        os.close(fd)


class Init:
    """The loop of an init: obeys the supervisor, reaps, keeps the gate of branches."""

    def __init__(
        self,
        entry: jail.Entry,
        control: Channel,
        children: "Children",
        gate: Gate | None,
    ) -> None:
        self._entry = entry
        self._control = control
        self._children = children
        self._gate = gate
        self._orders: dict[type, Callable[[Any], None]] = {
            Interrupt: self._interrupt,
            Kill: self._kill,
            Watch: self._watch,
            Pause: self._pause,
            Branch: self._branch,
            Admit: self._admit,
            Confirm: self._confirm,
            Sweep: self._sweep,
        }

    def attend(self) -> NoReturn:
        """Answer the supervisor and reap, until the supervisor closes the channel."""
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        set_handler(signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        for source in (self._control, wake_read, self._gate):
            if source is not None:
                poll.register(source.fileno(), select.POLLIN)
        while True:
            self._tell_ends()
            for fd, _events in poll.poll():
                if fd == wake_read.fileno():
                    wake_read.recv(4096)
                elif fd == self._control.fileno():
                    self._obey()
                elif self._gate is not None:
                    # An order to open the gate was sent before whoever asks was sent.
                    while select.select([self._control], [], [], 0)[0]:
                        self._obey()
                    self._gate.answer()

    def _obey(self) -> None:
        try:
            while True:
                message = self._control.receive()
                self._orders[type(message)](message)
                if not self._control.has_more:
                    return
        except (ChannelClosed, ConnectionError):
            self._children.end()
            os._exit(0)

    def _interrupt(self, message: Interrupt) -> None:
        self._children.interrupt(message.pid)

    def _kill(self, message: Kill) -> None:
        count = self._children.doom_all_but(message.spare)
        gone = [pid for pid in message.spare if not self._children.goes_on(pid)]
        self._tell_ends()
        self._control.send(Killed(count, gone))
        self._children.bury_all_but(message.spare)

    def _tell_ends(self) -> None:
        for pid, status in self._children.reap():
            self._control.send(Exited(pid, status))

    def _watch(self, message: Watch) -> None:
        self._children.watch(message.pid)

    def _pause(self, message: Pause) -> None:
        self._children.pause(stopped=message.stopped)

    def _admit(self, message: Admit) -> None:
        if self._gate is not None and message.namespaces:
            self._gate.open([kind for _name, kind in branch.KINDS[: message.namespaces]])
        else:
            self._control.send(Shut(self._gate.shut() if self._gate is not None else 0))

    def _branch(self, message: Branch) -> None:
        control_fd, *cgroup_fds = self._control.take_descriptors(1 + message.cgroups)
        self._children.has_branches = True
        try:
            if sysapi.fork_into(branch.NAMESPACES) == 0:
                _become_branch_init(self._entry, control_fd, cgroup_fds)
        except OSError:
            pass  # The host sees the channel end before a word came.
        for fd in (control_fd, *cgroup_fds):
            os.close(fd)

    def _sweep(self, _message: Sweep) -> None:
        self._control.send(Swept(self._children.end_strays()))

    def _confirm(self, message: Confirm) -> None:
        try:
            branch.confirm(message.pid, self._entry.proc_fd)
        except (JailError, OSError) as error:
            self._control.send(Failed("branch", str(error)))
        else:
            self._children.watch(message.pid)
            self._control.send(Ready(message.pid, list(self._entry.plan.layers)))


def _become_branch_init(entry: jail.Entry, control_fd: int, cgroup_fds: list[int]) -> NoReturn:
    """The first process in the namespaces of a branch: furnish them and be its init."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sysapi.close_all_but((control_fd, *cgroup_fds))
    control = Channel(control_fd, "to_init", TO_GUEST_CAP_BYTES)
    own = dataclasses.replace(entry, cgroup_fds=cgroup_fds, directories=[], proc_fd=-1)
    try:
        made = branch.furnish(own)
    except JailError as error:
        control.send(Failed(error.step, error.detail))
        os._exit(1)
    control.send(Prepared(len(made.namespaces)), (*made.namespaces, *made.directories))
    for fd in (*made.namespaces, *made.directories):
        os.close(fd)
    Init(own, control, Children(made.proc_fd), None).attend()


class Children:
    """The processes of this session, as init sees them."""

    def __init__(self, proc_fd: int) -> None:
        self._proc_fd = proc_fd
        self.processes = Processes(proc_fd)
        self._watched: set[int] = set()
        self._ends: OrderedDict[int, int] = OrderedDict()
        self.has_branches = False
        """Whether pid namespaces of branches may be below this one."""

    def forget(self) -> None:
        """Close what the session process must not hold."""
        if self._proc_fd >= 0:
            os.close(self._proc_fd)

    def watch(self, pid: int) -> None:
        """Have `reap` report the end of `pid`, even if that is past."""
        self._watched.add(pid)

    def reap(self) -> list[tuple[int, int]]:
        """Collect every child that has ended; ends of watched ones, as (pid, wait status)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._ends[pid] = status
            if len(self._ends) > ENDS_KEPT:
                self._ends.popitem(last=False)
        over = [(pid, self._ends.pop(pid)) for pid in self._watched & self._ends.keys()]
        self._watched -= {pid for pid, _status in over}
        return over

    def interrupt(self, pid: int) -> None:
        """SIGINT to `pid`; nothing if it is gone."""
        if pid > 1:
            _signal(pid, signal.SIGINT)

    def pause(self, *, stopped: bool) -> None:
        """Stop every process of the session but init, or let them all go on."""
        number = signal.SIGSTOP if stopped else signal.SIGCONT
        if self._proc_fd < 0:
            for pid in _descendants(os.getpid()):
                _signal(pid, number)
        elif self.has_branches:
            for pid in self._own_pids():
                _signal(pid, number)
        else:
            _signal(-1, number)

    def end(self) -> None:
        """End every process of the session but init, and reap them all."""
        while True:
            self.doom_all_but([])
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def doom_all_but(self, spare: list[int]) -> int:
        """Let no process of the session but init and `spare` run again; how many there were.

        `kill(-1, SIGSTOP)` reaches every process of the pid namespace in one step. A fork that is
        under way goes on, but its child is born with the signal (signals to many processes are
        taken to come after such a fork, see copy_process in kernel/fork.c). So nothing new can
        start, and what appears late appears stopped: looking again until nothing is left ends
        after one or two rounds, and no chain of forks can outrun it. Branches below are stopped
        for that moment and go on.

        Those that are watched have ended when this returns: they go first, while the others stand
        still. Of the others each has its SIGKILL, and none gets back to its code, but the end of
        many takes a while; `bury_all_but` waits for that, and lets what is spared go on.
        """
        if self._proc_fd < 0:
            return self._kill_tree(spare)
        if not spare and not self.has_branches:
            return _signal(-1, signal.SIGKILL)
        _signal(-1, signal.SIGSTOP)
        killed = self._watched - set(spare)
        for pid in killed:
            _signal(pid, signal.SIGKILL)
            self._await_end(pid)
        while doomed := self._own_pids() - set(spare) - killed:
            for pid in doomed:
                _signal(pid, signal.SIGKILL)
            killed |= doomed
        return len(killed)

    def bury_all_but(self, spare: list[int]) -> None:
        """Wait until those that `doom_all_but` ended are gone; then let the others go on."""
        if self._proc_fd < 0 or (not spare and not self.has_branches):
            return
        while self._own_pids() - set(spare):
            time.sleep(LOOK_AGAIN_S)
        _signal(-1, signal.SIGCONT)

    def _await_end(self, pid: int) -> None:
        try:
            self._ends[pid] = os.waitpid(pid, 0)[1]
        except ChildProcessError:
            return  # It ended, and was reaped, before.

    def _own_pids(self) -> set[int]:
        """Live processes of this pid namespace but init; those of branches below it not."""
        return {pid for pid in self.processes.pids() if pid != os.getpid() and self._is_own(pid)}

    def goes_on(self, pid: int) -> bool:
        """Whether `pid` lives and no SIGKILL is on its way to it."""
        text = self.processes.status(pid)
        pending = int(field(text, "SigPnd") or "0", 16) | int(field(text, "ShdPnd") or "0", 16)
        return is_live(text) and not pending & SIGKILL_PENDING

    def end_strays(self) -> int:
        """End processes of this pid namespace that hold capabilities; how many there were.

        Nobody has any here but who entered the user namespace of a branch and not the rest of it.
        """
        _signal(-1, signal.SIGSTOP)
        strays = []
        for pid in self.processes.pids():
            row = self.processes.row(pid)
            if row is not None and row.is_live and row.depth == 1 and row.has_capabilities:
                _signal(pid, signal.SIGKILL)
                strays.append(pid)
        _signal(-1, signal.SIGCONT)
        return len(strays)

    def _is_own(self, pid: int) -> bool:
        text = self.processes.status(pid)
        return is_live(text) and len(field(text, "NSpid").split()) == 1

    def _kill_tree(self, spare: list[int]) -> int:
        """The same without a pid namespace: walk the descendants of this subreaper.

        All are stopped first; what a fork that was under way brings forth is found by looking
        again. The supervisor's limit on processes bounds how often that can go on.
        """
        killed: set[int] = set()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            while doomed := _live_descendants(os.getpid()) - set(spare):
                fresh = doomed - killed if number is signal.SIGSTOP else doomed
                if not fresh:
                    break
                for pid in fresh:
                    _signal(pid, number)
                killed |= fresh
                if number is signal.SIGKILL:
                    time.sleep(LOOK_AGAIN_S)
        return len(killed)


def _live_descendants(pid: int) -> set[int]:
    found = set()
    for child in _descendants(pid):
        try:
            with open(f"/proc/{child}/status") as stream:
                if is_live(stream.read()):
                    found.add(child)
        except OSError:
            continue  # It has ended.
    return found


def _signal(pid: int, number: signal.Signals) -> int:
    """1 if the signal was sent, 0 if there was nobody to send it to."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return 1


def _descendants(pid: int) -> set[int]:
    """Every process below `pid`, dead ones that nobody has reaped included."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as stream:
                children = [int(word) for word in stream.read().split()]
        except OSError:
            continue
        waiting += [child for child in children if child not in found]
        found.update(children)
    return found

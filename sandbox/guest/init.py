"""Worker init: the first process of a session. It jails itself, forks the session process, reaps.

Trusted: it never runs guest code, and no guest can stop, trace or signal it (it is pid 1 of the
session's pid namespace, undumpable, and signals without a handler do not reach a pid 1 from
inside). The supervisor believes what it says on the control channel, which the session process
does not hold.
"""

import os
import select
import signal
import socket
from collections import OrderedDict
from typing import NoReturn

from sandbox.guest import jail, sysapi, worker
from sandbox.guest.channel import Channel, ChannelClosed
from sandbox.guest.jail import HOME, JailError
from sandbox.protocol.messages import (
    TO_GUEST_CAP_BYTES,
    Exited,
    Failed,
    Interrupt,
    Kill,
    Killed,
    Pause,
    Ready,
    Spawn,
    Watch,
)
from sandbox.protocol.plan import WORKSPACE, JailPlan

ENDS_KEPT = 1024
"""How many ends of unwatched processes are remembered for a later Watch."""


def serve(
    plan: JailPlan, prepared: jail.Prepared, request: Spawn, descriptors: list[int]
) -> NoReturn:
    """Enter the jail, fork the session process, and serve the supervisor until it goes."""
    control_fd, guest_fd, stdout_fd, stderr_fd, *cgroup_fds = descriptors
    control = Channel(control_fd, "to_init", TO_GUEST_CAP_BYTES)
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
    confined_read, confined_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in (*entry.directories, confined_read):
            os.close(fd)
        children.forget()
        try:
            jail.confine_session_process(entry)
        except JailError as error:
            control.send(Failed(error.step, error.detail))
            os._exit(1)
        control.close()
        os.write(confined_write, b"x")
        os.close(confined_write)
        worker.serve(plan, guest_fd, workspace)
    os.close(confined_write)
    if not os.read(confined_read, 1):
        os._exit(1)
    os.close(confined_read)
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
    _attend(control, children)


def _wire_standard_streams(stdout_fd: int, stderr_fd: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    for fd, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(fd, target)
        os.close(fd)


def _attend(control: Channel, children: "Children") -> NoReturn:
    """Answer the supervisor and reap, until the supervisor closes the channel."""
    wake_read, wake_write = socket.socketpair()
    for end in (wake_read, wake_write):
        end.setblocking(False)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    poll.register(wake_read.fileno(), select.POLLIN)
    while True:
        for pid, status in children.reap():
            control.send(Exited(pid, status))
        for fd, _events in poll.poll():
            if fd == wake_read.fileno():
                wake_read.recv(4096)
                continue
            try:
                _obey(control, children)
                while control.has_more:
                    _obey(control, children)
            except (ChannelClosed, ConnectionError):
                children.end()
                os._exit(0)


def _obey(control: Channel, children: "Children") -> None:
    message = control.receive()
    if isinstance(message, Interrupt):
        children.interrupt(message.pid)
    elif isinstance(message, Kill):
        control.send(Killed(children.kill_all_but(message.spare)))
    elif isinstance(message, Watch):
        children.watch(message.pid)
    elif isinstance(message, Pause):
        children.pause(stopped=message.stopped)


class Children:
    """The processes of this session, as init sees them."""

    def __init__(self, proc_fd: int) -> None:
        self._proc_fd = proc_fd
        self._watched: set[int] = set()
        self._ends: OrderedDict[int, int] = OrderedDict()

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
        if self._proc_fd >= 0:
            _signal(-1, number)
        else:
            for pid in _descendants(os.getpid()):
                _signal(pid, number)

    def end(self) -> None:
        """End every process of the session but init, and reap them all."""
        while True:
            self.kill_all_but([])
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def kill_all_but(self, spare: list[int]) -> int:
        """End every process of the session but init and `spare`; how many there were.

        In a pid namespace `kill(-1, SIGSTOP)` reaches all of them in one step (kill(2)): a fork
        under way either finished before, and its child is stopped too, or sees the signal and
        starts over. Nothing runs while the stopped ones are killed one by one, so no chain of
        forks can outrun the walk.
        """
        if self._proc_fd < 0:
            return self._kill_tree(spare)
        if not spare:
            return _signal(-1, signal.SIGKILL)
        _signal(-1, signal.SIGSTOP)
        names = os.listdir(self._proc_fd)
        doomed = [int(name) for name in names if name.isdigit()]
        doomed = [pid for pid in doomed if pid != os.getpid() and pid not in spare]
        count = sum(_signal(pid, signal.SIGKILL) for pid in doomed)
        for pid in spare:
            _signal(pid, signal.SIGCONT)
        return count

    def _kill_tree(self, spare: list[int]) -> int:
        """The same without a pid namespace: walk the children of this subreaper until none is new.

        Each round stops what it finds, so a process that forks faster than the walk must do so
        between two looks at it; the supervisor's pid limit bounds how often it can.
        """
        stopped: set[int] = set()
        while fresh := _descendants(os.getpid()) - stopped - set(spare):
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            stopped |= fresh
        return sum(_signal(pid, signal.SIGKILL) for pid in stopped)


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

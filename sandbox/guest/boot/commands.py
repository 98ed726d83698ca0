"""Starts programs in the jail beside the interpreter, for the host's `Exec`.

A command is a fork of init that puts on what the session process has on (its user namespace,
limits, Landlock, the seccomp filter) and becomes the program. It takes no turn of the session: it
is init's own child, and what the session process does, or is killed for, does not touch it.

Its filter has a listener of its own, which init answers as it answers the session's; entry into
other namespaces is always refused there.

Where commands follow each other, the host asks for a *spare*: the next one's process, forked while
the one before runs. It has put the jail on and waits for its program on a socket that init alone
holds the other end of. Until then it runs our code alone, undumpable, in no group of another
process; init answers calls that name it as if there were no such process, and where a call to
all processes has ended it, the next command is forked as the first was. It never lives beside a
snippet, a rollback, a branch or a session at rest: it is ended first (`end_spare`).
"""

import _socket
import fcntl
import os
import select
import signal

# What `signal.signal` calls; its enumerations would touch pages more in each command.
from _signal import signal as set_handler  # type: ignore[import-not-found]
from array import array
from contextlib import suppress
from typing import NamedTuple, NoReturn, Protocol

from sandbox.guest.boot.children import Children
from sandbox.guest.branching.seccomp_notifier import SeccompNotifier
from sandbox.guest.jail import jail
from sandbox.guest.jail.jail import JailError
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.protocol.messages import (
    TO_GUEST_CAP_BYTES,
    CommandEnded,
    CommandStarted,
    Exec,
    SignalCommand,
    pack,
)
from sandbox.protocol.plan import OWN_PACKAGES, WORKSPACE

STREAMS = 3
NOT_FOUND, NOT_EXECUTABLE, NOT_STARTED = 127, 126, 125
"""What a shell exits with; the last is that of `env` and `timeout` for what they failed to do."""
RESET = tuple(
    map(int, (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM))
)
"""Signals that Python ignores or handles, and a program finds as it expects them."""
SIG_DFL = int(signal.SIG_DFL)
LISTENER_SPACE = _socket.CMSG_LEN(array("i").itemsize)
MICRO = 1_000_000
SPARE_TAKES_BYTES = 64 * 1024
"""The longest message to a spare: what a socket holds of it without a reader."""


class Spare(NamedTuple):
    """A process that waits in the jail for the program that it will become."""

    pid: int
    pidfd: int
    link: _socket.socket
    """Init's end: the listener comes from there, the program goes there."""


class Poller(Protocol):
    """What `Commands` needs of init's poller."""

    def add(self, source: int) -> None: ...

    def remove(self, source: int) -> None: ...


class Commands:
    """The commands of one session, by the host's numbers."""

    def __init__(
        self,
        context: jail.JailContext,
        control: GuestChannel,
        children: Children,
        poller: Poller,
        user_namespace: int,
    ) -> None:
        self._context = context
        self._control = control
        self._children = children
        self._poller = poller
        self.user_namespace = user_namespace
        """The session's own, for a command to enter; -1 where init is in it already."""
        self._pids: dict[int, int] = {}
        """By the host's number."""
        self._notifiers: dict[int, SeccompNotifier] = {}
        """By the descriptor of each listener."""
        self._spare: Spare | None = None

    def start(self, message: Exec) -> None:
        """Start a command; the host is told when it is in the jail, or has ended."""
        fds = self._control.take_descriptors(STREAMS)
        pid = self._start_spare(message, fds) or self._start_fork(message, fds)
        for fd in fds:
            os.close(fd)
        if not pid:
            self._control.send(CommandEnded(message.id, NOT_STARTED << 8, 0, 0, 0))
            return
        self._children.commands[pid] = None
        self._children.watch(pid)
        self._pids[message.id] = pid
        self._control.send(CommandStarted(message.id, pid))
        # Where init is in the session's user namespace, branches are below it, or it is of one.
        if message.more_follow and self.user_namespace >= 0:
            self._make_spare()

    def end_spare(self) -> None:
        """End the process that waits to become a command, if there is one."""
        spare, self._spare = self._spare, None
        if spare is not None:
            self._end(spare)

    def _start_spare(self, message: Exec, fds: list[int]) -> int:
        """Have the spare become the program; its pid, or 0 if there is none that can."""
        spare, self._spare = self._spare, None
        if spare is None:
            return 0
        frame = pack(message)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))
        try:
            # A signal to all processes may have stopped it.
            signal.pidfd_send_signal(spare.pidfd, signal.SIGCONT)
            if len(frame) > SPARE_TAKES_BYTES or not self._take_listener(spare.link):
                raise BrokenPipeError
            spare.link.sendmsg([frame], [rights])
        except OSError:
            self._end(spare)
            return 0
        self._children.processes.unnamed.discard(spare.pid)
        os.close(spare.pidfd)
        spare.link.close()
        return spare.pid

    def _start_fork(self, message: Exec, fds: list[int]) -> int:
        """Fork a process that becomes the program; its pid, or 0 if there can be no more."""
        try:
            pid, link = self._fork(message, fds)
        except OSError:
            return 0
        self._take_listener(link)
        link.close()
        return pid

    def _make_spare(self) -> None:
        """Fork the next command's process; without one it is forked when it comes."""
        self.end_spare()
        try:
            pid, link = self._fork(None, [])
        except OSError:
            return
        self._children.processes.unnamed.add(pid)
        self._spare = Spare(pid, os.pidfd_open(pid), link)

    def _fork(self, message: Exec | None, fds: list[int]) -> tuple[int, _socket.socket]:
        """A process that becomes a program, and init's end of its link. Raises OSError."""
        here, there = _socket.socketpair()
        try:
            pid = sysapi.fork()
        except OSError:
            here.close()
            raise
        else:
            if pid == 0:
                here.close()
                self._become(message, fds, there)
            return pid, here
        finally:
            there.close()

    def _end(self, spare: Spare) -> None:
        # It may have ended, and its number be another's: the descriptor is its alone.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(spare.pidfd, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, spare.pidfd, os.WEXITED)
        self._children.processes.unnamed.discard(spare.pid)
        os.close(spare.pidfd)
        spare.link.close()

    def signal(self, message: SignalCommand) -> None:
        """Signal a command, or all that descends from it too; nothing if it has ended."""
        pid = self._pids.get(message.id)
        if pid is None or self._children.commands.get(pid, pid) is not None:
            return
        targets = {pid}
        if message.tree:
            # What is stopped forks nothing more while the others are looked up.
            while fresh := self._children.processes.descendants(pid) - targets:
                for one in fresh:
                    self._children.signal(one, signal.SIGSTOP)
                targets |= fresh
        for one in targets:
            self._children.signal(one, message.number)
            self._children.signal(one, signal.SIGCONT)

    def ended(self, pid: int, status: int) -> CommandEnded:
        """What the host is told of the end of command `pid`."""
        number = next(number for number, one in self._pids.items() if one == pid)
        del self._pids[number]
        spent = self._children.commands.pop(pid)
        if spent is None:
            return CommandEnded(number, status, 0, 0, 0)
        return CommandEnded(
            number,
            status,
            int(spent.ru_utime * MICRO),
            int(spent.ru_stime * MICRO),
            int(spent.ru_maxrss),
        )

    def answer(self, fd: int) -> bool:
        """Answer a call on listener `fd`; False if it is none of a command's filters."""
        notifier = self._notifiers.get(fd)
        if notifier is None:
            return False
        # Readable with nothing to read is the end of the last process under the filter.
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        [(_fd, events)] = poll.poll(0) or [(fd, 0)]
        if events & select.POLLIN:
            notifier.answer()
        elif events & select.POLLHUP:
            del self._notifiers[fd]
            self._poller.remove(fd)
            os.close(fd)
        return True

    def _take_listener(self, link: _socket.socket) -> bool:
        """Take over the listener of a process that has put the jail on; whether it has."""
        word, ancillary, _flags, _address = link.recvmsg(1, LISTENER_SPACE)
        for _level, _kind, content in ancillary:
            [listener] = array("i", content[: array("i").itemsize])
            self._notifiers[listener] = SeccompNotifier(
                listener,
                self._children.processes,
                lambda: self._children.has_branches,
                has_own_numbers=self._context.plan.asks_for("pid_namespace"),
            )
            self._poller.add(listener)
        return bool(word)

    # ---- in the command -------------------------------------------------------------------------

    def _become(self, message: Exec | None, fds: list[int], link: _socket.socket) -> NoReturn:
        """Put the jail on and become the program, which init names later if `message` is None.

        Nothing may unwind into init's frames.
        """
        try:
            # Init keeps nothing in the place of the standard streams free.
            link_fd = _above_streams(link.detach())
            self.user_namespace = _above_streams(self.user_namespace)
            if message is not None:
                _wire(fds)
            signal.set_wakeup_fd(-1)
            for each in RESET:
                set_handler(each, SIG_DFL)
            os.setsid()
            if message is None:
                # From here on it has nothing but the jail and its link, for as long as it waits.
                self._confine(link_fd)
                sysapi.close_all_but((link_fd,))
                message, fds = _await_program(link_fd)
                _wire(fds)
            else:
                self._confine(link_fd)
            sysapi.close_all_but((0, 1, 2))
            _execute(message, self._context)
        except JailError as error:
            _say(f"cellblock: {error}", message)
        except OSError as error:
            _say(f"cellblock: {error.strerror}", message)
        finally:
            os._exit(NOT_STARTED)

    def _confine(self, link_fd: int) -> None:
        context, plan = self._context, self._context.plan
        if self.user_namespace >= 0:
            sysapi.setns(self.user_namespace, sysapi.CLONE_NEWUSER)
        os.umask(0o022)
        if plan.asks_for("rlimits"):
            jail.set_rlimits(context)
        if plan.asks_for("capabilities"):
            if self.user_namespace >= 0:
                sysapi.drop_capabilities()  # Those that came with the user namespace.
            elif not sysapi.holds_no_capability():
                raise JailError("capabilities", "init held some")
        if plan.asks_for("no_new_privs"):
            sysapi.prctl(sysapi.PR_SET_NO_NEW_PRIVS, 1)
        if plan.asks_for("not_dumpable"):
            sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)
        if plan.asks_for("landlock"):
            jail.restrict_paths(context)
        listener = -1
        if plan.asks_for("seccomp"):
            program = context.template.seccomp_program
            listener = jail.filter_calls(plan, program, program)
        jail.verify(context.template.final_facts)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [listener]))
        with suppress(OSError):
            link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, link_fd)
            link.sendmsg([b"l"], [rights] if listener >= 0 else [])
            link.detach()


def _above_streams(fd: int) -> int:
    """`fd`, or a copy of it if its number is one of a standard stream."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STREAMS) if 0 <= fd < STREAMS else fd


def _wire(fds: list[int]) -> None:
    """Make `fds` the standard streams."""
    for number, fd in enumerate([_above_streams(fd) for fd in fds]):
        os.dup2(fd, number)


def _await_program(link_fd: int) -> tuple[Exec, list[int]]:
    """What init has a spare become, with its streams; ends when init closes its end."""
    link = GuestChannel(link_fd, "to_init", TO_GUEST_CAP_BYTES)
    try:
        message = link.receive()
    except (ChannelClosed, ConnectionError):
        os._exit(0)
    assert isinstance(message, Exec)
    fds = link.take_descriptors(STREAMS)
    link.close()
    return message, fds


def own_variables(context: jail.JailContext) -> dict[str, str]:
    """Variables that each session has its own of, where it has no file system of its own."""
    if context.workspace == WORKSPACE:
        return {}
    home = f"{context.scratch}/{jail.HOME}"
    entries = (os.environ.get("PYTHONPATH", ""), f"{home}/{OWN_PACKAGES}")
    path = ":".join(entry for entry in entries if entry)
    return {"HOME": home, "TMPDIR": context.scratch, "PYTHONPATH": path}


def _execute(message: Exec, context: jail.JailContext) -> NoReturn:
    """Become the program, or exit as a shell does when there is none."""
    environment = {**os.environ, **own_variables(context), **message.env}
    place = os.path.join(context.workspace, message.cwd)
    try:
        os.chdir(place)
    except OSError as error:
        _tell(f"cellblock: cannot go to {message.cwd}: {error.strerror}")
        os._exit(NOT_STARTED)
    name = message.argv[0]
    try:
        os.execvpe(name, message.argv, environment)
    except (FileNotFoundError, NotADirectoryError):
        _tell(f"cellblock: {name}: not found")
        os._exit(NOT_FOUND)
    except OSError as error:
        _tell(f"cellblock: {name}: {error.strerror}")
        os._exit(NOT_EXECUTABLE)


def _say(text: str, message: Exec | None) -> None:
    """Tell what a command was not started for; a spare has no streams, and init forks another."""
    if message is not None:
        _tell(text)


def _tell(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="replace"))

"""Starts programs in the jail beside the interpreter, for the host's `Exec`.

A command is a fork of init that puts on what the session process has on (its user namespace,
limits, Landlock, the seccomp filter) and becomes the program. It takes no turn of the session: it
is init's own child, and what the session process does, or is killed for, does not touch it.

Its filter has a listener of its own, which init answers as it answers the session's; entry into
other namespaces is always refused there.
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
from typing import NoReturn, Protocol

from sandbox.guest.boot.children import Children
from sandbox.guest.branching.seccomp_notifier import SeccompNotifier
from sandbox.guest.jail import jail
from sandbox.guest.jail.jail import JailError
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import GuestChannel
from sandbox.protocol.messages import CommandEnded, CommandStarted, Exec, SignalCommand
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

    def start(self, message: Exec) -> None:
        """Fork a command; the host is told when it has become its program, or has ended."""
        fds = self._control.take_descriptors(STREAMS)
        here, there = _socket.socketpair()
        try:
            pid = sysapi.fork()
        except OSError:
            here.close()
            there.close()
            for fd in fds:
                os.close(fd)
            self._control.send(CommandEnded(message.id, NOT_STARTED << 8, 0, 0, 0))
            return
        if pid == 0:
            here.close()
            self._become(message, fds, there)
        for fd in fds:
            os.close(fd)
        there.close()
        self._children.commands[pid] = None
        self._children.watch(pid)
        self._pids[message.id] = pid
        self._take_listener(here)
        self._control.send(CommandStarted(message.id, pid))

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

    def _take_listener(self, link: _socket.socket) -> None:
        """Take over the listener of the filter that the command has put on, if it has one."""
        _word, ancillary, _flags, _address = link.recvmsg(1, LISTENER_SPACE)
        link.close()
        for _level, _kind, content in ancillary:
            [listener] = array("i", content[: array("i").itemsize])
            self._notifiers[listener] = SeccompNotifier(
                listener,
                self._children.processes,
                lambda: self._children.has_branches,
                has_own_numbers=self._context.plan.asks_for("pid_namespace"),
            )
            self._poller.add(listener)

    # ---- in the command -------------------------------------------------------------------------

    def _become(self, message: Exec, fds: list[int], link: _socket.socket) -> NoReturn:
        """Put the jail on and become the program. Nothing may unwind into init's frames."""
        try:
            # Init keeps nothing in the place of the standard streams free.
            link_fd = _above_streams(link.detach())
            self.user_namespace = _above_streams(self.user_namespace)
            for number, fd in enumerate([_above_streams(fd) for fd in fds]):
                os.dup2(fd, number)
            signal.set_wakeup_fd(-1)
            for each in RESET:
                set_handler(each, SIG_DFL)
            os.setsid()
            self._confine(link_fd)
            _execute(message, self._context)
        except JailError as error:
            _say(f"cellblock: {error}")
        except OSError as error:
            _say(f"cellblock: {error.strerror}")
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
        sysapi.close_all_but((0, 1, 2))


def _above_streams(fd: int) -> int:
    """`fd`, or a copy of it if its number is one of a standard stream."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STREAMS) if 0 <= fd < STREAMS else fd


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
        _say(f"cellblock: cannot go to {message.cwd}: {error.strerror}")
        os._exit(NOT_STARTED)
    name = message.argv[0]
    try:
        os.execvpe(name, message.argv, environment)
    except (FileNotFoundError, NotADirectoryError):
        _say(f"cellblock: {name}: not found")
        os._exit(NOT_FOUND)
    except OSError as error:
        _say(f"cellblock: {name}: {error.strerror}")
        os._exit(NOT_EXECUTABLE)


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="replace"))

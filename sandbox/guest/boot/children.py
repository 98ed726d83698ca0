"""Ends, stops, continues and reaps the processes of a session, for its init."""

import os
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from resource import struct_rusage

from sandbox.guest.kernel.procfs import Processes, fields, is_live

LOOK_AGAIN_S = 0.0002
STANDS_STILL_WITHIN_S = 0.2
ADOPTED_WITHIN_S = 0.5
STANDING = (b"T", b"t", b"Z", b"X", b"")
"""States of a thread that is stopped, traced or over; see proc_pid_status(5)."""
SIGKILL_PENDING = 1 << (signal.SIGKILL - 1)
ENDS_KEPT = 256
"""How many ends of unwatched processes are remembered for a later Watch. More would have the heap
of each init grow by a huge page."""


class Children:
    """The processes of this session, as init sees them."""

    def __init__(
        self,
        proc_fd: int,
        ends: OrderedDict[int, int] | None = None,
        *,
        has_capabilities: bool = False,
    ) -> None:
        """`ends` is what has been reaped already: pids and wait statuses.

        `has_capabilities` says that the plan leaves them to the session's own processes.
        """
        self._proc_fd = proc_fd
        self._has_capabilities = has_capabilities
        self.processes = Processes(proc_fd)
        self._watched: set[int] = set()
        self._ends = ends if ends is not None else OrderedDict()
        self.commands: dict[int, struct_rusage | None] = {}
        """Pids of commands that go on beside the snippets; what each spent, once it has ended."""
        self.has_branches = False
        """Whether pid namespaces of branches may be below this one."""

    def watch(self, pid: int) -> None:
        """Have `reap` report the end of `pid`, a process that init has made or confirmed."""
        self._watched.add(pid)

    def watch_named(self, pid: int) -> None:
        """Have `reap` report the end of `pid`, a number that a guest gave; even if that is past.

        One that is no child of this process, in its own pid namespace and without capabilities, is
        reported as killed and never signalled.
        """
        self._watched.add(pid)
        if pid not in self._ends and not self._is_own_child(pid):
            self._ends[pid] = signal.SIGKILL

    def reap(self) -> list[tuple[int, int]]:
        """Collect every child that has ended; ends of watched ones, as (pid, wait status)."""
        while True:
            try:
                pid, status, spent = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._ends[pid] = status
            self.processes.unnamed.discard(pid)
            if pid in self.commands:
                self.commands[pid] = spent
            if len(self._ends) > ENDS_KEPT:
                del self._ends[next(one for one in self._ends if one not in self._watched)]
        over = [(pid, self._ends.pop(pid)) for pid in self._watched & self._ends.keys()]
        self._watched -= {pid for pid, _status in over}
        return over

    def interrupt(self, pid: int) -> None:
        """SIGINT to `pid`; nothing if it is not watched, or gone."""
        # What is watched is a child that was not reaped: its number cannot be another's by now.
        if pid in self._watched:
            _signal(pid, signal.SIGINT)

    def signal(self, pid: int, number: int) -> None:
        """Signal a process that descends from this one; nothing if it has ended."""
        if self._proc_fd < 0:
            self._signal_below(pid, number)
        else:
            _signal(pid, number)

    def pause(self, *, stopped: bool) -> None:
        """Stop every process of the session but init, or let them all go on."""
        number = signal.SIGSTOP if stopped else signal.SIGCONT
        if self._proc_fd < 0:
            for pid in self.processes.descendants(os.getpid()):
                self._signal_below(pid, number)
        elif self.has_branches:
            for pid in self._own_pids():
                _signal(pid, number)
        else:
            _signal(-1, number)
            if stopped:
                self._await_standing()

    def end(self) -> None:
        """End every process of the session but init, and reap them all."""
        while True:
            self.doom_all_but([])
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def command_members(self) -> set[int]:
        """Commands that run, and what descends from them; empty where there are none."""
        roots = [pid for pid, spent in self.commands.items() if spent is None]
        return set(roots).union(*map(self.processes.descendants, roots)) if roots else set()

    def doom_all_but(self, spare: Sequence[int], *, keeps_commands: bool = False) -> int:
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
        keep = self.command_members if keeps_commands and self.commands else set
        if self._proc_fd < 0:
            return self._kill_tree(spare, keep)
        if not spare and not self.has_branches and keep is set:
            return _signal(-1, signal.SIGKILL)
        _signal(-1, signal.SIGSTOP)
        killed = self._watched - set(spare) - keep()
        for pid in killed:
            _signal(pid, signal.SIGKILL)
            self._await_end(pid)
        while doomed := self._own_pids() - set(spare) - killed - keep():
            for pid in doomed:
                _signal(pid, signal.SIGKILL)
            killed |= doomed
        return len(killed)

    def spared(self, pids: Iterable[int]) -> list[int]:
        """Those of `pids`, which a guest has named, that `doom_all_but` has left to go on."""
        return [pid for pid in pids if self._is_adopted(pid) and self._goes_on(pid)]

    def _is_adopted(self, pid: int) -> bool:
        """Whether `pid` is a child of this process, once a parent of its that was killed is gone.

        The parent of a copy exits before the copy is of use, or was ended just now.
        """
        end = time.monotonic() + ADOPTED_WITHIN_S
        while not self._is_own_child(pid):
            if not self._goes_on(pid) or time.monotonic() > end:
                return False
            time.sleep(LOOK_AGAIN_S)
        return True

    def _is_own_child(self, pid: int) -> bool:
        """Whether the kernel says that `pid` is a child of this process, of the session's own."""
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if self._proc_fd < 0:
            return True
        # Inits of branches are children too, and a builder of branches has capabilities.
        row = self.processes.row(pid)
        return (
            row is not None
            and row.depth == 1
            and (self._has_capabilities or not row.has_capabilities)
        )

    def bury_all_but(self, spare: Sequence[int], *, keeps_commands: bool = False) -> None:
        """Wait until those that `doom_all_but` ended are gone; then let the others go on."""
        keep = self.command_members if keeps_commands and self.commands else set
        if self._proc_fd < 0:
            for pid in keep():
                self._signal_below(pid, signal.SIGCONT)
            return
        if not spare and not self.has_branches and keep is set:
            return
        while self._own_pids() - set(spare) - keep():
            time.sleep(LOOK_AGAIN_S)
        self._let_go_on()

    def _await_end(self, pid: int) -> None:
        try:
            self._ends[pid] = os.waitpid(pid, 0)[1]
        except ChildProcessError:
            return  # It ended, and was reaped, before.

    def _own_pids(self) -> set[int]:
        """Live processes of this pid namespace but init; those of branches below it not."""
        return {pid for pid in self.processes.pids() if pid != os.getpid() and self._is_own(pid)}

    def _goes_on(self, pid: int) -> bool:
        """Whether `pid` lives and no SIGKILL is on its way to it."""
        shown = fields(self.processes.status(pid))
        if not is_live(shown):
            return False
        return not (int(shown[b"SigPnd"], 16) | int(shown[b"ShdPnd"], 16)) & SIGKILL_PENDING

    def end_escaped(self) -> int:
        """End processes of this pid namespace that hold capabilities; how many there were.

        A process has some here only if it entered the user namespace of a branch but not the rest.
        """
        _signal(-1, signal.SIGSTOP)
        escaped = []
        for pid in self.processes.pids():
            row = self.processes.row(pid)
            if row is not None and row.is_live and row.depth == 1 and row.has_capabilities:
                _signal(pid, signal.SIGKILL)
                escaped.append(pid)
        self._let_go_on()
        return len(escaped)

    def _let_go_on(self) -> None:
        """SIGCONT to every process of the session that SIGSTOP was sent to.

        A process of a branch may be in the middle of a fork. If both signals came before its end,
        the child would be born with the first alone: the kernel keeps for it what is not ignored,
        and SIGCONT most often is (__send_signal_locked in kernel/signal.c). So it is sent once all
        stand still. One that waits for a child of vfork(2), which is stopped, never does.
        """
        if self.has_branches:
            self._await_standing()
        _signal(-1, signal.SIGCONT)

    def _await_standing(self) -> None:
        end = time.monotonic() + STANDS_STILL_WITHIN_S
        while self._does_any_move() and time.monotonic() < end:
            time.sleep(LOOK_AGAIN_S)

    def _does_any_move(self) -> bool:
        return any(
            fields(self.processes.status(thread)).get(b"State", b"")[:1] not in STANDING
            for pid in self.processes.pids()
            if pid != os.getpid()
            for thread in self.processes.threads(pid)
        )

    def _is_own(self, pid: int) -> bool:
        shown = fields(self.processes.status(pid))
        return is_live(shown) and len(shown[b"NSpid"].split()) == 1

    def _kill_tree(self, spare: Sequence[int], keep: Callable[[], set[int]]) -> int:
        """The same without a pid namespace: walk the descendants of this subreaper.

        All are stopped first; what a fork that was under way brings forth is found by looking
        again. The host's limit on processes bounds how often that can go on.
        """
        killed: set[int] = set()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            while doomed := self._live_descendants() - set(spare) - keep():
                fresh = doomed - killed if number is signal.SIGSTOP else doomed
                if not fresh:
                    break
                for pid in fresh:
                    self._signal_below(pid, number)
                killed |= fresh
                if number is signal.SIGKILL:
                    time.sleep(LOOK_AGAIN_S)
        return len(killed)

    def _live_descendants(self) -> set[int]:
        return {
            pid
            for pid in self.processes.descendants(os.getpid())
            if is_live(fields(self.processes.status(pid)))
        }

    def _signal_below(self, pid: int, number: int) -> None:
        """Signal a descendant, among all processes of the host; nothing if it has ended.

        Between two looks a number can become another process's. The descriptor stays with the one
        process, and is used only if a look after it was made leads from the number to this init.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if self._descends(pid):
                signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)

    def _descends(self, pid: int) -> bool:
        own = os.getpid()
        while pid != own:
            shown = fields(self.processes.status(pid))
            pid = int(shown.get(b"PPid", b"0"))
            if pid <= 1:
                return False
        return True


def _signal(pid: int, number: int) -> int:
    """Send a signal; 1 if it was sent, 0 if there was no process to send it to."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return 1

"""Ends, stops, continues and reaps the processes of a session, for its init."""

import os
import signal
import time
from collections import OrderedDict

from sandbox.guest.kernel.procfs import Processes, field, is_live

LOOK_AGAIN_S = 0.0002
STANDS_STILL_WITHIN_S = 0.2
STANDING = ("T", "t", "Z", "X", "")
"""States of a thread that is stopped, traced or over; see proc_pid_status(5)."""
SIGKILL_PENDING = 1 << (signal.SIGKILL - 1)
ENDS_KEPT = 256
"""How many ends of unwatched processes are remembered for a later Watch. More would have the heap
of each init grow by a huge page."""


class Children:
    """The processes of this session, as init sees them."""

    def __init__(self, proc_fd: int) -> None:
        self._proc_fd = proc_fd
        self.processes = Processes(proc_fd)
        self._watched: set[int] = set()
        self._ends: OrderedDict[int, int] = OrderedDict()
        self.has_branches = False
        """Whether pid namespaces of branches may be below this one."""

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
                del self._ends[next(one for one in self._ends if one not in self._watched)]
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
        self._let_go_on()

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
            field(self.processes.status(thread), "State")[:1] not in STANDING
            for pid in self.processes.pids()
            if pid != os.getpid()
            for thread in self.processes.threads(pid)
        )

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
    """Send a signal; 1 if it was sent, 0 if there was no process to send it to."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return 1


def _descendants(pid: int) -> set[int]:
    """Every process below `pid`, zombies included."""
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

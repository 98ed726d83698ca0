"""Answers, in init, the calls that the seccomp filter asks about.

Init has the id of its session, the processes of branches have numbers in the session's pid
namespace, and in the tier without namespaces so has every process of the host. The kernel keeps
none of them from a call that changes a priority or looks at a process by its number. So the filter
stops every call by which a process enters a namespace or touches another one by its number, and
asks init (seccomp_unotify(2)).

* setns(2) is for the entrant of a branch alone: refused, but for one process, at the time that
  the host says, with exactly the calls of a list in their order (see `branch`).
* A call that takes the number of a process, thread or group goes on if that is one of the
  session's own: of the caller's own pid namespace, or below init where there is none. Init itself
  is refused; any other number is answered as if there were no such process. Init looks at the
  target before it lets the call go on. The caller cannot win the time between: to name another
  process, a number must become free and come round again, after all other numbers.
* kill(-1) is carried out by init, process by process, once there are branches.

Processes that hold capabilities are on the way to make or enter a branch, and are not the
session's own either.

A session that was never branched pays for the question alone, and only where it names others. One
listener serves a session and all branches below it; the caller's pid namespace says what a number
means.
"""

import errno
import fcntl
import os
import select
import signal
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from sandbox.guest.branching.refused_calls import RefusedCalls
from sandbox.guest.jail.callrules import (
    F_SETOWN,
    IOPRIO_PROCESS,
    PRIO_PROCESS,
    SECCOMP_RECEIVE,
    SECCOMP_SEND,
)
from sandbox.guest.jail.traced_rules import errno_of
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.procfs import Processes, Row
from sandbox.guest.kernel.syscalls import NUMBERS

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
"""struct seccomp_notif: id, pid, flags, then struct seccomp_data. Source: seccomp_unotify(2)."""
_ANSWER = struct.Struct("=QqiI")
_CONTINUE = 1
_NAMES = {number: name for name, number in NUMBERS[sysapi.ARCH].items()}
"""Of system calls. Made once: each init that made its own would touch a hundred pages."""

GO_ON = 0
"""The kernel carries the call out."""
DONE = -1
"""Init has carried it out."""
NOT_ITS_OWN = "a call may name processes of its own session alone, and init not"


INIT = 1
"""Number of the init of a pid namespace, and of its process group, as all below it number it."""


class Target(NamedTuple):
    """What a call touches, by the numbers that its caller uses."""

    kind: Literal["processes", "group", "everyone", "user"]
    numbers: tuple[int, ...] = ()


def target_of(name: str, arguments: Sequence[int]) -> Target:
    """What the call `name` touches. Numbers that the kernel refuses by itself are left out."""
    first, second, third, *_rest = (_signed(value) for value in arguments)
    if name == "kill":
        if first == -1:
            return Target("everyone")
        return _processes(first) if first > 0 else _group(-first)
    if name in ("tgkill", "rt_tgsigqueueinfo"):
        return _processes(first, second)
    if name in ("setpriority", "getpriority"):
        return _of_kind(first - PRIO_PROCESS, second)
    if name.startswith("clock_") or name == "timer_create":
        # Below zero a clock is one of a process or thread: clock_getcpuclockid(3).
        return _processes(~(first >> 3))
    if name == "ioprio_get":
        return _of_kind(first - IOPRIO_PROCESS, second)
    if name == "fcntl":
        if second != F_SETOWN:
            return _processes()
        return _processes(third) if third > 0 else _group(-third)
    return _processes(first)


def _of_kind(kind: int, number: int) -> Target:
    """What a pair such as that of setpriority(2) names, `kind` counted from processes on."""
    if kind == 0:
        return _processes(number)
    return _group(number) if kind == 1 else Target("user")


def _processes(*numbers: int) -> Target:
    return Target("processes", tuple(number for number in numbers if number > 0))


def _group(number: int) -> Target:
    return Target("group", (number,)) if number > 0 else _processes()


def _signed(value: int) -> int:
    """What the kernel makes of a register that holds an int."""
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


class SeccompNotifier:
    """Answers the calls of a session and its branches, on the filter's listener."""

    def __init__(
        self,
        listener: int,
        processes: Processes,
        has_branches: Callable[[], bool],
        *,
        has_own_numbers: bool = True,
        refused: RefusedCalls | None = None,
    ) -> None:
        self._listener = listener
        self._refused = refused
        """Where the session is traced: what its filter refuses comes here too, to be noted."""
        self._processes = processes
        self._has_branches = has_branches
        self._has_own_numbers = has_own_numbers
        """Whether the session has a pid namespace; else numbers are the host's."""
        self._expected: list[int] = []
        self._pid = 0
        self._passed = 0
        self._entrants: dict[int, int] = {}
        """A pidfd of each process that was allowed to enter, until it is ended."""

    def fileno(self) -> int:
        return self._listener

    def allow(self, kinds: Sequence[int], entrant: int) -> None:
        """Let one process enter namespaces of these kinds, in this order.

        It is `entrant`, which entered others before, or with 0 the next that asks.
        """
        self._expected = list(kinds) if not entrant or entrant in self._entrants else []
        self._pid = entrant
        self._passed = 0

    def deny(self) -> tuple[int, int]:
        """Refuse setns again; how many namespaces were entered since, and by which pid, or 0."""
        self._expected.clear()
        return self._passed, self._pid if self._passed else 0

    def end(self, entrants: Sequence[int]) -> None:
        """End processes that were allowed to enter, and wait until they have ended."""
        for pid in entrants:
            pidfd = self._entrants.pop(pid, -1)
            if pidfd >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [])
                os.close(pidfd)

    def answer(self) -> None:
        """Take one call and answer it."""
        notification = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, SECCOMP_RECEIVE, notification)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return  # The caller was killed while it waited.
            raise
        call, pid, _flags, number, _arch, _pointer, *arguments = _NOTIFICATION.unpack(notification)
        try:
            verdict = self._decide(pid, _NAMES[number], arguments)
        # Whatever it is, it ends the caller's session: another one, if the caller is in a branch.
        except Exception:
            verdict = errno.EPERM
            if not self._end_branch_of(pid):
                raise
        refusal = -verdict if verdict > 0 else 0
        answer = _ANSWER.pack(call, 0, refusal, _CONTINUE if verdict == GO_ON else 0)
        try:
            fcntl.ioctl(self._listener, SECCOMP_SEND, answer)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _decide(self, pid: int, name: str, arguments: Sequence[int]) -> int:
        # Every argument looked at is in a register: what was seen is what will be carried out.
        if self._refused is not None:
            rule = self._refused.refusal(name, arguments)
            if rule is not None:
                # Refused whatever init finds: what is noted decides on nothing.
                if self._is_in_branch(pid):
                    return errno_of(rule)
                return self._refused.note_rule(pid, name, arguments, rule)
        if name == "setns":
            verdict = self._let_in(pid, arguments[1] & 0xFFFFFFFF)
        else:
            verdict = self.judge(pid, name, arguments)
        if verdict > 0 and self._refused is not None and not self._is_in_branch(pid):
            self._refused.note(pid, name, arguments, verdict, NOT_ITS_OWN)
        return verdict

    def _is_in_branch(self, pid: int) -> bool:
        """Whether the caller is in a branch: what it tries is not this session's."""
        if not self._has_branches():
            return False
        row = self._processes.row(pid)
        return row is not None and row.depth > 1

    def _end_branch_of(self, pid: int) -> bool:
        """End the branch that the caller `pid` is in; False if it is of the session itself."""
        rows = self._processes.rows()
        caller = rows.get(pid)
        if caller is None or caller.depth == 1:
            return False
        with suppress(ProcessLookupError):
            os.kill(_init_of(caller, rows) or pid, signal.SIGKILL)
        return True

    def _let_in(self, pid: int, kind: int) -> int:
        if not self._expected or kind != self._expected[0] or self._pid not in (0, pid):
            return errno.EPERM
        if not self._pid:
            # It waits for the answer, so the number is still its own.
            self._pid, self._entrants[pid] = pid, os.pidfd_open(pid)
        self._expected.pop(0)
        self._passed += 1
        return GO_ON

    def judge(self, caller: int, name: str, arguments: Sequence[int]) -> int:
        """What to answer when `caller` would touch others: GO_ON, DONE, or an errno."""
        target = target_of(name, arguments)
        if target.kind == "user":
            return errno.EPERM  # Init has the same id.
        if not self._has_own_numbers:
            return GO_ON if self._is_below_init(target) else errno.ESRCH
        if INIT in target.numbers:
            return errno.EPERM
        if not self._processes.unnamed.isdisjoint(target.numbers):
            return errno.ESRCH
        if not self._has_branches():
            return GO_ON  # Init is the one process that the caller can name and that is not its.
        own = self._processes.row(caller)
        if own is None:
            return errno.ESRCH  # It was killed.
        if target.kind == "processes" and own.depth == 1:
            # The numbers are init's own, and so is the look at them.
            rows = map(self._processes.row, target.numbers)
            is_own = all(row is not None and _is_own(row) for row in rows)
            return GO_ON if is_own else errno.ESRCH
        members = self._members(own)
        if target.kind == "everyone":
            others = [pid for pid in members if pid != own.pid and not _is_init(members[pid])]
            return self._signal_each(others, _signed(arguments[1]))
        if target.kind == "group":
            groups = {row.groups[-1] for row in members.values()}
            return GO_ON if set(target.numbers) <= groups else errno.ESRCH
        known = {row.numbers[-1] for row in members.values()}
        if not set(target.numbers) <= known:
            known |= self._threads(members)
        return GO_ON if set(target.numbers) <= known else errno.ESRCH

    def _is_below_init(self, target: Target) -> bool:
        """Whether all of `target` descends from this process, where numbers are the host's."""
        below = self._processes.descendants(os.getpid())
        if target.kind == "processes":
            rows = map(self._processes.row, target.numbers)
            return all(row is not None and row.pid in below for row in rows)
        # A group is within a session(2), and all in those of a snippet's processes descend alike.
        groups = {row.groups[-1] for row in self._processes.rows(below).values()}
        return target.kind == "group" and set(target.numbers) <= groups

    def _members(self, own: Row) -> dict[int, Row]:
        """The processes of the pid namespace that `own` is in, without those below it."""
        rows = self._processes.rows()
        init = _init_of(own, rows)
        return {
            pid: row
            for pid, row in rows.items()
            if row.depth == own.depth and _init_of(row, rows) == init and not row.has_capabilities
        }

    def _threads(self, members: Iterable[int]) -> set[int]:
        """Numbers of all threads of these processes, as they count themselves."""
        rows = (
            self._processes.row(thread)
            for pid in members
            for thread in self._processes.threads(pid)
        )
        return {row.numbers[-1] for row in rows if row is not None}

    @staticmethod
    def _signal_each(pids: Sequence[int], number: int) -> int:
        if not 0 <= number < signal.NSIG:
            return errno.EINVAL
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return DONE if pids else errno.ESRCH


def _is_own(row: Row) -> bool:
    """Whether it is of the session of this init, and not a builder or entrant of branches.

    Those two alone have capabilities there.
    """
    return row.depth == 1 and not row.has_capabilities


def _is_init(row: Row) -> bool:
    return row.numbers[-1] == 1


def _init_of(row: Row, rows: Mapping[int, Row]) -> int:
    """Pid of the first process of the pid namespace that `row` is in; 0 if it has just ended."""
    while not _is_init(row) or row.pid not in rows:
        parent = rows.get(row.parent)
        if parent is None or parent.depth != row.depth:
            return 0
        row = parent
    return row.pid

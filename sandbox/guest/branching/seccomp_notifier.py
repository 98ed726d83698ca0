"""Answers, in init, the calls that the seccomp filter asks about.

Two things lie below a session that is branched: user namespaces, which a process can enter, and
pid namespaces, whose processes it can number. The kernel hides neither from above. So the filter
stops every call by which a process enters a namespace or touches another one by its number, and
asks init (seccomp_unotify(2)).

* setns(2) is for the entrant of a branch alone: refused, but for one process, at the time that
  the host says, with exactly the calls of a list in their order (see `branch`).
* A call that takes the number of a process, thread or group goes on if that is one of the
  caller's own pid namespace, and otherwise finds nobody, as if there were none below. Init looks
  at the target before it lets the call go on. The caller cannot win the time between: to name
  another process, a number must become free and come round again, after all other numbers.
* kill(-1) is carried out by init, process by process.

Processes that hold capabilities are on the way to make or enter a branch, and are nobody either.

A session that was never branched pays for the question alone, and only where it signals others.
One listener serves a session and all branches below it; numbers are told apart by the callers'.
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

from sandbox.guest.jail.callrules import F_SETOWN, PRIO_GROUP, PRIO_PROCESS
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.procfs import Processes, Row
from sandbox.guest.kernel.syscalls import NUMBERS

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
"""struct seccomp_notif: id, pid, flags, then struct seccomp_data. Source: seccomp_unotify(2)."""
_ANSWER = struct.Struct("=QqiI")
_RECEIVE = 0xC0502100
_SEND = 0xC0182101
_CONTINUE = 1

GO_ON = 0
"""The kernel carries the call out."""
DONE = -1
"""Init has carried it out."""


class Target(NamedTuple):
    """Whom a call touches, as its caller numbers them."""

    kind: Literal["processes", "group", "everyone", "user"]
    numbers: tuple[int, ...] = ()


def target_of(name: str, arguments: Sequence[int]) -> Target:
    """Whom the call `name` touches. Numbers that the kernel refuses by itself are left out."""
    first, second, third, *_rest = (_signed(value) for value in arguments)
    if name == "kill":
        if first == -1:
            return Target("everyone")
        return _processes(first) if first > 0 else _group(-first)
    if name in ("tgkill", "rt_tgsigqueueinfo"):
        return _processes(first, second)
    if name == "setpriority":
        if first == PRIO_PROCESS:
            return _processes(second)
        return _group(second) if first == PRIO_GROUP else Target("user")
    if name == "fcntl":
        if second != F_SETOWN:
            return _processes()
        return _processes(third) if third > 0 else _group(-third)
    return _processes(first)


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
        self, listener: int, processes: Processes, has_branches: Callable[[], bool]
    ) -> None:
        self._listener = listener
        self._processes = processes
        self._has_branches = has_branches
        self._names = {number: name for name, number in NUMBERS[sysapi.ARCH].items()}
        self._expected: list[int] = []
        self._pid = 0
        self._passed = 0
        self._entrants: dict[int, int] = {}
        """A pidfd of each who went through the gate, until it is ended."""

    def fileno(self) -> int:
        return self._listener

    def open(self, kinds: Sequence[int], entrant: int) -> None:
        """Let one process enter namespaces of these kinds, in this order.

        It is `entrant`, who went through before, or with 0 the next that asks.
        """
        self._expected = list(kinds) if not entrant or entrant in self._entrants else []
        self._pid = entrant
        self._passed = 0

    def shut(self) -> tuple[int, int]:
        """Let nobody through; how many namespaces who did has entered, and its pid, or 0."""
        self._expected.clear()
        return self._passed, self._pid if self._passed else 0

    def end(self, entrants: Sequence[int]) -> None:
        """End those who went through the gate, and wait until they have ended."""
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
            fcntl.ioctl(self._listener, _RECEIVE, notification)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return  # The caller was killed while it waited.
            raise
        call, pid, _flags, number, _arch, _pointer, *arguments = _NOTIFICATION.unpack(notification)
        name = self._names[number]
        # Every argument looked at is in a register: what was seen is what will be carried out.
        if name == "setns":
            verdict = self._let_in(pid, arguments[1] & 0xFFFFFFFF)
        else:
            verdict = self.judge(pid, name, arguments)
        refusal = -verdict if verdict > 0 else 0
        answer = _ANSWER.pack(call, 0, refusal, _CONTINUE if verdict == GO_ON else 0)
        try:
            fcntl.ioctl(self._listener, _SEND, answer)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

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
        if not self._has_branches():
            return GO_ON
        own = self._processes.row(caller)
        if own is None:
            return errno.ESRCH  # It was killed.
        target = target_of(name, arguments)
        if target.kind == "processes" and own.depth == 1:
            # The numbers are init's own, and so is the look at them.
            rows = map(self._processes.row, target.numbers)
            is_own = all(row is not None and _is_own(row) for row in rows)
            return GO_ON if is_own else errno.ESRCH
        members = self._members(own)
        if target.kind == "user":
            return errno.EPERM
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
    """Whether it is of the session that the gate is in, and not a builder or entrant of branches.

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

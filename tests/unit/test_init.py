"""An init that meets what it did not expect ends its own session, or the branch that caused it."""

import errno
import os
import signal
import socket
from collections.abc import Sequence

import pytest

from sandbox.guest.boot.children import Children
from sandbox.guest.boot.init import Init, SelfPipe, _reap_copies
from sandbox.guest.branching import seccomp_notifier
from sandbox.guest.branching.seccomp_notifier import SeccompNotifier
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import GuestChannel
from sandbox.guest.kernel.procfs import Processes, Row
from sandbox.guest.kernel.syscalls import NUMBERS
from sandbox.protocol.messages import Failed, Kill, Killed, Watch


class Odd(Children):
    """Meets something that no code was written for."""

    def reap(self) -> list[tuple[int, int]]:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def serve_in_child(children: Children) -> tuple[int, GuestChannel]:
    """Pid of a forked init of these children, and the host's end of its control channel."""
    host, guest = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            host.close()
            control = GuestChannel(guest.detach(), "to_init", 1 << 20)
            Init(None, control, children, SelfPipe((control.fileno(),))).attend()  # type: ignore[arg-type]
        finally:
            os._exit(99)
    guest.close()
    return pid, GuestChannel(host.detach(), "from_init", 1 << 20)


def test_an_unexpected_error_is_reported_and_ends_the_session() -> None:
    pid, channel = serve_in_child(Odd(-1))
    said = channel.receive()
    assert isinstance(said, Failed)
    assert (said.step, said.message[:18]) == ("init", "UnicodeDecodeError")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    channel.close()


def test_ends_that_come_before_the_first_order_are_told_after_it() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(_ends_of_two_copies_and_a_session())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _ends_of_two_copies_and_a_session() -> int:
    """In a process without other children: 0 if what ended is seen, and nothing else told."""
    order, orders = socket.socketpair()
    self_pipe = SelfPipe((order.fileno(),))
    session = _child_that_exits(7, at_once=False)
    copies = [_child_that_exits(code) for code in (3, 4)]
    for copy in copies:
        os.waitid(os.P_PID, copy, os.WEXITED | os.WNOWAIT)
    orders.send(b"x")
    seen = _reap_copies(self_pipe, session)
    if {copy: os.waitstatus_to_exitcode(seen[copy]) for copy in copies} != {
        copies[0]: 3,
        copies[1]: 4,
    }:
        return 1
    children = Children(-1, seen)
    children.watch(session)
    for copy in copies:
        children._watched.add(copy)
    os.kill(session, signal.SIGKILL)
    os.waitid(os.P_PID, session, os.WEXITED | os.WNOWAIT)
    told = dict(children.reap())
    return 0 if told == {copies[0]: 3 << 8, copies[1]: 4 << 8, session: signal.SIGKILL} else 2


def _child_that_exits(code: int, *, at_once: bool = True) -> int:
    pid = os.fork()
    if pid == 0:
        while not at_once:
            signal.pause()
        os._exit(code)
    return pid


def test_a_number_that_is_no_child_is_neither_watched_nor_spared() -> None:
    pid, channel = serve_in_child(Children(-1))
    for stranger in (os.getpid(), os.getppid(), 1, 2**22 - 1):
        channel.send(Watch(stranger))
        ended = channel.receive()
        assert (ended.pid, ended.status) == (stranger, signal.SIGKILL)  # type: ignore[attr-defined]
        channel.send(Kill([stranger], False))
        assert channel.receive() == Killed(0, [stranger])
    channel.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Tree(Processes):
    """A session (2) with a branch (init 10, process 11)."""

    ROWS = {  # noqa: RUF012
        2: Row(2, 1, (2,), (2,), False, True),
        10: Row(10, 1, (10, 1), (10, 1), False, True),
        11: Row(11, 10, (11, 2), (11, 2), False, True),
    }

    def rows(self, _pids: object = None) -> dict[int, Row]:
        return self.ROWS


class OddNotifier(SeccompNotifier):
    def judge(self, _caller: int, _name: str, _arguments: Sequence[int]) -> int:
        raise ValueError("odd")


@pytest.mark.parametrize(("caller", "ended"), [(11, 10), (2, None)])
def test_an_unexpected_error_over_a_call_ends_the_branch_that_made_it(
    monkeypatch: pytest.MonkeyPatch, caller: int, ended: int | None
) -> None:
    asked = seccomp_notifier._NOTIFICATION.pack(
        5, caller, 0, NUMBERS[sysapi.ARCH]["kill"], 0, 0, 1, 9, 0, 0, 0, 0
    )
    answers: list[bytes] = []
    killed: list[int] = []

    def ioctl(_fd: int, request: int, data: object) -> None:
        if isinstance(data, bytearray):
            data[:] = asked
        else:
            assert isinstance(data, bytes)
            answers.append(data)

    monkeypatch.setattr(seccomp_notifier.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(seccomp_notifier.os, "kill", lambda pid, _number: killed.append(pid))
    notifier = OddNotifier(-1, Tree(-1), lambda: True)
    if ended is None:
        with pytest.raises(ValueError, match="odd"):
            notifier.answer()
        assert killed == []
    else:
        notifier.answer()
        assert killed == [ended]
        [answer] = answers
        assert seccomp_notifier._ANSWER.unpack(answer)[2] == -errno.EPERM

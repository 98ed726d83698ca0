"""The seccomp notifier's judgement: which process may touch which, by what /proc shows."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sandbox.guest.branching.seccomp_notifier import DONE, GO_ON, SeccompNotifier, Target, target_of
from sandbox.guest.kernel.procfs import Processes

MINUS_ONE = 0xFFFFFFFF
PRIO_PROCESS, PRIO_GROUP, PRIO_USER = 0, 1, 2
F_SETOWN, F_GETOWN = 8, 9

TARGETS = [
    ("kill", (7, 9), Target("processes", (7,))),
    ("kill", (MINUS_ONE, 9), Target("everyone")),
    ("kill", (MINUS_ONE | 5 << 32, 9), Target("everyone")),
    ("kill", (MINUS_ONE - 6, 9), Target("group", (7,))),
    ("tkill", (7, 9), Target("processes", (7,))),
    ("tgkill", (7, 8, 9), Target("processes", (7, 8))),
    ("rt_sigqueueinfo", (7, 9), Target("processes", (7,))),
    ("rt_tgsigqueueinfo", (7, 8, 9), Target("processes", (7, 8))),
    ("pidfd_open", (7, 0), Target("processes", (7,))),
    ("sched_setaffinity", (7, 8), Target("processes", (7,))),
    ("sched_getattr", (7, 0, 48), Target("processes", (7,))),
    ("getpgid", (7,), Target("processes", (7,))),
    ("clock_gettime", (~7 << 3 | 2,), Target("processes", (7,))),
    ("timer_create", (~7 << 3 | 6,), Target("processes", (7,))),
    ("getsid", (7,), Target("processes", (7,))),
    ("getpriority", (PRIO_PROCESS, 7), Target("processes", (7,))),
    ("getpriority", (PRIO_GROUP, 7), Target("group", (7,))),
    ("ioprio_get", (1, 7), Target("processes", (7,))),
    ("ioprio_get", (2, 7), Target("group", (7,))),
    ("ioprio_get", (3, 0), Target("user")),
    ("setpriority", (PRIO_PROCESS, 7, 1), Target("processes", (7,))),
    ("setpriority", (PRIO_GROUP, 7, 1), Target("group", (7,))),
    ("setpriority", (PRIO_USER, 0, 1), Target("user")),
    ("setpriority", (99, 7, 1), Target("user")),
    ("fcntl", (3, F_SETOWN, 7), Target("processes", (7,))),
    ("fcntl", (3, F_SETOWN, MINUS_ONE - 6), Target("group", (7,))),
    ("fcntl", (3, F_SETOWN, 0), Target("processes")),
    ("fcntl", (3, F_GETOWN, 0), Target("processes")),
    ("tkill", (MINUS_ONE, 9), Target("processes")),
]


@pytest.mark.parametrize(("name", "arguments", "target"), TARGETS)
def test_a_call_touches_what_its_arguments_name(
    name: str, arguments: tuple[int, ...], target: Target
) -> None:
    assert target_of(name, (*arguments, 0, 0, 0)) == target


class Process(NamedTuple):
    """A line of the tree: its parent, and its numbers from the reader's namespace down."""

    parent: int
    numbers: tuple[int, ...]
    groups: tuple[int, ...]
    threads: tuple[tuple[int, ...], ...] = ()
    capabilities: int = 0


TREE = {  # a session (2, child 4, group 4) with branches 10 and 20; 20 has a branch of its own, 30
    1: Process(0, (1,), (1,)),
    6: Process(1, (6,), (6,), (), 1 << 21),  # and a maker of branches, as 20 has
    26: Process(20, (26, 6), (26, 6), (), 1 << 21),
    2: Process(1, (2,), (2,), ((3,),)),
    4: Process(2, (4,), (4,)),
    10: Process(1, (10, 1), (10, 1)),
    11: Process(10, (11, 3), (11, 3)),
    20: Process(1, (20, 1), (20, 1)),
    21: Process(20, (21, 3), (21, 3), ((22, 4),)),
    30: Process(20, (30, 7, 1), (30, 7, 1)),
    31: Process(30, (31, 8, 3), (31, 8, 3)),
}


def tell(directory: Path, pid: int, process: Process, numbers: tuple[int, ...]) -> None:
    directory.mkdir(parents=True)
    (directory / "status").write_text(
        f"Name:\t\x0bState:\tZ\nState:\tS (sleeping)\nTgid:\t{pid}\nPPid:\t{process.parent}\n"
        f"NSpid:\t{' '.join(map(str, numbers))}\nNSpgid:\t{' '.join(map(str, process.groups))}\n"
        f"CapInh:\t0\nCapPrm:\t{process.capabilities:x}\nCapEff:\t0\n"
    )


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    for pid, process in TREE.items():
        tell(tmp_path / str(pid), pid, process, process.numbers)
        for numbers in (process.numbers, *process.threads):
            tell(tmp_path / str(pid) / "task" / str(numbers[0]), pid, process, numbers)
            if numbers != process.numbers:
                # A thread is no entry of the listing, but can be looked up like one.
                tell(tmp_path / f"thread-{numbers[0]}", pid, process, numbers)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield Threaded(fd)
    os.close(fd)


class Threaded(Processes):
    """Finds threads by number, as /proc does, though a listing leaves them out."""

    def status(self, pid: int) -> bytes:
        return super().status(pid) or self._of_thread(pid)

    def _of_thread(self, pid: int) -> bytes:
        try:
            fd = os.open(f"thread-{pid}/status", os.O_RDONLY, dir_fd=self.proc_fd)
        except FileNotFoundError:
            return b""
        with open(fd, "rb") as stream:
            return stream.read()


def judge(processes: Processes, caller: int, name: str, *arguments: int) -> int:
    words = [value & 0xFFFFFFFF for value in arguments]
    return SeccompNotifier(-1, processes, lambda: True).judge(caller, name, [*words, 0, 0, 0])


@pytest.mark.parametrize(
    ("caller", "own", "foreign"),
    [
        (2, {2, 3, 4}, {5, 6, 10, 11, 20, 21, 22, 26, 30, 31}),
        (3, {2, 3, 4}, {5, 10, 11}),
        (11, {3}, {2, 4, 7, 8, 10, 11}),
        (21, {3, 4}, {2, 6, 7, 8, 20, 21, 26, 31}),
        (31, {3}, {2, 4, 7, 8, 31}),
    ],
)
def test_a_process_may_touch_those_of_its_own_namespace_alone(
    processes: Processes, caller: int, own: set[int], foreign: set[int]
) -> None:
    found = {n for n in own | foreign if judge(processes, caller, "kill", n, 9) == GO_ON}
    assert found == own
    assert {judge(processes, caller, "kill", n, 9) for n in foreign} == {errno.ESRCH}
    assert judge(processes, caller, "kill", 1, 9) == errno.EPERM


def test_both_numbers_of_a_thread_must_be_the_callers_own(processes: Processes) -> None:
    assert judge(processes, 2, "tgkill", 2, 3, 9) == GO_ON
    assert judge(processes, 2, "tgkill", 2, 11, 9) == errno.ESRCH
    assert judge(processes, 2, "tgkill", 11, 3, 9) == errno.ESRCH


def test_a_group_is_touched_if_somebody_of_the_own_namespace_is_in_it(
    processes: Processes,
) -> None:
    assert judge(processes, 2, "kill", -4, 9) == GO_ON
    assert judge(processes, 2, "kill", -11, 9) == errno.ESRCH
    assert judge(processes, 2, "setpriority", PRIO_GROUP, 20, 9) == errno.ESRCH
    assert judge(processes, 21, "kill", -3, 9) == GO_ON
    assert judge(processes, 21, "kill", -8, 9) == errno.ESRCH


def test_everybody_is_everybody_of_the_own_namespace_but_its_init(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    assert judge(processes, 2, "kill", -1, signal.SIGKILL) == DONE
    assert killed == [(4, signal.SIGKILL)]
    assert judge(processes, 21, "kill", -1, signal.SIGKILL) == errno.ESRCH
    assert judge(processes, 2, "kill", -1, 4096) == errno.EINVAL
    assert len(killed) == 1


def test_all_processes_of_an_id_are_not_the_callers_to_touch(processes: Processes) -> None:
    assert judge(processes, 2, "setpriority", PRIO_USER, 0, 1) == errno.EPERM


def test_a_caller_that_was_killed_touches_nobody(processes: Processes) -> None:
    assert judge(processes, 99, "kill", 2, 9) == errno.ESRCH


def test_without_branches_nothing_is_looked_up_and_init_is_refused() -> None:
    notifier = SeccompNotifier(-1, Processes(-1), lambda: False)
    assert notifier.judge(2, "kill", [10, 9, 0]) == GO_ON
    assert notifier.judge(2, "kill", [1, 9, 0]) == errno.EPERM
    assert notifier.judge(2, "tgkill", [1, 1, 9]) == errno.EPERM
    assert notifier.judge(2, "setpriority", [PRIO_GROUP, 1, 9]) == errno.EPERM
    assert notifier.judge(2, "fcntl", [3, F_SETOWN, 1]) == errno.EPERM


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_without_a_pid_namespace_only_what_descends_from_init_is_touched(
    child: subprocess.Popen[bytes],
) -> None:
    notifier = SeccompNotifier(-1, Processes(-1), lambda: False, has_own_numbers=False)

    def answer(name: str, *arguments: int) -> int:
        return notifier.judge(child.pid, name, [*arguments, 0, 0, 0])

    assert answer("pidfd_open", child.pid) == GO_ON
    assert answer("setpriority", PRIO_GROUP, child.pid) == GO_ON
    for foreign in (os.getpid(), os.getppid(), 1, 2**22 - 1):
        assert answer("pidfd_open", foreign) == errno.ESRCH
        assert answer("sched_setaffinity", foreign) == errno.ESRCH
        assert answer("setpriority", PRIO_GROUP, foreign) == errno.ESRCH
    assert answer("setpriority", PRIO_GROUP, os.getpgid(0)) == errno.ESRCH
    assert answer("setpriority", PRIO_USER, 0) == errno.EPERM

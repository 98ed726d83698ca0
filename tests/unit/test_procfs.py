"""What /proc shows of a process is read without the one thing that the process writes: its name."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.kernel.procfs import Processes, Row, fields, is_live

LINES = (
    b"Umask:\t0022\nState:\t%s\nTgid:\t7\nNgid:\t0\nPid:\t7\nPPid:\t3\nThreads:\t%d\n"
    b"NSpid:\t7\t2\nNSpgid:\t7\t2\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
    b"CapEff:\t0000000000000000\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"
)
names = st.binary(max_size=15) | st.sampled_from(
    [b"\xff\xfe", b"\x0bState:\tZ", b"\rState:\tX", b"\x85State:\tZ", b") Z 1 1", b"\x1cPPid:\t1"]
)


def status(name: bytes, state: bytes = b"S (sleeping)", threads: int = 1) -> bytes:
    """A status file as the kernel writes it, which escapes newlines of a name and no more."""
    escaped = name.partition(b"\0")[0].replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return b"Name:\t" + escaped + b"\n" + LINES % (state, threads)


class Shown(Processes):
    """Shows one status file for every pid."""

    def __init__(self, text: bytes) -> None:
        super().__init__(-1)
        self._text = text

    def status(self, pid: int) -> bytes:
        return self._text


@given(names)
def test_a_name_changes_nothing(name: bytes) -> None:
    row = Shown(status(name)).row(7)
    assert row == Row(7, 3, (7, 2), (7, 2), False, True)
    assert fields(status(name)) == fields(status(b"plain"))


@given(st.binary(max_size=40))
def test_even_a_raw_newline_in_a_name_does_not_come_before_the_kernels_line(name: bytes) -> None:
    told = fields(b"Name:\t" + name + b"\n" + LINES % (b"Z (zombie)", 1))
    assert told[b"State"] == b"Z (zombie)"
    assert told[b"PPid"] == b"3"


@pytest.mark.parametrize(
    ("state", "threads", "lives"),
    [
        (b"R (running)", 1, True),
        (b"T (stopped)", 1, True),
        (b"Z (zombie)", 1, False),
        (b"Z (zombie)", 2, True),
        (b"X (dead)", 1, False),
    ],
)
def test_a_process_lives_while_any_of_its_threads_does(
    state: bytes, threads: int, lives: bool
) -> None:
    assert is_live(fields(status(b"x", state, threads))) is lives


def test_of_a_process_that_has_ended_there_is_nothing() -> None:
    assert Shown(b"").row(7) is None
    assert not is_live(fields(b""))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_of_fields_fail(data: bytes) -> None:
    assert all(type(name) is bytes for name in fields(data))


def test_children_of_every_thread_are_found() -> None:
    found: list[int] = []
    may_end = threading.Event()

    def fork_and_stay() -> None:
        pid = os.fork()
        if pid == 0:
            os.read(ends[0], 1)
            os._exit(0)
        found.append(pid)
        is_there.set()
        may_end.wait(20)
        os.waitpid(pid, 0)

    ends, is_there = os.pipe(), threading.Event()
    thread = threading.Thread(target=fork_and_stay)
    thread.start()
    try:
        assert is_there.wait(20)
        assert found[0] in Processes(-1).children(os.getpid())
        assert found[0] in Processes(-1).descendants(os.getpid())
    finally:
        os.write(ends[1], b"x")
        may_end.set()
        thread.join()
        for end in ends:
            os.close(end)
    assert Path(f"/proc/{os.getpid()}").exists()

"""Reads the processes of a session from /proc, for init.

A process gives itself any name of 15 bytes, and /proc shows it. So nothing here is decoded, and
the line of the name is left out before anything is looked for: every field that decides on life,
parentage or rights is a number that the kernel wrote.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

ENDED = (b"Z", b"X", b"")
"""States of a thread that has ended, or of which there is nothing to read; proc_pid_status(5)."""


class Row(NamedTuple):
    """One process or thread. Numbers are one a pid namespace: that of the reader first."""

    pid: int
    """Of the process, where this is one of its threads."""
    parent: int
    numbers: tuple[int, ...]
    groups: tuple[int, ...]
    has_capabilities: bool
    is_live: bool
    """False for one that has ended and was not waited for yet."""

    @property
    def depth(self) -> int:
        """How many pid namespaces deep it is: 1 is the reader's own."""
        return len(self.numbers)


class Processes:
    """What one mount of /proc shows. `proc_fd` is its directory, or -1 for /proc itself."""

    def __init__(self, proc_fd: int) -> None:
        self.proc_fd = proc_fd
        self.unnamed: set[int] = set()
        """Children of init that wait to be the session's: no call of the session may name them."""

    def pids(self) -> Iterator[int]:
        """Pids of all processes, those of pid namespaces below included, in rising order."""
        for name in os.listdir(self.proc_fd if self.proc_fd >= 0 else "/proc"):
            if name.isdigit():
                yield int(name)

    def threads(self, pid: int) -> list[int]:
        """Numbers of the threads of `pid`; empty if it has ended."""
        try:
            fd = self._open(f"{pid}/task")
        except OSError:
            return []
        try:
            return [int(name) for name in os.listdir(fd)]
        except OSError:
            return []
        finally:
            os.close(fd)

    def children(self, pid: int) -> list[int]:
        """Children of every thread of `pid`, zombies included; empty if it has ended."""
        found: list[int] = []
        for thread in self.threads(pid):
            found += map(int, self._read(f"{pid}/task/{thread}/children").split())
        return found

    def descendants(self, pid: int) -> set[int]:
        """Every process below `pid`, zombies included."""
        found: set[int] = set()
        waiting = [pid]
        while waiting:
            fresh = set(self.children(waiting.pop())) - found
            waiting += fresh
            found |= fresh
        return found

    def read(self, path: str, size: int, offset: int = 0) -> bytes:
        """At most `size` bytes of a file of a process, from `offset` on. Raises OSError."""
        fd = self._open(path)
        try:
            return os.pread(fd, size, offset)
        finally:
            os.close(fd)

    def status(self, pid: int) -> bytes:
        """/proc/PID/status of a process or a thread; empty if it has ended."""
        return self._read(f"{pid}/status")

    def row(self, pid: int) -> Row | None:
        """What there is to know of a process or a thread; None if there is none."""
        shown = fields(self.status(pid))
        if not shown:
            return None
        return Row(
            int(shown[b"Tgid"]),
            int(shown[b"PPid"]),
            tuple(map(int, shown[b"NSpid"].split())),
            tuple(map(int, shown[b"NSpgid"].split())),
            any(int(shown[name], 16) for name in (b"CapPrm", b"CapEff", b"CapInh")),
            is_live(shown),
        )

    def rows(self, pids: Iterable[int] | None = None) -> dict[int, Row]:
        """All processes by pid, or those of `pids`."""
        found = ((pid, self.row(pid)) for pid in (self.pids() if pids is None else pids))
        return {pid: row for pid, row in found if row is not None}

    def _read(self, path: str) -> bytes:
        try:
            with open(self._open(path), "rb") as stream:
                return stream.read()
        except OSError:
            return b""  # It has ended.

    def _open(self, path: str) -> int:
        if self.proc_fd < 0:
            return os.open(f"/proc/{path}", os.O_RDONLY | os.O_CLOEXEC)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc_fd)


def fields(status: bytes) -> dict[bytes, bytes]:
    """The lines of a /proc/PID/status by name, without the first, which is the process's own.

    The kernel escapes a newline in it. If one ever came through, the real line, which comes after
    it, would still be the one that counts.
    """
    _own_name, _newline, lines = status.partition(b"\n")
    found = (line.partition(b":\t") for line in lines.split(b"\n"))
    return {name: value for name, colon, value in found if colon}


def is_live(shown: dict[bytes, bytes]) -> bool:
    """Whether a process of these `fields` runs, or may: any of its threads.

    A first thread that has ended alone is a zombie, while others of the process go on.
    """
    state = shown.get(b"State", b"")[:1]
    return state not in ENDED or (state == b"Z" and int(shown.get(b"Threads", b"0")) > 1)

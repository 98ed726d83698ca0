"""The processes of a session, as /proc tells them to init."""

import os
from collections.abc import Iterator
from typing import NamedTuple


class Row(NamedTuple):
    """One process or thread. Numbers are one a pid namespace: that of the reader first."""

    pid: int
    """Of the process, where this is one of its threads."""
    parent: int
    numbers: tuple[int, ...]
    groups: tuple[int, ...]
    has_capabilities: bool
    is_live: bool
    """False for one that has ended and that nobody has waited for."""

    @property
    def depth(self) -> int:
        """How many pid namespaces deep it is: 1 is the reader's own."""
        return len(self.numbers)


class Processes:
    """What one mount of /proc shows. `proc_fd` is its directory, or -1 for /proc itself."""

    def __init__(self, proc_fd: int) -> None:
        self.proc_fd = proc_fd

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

    def status(self, pid: int) -> str:
        """/proc/PID/status of a process or a thread; empty if it has ended."""
        try:
            with open(self._open(f"{pid}/status")) as stream:
                return stream.read()
        except OSError:
            return ""

    def row(self, pid: int) -> Row | None:
        """What there is to know of a process or a thread; None if there is none."""
        text = self.status(pid)
        if not text:
            return None
        told = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        return Row(
            int(told["Tgid"]),
            int(told["PPid"]),
            tuple(map(int, told["NSpid"].split())),
            tuple(map(int, told["NSpgid"].split())),
            any(int(told[name], 16) for name in ("CapPrm", "CapEff", "CapInh")),
            is_live(text),
        )

    def rows(self) -> dict[int, Row]:
        """All processes by pid."""
        found = ((pid, self.row(pid)) for pid in self.pids())
        return {pid: row for pid, row in found if row is not None}

    def _open(self, path: str) -> int:
        if self.proc_fd < 0:
            return os.open(f"/proc/{path}", os.O_RDONLY | os.O_CLOEXEC)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc_fd)


def is_live(status: str) -> bool:
    """Whether the process of this /proc/PID/status has neither ended nor been waited for."""
    return field(status, "State")[:1] not in ("Z", "X", "")


def field(status: str, name: str) -> str:
    """The value of a line of /proc/PID/status; empty if it has none."""
    for line in status.splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2].strip()
    return ""

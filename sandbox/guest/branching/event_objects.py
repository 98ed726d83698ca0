"""Gives a branch eventfds and epoll instances of its own, with what its origin's held.

Both are only numbers in the kernel: what they hold is read from /proc/self/fdinfo (proc(5)) before
the fork, and put into new ones at the same descriptors after it. An epoll instance can watch only
what the branch has too; its `data`, which may be an address, is the same in a fork.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import NamedTuple

EVENTFD = "anon_inode:[eventfd]"
EPOLL = "anon_inode:[eventpoll]"
EPOLL_CTL_ADD = 1
INITIAL_CAP = (1 << 32) - 1
"""What eventfd(2) takes as its first count; a count itself has 64 bits."""
WATCHED_CAP = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class _Event(ctypes.Structure):
    """struct epoll_event, which is packed on x86-64 alone. Source: epoll_event(3type)."""

    _pack_ = 1 if os.uname().machine == "x86_64" else 8
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


class Counter(NamedTuple):
    """An eventfd."""

    fd: int
    flags: int
    value: int
    is_semaphore: bool
    is_inheritable: bool

    def make_own(self) -> None:
        """Have it anew. Raises OSError."""
        kind = os.EFD_SEMAPHORE if self.is_semaphore else 0
        first = min(self.value, INITIAL_CAP)
        fresh = os.eventfd(first, self.flags & os.O_NONBLOCK | os.EFD_CLOEXEC | kind)
        if self.value > first:
            os.eventfd_write(fresh, self.value - first)
        _put(fresh, self.fd, self.is_inheritable)


class Watch(NamedTuple):
    fd: int
    events: int
    data: int


class Watcher(NamedTuple):
    """An epoll instance."""

    fd: int
    watches: Sequence[Watch]
    is_inheritable: bool

    def make_own(self) -> None:
        """Have it anew, once all that it watches is there. Raises OSError."""
        fresh = _checked(_libc.epoll_create1(os.EFD_CLOEXEC))
        # In the place of the old one first: it may be watched itself.
        _put(fresh, self.fd, self.is_inheritable)
        for watch in self.watches:
            event = _Event(watch.events, watch.data)
            _checked(_libc.epoll_ctl(self.fd, EPOLL_CTL_ADD, watch.fd, ctypes.byref(event)))


def counter(fd: int) -> Counter:
    """What the eventfd `fd` of this process holds."""
    [fields, *_others] = _fdinfo(fd)
    return Counter(
        fd,
        int(fields["flags"], 8),
        int(fields["eventfd-count"], 16),
        fields.get("eventfd-semaphore", "0").strip() != "0",
        os.get_inheritable(fd),
    )


def watcher(fd: int) -> Watcher:
    """What the epoll instance `fd` of this process watches. Raises ValueError for too much."""
    rows = [row for row in _fdinfo(fd) if "tfd" in row]
    if len(rows) > WATCHED_CAP:
        raise ValueError(f"it watches {len(rows)} descriptors")
    watches = [Watch(int(row["tfd"]), int(row["events"], 16), int(row["data"], 16)) for row in rows]
    return Watcher(fd, watches, os.get_inheritable(fd))


def _fdinfo(fd: int) -> list[dict[str, str]]:
    """Fields of the descriptor, then those of each thing that it watches."""
    rows: list[dict[str, str]] = [{}]
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("tfd:"):
                # "tfd:        5 events:       19 data:                5  pos:0 ino:2 sdev:f"
                words = line.replace(":", ": ").split()
                names = (word.rstrip(":") for word in words[::2])
                rows.append(dict(zip(names, words[1::2], strict=True)))
            else:
                name, _, value = line.partition(":")
                rows[0][name] = value.strip()
    return rows


def _put(fresh: int, fd: int, is_inheritable: bool) -> None:
    os.dup2(fresh, fd, inheritable=is_inheritable)
    os.close(fresh)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer

"""Gives a branch files and semaphores of its own, for those that its origin had.

A fork shares what its origin had open: a read in one would move the place in the other, and a
write to a file of the workspace would go to the origin's. So files are opened and mapped anew in
the branch, whose directories are copies, at the same place. A file that was removed while it was
open, as `tempfile.TemporaryFile` makes them, is copied; so is shared memory that has no name, which
`multiprocessing` keeps its semaphores and values in: the session has no other process, so a copy is
as good. Eventfds and epoll instances are in `event_objects`. What cannot be had anew keeps a
session from being branched, and is named.
"""

import ctypes
import fcntl
import mmap
import os
import posix
import stat
from contextlib import suppress
from typing import NamedTuple

from sandbox.guest.branching import event_objects
from sandbox.protocol.plan import SHARED_MEMORY, TEMPORARY, WORKSPACE

OWN_FILESYSTEMS = (WORKSPACE, TEMPORARY, SHARED_MEMORY)
"""Directories that a branch gets a copy of."""
STANDARD_DESCRIPTORS = 3
GONE = " (deleted)"
ANEW = (event_objects.EVENTFD, event_objects.EPOLL)
KEPT_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_DIRECTORY | os.O_PATH
MAP_FIXED = 0x10
CHUNK_BYTES = 1 << 20
REFUSED_KINDS = (  # beginning of what /proc/self/fd says    what it is, and what to do
    ("socket:", "socket", "close it"),
    ("pipe:", "pipe", "close both ends"),
    ("/memfd:", "memory file", "close it"),
    ("anon_inode:[timerfd]", "timer (timerfd)", "close it"),
    ("anon_inode:[signalfd]", "signal descriptor (signalfd)", "close it"),
    ("anon_inode:inotify", "watch of files (inotify)", "close it"),
    ("anon_inode:[pidfd]", "descriptor of a process (pidfd)", "close it"),
    ("anon_inode:[io_uring]", "ring of operations (io_uring)", "close it"),
)

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
MAP_FAILED = ctypes.c_void_p(-1).value


class _File(NamedTuple):
    fd: int
    path: str
    flags: int
    offset: int
    is_inheritable: bool

    inode: tuple[int, int]
    is_nameless: bool = False
    """Whether it was removed while it was open: `path` is none that leads to it."""


class _Memory(NamedTuple):
    address: int
    size: int
    inode: tuple[int, int]
    """Of what is mapped; of two mappings that are the same memory it is the same."""
    path: str = ""
    """Of the file that is mapped; empty where it has no name."""
    offset: int = 0


class Shared(NamedTuple):
    """What a session has that a branch can have anew."""

    directory: str
    """The working directory, as the kernel calls it; empty if it is gone."""
    files: list[_File]
    memory: list[_Memory]
    counters: list[event_objects.Counter]
    watchers: list[event_objects.Watcher]

    def make_own(self) -> None:
        """Have it anew, in the branch. Raises OSError."""
        if self.directory:
            # One that the session has closed to itself is left for the workspace.
            with suppress(OSError):
                posix.chdir(self.directory)
        copies = {file.inode: file for file in self.files if file.is_nameless}
        paths = {inode: _copy(file.fd) for inode, file in copies.items()}
        try:
            for memory in self.memory:
                _remap(memory, memory.path or paths.get(memory.inode, ""))
            for file in self.files:
                _reopen(file, paths.get(file.inode, file.path))
        finally:
            for path in paths.values():
                os.unlink(path)
        for counter in self.counters:
            counter.make_own()
        for watcher in self.watchers:
            watcher.make_own()


def _copy(fd: int) -> str:
    """A file of the branch's own with what the file behind `fd` holds."""
    path = f"{TEMPORARY}/.{os.urandom(8).hex()}"
    copy = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(copy, os.fstat(fd).st_size)
        at = 0
        while chunk := os.pread(fd, CHUNK_BYTES, at):
            at += os.pwrite(copy, chunk, at)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(copy)
    return path


def _reopen(file: _File, path: str) -> None:
    fresh = os.open(path, file.flags | os.O_CLOEXEC)
    try:
        if file.offset:
            os.lseek(fresh, file.offset, os.SEEK_SET)
        os.dup2(fresh, file.fd, inheritable=file.is_inheritable)
    finally:
        os.close(fresh)


def _remap(memory: _Memory, path: str) -> None:
    if path:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _map_anew(memory, mmap.MAP_SHARED, fd)
        finally:
            os.close(fd)
    else:
        content = ctypes.string_at(memory.address, memory.size)
        _map_anew(memory, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1)
        ctypes.memmove(memory.address, content, memory.size)


def _map_anew(memory: _Memory, flags: int, fd: int) -> None:
    rights = mmap.PROT_READ | mmap.PROT_WRITE
    found = _mmap(memory.address, memory.size, rights, flags | MAP_FIXED, fd, memory.offset)
    if found == MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class CannotBeShared(Exception):
    """The session has something that it would go on sharing with a branch."""


def find(except_fds: set[int]) -> Shared:
    """What this process has open but for its own descriptors. Raises CannotBeShared."""
    opened = _opened(except_fds)
    counters = [event_objects.counter(fd) for fd, told in opened if told == event_objects.EVENTFD]
    watchers = [_watcher(fd) for fd, told in opened if told == event_objects.EPOLL]
    files = [_file(fd, told) for fd, told in opened if not told.startswith(ANEW)]
    known = {file.fd for file in files} | {counter.fd for counter in counters}
    known |= {watcher.fd for watcher in watchers}
    for watcher in watchers:
        for watch in watcher.watches:
            if watch.fd not in known:
                raise CannotBeShared(
                    f"the session has a selector (epoll, descriptor {watcher.fd}) that watches"
                    f" what is closed, or was opened by another name (descriptor {watch.fd}):"
                    " close the selector"
                )
    nameless = {file.inode for file in files if file.is_nameless}
    return Shared(_directory(), files, _memory(nameless), counters, _inner_first(watchers))


def _directory() -> str:
    try:
        return posix.getcwd()
    except OSError:
        return ""


def _watcher(fd: int) -> event_objects.Watcher:
    try:
        return event_objects.watcher(fd)
    except ValueError as error:
        raise CannotBeShared(
            f"the session has a selector (epoll, descriptor {fd}): {error}"
        ) from None


def _inner_first(watchers: list[event_objects.Watcher]) -> list[event_objects.Watcher]:
    """Those that are watched by others before those: the kernel knows no circles of them."""
    found: list[event_objects.Watcher] = []
    waiting = list(watchers)
    while waiting:
        open_fds = {each.fd for each in waiting}
        ready = [each for each in waiting if not open_fds & {watch.fd for watch in each.watches}]
        found += ready
        waiting = [each for each in waiting if each not in ready]
    return found


def _memory(nameless: set[tuple[int, int]]) -> list[_Memory]:
    """Memory that is mapped shared and writable; `nameless` are files that were removed."""
    found: list[_Memory] = []
    with open("/proc/self/maps", "rb") as stream:
        for line in stream:
            place, rights, offset, device, inode, *rest = line.split(None, 5)
            if not (rights.startswith(b"rw") and rights.endswith(b"s")):
                continue
            begin, end = (int(part, 16) for part in place.split(b"-"))
            path = rest[0].rstrip(b"\n") if rest else b""
            major, minor = (int(part, 16) for part in device.split(b":"))
            of = (os.makedev(major, minor), int(inode))
            if _is_of_a_copied_file(path, of[1]):
                found.append(_Memory(begin, end - begin, of, os.fsdecode(path), int(offset, 16)))
                continue
            if of not in nameless and any(memory.inode == of for memory in found):
                raise CannotBeShared(
                    "the session has memory mapped twice, and shared by both: unmap one of them"
                )
            found.append(_Memory(begin, end - begin, of, "", int(offset, 16)))
    return found


def _is_of_a_copied_file(path: bytes, inode: int) -> bool:
    if not path.startswith(tuple(map(os.fsencode, OWN_FILESYSTEMS))):
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_ino == inode


def _opened(except_fds: set[int]) -> list[tuple[int, str]]:
    """Descriptors of the session's own, each with what /proc/self/fd says that it is."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd < STANDARD_DESCRIPTORS or fd in except_fds:
            continue
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
            status = os.fstat(fd)
        except OSError:
            continue  # The listing's own descriptor.
        if stat.S_ISCHR(status.st_mode):
            continue  # Such as /dev/null, which has nothing to share.
        found.append((fd, target))
    return found


def _file(fd: int, target: str) -> _File:
    for beginning, kind, remedy in REFUSED_KINDS:
        if target.startswith(beginning):
            raise CannotBeShared(f"the session has an open {kind} (descriptor {fd}): {remedy}")
    if not target.startswith("/"):
        kind = target.removeprefix("anon_inode:").strip("[]").partition(":")[0]
        raise CannotBeShared(f"the session has an open {kind} (descriptor {fd}): close it")
    status = os.fstat(fd)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    is_directory = stat.S_ISDIR(status.st_mode)
    inode = (status.st_dev, status.st_ino)
    offset = 0 if flags & os.O_PATH or is_directory else os.lseek(fd, 0, os.SEEK_CUR)
    kept = (offset, os.get_inheritable(fd), inode)
    try:
        now = os.stat(target)
    except OSError:
        if stat.S_ISREG(status.st_mode) and flags & os.O_ACCMODE != os.O_WRONLY:
            return _File(fd, target, flags & KEPT_FLAGS, *kept, is_nameless=True)
        raise CannotBeShared(
            f"the session has the file {target.removesuffix(GONE)} open, which is gone: close it"
        ) from None
    if (now.st_dev, now.st_ino) != inode:
        raise CannotBeShared(
            f"the session has the file {target} open, which is another one now: close it"
        )
    if not (is_directory or stat.S_ISREG(status.st_mode)):
        raise CannotBeShared(f"the session has {target} open, which is no regular file")
    return _File(fd, target, flags & KEPT_FLAGS, *kept)

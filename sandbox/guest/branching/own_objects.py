"""Gives a branch files and semaphores of its own, for those that its origin had.

A fork shares what its origin had open: a read in one would move the place in the other, and a
write to a file of the workspace would go to the origin's. So files are opened and mapped anew in
the branch, whose directories are copies, at the same place. Semaphores of `multiprocessing` lie in
shared memory that has no name any more; the session has no other process, so a copy of them is as
good. What cannot be had anew keeps a session from being branched, and is named.
"""

import ctypes
import fcntl
import mmap
import os
import re
import stat
from typing import NamedTuple

from sandbox.protocol.plan import SHARED_MEMORY, TEMPORARY, WORKSPACE

OWN_FILESYSTEMS = (WORKSPACE, TEMPORARY, SHARED_MEMORY)
"""Directories that a branch gets a copy of."""
STANDARD_DESCRIPTORS = 3
SEMAPHORE = re.compile(rb"/dev/shm/sem\.\w+ \(deleted\)")
"""What a semaphore of multiprocessing is mapped from: sem_open(3), and sem_unlink(3) at once."""
GONE = " (deleted)"
KEPT_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_DIRECTORY | os.O_PATH
MAP_FIXED = 0x10

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


class _Memory(NamedTuple):
    address: int
    size: int
    path: str = ""
    """Of the file that is mapped; empty for a semaphore, whose file has no name."""
    offset: int = 0


class Shared(NamedTuple):
    """What a session has that a branch can have anew."""

    files: list[_File]
    memory: list[_Memory]

    def make_own(self) -> None:
        """Have it anew, in the branch. Raises OSError."""
        for memory in self.memory:
            if memory.path:
                fd = os.open(memory.path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    _map_anew(memory, mmap.MAP_SHARED, fd)
                finally:
                    os.close(fd)
            else:
                content = ctypes.string_at(memory.address, memory.size)
                _map_anew(memory, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1)
                ctypes.memmove(memory.address, content, memory.size)
        for file in self.files:
            fresh = os.open(file.path, file.flags | os.O_CLOEXEC)
            try:
                if file.offset:
                    os.lseek(fresh, file.offset, os.SEEK_SET)
                os.dup2(fresh, file.fd, inheritable=file.is_inheritable)
            finally:
                os.close(fresh)


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
    return Shared(_files(except_fds), _memory())


def _memory() -> list[_Memory]:
    found = []
    with open("/proc/self/maps", "rb") as stream:
        for line in stream:
            place, rights, offset, _device, inode, *rest = line.split(None, 5)
            if not (rights.startswith(b"rw") and rights.endswith(b"s")):
                continue
            begin, end = (int(part, 16) for part in place.split(b"-"))
            path = rest[0].rstrip(b"\n") if rest else b""
            if SEMAPHORE.fullmatch(path):
                found.append(_Memory(begin, end - begin))
            elif _is_of_a_copied_file(path, int(inode)):
                found.append(_Memory(begin, end - begin, os.fsdecode(path), int(offset, 16)))
            else:
                name = path.decode(errors="replace").removesuffix(GONE)
                of = "" if name in ("", "/dev/zero") else f" ({name})"
                raise CannotBeShared(f"the session has writable shared memory{of}")
    return found


def _is_of_a_copied_file(path: bytes, inode: int) -> bool:
    if not path.startswith(tuple(map(os.fsencode, OWN_FILESYSTEMS))):
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_ino == inode


def _files(except_fds: set[int]) -> list[_File]:
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
        found.append(_file(fd, target, status))
    return found


def _file(fd: int, target: str, status: os.stat_result) -> _File:
    if target.startswith("/memfd:"):
        raise CannotBeShared(f"the session has an open memory file (descriptor {fd})")
    if not target.startswith("/"):
        kind = target.removeprefix("anon_inode:").strip("[]").partition(":")[0]
        kind = f"anon_inode, {kind}," if target.startswith("anon_inode") else kind
        raise CannotBeShared(f"the session has an open {kind} (descriptor {fd})")
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    is_directory = stat.S_ISDIR(status.st_mode)
    try:
        now = os.stat(target)
    except OSError:
        raise CannotBeShared(f"the session has the file {target} open, which is gone") from None
    if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
        raise CannotBeShared(f"the session has the file {target} open, which was replaced")
    if not (is_directory or stat.S_ISREG(status.st_mode)):
        raise CannotBeShared(f"the session has {target} open, which is no regular file")
    offset = 0 if flags & os.O_PATH or is_directory else os.lseek(fd, 0, os.SEEK_CUR)
    return _File(fd, target, flags & KEPT_FLAGS, offset, os.get_inheritable(fd))

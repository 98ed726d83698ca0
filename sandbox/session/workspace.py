"""A session's files, read and written from the host without ever trusting a name or a type.

Every access starts from a descriptor of the workspace that init made before any guest code ran,
and goes through openat2(2): no link is followed, no other file system entered, nothing but a
regular file read. A guest may swap files while the host reads: it gets honest bytes of its own
workspace, bounded, or FileRefused.
"""

import asyncio
import ctypes
import errno
import hashlib
import mimetypes
import os
import posixpath
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from sandbox.errors import FileRefused
from sandbox.outcome import Artifact
from sandbox.protocol.plan import WORKSPACE, WORKSPACE_ALIAS

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
OPENAT2 = 437
"""The number of openat2(2), the same on every architecture."""
DEPTH_CAP = 64
CHUNK_BYTES = 1 << 20
PATH_CAP_BYTES = 4000
"""A little less than PATH_MAX, which is 4096: limits.h(0p)."""
COPIED_HERE_BYTES = 1 << 20
CLOCK_TICK_NS = 20_000_000
"""Two changes of a directory within less may carry the same time."""
LISTED_HERE = 200
"""So many files are listed on the loop; a thread takes longer to begin."""
NAMES_CAP_BYTES = 4 << 20
"""Of all paths that are listed: 10 000 of 400 characters each."""

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


class Stamp(NamedTuple):
    """What tells one state of a file from another; the change time cannot be set by a guest."""

    inode: int
    size_bytes: int
    changed_ns: int


Listing = dict[str, Stamp]

Skips = Callable[[str], bool]


def _skips_none(_name: str) -> bool:
    return False


class Workspace:
    """Files below one directory descriptor, which the workspace owns from now on."""

    def __init__(
        self, directory_fd: int, *, owner: int | None, bytes_cap: int, files_cap: int
    ) -> None:
        self._fd = directory_fd
        self._owner = owner
        self._bytes_cap = bytes_cap
        self._files_cap = files_cap
        self._bare_since_ns = -1
        """When its top directory changed last, if nothing to be listed was in it then."""

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def put(self, path: str, data: bytes) -> None:
        """Write the file `path`, making directories on the way. Raises FileRefused."""
        parts = _parts(path)
        if len(data) > self._bytes_cap:
            raise FileRefused(path, f"{len(data)} bytes exceed workspace_bytes {self._bytes_cap}")
        try:
            with self._as_owner():
                self._write(parts, data)
        except OSError as error:
            raise FileRefused(path, _reason(error)) from error

    def get(self, path: str) -> bytes:
        """The bytes of the regular file `path`. Raises FileRefused."""
        with self._as_owner():
            fd, _size = self._open_regular(path)
        try:
            return _read_at_most(fd, self._bytes_cap, path)
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        """Remove the file `path`; nothing if it is not there. Raises FileRefused."""
        parts = _parts(path)
        try:
            with self._as_owner():
                parent = self._open_parent(parts)
                try:
                    if _exists(parts[-1], parent):
                        os.unlink(parts[-1], dir_fd=parent)
                finally:
                    os.close(parent)
        except OSError as error:
            raise FileRefused(path, _reason(error)) from error

    def close(self) -> None:
        """Give the descriptor back; without one the files end with the session's processes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def listing(self, skips: Skips = _skips_none) -> Listing:
        """Every regular file by its path, sorted; links, FIFOs and the like are left out.

        So is what lies at the top under a name that `skips` says, and what is left when the names
        together reach `NAMES_CAP_BYTES`.
        """
        listing = self._list(self._files_cap, skips)
        assert listing is not None
        return listing

    async def list_apart(self, skips: Skips = _skips_none) -> Listing:
        """As `listing`; in a thread where there are many, which would keep the loop for long."""
        listing = self._list(LISTED_HERE, skips)
        if listing is None:
            return await self._apart(lambda files: files.listing(skips))
        return listing

    async def put_apart(self, path: str, data: bytes) -> None:
        """As `put`; in a thread where it is much."""
        if len(data) > COPIED_HERE_BYTES:
            await self._apart(lambda files: files.put(path, data))
        else:
            self.put(path, data)

    async def get_apart(self, path: str) -> bytes:
        """As `get`; in a thread where it is much."""
        with self._as_owner():
            fd, size = self._open_regular(path)
        os.close(fd)
        if size > COPIED_HERE_BYTES:
            return await self._apart(lambda files: files.get(path))
        return self.get(path)

    async def _apart(self, work: "Callable[[Workspace], T]") -> T:
        """The result of `work` in a thread, on a workspace that this one's close leaves open."""
        own = Workspace(
            os.dup(self._fd),
            owner=self._owner,
            bytes_cap=self._bytes_cap,
            files_cap=self._files_cap,
        )

        def work_and_close() -> T:
            try:
                return work(own)
            finally:
                own.close()

        return await asyncio.to_thread(work_and_close)

    def _list(self, most: int, skips: Skips) -> Listing | None:
        """The listing; None if there are more than `most` files and directories, unless capped."""
        usage = os.fstatvfs(self._fd)
        used = usage.f_files - usage.f_ffree
        if used == 1:
            return {}  # A file system of its own, with nothing in it but its root.
        changed_ns = os.fstat(self._fd).st_ctime_ns
        if changed_ns == self._bare_since_ns:
            return {}  # No name was added since it had none but those that are skipped.
        is_bare = time.time_ns() - changed_ns > CLOCK_TICK_NS
        found: Listing = {}
        with self._as_owner():
            for seen, (path, entry) in enumerate(self._walk(skips)):
                is_bare = False
                if seen >= most < self._files_cap:
                    return None
                if entry is not None:
                    found[path] = Stamp(entry.st_ino, entry.st_size, entry.st_ctime_ns)
        if is_bare:
            self._bare_since_ns = changed_ns
        return dict(sorted(found.items()))

    def describe(self, path: str, change: str) -> Artifact | None:
        """The file as an artifact; None if it is gone or no regular file any more."""
        try:
            with self._as_owner():
                fd, size = self._open_regular(path)
        except FileRefused:
            return None
        try:
            digest = hashlib.sha256()
            offset = 0
            while offset <= self._bytes_cap and (chunk := os.pread(fd, CHUNK_BYTES, offset)):
                digest.update(chunk)
                offset += len(chunk)
        finally:
            os.close(fd)
        whole = offset <= self._bytes_cap
        return Artifact(
            path=path,
            size_bytes=offset if whole else size,
            mime=_mime(path),
            sha256=digest.hexdigest() if whole else None,
            change="made" if change == "made" else "changed",
        )

    def _write(self, parts: list[str], data: bytes) -> None:
        parent = self._open_parent(parts)
        try:
            # The old file goes first: it may be a link, a FIFO, or open in the guest.
            if _exists(parts[-1], parent):
                os.unlink(parts[-1], dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(parts[-1], flags, 0o644, dir_fd=parent), "wb") as stream:
                stream.write(data)
        finally:
            os.close(parent)

    def _open_regular(self, path: str) -> tuple[int, int]:
        parts = _parts(path)
        try:
            fd = self._open_file(parts)
        except OSError as error:
            raise FileRefused(path, _reason(error)) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise FileRefused(path, f"it is {_kind(status.st_mode)}, not a regular file")
        return fd, status.st_size

    def _open_file(self, parts: list[str]) -> int:
        """The file `parts`, opened in steps that are each short enough for the kernel."""
        fd = self._fd
        try:
            while len(parts) > 1 and sum(map(_encoded_bytes, parts)) > PATH_CAP_BYTES:
                below = _open_beneath(fd, parts[0], os.O_RDONLY | os.O_DIRECTORY)
                if fd != self._fd:
                    os.close(fd)
                fd, parts = below, parts[1:]
            return _open_beneath(fd, "/".join(parts), os.O_RDONLY | os.O_NONBLOCK)
        finally:
            if fd != self._fd:
                os.close(fd)

    def _open_parent(self, parts: list[str]) -> int:
        """The directory of the file `parts`, made where it is missing."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        for name in parts[:-1]:
            try:
                if not _exists(name, fd):
                    with suppress(FileExistsError):  # The guest was faster.
                        os.mkdir(name, 0o755, dir_fd=fd)
                below = _open_beneath(fd, name, os.O_RDONLY | os.O_DIRECTORY)
            finally:
                os.close(fd)
            fd = below
        return fd

    @contextmanager
    def _as_owner(self) -> Iterator[None]:
        """Act on files with the ids of the guest, and no more rights than it has.

        Only this thread is changed. The workspace's file system knows no other ids than those of
        its user namespace, so a file could not even be made as the host's root (EOVERFLOW).
        Source: setfsuid(2).
        """
        if self._owner is None:
            yield
            return
        _libc.setfsgid(self._owner)
        _libc.setfsuid(self._owner)
        try:
            yield
        finally:
            _libc.setfsuid(os.geteuid())
            _libc.setfsgid(os.getegid())

    def _walk(self, skips: Skips) -> Iterator[tuple[str, os.stat_result | None]]:
        """(path, status) of regular files, and (path, None) of the rest; depth first, in bounds.

        Each directory is opened from the one above: a path may be longer than the kernel takes.
        """
        seen = named_bytes = 0
        above: list[int] = []
        try:
            waiting: list[tuple[str, str, int]] = [("", "", 0)]
            while waiting:
                prefix, name, depth = waiting.pop()
                while len(above) > depth:
                    os.close(above.pop())
                fd = _open_directory(name or ".", above[-1] if above else self._fd)
                if fd < 0:
                    continue
                above.append(fd)
                with os.scandir(fd) as entries:
                    for entry in entries:
                        seen += 1
                        path = f"{prefix}/{entry.name}" if prefix else entry.name
                        named_bytes += len(path)
                        if seen > self._files_cap + 1 or named_bytes > NAMES_CAP_BYTES:
                            return
                        if not prefix and skips(entry.name):
                            continue
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue  # Removed by the guest since it was listed.
                        is_file = stat.S_ISREG(status.st_mode)
                        yield path, status if is_file else None
                        if stat.S_ISDIR(status.st_mode) and depth < DEPTH_CAP:
                            waiting.append((path, entry.name, depth + 1))
        finally:
            for fd in above:
                os.close(fd)


def _open_directory(name: str, parent: int) -> int:
    """The directory `name` of `parent`; -1 if it was swapped or closed, or is a mount of another's.

    What the policy mounts, or the interpreter's own, may be below /tmp; it is no file of a session.
    """
    try:
        return _open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            return -1
        raise


def changes(before: Listing, after: Listing) -> dict[str, str]:
    """What became of each path that differs: made, changed or deleted; sorted."""
    if before == after:
        return {}
    found = {
        path: "changed" if path in before else "made"
        for path, stamp in after.items()
        if before.get(path) != stamp
    }
    found.update({path: "deleted" for path in before if path not in after})
    return dict(sorted(found.items()))


def deleted(path: str) -> Artifact:
    """The artifact of a file that is gone."""
    return Artifact(path=path, size_bytes=0, mime=_mime(path), sha256=None, change="deleted")


def _parts(path: str) -> list[str]:
    """The names of a relative path; a path below the workspace's own is accepted too."""
    if "\0" in path or not path:
        raise FileRefused(path, "it is no file name")
    for root in (WORKSPACE, WORKSPACE_ALIAS):
        if path.startswith(root + "/"):
            path = path[len(root) + 1 :]
    if path.startswith("/"):
        raise FileRefused(path, "it is outside of the workspace", "Give a relative path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise FileRefused(path, "it leads out of the workspace", "Give a path without ..")
    if len(parts) > DEPTH_CAP:
        raise FileRefused(path, f"it is more than {DEPTH_CAP} directories deep")
    return parts


def _open_beneath(directory_fd: int, path: str, flags: int) -> int:
    """Open `path` below a directory, through no link and no mount. Source: openat2(2)."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY, 0, RESOLVE)
    fd: int = _libc.syscall(
        ctypes.c_long(OPENAT2),
        ctypes.c_long(directory_fd),
        os.fsencode(path),
        how,
        ctypes.c_long(len(how)),
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _encoded_bytes(name: str) -> int:
    return len(os.fsencode(name)) + 1


def _exists(name: str, directory_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _read_at_most(fd: int, cap: int, path: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := os.pread(fd, CHUNK_BYTES, size):
        size += len(chunk)
        if size > cap:
            raise FileRefused(path, f"it is larger than the {cap} bytes that are read back")
        chunks.append(chunk)
    return b"".join(chunks)


_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.ELOOP: "it is a symbolic link or lies behind one",
    errno.EXDEV: "it leads out of the workspace",
    errno.EACCES: "the guest closed it to everybody else",
    errno.ENXIO: "it is a FIFO or a socket, not a regular file",
    errno.ENOTDIR: "a part of the path is no directory",
    errno.EISDIR: "it is a directory, not a regular file",
    errno.ENOSPC: "the workspace is full",
    errno.ENAMETOOLONG: "its name is too long",
}


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, os.strerror(error.errno or 0))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def _mime(path: str) -> str:
    return mimetypes.guess_type(posixpath.basename(path))[0] or "application/octet-stream"

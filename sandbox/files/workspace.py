"""A session's files, read and written from the host without ever trusting a name or a type.

Every access starts from a descriptor of the workspace that init made before any guest code ran,
and goes through openat2(2): no link is followed, no other file system entered, nothing but a
regular file read. A guest may swap files while the host reads: it gets honest bytes of its own
workspace, bounded, or FileRefused.
"""

import asyncio
import errno
import hashlib
import mimetypes
import os
import posixpath
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from sandbox.errors import FileIsDirectory, FileRefused, NoRoomForFile
from sandbox.files import file_trees, tree_shapes
from sandbox.files.beneath import (
    DEPTH_CAP,
    DIRECTORY,
    acting_as,
    exists,
    not_regular,
    open_beneath,
    open_made,
    open_parts,
    parts_of,
    refusal,
)
from sandbox.files.file_streams import FileReader, FileWriter
from sandbox.files.file_trees import FileStat
from sandbox.files.pace import NO_PACE, Pace, in_order, paced
from sandbox.files.tree_shapes import Shape
from sandbox.outcome import Artifact

CHUNK_BYTES = 1 << 20
COPIED_HERE_BYTES = 1 << 20
CLOCK_TICK_NS = 20_000_000
"""Two changes of a directory within less may carry the same time."""
LISTED_HERE = 200
"""So many files are listed on the loop; a thread takes longer to begin."""
NAMES_CAP_BYTES = 4 << 20
"""Of all paths that are listed: 10 000 of 400 characters each."""

T = TypeVar("T")


class Stamp(NamedTuple):
    """What tells one state of a file from another; the change time cannot be set by a guest."""

    inode: int
    size_bytes: int
    changed_ns: int


Listing = dict[str, Stamp]

Skips = Callable[[str], bool]
SKIPPED_DEPTH = 2


def _skips_none(_name: str) -> bool:
    return False


class Workspace:
    """Files below one directory descriptor, which the workspace owns from now on."""

    def __init__(
        self,
        directory_fd: int,
        *,
        owner: int | None,
        bytes_cap: int,
        files_cap: int,
        inner: str = "",
    ) -> None:
        self._fd = directory_fd
        self._inner = inner
        """A directory at its top that is always there, and no file of its own."""
        self._owner = owner
        self._bytes_cap = bytes_cap
        self._files_cap = files_cap
        self._bare_since_ns = -1
        """When its top directories changed last, if nothing to be listed was in them then."""
        self._bare_count: int | None = None
        """How many files its file system had then, where that was less than a tick ago."""

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def put(self, path: str, data: bytes) -> None:
        """Write the file `path`, making directories on the way. Raises FileRefused."""
        parts = parts_of(path)
        self._check_size(path, len(data))
        try:
            with acting_as(self._owner):
                self._write(parts, data)
        except OSError as error:
            raise refusal(path, error) from error

    def begin(self, path: str, room_bytes: int | None = None) -> FileWriter:
        """A writer of the file `path`, which is put in place by its `finish`.

        It takes no more than `room_bytes`, where no file system of its own says what fits. Raises
        FileRefused.
        """
        parts = parts_of(path)
        room = self._bytes_cap if room_bytes is None else min(room_bytes, self._bytes_cap)
        try:
            with acting_as(self._owner):
                parent = open_made(self._fd, parts[:-1])
                return FileWriter(path, parent, parts[-1], self._owner, room)
        except OSError as error:
            raise refusal(path, error) from error

    def get(self, path: str) -> bytes:
        """The bytes of the regular file `path`. Raises FileRefused."""
        with acting_as(self._owner):
            fd, _size = self._open_regular(path)
        try:
            return _read_at_most(fd, self._bytes_cap, path)
        finally:
            os.close(fd)

    def open(self, path: str) -> FileReader:
        """A reader of the regular file `path`. Raises FileRefused."""
        with acting_as(self._owner):
            fd, size = self._open_regular(path)
        return FileReader(path, fd, size, self._bytes_cap)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove the file `path`; nothing if it is not there. Raises FileRefused.

        With `recursive` also a directory with what is in it.
        """
        parts = parts_of(path)
        try:
            with acting_as(self._owner):
                try:
                    parent = open_parts(self._fd, parts[:-1], DIRECTORY)
                except FileNotFoundError:
                    return
                try:
                    file_trees.remove(parts[-1], parent, self._files_cap, recursive=recursive)
                finally:
                    os.close(parent)
        except IsADirectoryError as error:
            remedy = "To remove it with all that is in it, give recursive=True"
            raise FileIsDirectory(path, "it is a directory", remedy) from error
        except OSError as error:
            raise refusal(path, error) from error

    def mkdir(self, path: str, *, exist_ok: bool = True) -> None:
        """Make the directory `path` and those above it. Raises FileRefused."""
        parts = parts_of(path, may_be_root=True)
        try:
            with acting_as(self._owner):
                file_trees.make(self._fd, parts, exist_ok=exist_ok)
        except OSError as error:
            raise refusal(path, error) from error

    def stat(self, path: str) -> FileStat:
        """What is at `path`, itself and not what it leads to. Raises FileRefused."""
        parts = parts_of(path, may_be_root=True)
        try:
            with acting_as(self._owner):
                return file_trees.stat_of(self._fd, parts, path)
        except OSError as error:
            raise refusal(path, error) from error

    def entries(self, path: str, pace: Pace = NO_PACE) -> list[FileStat]:
        """What is in the directory `path`, by name, as many as are listed. Raises FileRefused."""
        parts = parts_of(path, may_be_root=True)
        try:
            with acting_as(self._owner):
                fd = open_parts(self._fd, parts, DIRECTORY)
                try:
                    return file_trees.entries(fd, self._files_cap + 1, NAMES_CAP_BYTES, pace)
                finally:
                    os.close(fd)
        except OSError as error:
            raise refusal(path, error) from error

    def free(self) -> tuple[int, int]:
        """Bytes and files that its file system has room for."""
        usage = os.fstatvfs(self._fd)
        return usage.f_bavail * usage.f_frsize, usage.f_favail

    def below(self, path: str) -> "Workspace":
        """The directory `path` as a workspace of its own, to be closed. Raises FileRefused."""
        parts = parts_of(path, may_be_root=True)
        try:
            with acting_as(self._owner):
                fd = open_parts(self._fd, parts, DIRECTORY)
        except OSError as error:
            raise refusal(path, error) from error
        return self._over(fd)

    def close(self) -> None:
        """Give the descriptor back; without one the files end with the session's processes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def listing(self, skips: Skips = _skips_none, pace: Pace = NO_PACE) -> Listing:
        """Every regular file by its path, sorted; links, FIFOs and the like are left out.

        So is what `skips` says by its path, at the top and in directories there, and what is left
        when the names together reach `NAMES_CAP_BYTES`.
        """
        listing = self._list(self._files_cap, skips, pace)
        assert listing is not None
        return listing

    async def list_apart(self, skips: Skips = _skips_none) -> Listing:
        """As `listing`; in a thread where there are many, which would keep the loop for long."""
        listing = self.list_if_few(skips)
        if listing is None:
            return await self.apart(lambda files: files.listing(skips, Pace()))
        return listing

    def list_if_few(self, skips: Skips = _skips_none) -> Listing | None:
        """As `listing`; None where there are many."""
        return self._list(LISTED_HERE, skips)

    async def put_apart(self, path: str, data: bytes) -> None:
        """Put as `put` does; in a thread where it is much."""
        if len(data) > COPIED_HERE_BYTES:
            await self.apart(lambda files: files.put(path, data))
        else:
            self.put(path, data)

    async def get_apart(self, path: str) -> bytes:
        """As `get`; in a thread where it is much."""
        with acting_as(self._owner):
            fd, size = self._open_regular(path)
        os.close(fd)
        if size > COPIED_HERE_BYTES:
            return await self.apart(lambda files: files.get(path))
        return self.get(path)

    async def apart(self, work: "Callable[[Workspace], T]") -> T:
        """The result of `work` in a thread, on a workspace that this one's close leaves open."""
        own = self._over(os.dup(self._fd))

        def work_and_close() -> T:
            try:
                return work(own)
            finally:
                own.close()

        return await asyncio.to_thread(work_and_close)

    def note_bare(self) -> None:
        """Take it that it has no names but those that are skipped, when it is listed."""
        self._bare_since_ns = _changed_ns(self._fd, self._inner)
        is_old = time.time_ns() - self._bare_since_ns > CLOCK_TICK_NS
        self._bare_count = None if is_old else self._count()

    def _count(self) -> int:
        usage = os.fstatvfs(self._fd)
        return usage.f_files - usage.f_ffree

    def _is_bare(self) -> bool:
        """Whether no name was added since it had none but those that are skipped."""
        if self._bare_since_ns != _changed_ns(self._fd, self._inner):
            return False
        if self._bare_count is not None:
            if self._bare_count != self._count():
                return False
            if time.time_ns() - self._bare_since_ns > CLOCK_TICK_NS:
                self._bare_count = None  # From here on the time tells it alone.
        return True

    def _list(self, most: int, skips: Skips, pace: Pace = NO_PACE) -> Listing | None:
        """The listing; None if there are more than `most` files and directories, unless capped."""
        if self._bare_since_ns >= 0 and self._is_bare():
            return {}
        if self._count() == 1:
            return {}  # A file system of its own, with nothing in it but its root.
        changed_ns = _changed_ns(self._fd, self._inner)
        is_bare = time.time_ns() - changed_ns > CLOCK_TICK_NS
        found: Listing = {}
        with acting_as(self._owner):
            for seen, (path, entry) in enumerate(self._walk(skips)):
                is_bare = is_bare and path == self._inner and stat.S_ISDIR(entry.st_mode)
                pace()
                if seen >= most < self._files_cap:
                    return None
                if stat.S_ISREG(entry.st_mode):
                    found[path] = Stamp(entry.st_ino, entry.st_size, entry.st_ctime_ns)
        if is_bare:
            self._bare_since_ns, self._bare_count = changed_ns, None
        return {path: found[path] for path in in_order(found, pace)}

    def shape(self) -> Shape:
        """What is there beside the content of files, as far as it is listed. In a thread."""
        with acting_as(self._owner):
            entries = paced(self._walk(_skips_none), Pace())
            return tree_shapes.shape_of(self._fd, entries, NAMES_CAP_BYTES)

    def make_skeleton(self, shape: Shape) -> None:
        """Make the directories and links of `shape`. Raises FileRefused."""
        try:
            with acting_as(self._owner):
                tree_shapes.make_skeleton(self._fd, shape)
        except OSError as error:
            raise refusal("the workspace", error) from error

    def put_on(self, shape: Shape) -> None:
        """Give what is there the modes and times of `shape`."""
        with acting_as(self._owner):
            tree_shapes.put_on(self._fd, shape)

    def describe(self, path: str, change: str) -> Artifact | None:
        """The file as an artifact; None if it is gone or no regular file any more."""
        try:
            with acting_as(self._owner):
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

    def _over(self, fd: int) -> "Workspace":
        """A workspace of the same owner and bounds over the directory `fd`, its own from now on."""
        return Workspace(
            fd, owner=self._owner, bytes_cap=self._bytes_cap, files_cap=self._files_cap
        )

    def _check_size(self, path: str, size: int) -> None:
        if size > self._bytes_cap:
            raise NoRoomForFile(path, f"{size} bytes exceed workspace_bytes {self._bytes_cap}")

    def _write(self, parts: list[str], data: bytes) -> None:
        parent = open_made(self._fd, parts[:-1])
        try:
            # The old file goes first: it may be a link, a FIFO, or open in the guest.
            if exists(parts[-1], parent):
                os.unlink(parts[-1], dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(parts[-1], flags, 0o644, dir_fd=parent), "wb") as stream:
                stream.write(data)
        finally:
            os.close(parent)

    def _open_regular(self, path: str) -> tuple[int, int]:
        parts = parts_of(path, may_be_root=True)
        if not parts:
            raise FileIsDirectory(path, "it is a directory, not a regular file")
        try:
            fd = open_parts(self._fd, parts, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise refusal(path, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise not_regular(path, status.st_mode)
        return fd, status.st_size

    def _walk(self, skips: Skips) -> Iterator[tuple[str, os.stat_result]]:
        """Path and status of whatever is there; depth first, in bounds.

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
                        if depth < SKIPPED_DEPTH and skips(path):
                            continue
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue  # Removed by the guest since it was listed.
                        yield path, status
                        if stat.S_ISDIR(status.st_mode) and depth < DEPTH_CAP:
                            waiting.append((path, entry.name, depth + 1))
        finally:
            for fd in above:
                os.close(fd)


def _changed_ns(fd: int, inner: str) -> int:
    """When a name was last added to the directory `fd`, or to the one inside of that name."""
    changed_ns = os.fstat(fd).st_ctime_ns
    if inner:
        try:
            changed_ns = max(
                changed_ns, os.stat(inner, dir_fd=fd, follow_symlinks=False).st_ctime_ns
            )
        except OSError:
            return changed_ns  # Removed or hidden: its name went from the top.
    return changed_ns


def _open_directory(name: str, parent: int) -> int:
    """The directory `name` of `parent`; -1 if it was swapped or closed, or is a mount of another's.

    What the policy mounts, or the interpreter's own, may be below /tmp; it is no file of a session.
    """
    try:
        return open_beneath(parent, name, DIRECTORY)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            return -1
        raise


def changes(before: Listing, after: Listing, pace: Pace = NO_PACE) -> dict[str, str]:
    """What became of each path that differs: made, changed or deleted; sorted."""
    if before == after:
        return {}
    found: dict[str, str] = {}
    for path, stamp in after.items():
        if before.get(path) != stamp:
            found[path] = "changed" if path in before else "made"
        pace()
    found.update({path: "deleted" for path in before if path not in after})
    return {path: found[path] for path in in_order(found, pace)}


def deleted(path: str) -> Artifact:
    """The artifact of a file that is gone."""
    return Artifact(path=path, size_bytes=0, mime=_mime(path), sha256=None, change="deleted")


def _read_at_most(fd: int, cap: int, path: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := os.pread(fd, CHUNK_BYTES, size):
        size += len(chunk)
        if size > cap:
            raise FileRefused(path, f"it is larger than the {cap} bytes that are read back")
        chunks.append(chunk)
    return b"".join(chunks)


def _mime(path: str) -> str:
    return mimetypes.guess_type(posixpath.basename(path))[0] or "application/octet-stream"

"""Blobs: contents of files in a folder, each whole or not there at all.

A content is written under another name, flushed to the disk, and then renamed; what a crash left
half-written is removed at the next start. Only a row of the database makes a blob visible, and
it is written last.
"""

import asyncio
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.errors import StorageError
from runner.server.store.records import Blob

BUFFER_BYTES = 1024 * 1024
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room, no room for this user, no file of this size: write(2)."""


class Blobs:
    """The folder `root`, which is made when it is not there, for its user alone. Raises OSError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        for folder in (root, self._incoming):
            folder.mkdir(mode=0o700, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where the content `name` is."""
        return self._root / name[:2] / name

    def writer(self) -> "BlobWriter":
        """Return a new content, to be written piece by piece. Raises StorageError."""
        return BlobWriter(self._incoming / secrets.token_hex(16), self)

    async def add(self, data: bytes) -> Blob:
        """Keep `data`. Raises StorageError."""
        return await asyncio.to_thread(self._add, data)

    async def read(self, name: str, sha256: str) -> bytes:
        """Return the content `name`, which must have that sum. Raises StorageError."""
        return await asyncio.to_thread(self._read, name, sha256)

    async def copy(self, blob: Blob) -> Blob:
        """Return the same content under a name of its own. Raises StorageError."""
        return await asyncio.to_thread(self._copy, blob)

    def remove(self, *names: str) -> None:
        """Remove contents; those that are gone already are no error."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def tidy(self, known: frozenset[str]) -> tuple[int, frozenset[str]]:
        """Remove what a crash left behind; how many, and the `known` ones that are missing."""
        count, found = 0, set()
        for path in self._all():
            if path.parent != self._incoming and path.name in known:
                found.add(path.name)
            else:
                path.unlink()
                count += 1
        return count, known - found

    def adopt(self, written: Path) -> str:
        """Make a flushed file visible under a new name, which is given back."""
        name = secrets.token_hex(16)
        place = self.path(name)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        written.rename(place)
        _flush_directory(place.parent)
        return name

    def _all(self) -> Iterator[Path]:
        for folder in self._root.iterdir():
            if folder.is_dir():
                yield from list(folder.iterdir())

    def _add(self, data: bytes) -> Blob:
        with self.writer() as writer:
            writer.write(data)
            return writer.finish()

    def _read(self, name: str, sha256: str) -> bytes:
        try:
            data = self.path(name).read_bytes()
        except OSError as error:
            raise storage_error(error) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError("failed", f"the content {name} is not what was written")
        return data

    def _copy(self, blob: Blob) -> Blob:
        # Contents never change, so two names of one file are as good as two files.
        name = secrets.token_hex(16)
        place = self.path(name)
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            place.hardlink_to(self.path(blob.name))
            _flush_directory(place.parent)
        except OSError as error:
            raise storage_error(error) from error
        return blob.model_copy(update={"name": name})


class BlobWriter:
    """A content on its way. Leaving the context without `finish` leaves nothing behind.

    The methods wait for the disk; a caller on the event loop gives them to a thread.
    """

    def __init__(self, path: Path, blobs: Blobs) -> None:
        self._path = path
        self._blobs = blobs
        self._sum = hashlib.sha256()
        self.size_bytes = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise storage_error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.discard()

    def write(self, data: bytes | bytearray) -> None:
        """Add `data`. Raises StorageError."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise storage_error(error) from error
        self._sum.update(data)
        self.size_bytes += len(data)

    def finish(self) -> Blob:
        """Flush to the disk, and make it visible. Raises StorageError."""
        try:
            os.fsync(self._fd)
            name = self._blobs.adopt(self._path)
        except OSError as error:
            raise storage_error(error) from error
        return Blob(name=name, size_bytes=self.size_bytes, sha256=self._sum.hexdigest())

    def discard(self) -> None:
        """Forget what was written, unless it was finished."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._path.unlink(missing_ok=True)


def storage_error(error: OSError) -> StorageError:
    """Return the failure of a disk, as the rest of the server knows it."""
    return StorageError("full" if error.errno in FULL else "failed", error.strerror or str(error))


def _flush_directory(path: Path) -> None:
    """Put the names in a directory on the disk: fsync(2) of a file does not."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

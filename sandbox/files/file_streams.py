"""Files that are written and read piece by piece, so that none is in memory as a whole.

A file is written without a name and put in place when it is complete: what was there before stays
until then, and a stream that breaks leaves nothing.
"""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Protocol, runtime_checkable

from sandbox.errors import FileRefused, NoRoomForFile, PolicyError
from sandbox.files.beneath import acting_as, refusal

PIECE_BYTES = 1 << 20
"""So much is asked of a file object at once."""
NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
"""How a file system says that it makes no files without a name (open(2), O_TMPFILE)."""


@runtime_checkable
class Readable(Protocol):
    """A file object that is read in bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


Source = Readable | Iterable[bytes] | AsyncIterable[bytes]


class FileWriter:
    """One file on its way in. `finish` puts it in place, `abandon` leaves nothing of it."""

    def __init__(
        self, path: str, parent_fd: int, name: str, owner: int | None, room_bytes: int
    ) -> None:
        """`parent_fd` is its own from now on. The caller acts as `owner`. Raises OSError."""
        self._path = path
        self._parent = parent_fd
        self._name = name
        self._owner = owner
        self._room = room_bytes
        self._part = f".{secrets.token_hex(8)}.part"
        self._has_name = False
        self._fd = -1
        self.written = 0
        try:
            self._fd = self._open()
        except BaseException:
            os.close(parent_fd)
            raise

    def write(self, data: bytes) -> None:
        """Write `data` after what was written before. Raises FileRefused."""
        if self.written + len(data) > self._room:
            raise NoRoomForFile(
                self._path, f"it is longer than the {self._room} bytes that there is room for"
            )
        rest = memoryview(data)
        try:
            while rest:
                count = os.write(self._fd, rest)
                self.written += count
                rest = rest[count:]
        except OSError as error:
            raise refusal(self._path, error) from error

    def finish(self) -> None:
        """Give the file its name, in place of what has it. Raises FileRefused."""
        try:
            with acting_as(self._owner):
                if not self._has_name:
                    # By way of /proc: an empty path would take CAP_DAC_READ_SEARCH (linkat(2)).
                    own = f"/proc/self/fd/{self._fd}"
                    os.link(own, self._part, dst_dir_fd=self._parent, follow_symlinks=True)
                    self._has_name = True
                os.rename(self._part, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
                self._has_name = False
        except OSError as error:
            raise refusal(self._path, error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave nothing of what is not in place; once is enough."""
        if self._fd < 0:
            return
        try:
            if self._has_name:
                with acting_as(self._owner):
                    os.unlink(self._part, dir_fd=self._parent)
        except FileNotFoundError:
            pass  # The guest has removed it.
        finally:
            os.close(self._fd)
            os.close(self._parent)
            self._fd = self._parent = -1

    def _open(self) -> int:
        try:
            return os.open(
                ".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o644, dir_fd=self._parent
            )
        except OSError as error:
            if error.errno not in NO_NAMELESS:
                raise
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._part, flags, 0o644, dir_fd=self._parent)
        self._has_name = True
        return fd


class FileReader:
    """One file on its way out, opened already; it is what it was when it is replaced meanwhile."""

    def __init__(self, path: str, fd: int, size_bytes: int, cap_bytes: int) -> None:
        """`fd` is its own from now on."""
        self._path = path
        self._fd = fd
        self._cap = cap_bytes
        self.size_bytes = size_bytes
        """As it was opened."""
        self.offset = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes more; none at the end. Raises FileRefused when it has no end."""
        data = os.pread(self._fd, size, self.offset)
        self.offset += len(data)
        if self.offset > self._cap:
            raise FileRefused(
                self._path, f"it is larger than the {self._cap} bytes that are read back"
            )
        return data

    def close(self) -> None:
        """Give the descriptor back; once is enough."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def pieces_of(source: Source) -> AsyncIterator[bytes]:
    """What `source` gives, in pieces of bounded size; what blocks is called in a thread.

    Raises PolicyError for what is no source of bytes.
    """
    if isinstance(source, AsyncIterable):
        async for piece in source:
            for part in _cut(piece):
                yield part
        return
    if isinstance(source, Readable):
        while piece := await asyncio.to_thread(source.read, PIECE_BYTES):
            for part in _cut(piece):
                yield part
        return
    if not isinstance(source, Iterable):
        raise PolicyError(
            "data",
            f"is {type(source).__name__}",
            "Give bytes, text, a binary file, or an iterable of bytes",
        )
    pieces = iter(source)
    while (found := await asyncio.to_thread(next, pieces, None)) is not None:
        for part in _cut(found):
            yield part


def _cut(piece: object) -> list[bytes]:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise PolicyError(
            "data", f"gives {type(piece).__name__}", "Open the file in binary mode, or encode it"
        )
    whole = memoryview(piece).cast("B") if isinstance(piece, memoryview) else memoryview(piece)
    return [
        bytes(whole[start : start + PIECE_BYTES]) for start in range(0, len(whole), PIECE_BYTES)
    ]

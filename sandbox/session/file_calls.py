"""The part of a session that reads and writes files: they take no turn of the interpreter."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Protocol

from sandbox.errors import PolicyError
from sandbox.files.file_streams import PIECE_BYTES, Source, pieces_of
from sandbox.files.file_trees import FileStat
from sandbox.files.session_files import SessionFiles
from sandbox.policy.arguments import as_bytes, check_number, shown
from sandbox.session.live_session import LiveSession

WRITTEN_HERE_BYTES = 64 * 1024
"""Pieces up to this size are written on the loop; a thread takes longer to begin."""
Data = bytes | bytearray | memoryview | str | Source


class Writable(Protocol):
    """A file object that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""
        ...


def check_chunk(chunk_bytes: object) -> None:
    """Raise PolicyError for what is no size of pieces."""
    check_number("chunk_bytes", chunk_bytes, "Give a whole number of bytes", kinds=(int,))
    if isinstance(chunk_bytes, int) and chunk_bytes < 1:
        raise PolicyError("chunk_bytes", f"is {chunk_bytes}", "It must be at least 1")


def check_target(target: object) -> None:
    """Raise PolicyError for what cannot be written to."""
    if not callable(getattr(target, "write", None)):
        raise PolicyError("target", f"is {shown(target)}", "Give a file that is open for bytes")


class FileCalls:
    """Files of a session: the workspace, `/tmp`, the home directory, `/dev/shm`.

    Paths are relative to the workspace or absolute, as the session's code has them. Whatever the
    code puts in the way, nothing outside of the session is read or written: no link is followed,
    and the host acts with the id of the guest. All raise a FileRefused, whose subclasses tell the
    reasons apart.
    """

    @abstractmethod
    def _alive(self) -> LiveSession:
        """What the session is now. Raises SessionClosed, SessionLost, SessionExpired."""

    @abstractmethod
    def _kept_files(self) -> SessionFiles:
        """The files of a live session, or of one that expired not long ago."""

    async def put(self, path: str, data: Data) -> None:
        """Write `data` to the file `path`, with the directories above it; text as UTF-8.

        `data` may be a binary file or an iterable of bytes, also an asynchronous one: it is
        written as it comes and put in place at its end. If it breaks, what was there before stays.
        """
        live = self._alive()
        if isinstance(data, str | bytes | bytearray | memoryview):
            await live.files.put_apart(path, bytes(as_bytes("data", data)))
        else:
            await _write(live.files, path, data)
        live.forget_listing()

    async def get(self, path: str) -> bytes:
        """The content of the regular file `path`.

        Works for the retention time after the session expired, too.
        """
        return await self._kept_files().get_apart(path)

    async def get_stream(
        self, path: str, *, chunk_bytes: int = PIECE_BYTES
    ) -> AsyncIterator[bytes]:
        """The content of the regular file `path` in pieces of at most `chunk_bytes`. As `get`."""
        check_chunk(chunk_bytes)
        reader = self._kept_files().open(path)
        try:
            while piece := await asyncio.to_thread(reader.read, min(chunk_bytes, PIECE_BYTES)):
                yield piece
        finally:
            reader.close()

    async def get_to(self, path: str, target: Writable) -> int:
        """Write the content of the regular file `path` to a binary file; how many bytes."""
        check_target(target)
        reader = self._kept_files().open(path)
        try:
            while piece := await asyncio.to_thread(reader.read, PIECE_BYTES):
                await asyncio.to_thread(target.write, piece)
            return reader.offset
        finally:
            reader.close()

    async def files(self, path: str | None = None) -> list[str]:
        """Paths of the regular files of the workspace, sorted; or of those below `path`.

        What is asked for by an absolute path is told by absolute paths. As `get` after an expiry.
        """
        if path is None:
            return list(await self._kept_files().workspace.list_apart())
        return await self._kept_files().files_below(path)

    async def list_directory(self, path: str = ".") -> list[FileStat]:
        """What is in the directory `path`, by name. As `get` after an expiry."""
        return await self._kept_files().entries_apart(path)

    async def stat(self, path: str) -> FileStat:
        """What is at `path`: kind, size, mode, time. As `get` after an expiry."""
        return self._kept_files().stat(path)

    async def mkdir(self, path: str, *, exist_ok: bool = True) -> None:
        """Make the directory `path` and those above it."""
        live = self._alive()
        live.files.mkdir(path, exist_ok=exist_ok)
        live.forget_listing()

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove the file `path`; nothing if it is not there.

        With `recursive` also a directory with all that is in it.
        """
        live = self._alive()
        await live.files.remove_apart(path, recursive=recursive)
        live.forget_listing()


async def _write(files: SessionFiles, path: str, source: Source) -> None:
    """Write what `source` gives to the file `path`, as it comes."""
    writer = await files.begin(path)
    try:
        async for piece in pieces_of(source):
            if len(piece) > WRITTEN_HERE_BYTES:
                await asyncio.to_thread(writer.write, piece)
            else:
                writer.write(piece)
        writer.finish()
    finally:
        writer.abandon()

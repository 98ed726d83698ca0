"""Files of a session of another machine: the calls of `FileCalls`, over HTTP."""

import asyncio
import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from pydantic import TypeAdapter, ValidationError

from sandbox.errors import NotRemote, RemoteFailed
from sandbox.files.beneath import check_path
from sandbox.files.file_streams import PIECE_BYTES, pieces_of
from sandbox.files.file_trees import FileStat
from sandbox.packages.installer import TIMEOUT_S, checked_requirements
from sandbox.policy.arguments import as_bytes
from sandbox.remote.faults import NO_ANSWER
from sandbox.remote.server import ANSWER_CAP_BYTES, LONGEST_S, Server
from sandbox.session.file_calls import Data, Writable, check_chunk, check_target

_STAT: TypeAdapter[FileStat] = TypeAdapter(FileStat)
FILES = "/files/"


class RemoteFiles:
    """Files of a session; see `FileCalls`. Each call raises a FileRefused as it does there."""

    _server: Server

    @abstractmethod
    async def _ask(
        self, method: str, path: str, body: object = None, *, subject: str = "", **more: Any
    ) -> Any:
        """The answer to a call of this session."""

    @property
    @abstractmethod
    def _path(self) -> str:
        """The session's path below the sessions. Raises SessionError."""

    async def put(self, path: str, data: Data) -> None:
        """Write `data` to the file `path`, with the directories above it; text as UTF-8.

        What is no text or bytes is sent as it comes and put in place at its end.
        """
        if isinstance(data, str):
            data = bytes(as_bytes("data", data))
        whole = isinstance(data, bytes | bytearray | memoryview)
        sent = bytes(data) if whole else pieces_of(data)  # type: ignore[arg-type]
        await self._server.upload(self._path + _file(path), sent, subject=path)

    async def get(self, path: str) -> bytes:
        """The content of the regular file `path`."""
        found = bytearray()
        async for piece in self.get_stream(path):
            found += piece
            if len(found) > ANSWER_CAP_BYTES:
                problem = f"{path!r} has more than {ANSWER_CAP_BYTES} bytes"
                raise RemoteFailed(self._server.name, problem, "Take it in pieces: get_stream")
        return bytes(found)

    async def get_stream(
        self, path: str, *, chunk_bytes: int = PIECE_BYTES
    ) -> AsyncIterator[bytes]:
        """The content of the regular file `path` in pieces of at most `chunk_bytes`."""
        check_chunk(chunk_bytes)
        async with self._server.opened("GET", self._path + _file(path), subject=path) as pieces:
            async for piece in pieces:
                for start in range(0, len(piece), chunk_bytes):
                    yield piece[start : start + chunk_bytes]

    async def get_to(self, path: str, target: Writable) -> int:
        """Write the content of the regular file `path` to a binary file; how many bytes."""
        check_target(target)
        written = 0
        async for piece in self.get_stream(path):
            await asyncio.to_thread(target.write, piece)
            written += len(piece)
        return written

    async def files(self, path: str | None = None) -> list[str]:
        """Paths of the regular files of the workspace, sorted; or of those below `path`."""
        query = "" if path is None else f"?path={_quoted(path)}"
        found = await self._ask("GET", f"/files{query}", subject=path or "")
        try:
            # In its URL a name is exact, also one that is no UTF-8.
            urls = [str(row["url"]) for row in found["data"]]
        except (KeyError, TypeError):
            raise self._nonsense() from None
        return [os.fsdecode(unquote_to_bytes(url.partition(FILES)[2])) for url in urls]

    async def list_directory(self, path: str = ".") -> list[FileStat]:
        """What is in the directory `path`, by name."""
        check_path(path)
        found = await self._ask("POST", "/files/list", {"path": path}, subject=path)
        try:
            return [self._stat(row) for row in found["data"]]
        except (KeyError, TypeError):
            raise self._nonsense() from None

    async def stat(self, path: str) -> FileStat:
        """What is at `path`: kind, size, mode, time."""
        check_path(path)
        return self._stat(await self._ask("POST", "/files/stat", {"path": path}, subject=path))

    async def mkdir(self, path: str, *, exist_ok: bool = True) -> None:
        """Make the directory `path` and those above it."""
        check_path(path)
        body = {"path": path, "exist_ok": exist_ok}
        await self._ask("POST", "/files/mkdir", body, subject=path)

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove the file `path`; nothing if it is not there."""
        query = "?recursive=true" if recursive else ""
        await self._ask("DELETE", _file(path) + query, subject=path)

    async def install(
        self,
        packages: Sequence[str],
        *,
        find_links: Sequence[str] = (),
        offline: bool = False,
        index_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> list[str]:
        """Lay packages into this session, from where the server's settings say.

        Only `packages` can be chosen from here; what else is given raises NotRemote.
        """
        if find_links or offline or index_url is not None or timeout_s != TIMEOUT_S:
            raise NotRemote("where and for how long to look for packages", "Name them alone")
        body = {"packages": checked_requirements(packages)}
        found = await self._ask("POST", "/install", body, silent_s=LONGEST_S)
        try:
            return [str(pin) for pin in found["packages"]]
        except (KeyError, TypeError):
            raise self._nonsense() from None

    def _stat(self, row: Any) -> FileStat:
        try:
            return _STAT.validate_python({k: v for k, v in row.items() if k != "object"})
        except (ValidationError, AttributeError):
            raise self._nonsense() from None

    def _nonsense(self) -> RemoteFailed:
        return RemoteFailed(self._server.name, "its answer about files is none", NO_ANSWER)


def _quoted(path: str) -> str:
    check_path(path)
    return quote(os.fsencode(path), safe="")


def _file(path: str) -> str:
    return FILES + _quoted(path)

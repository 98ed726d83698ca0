"""The blocking face of a session's files and packages."""

from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from sandbox.files.file_streams import PIECE_BYTES
from sandbox.files.file_trees import FileStat
from sandbox.packages.installer import TIMEOUT_S
from sandbox.remote.remote_files import RemoteFiles
from sandbox.session.file_calls import Data, Writable
from sandbox.session.install_calls import InstallCalls

T = TypeVar("T")


class Loop(Protocol):
    """What hands calls over to the thread of the event loop."""

    def _call(self, work: Coroutine[Any, Any, T]) -> T: ...

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]: ...


class BlockingFiles:
    """Files of a session; see `FileCalls`. File objects are read and written in a thread."""

    _box: Loop
    _session: InstallCalls | RemoteFiles

    def install(
        self,
        packages: Sequence[str],
        *,
        find_links: Sequence[str] = (),
        offline: bool = False,
        index_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> list[str]:
        """Lay `packages` and what they need into this session; see AsyncSession.install."""
        return self._box._call(
            self._session.install(
                packages,
                find_links=find_links,
                offline=offline,
                index_url=index_url,
                timeout_s=timeout_s,
            )
        )

    def put(self, path: str, data: Data) -> None:
        """Write `data` to the file `path`: bytes, text, a binary file, an iterable of bytes."""
        self._box._call(self._session.put(path, data))

    def get(self, path: str) -> bytes:
        """The content of the regular file `path`."""
        return self._box._call(self._session.get(path))

    def get_stream(self, path: str, *, chunk_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        """The content of the regular file `path` in pieces of at most `chunk_bytes`."""
        return self._box._iterate(self._session.get_stream(path, chunk_bytes=chunk_bytes))

    def get_to(self, path: str, target: Writable) -> int:
        """Write the content of the regular file `path` to a binary file; how many bytes."""
        return self._box._call(self._session.get_to(path, target))

    def files(self, path: str | None = None) -> list[str]:
        """Paths of the regular files of the workspace, sorted; or of those below `path`."""
        return self._box._call(self._session.files(path))

    def list_directory(self, path: str = ".") -> list[FileStat]:
        """What is in the directory `path`, by name."""
        return self._box._call(self._session.list_directory(path))

    def stat(self, path: str) -> FileStat:
        """What is at `path`: kind, size, mode, time."""
        return self._box._call(self._session.stat(path))

    def mkdir(self, path: str, *, exist_ok: bool = True) -> None:
        """Make the directory `path` and those above it."""
        self._box._call(self._session.mkdir(path, exist_ok=exist_ok))

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove the file `path`; with `recursive` also a directory with all that is in it."""
        self._box._call(self._session.remove(path, recursive=recursive))

"""One session: runs code that belongs to no container and whose files are not kept."""

import contextlib
from collections.abc import Sequence

from runner.transcript import MadeFile
from sandbox import Artifact, AsyncSandbox, AsyncSession, SandboxError

ANOTHER = "The earlier session has ended, and its variables and files with it; this is a new one."


class OneSession:
    """A session that is opened when it is first needed, and again when it broke.

    `words` are what the model reads with the result of its first call.
    """

    def __init__(self, box: AsyncSandbox, *, words: str = "") -> None:
        self._box = box
        self._words = words
        self._session: AsyncSession | None = None

    @property
    def container_id(self) -> str:
        return ""

    async def session(self) -> tuple[AsyncSession, str]:
        """Return the live session, and what to tell the model when it is not the one of before."""
        if self._session is not None and not is_usable(self._session):
            await self.close()
            self._words = ANOTHER
        session = await self._open()
        words, self._words = self._words, ""
        return session, words

    async def put(self, name: str, data: bytes) -> None:
        """Lay a file into the workspace."""
        await (await self._open()).put(name, data)

    async def files(self) -> list[str]:
        """List the paths of the files in the workspace; none while there is no session."""
        return [] if self._session is None else await self._session.files()

    async def get(self, path: str) -> bytes:
        """Return the content of a file of the workspace. Raises FileRefused."""
        return await (await self._open()).get(path)

    def tell(self, words: str) -> None:
        """Have the model read `words` with the result of its next call."""
        self._words = words

    async def _open(self) -> AsyncSession:
        if self._session is None:
            self._session = await self._box.session()
        return self._session

    async def keep(
        self, _session: AsyncSession, artifacts: Sequence[Artifact]
    ) -> tuple[MadeFile, ...]:
        """Return the files by name: they end with the session."""
        return tuple(
            MadeFile(path=one.path, size_bytes=one.size_bytes, mime=one.mime)
            for one in artifacts
            if one.change != "deleted"
        )

    async def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def is_usable(session: AsyncSession) -> bool:
    """Return whether the session's processes still live."""
    with contextlib.suppress(SandboxError):
        return session.enforcement is not None
    return False

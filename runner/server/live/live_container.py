"""Live container: a container that is in use, or that holds a session of the engine.

The session may end before the container does: the server restarts, or another container needs
the room. Its variables are gone then. The next run gets a new session with the same files, and
the model learns of it. Nothing is written for a container in which no code ever ran.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence

from runner.dialects.parsed_request import InlineFile
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.session_slots import SessionSlots, Slot
from runner.server.store.container_store import ContainerStore
from runner.server.store.free_path import free_path
from runner.server.store.records import ContainerFile, ContainerRow, StoredFile
from runner.server.store.storage import now_s
from runner.tools.one_session import is_usable
from runner.transcript import MadeFile, encodable
from sandbox import Artifact, AsyncSandbox, AsyncSession, FileRefused, SandboxError

KEPT_PER_RUN = 100
"""So many files of one snippet are kept; each costs the disk a flush."""
ESCAPE = "\\udc"
"""How the escape of a byte that is no UTF-8 begins."""
LOST = (
    "The session that held the earlier variables and imports has ended, and they are gone."
    " The files that were kept are still in /mnt/data."
)


class LiveContainer:
    """`keeps` says whether the container outlives the request, `is_kept` whether it has a record;
    `file_bytes` is the largest file that is kept."""

    def __init__(
        self,
        box: AsyncSandbox,
        slots: SessionSlots,
        store: ContainerStore,
        row: ContainerRow,
        account: Account,
        *,
        keeps: bool,
        is_kept: bool,
        file_bytes: int,
    ) -> None:
        self._box = box
        self._slots = slots
        self._slot: Slot | None = None
        self._store = store
        self._keeps = keeps
        self._file_bytes = file_bytes
        self._opening = asyncio.Lock()
        self._session: AsyncSession | None = None
        self.row = row
        self.account = account
        self.is_kept = is_kept
        self.is_deleted = False
        self.wanted: list[StoredFile | InlineFile] = []
        """Files of requests that go into it before the next snippet."""
        self._placed: set[str] = set()
        """Origins of files that went into a session of a container that is not kept."""
        self.holders = 0
        self.active_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        return self.holders == 0

    @property
    def has_session(self) -> bool:
        return self._session is not None

    @property
    def has_variables(self) -> bool:
        """Whether what earlier code left in memory is still there."""
        return self._session is not None and is_usable(self._session)

    def used(self, *, has_run: bool = False) -> None:
        """Note that it was used just now."""
        self.active_at = time.monotonic()
        update = {"last_active_at": now_s(), "has_run": self.row.has_run or has_run}
        self.row = self.row.model_copy(update=update)

    async def open(self) -> tuple[AsyncSession, str]:
        """Make the session, and what to tell the model of a new one.

        Raises RequestError, StorageError, SandboxError.
        """
        async with self._opening:
            if self.is_deleted:
                raise RequestError("not_found", "Container not found")
            words = ""
            if not self.has_variables:
                await self.end()
            if self._session is None:
                words = LOST if self.row.has_run else ""
                slot = await self._slots.for_container(self.account, self)
                try:
                    self._session, refused = await self._filled()
                except BaseException:
                    self._slots.release(slot)
                    raise
                self._slot = slot
                if refused:
                    words = f"{words} Not put back, for want of room: {', '.join(refused)}."
            await self._take_wanted(self._session)
            return self._session, words

    @property
    def session(self) -> AsyncSession | None:
        """The session that lives now, if there is one."""
        return self._session if self.has_variables else None

    async def branch_of(self, source: "LiveContainer") -> None:
        """Begin with a branch of the session of `source`, variables and files included.

        Raises RequestError, SandboxError.
        """
        slot = await self._slots.for_container(self.account, self)
        try:
            if (session := source.session) is not None:
                self._session = await session.fork()
        finally:
            if self._session is None:
                self._slots.release(slot)
            else:
                self._slot = slot

    async def end(self) -> None:
        """End the session, and the snippet that runs in it."""
        session, self._session = self._session, None
        slot, self._slot = self._slot, None
        try:
            if session is not None:
                await session.close()
        finally:
            if slot is not None:
                self._slots.release(slot)

    async def put(self, file: ContainerFile) -> None:
        """Show a kept file to the session, if there is one. Raises FileRefused, StorageError."""
        # A session that opens just now has read the files before this one was written.
        async with self._opening:
            if self._session is not None and self.has_variables:
                await self._session.put(file.path, await self._store.read(file))

    async def remove(self, path: str) -> None:
        """Take a file out of the session, if there is one. Raises FileRefused."""
        async with self._opening:
            if self._session is not None and self.has_variables:
                await self._session.remove(path)

    async def keep(
        self, session: AsyncSession, artifacts: Sequence[Artifact]
    ) -> tuple[MadeFile, ...]:
        """Keep what a snippet did to the files. Raises StorageError."""
        made: list[MadeFile] = []
        gone: list[str] = []
        for artifact in artifacts:
            if artifact.change == "deleted":
                gone.append(artifact.path)
                continue
            file = MadeFile(path=artifact.path, size_bytes=artifact.size_bytes, mime=artifact.mime)
            if self.is_kept and not self.is_deleted:
                count = sum(bool(one.file_id) for one in made)
                file = file.model_copy(update=await self._keep(session, artifact, count))
                if file.not_kept:
                    gone.append(artifact.path)
            made.append(file)
        if gone and self.is_kept:
            await self._store.remove(self.row.id, gone)
        return tuple(made)

    async def _keep(self, session: AsyncSession, artifact: Artifact, count: int) -> dict[str, str]:
        """Return the id of the kept file, or why it is not kept."""
        if artifact.size_bytes > self._file_bytes:
            return {"not_kept": f"it is larger than {self._file_bytes} bytes"}
        if count >= KEPT_PER_RUN:
            return {"not_kept": f"only {KEPT_PER_RUN} files of one run are kept"}
        try:
            data = await session.get(await _exact(session, artifact.path))
            file = await self._store.write(
                self.row, artifact.path, data, "assistant", cap_bytes=self._cap
            )
        except SandboxError:
            return {"not_kept": "it could not be read when the code had ended"}
        except RequestError as error:
            return {"not_kept": error.message}
        return {"file_id": file.id}

    @property
    def _cap(self) -> int:
        return self.account.settings.stored_bytes

    async def _filled(self) -> tuple[AsyncSession, list[str]]:
        """A new session with the files of the container, and paths that it would not take."""
        session, refused = await self._box.session(), []
        try:
            if self._keeps and not self.is_kept:
                await self._store.add(self.row)
                self.is_kept = True
            if self.is_kept:
                for file in await self._store.files(self.row.id):
                    data = await self._store.read(file)
                    try:
                        await session.put(file.path, data)
                    except FileRefused:
                        refused.append(file.path)
                self.used(has_run=True)
                await self._store.touch(self.row.id, at=self.row.last_active_at, has_run=True)
        except BaseException:
            await session.close()
            raise
        return session, refused

    async def _unkept(self, session: AsyncSession) -> set[str]:
        """Files of the session that the store does not have."""
        kept = await self._store.files(self.row.id) if self.is_kept else []
        return set(await session.files()) - {file.path for file in kept}

    async def _take_wanted(self, session: AsyncSession) -> None:
        """Put the files that requests named where code will look for them, each once."""
        while self.wanted:
            file = self.wanted.pop(0)
            origin = origin_of(file)
            if self.is_kept:
                present = await self._store.files(self.row.id)
                if any(one.origin == origin for one in present):
                    continue
            elif origin in self._placed:
                continue
            data = file.data if isinstance(file, InlineFile) else await self._store.read(file)
            # Files that code made and that are not kept are in the session alone.
            path = free_path(file.filename, await self._unkept(session))
            if self.is_kept:
                written = await self._store.write(
                    self.row, path, data, "user", origin, cap_bytes=self._cap
                )
                path = written.path
            self._placed.add(origin)
            try:
                await session.put(path, data)
            except FileRefused as error:
                raise RequestError("invalid", error.reason, param="file_ids") from error


async def _exact(session: AsyncSession, path: str) -> str:
    """Return the name in the workspace that `path` shows, where what is no UTF-8 is escaped."""
    if ESCAPE not in path:
        return path
    shown = {encodable(name): name for name in await session.files()}
    return shown.get(path, path)


def origin_of(file: StoredFile | InlineFile) -> str:
    """What tells a file of a request from others, when the request is sent again with more."""
    if isinstance(file, StoredFile):
        return file.id
    return hashlib.sha256(f"{file.filename}\0".encode() + file.data).hexdigest()

"""Containers: files that are kept, and sessions of the engine that come and go over them.

A container is a record with files in the store; while it is used it is also in a table here.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence

from runner.dialects.parsed_request import ContainerRequest, InlineFile
from runner.errors import RequestError, StorageError
from runner.server.accounts import Account
from runner.server.http.uploads import safe_name
from runner.server.live.live_container import LiveContainer, origin_of
from runner.server.live.memory_limit import (
    check_memory,
    memory_bytes,
    memory_limits,
    memory_name,
)
from runner.server.live.session_slots import SessionSlots
from runner.server.store.blobs import BlobWriter
from runner.server.store.container_store import ContainerStore
from runner.server.store.file_store import FileStore
from runner.server.store.free_path import free_path
from runner.server.store.ids import new_id
from runner.server.store.records import ContainerFile, ContainerRow, StoredFile
from runner.server.store.storage import now_s
from runner.tools.one_session import ANOTHER
from runner.transcript import MadeFile
from sandbox import Artifact, AsyncSandbox, AsyncSession, FileRefused, Limits

LOG = logging.getLogger("cellblock.server")
EXPIRED = "Container is expired."


class Containers:
    """Containers over one sandbox. `slots` says when one may have a session, and which idle one
    gives way to the next. `retention_s` is how long an expired one keeps its files.
    """

    def __init__(
        self,
        box: AsyncSandbox,
        slots: SessionSlots,
        files: FileStore,
        store: ContainerStore,
        *,
        idle_minutes: int = 20,
        file_bytes: int = 100 * 1024 * 1024,
        retention_s: int = 30 * 24 * 3600,
    ) -> None:
        self._box = box
        self._slots = slots
        self._files = files
        self._store = store
        self._idle_minutes = idle_minutes
        self._file_bytes = file_bytes
        self._retention_s = retention_s
        self._lives: dict[str, LiveContainer] = {}

    # ---- for clients ----------------------------------------------------------------------------

    async def create(
        self,
        account: Account,
        *,
        name: str,
        idle_minutes: int | None = None,
        memory_limit: str = "",
        file_ids: Sequence[str] = (),
    ) -> ContainerRow:
        """Make a new container with copies of uploaded files. Raises RequestError, StorageError."""
        check_memory(memory_limit, self._allowed_bytes, param="memory_limit")
        files = [await self._uploaded(account.owner, file_id) for file_id in file_ids]
        self._check_workspace(files)
        row = self._new_row(account.owner, name, memory_limit)
        if idle_minutes is not None:
            row = row.model_copy(update={"idle_minutes": idle_minutes})
        await self._store.add(row)
        try:
            for file in files:
                await self._store.copy(row, file, cap_bytes=account.settings.stored_bytes)
        except BaseException:
            await self._store.delete(row.id)
            raise
        return row

    async def find(self, owner: str, container_id: str) -> ContainerRow:
        """Return the container as it is. Raises RequestError."""
        row = await self._store.get(owner, container_id)
        if row is None:
            raise RequestError("not_found", "Container not found")
        return self.newest(row)

    async def use(self, owner: str, container_id: str) -> ContainerRow:
        """Find it, and let its time to expire begin anew, unless it is over."""
        row = await self.find(owner, container_id)
        if self.is_expired(row):
            return row
        live = self._lives.get(container_id)
        if live is not None:
            live.used()
        await self._store.touch(container_id, at=now_s())
        return row.model_copy(update={"last_active_at": now_s()})

    def newest(self, row: ContainerRow) -> ContainerRow:
        """`row`, or what is known of it here and not yet written."""
        live = self._lives.get(row.id)
        return row if live is None else live.row

    def is_expired(self, row: ContainerRow) -> bool:
        """Return whether it was idle for too long. One that is in use is not idle."""
        live = self._lives.get(row.id)
        return (live is None or live.is_idle) and now_s() > row.expires_at

    def json(self, row: ContainerRow) -> dict[str, object]:
        """Return the container as its owner sees it. `x_variables` says what became of them."""
        live = self._lives.get(row.id)
        has_variables = live is not None and live.has_variables
        return {
            "id": row.id,
            "object": "container",
            "created_at": row.created_at,
            "status": "expired" if self.is_expired(row) else "running",
            "expires_after": {"anchor": "last_active_at", "minutes": row.idle_minutes},
            "last_active_at": row.last_active_at,
            "memory_limit": memory_name(row.memory_limit, self._allowed_bytes),
            "name": row.name,
            "network_policy": self._network,
            "x_memory_bytes": memory_bytes(row.memory_limit, self._allowed_bytes),
            "x_variables": "live" if has_variables else "lost" if row.has_run else "none",
        }

    async def delete(self, row: ContainerRow) -> None:
        """End the container, also under a request that uses it, and forget its files."""
        live = self._lives.pop(row.id, None)
        if live is not None:
            live.is_deleted = True
            await live.end()
        await self._store.delete(row.id)

    async def upload(
        self, account: Account, row: ContainerRow, path: str, writer: BlobWriter
    ) -> ContainerFile:
        """Make what `writer` wrote a file of the container. Raises RequestError, StorageError."""
        self._check_usable(row)
        await self._check_workspace_of(row, writer.size_bytes)
        cap_bytes = account.settings.stored_bytes
        return await self._show(
            row, await self._store.upload(row, path, writer, cap_bytes=cap_bytes)
        )

    async def copy(self, account: Account, row: ContainerRow, file_id: str) -> ContainerFile:
        """Make an uploaded file a file of the container. Raises RequestError, StorageError."""
        self._check_usable(row)
        file = await self._uploaded(account.owner, file_id)
        await self._check_workspace_of(row, file.size_bytes)
        cap_bytes = account.settings.stored_bytes
        return await self._show(row, await self._store.copy(row, file, cap_bytes=cap_bytes))

    async def remove(self, row: ContainerRow, file: ContainerFile) -> None:
        """Forget a file, in the live session too."""
        await self._store.remove(row.id, [file.path])
        live = self._lives.get(row.id)
        if live is not None:
            await live.remove(file.path)

    def live_session(self, owner: str, container_id: str) -> AsyncSession | None:
        """Return the session that the owner's container holds just now; its use counts as the
        container's."""
        live = self._lives.get(container_id)
        if live is None or live.row.owner != owner:
            return None
        live.used()
        return live.session

    def live(self) -> list[tuple[str, LiveContainer]]:
        """Every container that is in use or holds a session, of all owners."""
        return list(self._lives.items())

    async def end_session(self, container_id: str) -> None:
        """End the session of a container, with the code that runs in it."""
        live = self._lives.get(container_id)
        if live is not None:
            await live.end()

    async def branch(self, account: Account, row: ContainerRow) -> ContainerRow:
        """Return a copy of the container: its files, and its variables while its session lives.

        Raises RequestError, StorageError, SandboxError.
        """
        self._check_usable(row)
        new = self._new_row(account.owner, row.name, row.memory_limit)
        new = new.model_copy(update={"has_run": row.has_run})
        await self._store.add(new)
        try:
            for file in await self._store.files(row.id):
                data, cap_bytes = await self._store.read(file), account.settings.stored_bytes
                await self._store.write(
                    new, file.path, data, file.source, file.origin, cap_bytes=cap_bytes
                )
            source = self._lives.get(row.id)
            if source is not None and source.has_variables:
                copy = self._live(new, account, keeps=True, is_kept=True)
                await copy.branch_of(source)
                self._lives[new.id] = copy
        except BaseException:
            await self._store.delete(new.id)
            raise
        return new

    # ---- for requests ---------------------------------------------------------------------------

    async def lease(
        self,
        account: Account,
        parsed: ContainerRequest,
        *,
        earlier: str = "",
        keep: bool = True,
        file_ids: Sequence[str] = (),
        inline_files: Sequence[InlineFile] = (),
    ) -> "Lease":
        """Return a hold on the container that is asked for.

        With an id, that one; else `earlier` while it lives; else a new one. `keep` says whether
        it outlives the request. Files are put into it before the first snippet. Raises
        RequestError when a named one is unknown or expired, or a file is unknown.
        """
        check_memory(parsed.memory_limit, self._allowed_bytes, param="memory_limit")
        wanted: list[StoredFile | InlineFile] = [
            await self._uploaded(account.owner, file_id)
            for file_id in (*parsed.file_ids, *file_ids)
        ]
        wanted += [one._replace(filename=safe_name(one.filename)) for one in inline_files]
        row, words = None, ""
        if parsed.id:
            row = await self.find(account.owner, parsed.id)
            self._check_usable(row, param="tools")
        elif earlier:
            row = await self._store.get(account.owner, earlier)
            if row is None or self.is_expired(self.newest(row)):
                row, words = None, ANOTHER
        present = [] if row is None else await self._store.files(row.id)
        is_kept = row is not None
        if row is None:
            row = self._new_row(account.owner, "auto", parsed.memory_limit)
        live = self._lives.get(row.id)
        if live is None:
            live = self._live(row, account, keeps=keep or is_kept, is_kept=is_kept)
            self._lives[row.id] = live
        live.holders += 1
        live.wanted += wanted
        paths = _paths(present, wanted)
        limits = memory_limits(live.row.memory_limit, self._allowed_bytes)
        return Lease(self, live, words=words, paths=tuple(paths), limits=limits)

    async def sweep(self) -> None:
        """End sessions of containers that were idle for too long; forget what is too old."""
        for live in list(self._lives.values()):
            if self.is_expired(live.row):
                await live.end()
            if live.is_idle and not live.has_session:
                self._lives.pop(live.row.id, None)
        await self._store.sweep(retention_s=self._retention_s)

    async def close(self) -> None:
        """End every session."""
        for live in list(self._lives.values()):
            await live.end()

    async def give_back(self, live: LiveContainer) -> None:
        """Take note that a request let go of the container."""
        live.holders -= 1
        live.used()
        if live.is_kept and not live.is_deleted:
            try:
                await self._store.touch(live.row.id, at=live.row.last_active_at)
            except StorageError as error:
                # The request is over; what is lost is only when it was, and that is known here.
                LOG.warning("the time of use was not written: %s", error)
        elif live.is_idle:
            self._lives.pop(live.row.id, None)
            await live.end()
        await self._slots.give_way()
        self._slots.changed()

    # ---- inside ---------------------------------------------------------------------------------

    @property
    def _allowed_bytes(self) -> int:
        return self._box.policy.limits.memory_bytes

    @property
    def _network(self) -> dict[str, object]:
        allowed = self._box.policy.network
        if allowed == "none":
            return {"type": "disabled"}
        return {"type": "allowlist", "allowed_domains": list(allowed)}

    def _new_row(self, owner: str, name: str, memory_limit: str) -> ContainerRow:
        now = now_s()
        return ContainerRow(
            id=new_id("cntr"),
            owner=owner,
            name=name,
            created_at=now,
            last_active_at=now,
            idle_minutes=self._idle_minutes,
            memory_limit=memory_limit,
        )

    def _live(
        self, row: ContainerRow, account: Account, *, keeps: bool, is_kept: bool
    ) -> LiveContainer:
        return LiveContainer(
            self._box,
            self._slots,
            self._store,
            row,
            account,
            keeps=keeps,
            is_kept=is_kept,
            file_bytes=self._file_bytes,
        )

    def _check_usable(self, row: ContainerRow, *, param: str | None = None) -> None:
        if self.is_expired(row):
            raise RequestError("invalid", EXPIRED, param=param)

    async def _uploaded(self, owner: str, file_id: str) -> StoredFile:
        file = await self._files.get(owner, file_id)
        if file is None:
            message = f"No such File object: {file_id[:64]}"
            raise RequestError("not_found", message, param="file_ids")
        return file

    async def _check_workspace_of(self, row: ContainerRow, more_bytes: int) -> None:
        self._check_workspace(await self._store.files(row.id), more_bytes)

    def _check_workspace(
        self, files: Sequence[ContainerFile | StoredFile], more_bytes: int = 0
    ) -> None:
        """Refuse files that a session could not hold. Raises RequestError."""
        most = self._box.policy.limits.workspace_bytes
        if sum(file.size_bytes for file in files) + more_bytes > most:
            message = f"The files of a container may take {most} bytes together."
            raise RequestError("invalid", message, param="file")

    async def _show(self, row: ContainerRow, file: ContainerFile) -> ContainerFile:
        """Put a new file into the live session, if there is one."""
        live = self._lives.get(row.id)
        if live is not None:
            try:
                await live.put(file)
            except FileRefused as error:
                await self._store.remove(row.id, [file.path])
                raise RequestError("invalid", error.reason, param="file") from error
        await self.use(row.owner, row.id)
        return file


def _paths(
    present: Sequence[ContainerFile], wanted: Sequence[StoredFile | InlineFile]
) -> list[str]:
    """Return where code will find the files of a container and those that a request adds."""
    paths = {file.path: file.sha256 for file in present}
    origins = {file.origin for file in present}
    for file in wanted:
        origin = origin_of(file)
        if isinstance(file, InlineFile):
            sha256 = hashlib.sha256(file.data).hexdigest()
        else:
            sha256 = file.sha256
        if origin not in origins:
            origins.add(origin)
            if paths.get(file.filename) != sha256:
                paths[free_path(file.filename, paths)] = sha256
    return list(paths)


class Lease:
    """A request's hold on a container, which does not expire while it is held."""

    def __init__(
        self,
        containers: Containers,
        live: LiveContainer,
        *,
        words: str,
        paths: tuple[str, ...],
        limits: Limits | None,
    ) -> None:
        self._containers = containers
        self._live = live
        self._words = words
        self._is_released = False
        self.paths = paths
        """Files that are there before the request's first snippet."""
        self.limits = limits
        """Limits of a run; None where the policy's own hold."""

    @property
    def container_id(self) -> str:
        return self._live.row.id

    @property
    def kept_id(self) -> str:
        """The container's id, once there is something to come back to."""
        return self._live.row.id if self._live.is_kept else ""

    @property
    def has_session(self) -> bool:
        """Whether the container has a live session already."""
        return self._live.has_session

    async def session(self) -> tuple[AsyncSession, str]:
        """Return the live session, and what to tell the model when it is not the one of before."""
        session, lost = await self._live.open()
        words, self._words = self._words or lost, ""
        return session, words

    async def keep(
        self, session: AsyncSession, artifacts: Sequence[Artifact]
    ) -> tuple[MadeFile, ...]:
        """Keep what a snippet did to the files."""
        return await self._live.keep(session, artifacts)

    async def release(self) -> None:
        """Let go of the container; one that is not kept ends."""
        if not self._is_released:
            self._is_released = True
            await asyncio.shield(self._containers.give_back(self._live))

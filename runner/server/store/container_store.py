"""Container store: the records of containers and of the files in them."""

import asyncio
import mimetypes
from collections.abc import Sequence
from typing import Literal, NamedTuple

from runner.errors import RequestError
from runner.server.store.blobs import BlobWriter
from runner.server.store.database import Page, Transaction
from runner.server.store.free_path import free_path
from runner.server.store.ids import new_id
from runner.server.store.records import Blob, ContainerFile, ContainerRow, Order, StoredFile
from runner.server.store.storage import CONTAINER_FILES, CONTAINERS, Storage, check_quota, now_s

AT_PATH = "container_id = ? AND path = ?"
UNKNOWN_MIME = "application/octet-stream"


Source = Literal["user", "assistant"]


class Content(NamedTuple):
    """What is to be in a file of a container, and where it comes from."""

    blob: Blob
    source: Source
    origin: str = ""


class ContainerStore:
    """Containers and their files by id, until they are deleted or have been idle for long."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    # ---- containers -----------------------------------------------------------------------------

    async def add(self, container: ContainerRow) -> None:
        """Keep a new container. Raises StorageError."""
        await self._storage.run(lambda kept: kept.add(CONTAINERS, container))

    async def get(self, owner: str, container_id: str) -> ContainerRow | None:
        """Return the container, or None."""
        return await self._storage.run(
            lambda kept: kept.one(CONTAINERS, "owner = ? AND id = ?", owner, container_id)
        )

    async def page(
        self, owner: str, *, name: str | None, after: str | None, limit: int, order: Order
    ) -> Page[ContainerRow]:
        """List some of the owner's containers."""

        def work(kept: Transaction) -> Page[ContainerRow]:
            where, values = "owner = ?", [owner]
            if name is not None:
                where, values = "owner = ? AND name = ?", [owner, name]
            return kept.page(CONTAINERS, where, *values, after=after, limit=limit, order=order)

        return await self._storage.run(work)

    async def touch(self, container_id: str, *, at: int, has_run: bool = False) -> None:
        """Note that the container was used at the time `at`, and whether code ran in it."""
        sql = (
            "UPDATE containers SET last_active_at = max(last_active_at, ?),"
            " has_run = max(has_run, ?) WHERE id = ?"
        )
        await self._storage.run(lambda kept: kept.change(sql, at, has_run, container_id))

    async def delete(self, container_id: str) -> None:
        """Forget the container and its files."""
        await self._storage.drop(lambda kept: _dropped(kept, [container_id]))

    async def sweep(self, *, retention_s: int) -> None:
        """Forget containers that expired more than `retention_s` ago."""
        long_ago = "last_active_at + idle_minutes * 60 + ? < ?"

        def work(kept: Transaction) -> list[str]:
            old = kept.all(CONTAINERS, long_ago, retention_s, now_s())
            return _dropped(kept, [row.id for row in old])

        await self._storage.drop(work)

    # ---- files ----------------------------------------------------------------------------------

    async def files(self, container_id: str) -> list[ContainerFile]:
        """Return all files of the container, oldest first."""
        where = "container_id = ? ORDER BY id"
        return await self._storage.run(lambda kept: kept.all(CONTAINER_FILES, where, container_id))

    async def file(self, owner: str, container_id: str, file_id: str) -> ContainerFile | None:
        """Return the file, or None."""
        where = "owner = ? AND container_id = ? AND id = ?"
        return await self._storage.run(
            lambda kept: kept.one(CONTAINER_FILES, where, owner, container_id, file_id)
        )

    async def file_page(
        self, container_id: str, *, after: str | None, limit: int, order: Order
    ) -> Page[ContainerFile]:
        """Return some of the container's files."""
        where = "container_id = ?"
        return await self._storage.run(
            lambda kept: kept.page(
                CONTAINER_FILES, where, container_id, after=after, limit=limit, order=order
            )
        )

    async def upload(
        self, container: ContainerRow, path: str, writer: BlobWriter, *, cap_bytes: int
    ) -> ContainerFile:
        """Make what `writer` wrote the file `path`, or beside another one there: see `free_path`.

        What code writes takes the place of another, which keeps its id. Raises RequestError
        (quota), StorageError; then nothing is left of the content, and the other is still there.
        """

        async def whole() -> ContainerFile:
            content = Content(await asyncio.to_thread(writer.finish), "user")
            return await self._put(container, path, content, cap_bytes)

        # A client that leaves now finds either a whole file or none, and no content is lost.
        return await asyncio.shield(whole())

    async def write(
        self,
        container: ContainerRow,
        path: str,
        data: bytes,
        source: Source,
        origin: str = "",
        *,
        cap_bytes: int,
    ) -> ContainerFile:
        """Make `data` the file `path`. Raises as `upload` does."""

        async def whole() -> ContainerFile:
            content = Content(await self._storage.blobs.add(data), source, origin)
            return await self._put(container, path, content, cap_bytes)

        return await asyncio.shield(whole())

    async def copy(
        self, container: ContainerRow, file: StoredFile, *, cap_bytes: int
    ) -> ContainerFile:
        """Make the uploaded `file` a file of the container. Raises as `upload` does."""

        async def whole() -> ContainerFile:
            blob = Blob(name=file.blob, size_bytes=file.size_bytes, sha256=file.sha256)
            content = Content(await self._storage.blobs.copy(blob), "user", file.id)
            return await self._put(container, file.filename, content, cap_bytes)

        return await asyncio.shield(whole())

    async def read(self, file: ContainerFile | StoredFile) -> bytes:
        """Return the content of a file. Raises StorageError."""
        return await self._storage.blobs.read(file.blob, file.sha256)

    async def remove(self, container_id: str, paths: Sequence[str]) -> None:
        """Forget the files at `paths`; those that are not there are no error."""

        def work(kept: Transaction) -> list[str]:
            found = []
            for path in paths:
                found += kept.all(CONTAINER_FILES, AT_PATH, container_id, path)
            for row in found:
                kept.change("DELETE FROM container_files WHERE id = ?", row.id)
            return [row.blob for row in found]

        await self._storage.drop(work)

    async def _put(
        self, container: ContainerRow, path: str, content: Content, cap_bytes: int
    ) -> ContainerFile:
        def work(kept: Transaction) -> tuple[ContainerFile, ContainerFile | None]:
            if kept.one(CONTAINERS, "id = ?", container.id) is None:
                # Deleted by another request while this one was under way.
                raise RequestError("not_found", "Container not found")
            old = kept.one(CONTAINER_FILES, AT_PATH, container.id, path)
            place = path
            if old is not None and content.source == "user" and old.sha256 != content.blob.sha256:
                others = kept.all(CONTAINER_FILES, "container_id = ?", container.id)
                place, old = free_path(path, {one.path for one in others}), None
            if old is not None:
                kept.change("DELETE FROM container_files WHERE id = ?", old.id)
            row = _row(container, place, content, old)
            check_quota(kept, row.owner, row.size_bytes, cap_bytes)
            kept.add(CONTAINER_FILES, row)
            return row, old

        async with self._storage.guarding(content.blob.name):
            row, old = await self._storage.run(work)
        if old is not None:
            await asyncio.to_thread(self._storage.blobs.remove, old.blob)
        return row


def _row(
    container: ContainerRow, path: str, content: Content, old: ContainerFile | None
) -> ContainerFile:
    return ContainerFile(
        id=new_id("cfile") if old is None else old.id,
        container_id=container.id,
        owner=container.owner,
        path=path,
        created_at=now_s() if old is None else old.created_at,
        source=content.source,
        origin=content.origin,
        mime=mimetypes.guess_type(path)[0] or UNKNOWN_MIME,
        size_bytes=content.blob.size_bytes,
        sha256=content.blob.sha256,
        blob=content.blob.name,
    )


def _dropped(kept: Transaction, container_ids: Sequence[str]) -> list[str]:
    blobs = []
    for container_id in container_ids:
        blobs += [row.blob for row in kept.all(CONTAINER_FILES, "container_id = ?", container_id)]
        kept.change("DELETE FROM containers WHERE id = ?", container_id)
    return blobs

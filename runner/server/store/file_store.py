"""File store: uploaded files by id, each visible to its owner alone."""

import asyncio
from pathlib import Path

from runner.server.store.blobs import BlobWriter
from runner.server.store.database import Page, Transaction
from runner.server.store.ids import new_id
from runner.server.store.records import Order, StoredFile
from runner.server.store.storage import FILES, Storage, check_quota, now_s

OWN = "owner = ? AND (expires_at IS NULL OR expires_at > ?)"


class FileStore:
    """Uploaded files, until they are deleted or expire."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def add(
        self,
        owner: str,
        filename: str,
        writer: BlobWriter,
        *,
        purpose: str,
        expires_in_s: int | None,
        cap_bytes: int,
    ) -> StoredFile:
        """Keep what `writer` wrote. Raises RequestError (quota), StorageError."""
        adding = self._add(owner, filename, writer, purpose, expires_in_s, cap_bytes)
        # A client that leaves now finds either a whole file or none, and no content is lost.
        return await asyncio.shield(adding)

    async def get(self, owner: str, file_id: str) -> StoredFile | None:
        """Return the file, or None."""
        return await self._storage.run(
            lambda kept: kept.one(FILES, f"{OWN} AND id = ?", owner, now_s(), file_id)
        )

    async def page(
        self, owner: str, *, purpose: str | None, after: str | None, limit: int, order: Order
    ) -> Page[StoredFile]:
        """List some of the owner's files."""

        def work(kept: Transaction) -> Page[StoredFile]:
            where: str = OWN
            values: list[str | int] = [owner, now_s()]
            if purpose is not None:
                where, values = f"{OWN} AND purpose = ?", [*values, purpose]
            return kept.page(FILES, where, *values, after=after, limit=limit, order=order)

        return await self._storage.run(work)

    def path(self, file: StoredFile) -> Path:
        """Return where its content is."""
        return self._storage.blobs.path(file.blob)

    async def delete(self, owner: str, file_id: str) -> bool:
        """Forget the file; whether there was one."""
        found = await self.get(owner, file_id)
        if found is not None:
            await self._storage.drop(lambda kept: _dropped(kept, [found]))
        return found is not None

    async def sweep(self) -> None:
        """Remove what expired."""

        def work(kept: Transaction) -> list[str]:
            return _dropped(kept, kept.all(FILES, "expires_at <= ?", now_s()))

        await self._storage.drop(work)

    async def _add(
        self,
        owner: str,
        filename: str,
        writer: BlobWriter,
        purpose: str,
        expires_in_s: int | None,
        cap_bytes: int,
    ) -> StoredFile:
        size = writer.size_bytes
        await self._storage.run(lambda kept: check_quota(kept, owner, size, cap_bytes))
        blob = await asyncio.to_thread(writer.finish)
        created_at = now_s()
        file = StoredFile(
            id=new_id("file", "-"),
            owner=owner,
            filename=filename,
            purpose=purpose,
            created_at=created_at,
            expires_at=None if expires_in_s is None else created_at + expires_in_s,
            size_bytes=blob.size_bytes,
            sha256=blob.sha256,
            blob=blob.name,
        )

        def work(kept: Transaction) -> None:
            check_quota(kept, owner, size, cap_bytes)
            kept.add(FILES, file)

        async with self._storage.guarding(blob.name):
            await self._storage.run(work)
        return file


def _dropped(kept: Transaction, files: list[StoredFile]) -> list[str]:
    for file in files:
        kept.change("DELETE FROM files WHERE id = ?", file.id)
    return [file.blob for file in files]

"""Storage: the directory where the server keeps what must outlive it.

`kept.sqlite` holds every record, `contents` the files themselves, `spare` nothing but room. One
server at a time uses a directory. Contents are written before the row that names them and removed
after it, so a crash at any moment leaves at worst a content without a row, which the next start
removes.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from runner.errors import ConfigError, RequestError, StorageError
from runner.server.store.blobs import Blobs
from runner.server.store.database import Database, Table, Transaction
from runner.server.store.records import (
    ContainerFile,
    ContainerRow,
    ConversationRow,
    ItemRow,
    ResponseRow,
    StoredFile,
)

LOG = logging.getLogger("cellblock.server")
T = TypeVar("T")
VERSION = 1
USED = "SELECT size_bytes FROM used WHERE owner = ?"
SPARE_BYTES = 4 * 1024 * 1024
"""With less than this free on the disk no work is begun whose end could not be kept; and so much
is set aside for deleting when nothing is free."""

FILES = Table("files", StoredFile)
CONTAINERS = Table("containers", ContainerRow)
CONTAINER_FILES = Table("container_files", ContainerFile)
RESPONSES = Table("responses", ResponseRow)
CONVERSATIONS = Table("conversations", ConversationRow)
ITEMS = Table("items", ItemRow)

SCHEMA = """
CREATE TABLE used (
    owner TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE files (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    blob TEXT NOT NULL
) STRICT;
CREATE INDEX files_of_owner ON files (owner, id);
CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    idle_minutes INTEGER NOT NULL,
    memory_limit TEXT NOT NULL,
    has_run INTEGER NOT NULL
) STRICT;
CREATE INDEX containers_of_owner ON containers (owner, id);
CREATE TABLE container_files (
    id TEXT PRIMARY KEY,
    container_id TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    owner TEXT NOT NULL,
    path TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    origin TEXT NOT NULL,
    mime TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    blob TEXT NOT NULL,
    UNIQUE (container_id, path)
) STRICT;
CREATE TABLE responses (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    container_id TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    body TEXT NOT NULL,
    input_items TEXT NOT NULL,
    transcript TEXT NOT NULL
) STRICT;
CREATE INDEX responses_by_age ON responses (created_at);
CREATE INDEX responses_by_status ON responses (status);
CREATE TABLE response_items (
    response_id TEXT NOT NULL REFERENCES responses ON DELETE CASCADE,
    owner TEXT NOT NULL,
    item_id TEXT NOT NULL,
    PRIMARY KEY (owner, item_id, response_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX response_items_of_response ON response_items (response_id);
CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    size_bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE items (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    body TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    UNIQUE (conversation_id, id)
) STRICT;
CREATE INDEX items_of_owner ON items (owner, id);
"""
COUNTED = ("files", "container_files", "responses", "conversations", "items")
COUNTING = """
CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN
    INSERT INTO used VALUES (new.owner, new.size_bytes)
    ON CONFLICT DO UPDATE SET size_bytes = size_bytes + new.size_bytes;
END;
CREATE TRIGGER {table}_changed AFTER UPDATE OF size_bytes ON {table} BEGIN
    UPDATE used SET size_bytes = size_bytes + new.size_bytes - old.size_bytes
    WHERE owner = old.owner;
END;
CREATE TRIGGER {table}_removed AFTER DELETE ON {table} BEGIN
    UPDATE used SET size_bytes = size_bytes - old.size_bytes WHERE owner = old.owner;
END;
"""
"""Keeps the sum of an owner's bytes, which every request asks for, beside the rows."""
SCHEMA += "".join(COUNTING.format(table=table) for table in COUNTED)


class Storage:
    """The directory `root`, made when it is not there. Raises ConfigError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._spare = root / "spare"
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(root)
            self.blobs = Blobs(root / "contents")
        except OSError as error:
            problem = f"{root} cannot be used: {error.strerror}"
            raise ConfigError("server.data_dir", problem, "Name another directory") from error
        try:
            self._database = Database(root / "kept.sqlite", SCHEMA, version=VERSION)
            self._tidy()
            self._set_aside()
        except BaseException:
            os.close(self._lock)
            raise

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """What `work` gives, in one transaction. Raises StorageError and what `work` raises."""
        return await self._database.run(work)

    async def free(self, work: Callable[[Transaction], T]) -> T:
        """Run work that deletes: it is done on a full disk too.

        A database grows before it shrinks. What it needs is set aside in a file that goes first.
        """
        try:
            return await self.run(work)
        except StorageError as error:
            if error.fault != "full" or not self._spare.exists():
                raise
            self._spare.unlink(missing_ok=True)
            return await self.run(work)

    async def drop(self, work: Callable[[Transaction], list[str]]) -> None:
        """Run `work`, and remove the contents that it names: those whose rows it deleted."""
        names = await self.free(work)
        if names:
            await asyncio.to_thread(self.blobs.remove, *names)

    @asynccontextmanager
    async def guarding(self, *names: str) -> AsyncIterator[None]:
        """Remove the contents `names` when the row that should name them cannot be written."""
        try:
            yield
        except BaseException:
            await asyncio.to_thread(self.blobs.remove, *names)
            raise

    async def check_room(self, owner: str, cap_bytes: int) -> None:
        """Refuse work whose end could not be kept. Raises RequestError, StorageError."""
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < SPARE_BYTES:
            raise StorageError("full", "less is free than is kept in reserve")
        await self.run(lambda kept: check_quota(kept, owner, 1, cap_bytes))

    async def used(self, owner: str) -> int:
        """Bytes that the owner has stored."""
        return await self.run(lambda kept: kept.number(USED, owner))

    async def sweep(self) -> None:
        """Set room aside again, once there is some."""
        await asyncio.to_thread(self._set_aside)

    def close(self) -> None:
        """Wait for the work under way, and let go of the directory."""
        self._database.close()
        os.close(self._lock)

    def _set_aside(self) -> None:
        if self._spare.exists():
            return
        try:
            with open(self._spare, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, SPARE_BYTES)
        except OSError as error:
            self._spare.unlink(missing_ok=True)
            LOG.warning("no room could be set aside: %s", error.strerror)

    def _tidy(self) -> None:
        """Put right what a crash left behind."""
        known = self._database.now(_blobs_of)
        count, missing = self.blobs.tidy(frozenset(known))
        lost = [known[name] for name in missing]
        if count or lost:
            LOG.warning("contents without a record: %d, records without: %d", count, len(lost))
        self._database.now(lambda kept: _forget(kept, lost))


def check_quota(kept: Transaction, owner: str, more_bytes: int, cap_bytes: int) -> None:
    """Refuse what would put the owner over its bytes. Raises RequestError."""
    if kept.number(USED, owner) + more_bytes > cap_bytes:
        message = (
            f"This key may store {cap_bytes} bytes of files and responses."
            " Delete some, or send store=false."
        )
        raise RequestError("quota", message)


def now_s() -> int:
    """Return the time, as the records have it."""
    return int(time.time())


def _lock(root: Path) -> int:
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        problem = f"{root} is in use by another server"
        raise ConfigError("server.data_dir", problem, "Stop that one, or name another") from None
    return fd


def _blobs_of(kept: Transaction) -> dict[str, tuple[str, str]]:
    """Return the table and the id of each content that has a row."""
    files = {row.blob: ("files", row.id) for row in kept.all(FILES, "TRUE")}
    inside = {row.blob: ("container_files", row.id) for row in kept.all(CONTAINER_FILES, "TRUE")}
    return files | inside


def _forget(kept: Transaction, lost: list[tuple[str, str]]) -> None:
    for table, row_id in lost:
        kept.change(f"DELETE FROM {table} WHERE id = ?", row_id)

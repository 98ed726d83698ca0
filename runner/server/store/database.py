"""Database: one SQLite file in WAL mode, used from one thread of its own.

SQLite writes one transaction at a time, so more threads would only wait for each other; and the
event loop never waits for a disk. What `run` wrote is on the disk when it returns.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import apsw

from runner.errors import ConfigError, StorageError
from runner.server.store.records import Order
from runner.transcript import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Value = str | int | None
BUSY_MS = 5000
UNREACHABLE = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
)
"""What a file may do to a right statement."""


class Page(NamedTuple, Generic[R]):
    """Some rows of a list, and whether there are more behind them."""

    rows: list[R]
    has_more: bool


class Table(Generic[R]):
    """A table whose columns are the fields of a record."""

    def __init__(self, name: str, record: type[R]) -> None:
        self.name = name
        self._record = record
        self._fields = tuple(record.model_fields)
        self.columns = ", ".join(self._fields)
        self.places = ", ".join("?" for _ in self._fields)

    def values(self, row: R) -> tuple[Value, ...]:
        """`row` as SQLite takes it."""
        return tuple(row.model_dump().values())

    def row(self, values: tuple[object, ...]) -> R:
        """Return the record in a row of the table."""
        return self._record.model_validate(dict(zip(self._fields, values, strict=True)))


class Transaction:
    """What one transaction reads and writes. `where` is SQL with a `?` for each value."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def add(self, table: Table[R], row: R) -> None:
        """Insert `row`, in place of one with the same key."""
        sql = f"INSERT OR REPLACE INTO {table.name} ({table.columns}) VALUES ({table.places})"
        self._connection.execute(sql, table.values(row))

    def all(self, table: Table[R], where: str, *values: Value) -> list[R]:
        """Return the rows for which `where` holds."""
        sql = f"SELECT {table.columns} FROM {table.name} WHERE {where}"
        return [table.row(found) for found in self._connection.execute(sql, values)]

    def one(self, table: Table[R], where: str, *values: Value) -> R | None:
        """Return the first row for which `where` holds, or None."""
        found = self.all(table, f"{where} LIMIT 1", *values)
        return found[0] if found else None

    def page(
        self,
        table: Table[R],
        where: str,
        *values: Value,
        after: Value,
        limit: int,
        order: Order,
        key: str = "id",
    ) -> Page[R]:
        """At most `limit` rows in the order of `key`, behind `after` when it is not None."""
        way, sign = ("DESC", "<") if order == "desc" else ("ASC", ">")
        if after is not None:
            where, values = f"{where} AND {key} {sign} ?", (*values, after)
        rows = self.all(table, f"{where} ORDER BY {key} {way} LIMIT ?", *values, limit + 1)
        return Page(rows[:limit], len(rows) > limit)

    def change(self, sql: str, *values: Value) -> int:
        """Run an UPDATE or a DELETE; how many rows it changed."""
        self._connection.execute(sql, values)
        return self._connection.changes()

    def number(self, sql: str, *values: Value) -> int:
        """Return the one number that a SELECT gives."""
        for (found,) in self._connection.execute(sql, values):
            assert isinstance(found, int)
            return found
        return 0


class Database:
    """The file `path` with `schema` in it, made when it is not there. Raises ConfigError."""

    def __init__(self, path: Path, schema: str, *, version: int) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cellblock-database")
        try:
            self._connection = self._thread.submit(_open, path, schema, version).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self._transaction = Transaction(self._connection)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` gives, all that it wrote on the disk; an error undoes all of it.

        Raises StorageError. A task that is cancelled meanwhile leaves the work to its end.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.now, work)

    def now(self, work: Callable[[Transaction], T]) -> T:
        """Run it on the calling thread: before the server runs, and after."""
        try:
            with self._connection:
                done = work(self._transaction)
        except apsw.FullError as error:
            raise StorageError("full", str(error)) from error
        except UNREACHABLE as error:
            raise StorageError("failed", f"{type(error).__name__}: {error}") from error
        return done

    def close(self) -> None:
        """Wait for the work under way, and close the file."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()


def _open(path: Path, schema: str, version: int) -> apsw.Connection:
    try:
        # For its user alone; SQLite gives the files beside it the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(BUSY_MS)
        connection.transaction_mode = "IMMEDIATE"
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", True)
        connection.pragma("secure_delete", True)
        # A row that another one replaces counts as deleted.
        connection.pragma("recursive_triggers", True)
        found = connection.pragma("user_version")
        if found == 0:
            with connection:
                connection.execute(schema)
                connection.pragma("user_version", version)
        elif found != version:
            raise ConfigError(
                "server.data_dir",
                f"{path} has format {found}, this version knows {version}",
                "Name another directory, or use the version that wrote this one",
            )
    except (apsw.Error, OSError) as error:
        raise ConfigError("server.data_dir", f"{path} cannot be used: {error}") from error
    return connection

"""Ends the threads of duckdb before a fork, and has it start them again after it.

A database has them by its settings, and ends or starts some when those change.
"""

import gc
import sys
from types import ModuleType
from typing import Any

NO_THREADS = (("threads", 1), ("async_threads", 0))
"""Settings by name, and the value at which the calling thread does all; older ones lack some."""

Paused = list[tuple[Any, dict[str, int]]]
"""A cursor of each database, and its settings as they were."""


class NotPaused(Exception):
    """A database does not let its settings be changed."""


def pause() -> Paused:
    """End the threads of every open database. Raises NotPaused."""
    module = sys.modules.get("duckdb")
    if module is None:
        return []
    paused: Paused = []
    try:
        for connection in _connections(module):
            cursor = _cursor(module, connection)
            if cursor is not None:
                before: dict[str, int] = {}
                paused.append((cursor, before))
                for name, none in NO_THREADS:
                    value = _setting(module, cursor, name)
                    if value is not None and value != none:
                        cursor.execute(f"SET {name} = {none}")
                        before[name] = value
    except module.Error as error:
        resume(paused)
        raise NotPaused(str(error)) from error
    return paused


def resume(paused: Paused) -> None:
    """Start the threads again: here, or in a copy."""
    # The last first: connections may be of one database.
    while paused:
        cursor, before = paused.pop()
        for name, value in before.items():
            cursor.execute(f"SET {name} = {value}")
        cursor.close()


def _connections(module: ModuleType) -> list[Any]:
    """Every connection of this process; the one of the module's functions is always among them."""
    kind = module.DuckDBPyConnection
    found = [one for one in gc.get_objects() if type(one) is kind]
    return [*found, module.default_connection()]


def _cursor(module: ModuleType, connection: Any) -> Any:
    """A connection to the same database, apart from what is under way; None if it is closed."""
    try:
        return connection.cursor()
    except module.Error:
        return None


def _setting(module: ModuleType, cursor: Any, name: str) -> int | None:
    try:
        [value] = cursor.execute(f"SELECT current_setting('{name}')").fetchone()
    except module.Error:
        return None  # This version has none of that name.
    return int(value)

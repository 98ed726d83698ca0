"""Watching: what changed in a directory, found by comparing what is there with what was.

A file that is renamed is one removed and one made; what came and went between two looks is not
seen.
"""

import posixpath
import secrets
from collections.abc import Mapping
from contextlib import suppress

from runner.errors import RequestError
from runner.server.e2b.files import Told, entry_at, stats_below
from sandbox import AsyncSession, FileNotDirectory, FileRefused, FileStat

WATCHERS_MOST = 16
EVENTS_MOST = 1000
DEPTH = 32
LOOK_S = 0.25
"""Between two looks of a watcher that streams."""
Event = dict[str, object]


class Watcher:
    """One directory, as it was at the last look."""

    def __init__(
        self, session: AsyncSession, path: str, *, recursive: bool, with_entries: bool
    ) -> None:
        self._session = session
        self._path = path
        self._depth = DEPTH if recursive else 1
        self._with_entries = with_entries
        self._seen: Mapping[str, FileStat] = {}

    async def begin(self) -> None:
        """Take the first look. Raises FileRefused."""
        if (await self._session.stat(self._path)).kind != "directory":
            raise FileNotDirectory(self._path, "it is no directory")
        self._seen = await stats_below(self._session, self._path, self._depth)

    async def events(self, told: Told) -> list[Event]:
        """What happened since the last look."""
        try:
            now = await stats_below(self._session, self._path, self._depth)
        except FileRefused:
            now = {}  # The directory itself is gone.
        before, self._seen = self._seen, now
        found = [("REMOVE", path) for path in before if path not in now]
        for path, one in now.items():
            old = before.get(path)
            if old is None:
                found.append(("CREATE", path))
            elif old.mode != one.mode:
                found.append(("CHMOD", path))
            has_changed = old is None or _content(old) != _content(one)
            if one.kind == "file" and has_changed and (old is not None or one.size_bytes):
                found.append(("WRITE", path))
        return [await self._event(kind, path, told) for kind, path in found[:EVENTS_MOST]]

    async def _event(self, kind: str, path: str, told: Told) -> Event:
        event: Event = {
            "name": posixpath.relpath(path, self._path),
            "type": f"EVENT_TYPE_{kind}",
        }
        if self._with_entries and kind != "REMOVE":
            with suppress(FileRefused):  # It is gone by now: then an event has no entry.
                event["entry"] = await entry_at(self._session, path, told)
        return event


def _content(one: FileStat) -> tuple[float, int]:
    return one.modified_at, one.size_bytes


class Watchers:
    """The watchers of a sandbox that are asked for events by their id."""

    def __init__(self) -> None:
        self._all: dict[str, Watcher] = {}

    async def add(self, watcher: Watcher) -> str:
        """Begin to watch; the id. Raises RequestError, FileRefused."""
        if len(self._all) >= WATCHERS_MOST:
            raise RequestError("conflict", f"A sandbox may have {WATCHERS_MOST} watchers.")
        watcher_id = secrets.token_hex(8)
        self._all[watcher_id] = watcher
        try:
            await watcher.begin()
        except BaseException:
            del self._all[watcher_id]
            raise
        return watcher_id

    def find(self, watcher_id: str) -> Watcher:
        """The watcher of that id. Raises RequestError."""
        found = self._all.get(watcher_id)
        if found is None:
            raise RequestError("not_found", f"Watcher {watcher_id[:100]!r} was not found.")
        return found

    def remove(self, watcher_id: str) -> None:
        """Watch no more. Raises RequestError."""
        self.find(watcher_id)
        del self._all[watcher_id]

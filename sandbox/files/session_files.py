"""The files of a session, by the paths that its code has for them.

They lie in the workspace, in `/tmp` with the home directory in it, and in shared memory: all that
a session may write to, but for mounts of the user's own. Code that was written for another place
saves to `/tmp`, or to its home. What is left there is told as an artifact too, by its absolute
path; names that libraries use for scratch are left out of what is told.
"""

import dataclasses
import fnmatch
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sandbox.errors import FileRefused, NoRoomForFile
from sandbox.files.file_streams import FileReader, FileWriter
from sandbox.files.file_trees import FileStat
from sandbox.files.pace import Pace
from sandbox.files.workspace import Listing, Workspace
from sandbox.outcome import Artifact
from sandbox.processes.worker import Worker
from sandbox.protocol.plan import (
    HOME_ALIAS,
    SHARED_MEMORY,
    TEMPORARY,
    WORKSPACE,
    WORKSPACE_ALIAS,
)

TOLD_AS = "/tmp/"
TEMPORARY_ROOTS = ("/tmp", "/var/tmp", TEMPORARY)
HOME = "home"
"""The home directory, in `/tmp`."""
HIDDEN = ".*"
SCRATCH = (HIDDEN, "tmp????????*", "pymp-*", "joblib_memmapping_folder_*", "*.lock")
"""Patterns of names in `/tmp` that are no results."""


class SessionFiles:
    """Takes a path to the directory that it lies in."""

    def __init__(self, worker: Worker, places: list[Workspace]) -> None:
        self.workspace, self.temporary = places[:2]
        self._places = places
        self._disk = worker.disk
        self._is_capped = worker.plan.asks_for("mount_namespace")
        self._most_bytes = worker.plan.workspace_bytes
        self._most_files = worker.plan.workspace_files
        self._has_home = not worker.plan.shows_below(HOME_ALIAS)
        self._roots: list[tuple[str, Workspace, str]] = []
        """Made when the first path is looked up."""

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """The files of the session that `worker` is."""
        plan = worker.plan
        places = [
            Workspace(
                os.dup(fd),
                owner=plan.session_host_id(worker.identity),
                bytes_cap=plan.workspace_bytes,
                files_cap=plan.workspace_files,
                inner=inner,
            )
            for fd, inner in zip(worker.disk.directories, ("", HOME, ""), strict=False)
        ]
        return cls(worker, places)

    def note_fresh(self) -> None:
        """Take it that there is nothing: no snippet has run."""
        self.temporary.note_bare()

    @property
    def lasting(self) -> list[Workspace]:
        """Where files outlive the process of the session: its workspace, and `/tmp`."""
        return self._places[:2]

    @property
    def is_open(self) -> bool:
        return self.workspace.is_open

    def put(self, path: str, data: bytes) -> None:
        """Write the file `path`, making directories on the way. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            files.put(rest, data)

    async def put_apart(self, path: str, data: bytes) -> None:
        """Put as `put` does; in a thread where it is much, and only what the disk has room for."""
        with _told_as(path):
            files, rest = self._place(path)
            room = await self._room_bytes()
            if room is not None and len(data) > room:
                raise NoRoomForFile(path, f"{len(data)} bytes, and there is room for {room}")
            await files.put_apart(rest, data)

    async def begin(self, path: str) -> FileWriter:
        """A writer of the file `path`. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            return files.begin(rest, await self._room_bytes())

    async def get_apart(self, path: str) -> bytes:
        """The bytes of the regular file `path`; in a thread where it is much."""
        with _told_as(path):
            files, rest = self._place(path)
            return await files.get_apart(rest)

    def open(self, path: str) -> FileReader:
        """A reader of the regular file `path`. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            return files.open(rest)

    async def remove_apart(self, path: str, *, recursive: bool) -> None:
        """Remove the file `path`; nothing if it is not there. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            if recursive:
                await files.apart(lambda own: own.remove(rest, recursive=True))
            else:
                files.remove(rest)

    def mkdir(self, path: str, *, exist_ok: bool) -> None:
        """Make the directory `path` and those above it. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            files.mkdir(rest, exist_ok=exist_ok)

    def stat(self, path: str) -> FileStat:
        """What is at `path`. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            return dataclasses.replace(files.stat(rest), path=path)

    async def entries_apart(self, path: str) -> list[FileStat]:
        """What is in the directory `path`, by name. Raises FileRefused."""
        with _told_as(path):
            files, rest = self._place(path)
            return await files.apart(lambda own: _told_entries(own, rest, path))

    async def files_below(self, path: str) -> list[str]:
        """Every regular file below the directory `path`, which their paths begin with."""
        with _told_as(path):
            files, rest = self._place(path)
            below = files.below(rest)
            try:
                root = _root_of(path)
                return [root + found for found in await below.list_apart()]
            finally:
                below.close()

    def describe(self, path: str, change: str) -> Artifact | None:
        """The file as an artifact; None if it is gone or no regular file any more."""
        files, rest = self._place(path)
        found = files.describe(rest, change)
        if found is None or rest == path:
            return found
        # Made anew: a copy would not check the name, of which not all need be UTF-8.
        return Artifact(**{**found.model_dump(), "path": path})

    def listing(self) -> Listing:
        """Every regular file by its path: of the workspace, then those left in `/tmp`."""
        return {**self.workspace.listing(), **self.outside()}

    async def list_apart(self) -> Listing:
        """As `listing`; in threads where there are many."""
        outside = self.temporary.list_if_few(_is_scratch)
        if outside is None:
            outside = await self.temporary.list_apart(_is_scratch)
        inside = self.workspace.list_if_few()
        if inside is None:
            inside = await self.workspace.list_apart()
        return {**inside, **_with_root(outside)} if outside else inside

    def outside(self) -> Listing:
        """Every regular file that was left in `/tmp`, by its absolute path."""
        return _with_root(self.temporary.listing(_is_scratch))

    async def outside_apart(self) -> Listing:
        """As `outside`; in a thread where there are many."""
        return _with_root(await self.temporary.list_apart(_is_scratch))

    @staticmethod
    def outside_of(listing: Listing) -> Listing:
        """What a listing says of files that were left in `/tmp`."""
        return {path: stamp for path, stamp in listing.items() if path.startswith(TOLD_AS)}

    def close(self) -> None:
        """Give the descriptors back."""
        for files in self._places:
            files.close()

    async def room(self) -> tuple[int, int]:
        """Bytes and files that fit into `/tmp`, which has the home directory in it."""
        left = await self._room_bytes()
        if left is None:
            return self.temporary.free()
        return left, left * self._most_files // self._most_bytes

    async def _room_bytes(self) -> int | None:
        """Bytes that fit on the session's disk; None where its file systems say so themselves."""
        if self._is_capped:
            return None
        return max(0, self._most_bytes - await self._disk.directory_bytes())

    def _place(self, path: str) -> tuple[Workspace, str]:
        if not self._roots:
            self._roots = _roots(self._disk.path, self._places, has_home=self._has_home)
        if isinstance(path, str):
            for root, files, below in self._roots:
                if path == root or path.startswith(root + "/"):
                    rest = path[len(root) + 1 :] or "."
                    return files, posixpath.join(below, rest) if below else rest
        return self.workspace, path


def _roots(
    disk: str, places: list[Workspace], *, has_home: bool
) -> list[tuple[str, Workspace, str]]:
    """Absolute directories, where each is, and what of it lies below; the longest names first."""
    workspace, temporary = places[:2]
    roots = [(root, workspace, "") for root in (WORKSPACE, WORKSPACE_ALIAS)]
    roots += [(root, temporary, "") for root in TEMPORARY_ROOTS]
    if has_home:
        roots.append((HOME_ALIAS, temporary, HOME))
    roots += [(SHARED_MEMORY, files, "") for files in places[2:]]
    if disk:
        # Without a mount namespace code sees them where the host has them.
        roots += [(f"{disk}/workspace", workspace, ""), (f"{disk}/tmp", temporary, "")]
    return sorted(roots, key=lambda row: len(row[0]), reverse=True)


@contextmanager
def _told_as(path: str) -> Iterator[None]:
    """Have a refusal name the file as the caller did."""
    try:
        yield
    except FileRefused as error:
        raise error.of(path) from error.__cause__


def _root_of(directory: str) -> str:
    """What names in `directory` begin with as a caller writes them; the workspace is not said."""
    clean = posixpath.normpath(directory)
    return "" if clean == "." else posixpath.join(clean, "")


def _told_entries(files: Workspace, rest: str, path: str) -> list[FileStat]:
    """What is in the directory `rest`, as in `path`; in a thread."""
    pace, root = Pace(), _root_of(path)
    found: list[FileStat] = []
    for one in files.entries(rest, pace):
        found.append(dataclasses.replace(one, path=root + one.path))
        pace()
    return found


def _is_scratch(path: str) -> bool:
    directory, _, name = path.rpartition("/")
    patterns = SCRATCH if not directory else (HIDDEN,) if directory == HOME else ()
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _with_root(listing: Listing) -> Listing:
    return {TOLD_AS + path: stamp for path, stamp in listing.items()}

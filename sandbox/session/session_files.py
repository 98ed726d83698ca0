"""The files of a session: those of its workspace, and those that it leaves in `/tmp`.

Code that was written for another place saves to `/tmp`. It lies on the session's own disk too, so
what is saved there is told as an artifact and can be fetched, by its absolute path. Names that
libraries use for scratch are left out of what is told.
"""

import fnmatch
import os
from typing import Self

from sandbox.outcome import Artifact
from sandbox.processes.worker import Worker
from sandbox.protocol.plan import TEMPORARY
from sandbox.session.workspace import Listing, Workspace

TOLD_AS = "/tmp/"
ROOTS = (TOLD_AS, TEMPORARY + "/")
SCRATCH = ("home", ".*", "tmp????????*", "pymp-*", "joblib_memmapping_folder_*", "*.lock")
"""Patterns of names in `/tmp` that are no results."""


class SessionFiles:
    """Takes a path to the directory that it lies in."""

    def __init__(self, workspace: Workspace, temporary: Workspace) -> None:
        self.workspace = workspace
        self._temporary = temporary

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """The files of the session that `worker` is."""
        plan = worker.plan
        workspace, temporary = (
            Workspace(
                os.dup(fd),
                owner=plan.session_host_id(worker.identity),
                bytes_cap=plan.workspace_bytes,
                files_cap=plan.workspace_files,
            )
            for fd in worker.disk.directories[:2]
        )
        return cls(workspace, temporary)

    @property
    def is_open(self) -> bool:
        return self.workspace.is_open

    def put(self, path: str, data: bytes) -> None:
        """Write the file `path`, making directories on the way. Raises FileRefused."""
        files, rest = self._place(path)
        files.put(rest, data)

    def get(self, path: str) -> bytes:
        """The bytes of the regular file `path`. Raises FileRefused."""
        files, rest = self._place(path)
        return files.get(rest)

    async def put_apart(self, path: str, data: bytes) -> None:
        """As `put`; in a thread where it is much."""
        files, rest = self._place(path)
        await files.put_apart(rest, data)

    async def get_apart(self, path: str) -> bytes:
        """As `get`; in a thread where it is much."""
        files, rest = self._place(path)
        return await files.get_apart(rest)

    def remove(self, path: str) -> None:
        """Remove the file `path`; nothing if it is not there. Raises FileRefused."""
        files, rest = self._place(path)
        files.remove(rest)

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
        outside = await self._temporary.list_apart(_is_scratch)
        return {**await self.workspace.list_apart(), **_with_root(outside)}

    def outside(self) -> Listing:
        """Every regular file that was left in `/tmp`, by its absolute path."""
        return _with_root(self._temporary.listing(_is_scratch))

    @staticmethod
    def outside_of(listing: Listing) -> Listing:
        """What a listing says of files that were left in `/tmp`."""
        return {path: stamp for path, stamp in listing.items() if path.startswith(TOLD_AS)}

    def close(self) -> None:
        """Give the descriptors back."""
        self.workspace.close()
        self._temporary.close()

    def _place(self, path: str) -> tuple[Workspace, str]:
        for root in ROOTS:
            if path.startswith(root):
                return self._temporary, path[len(root) :]
        return self.workspace, path


def _is_scratch(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in SCRATCH)


def _with_root(listing: Listing) -> Listing:
    return {TOLD_AS + path: stamp for path, stamp in listing.items()}

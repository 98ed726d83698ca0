"""Copies of a workspace's files, for policies that take the files back with the variables.

Contents are kept once, in one unlinked file of the host's temporary directory that ends with the
session. Regular files come back; links, FIFOs and empty directories are left as they are.
"""

import os
import tempfile
from typing import NamedTuple

from sandbox.errors import FileRefused
from sandbox.files.pace import Pace
from sandbox.files.workspace import Listing, Stamp, Workspace


class _Blob(NamedTuple):
    offset: int
    size: int


class Snapshot(NamedTuple):
    """The files of one moment, by path; a file that could not be read is not in it."""

    blobs: dict[str, _Blob]


class FileSnapshots:
    """Takes and restores snapshots of one workspace, in a thread."""

    def __init__(self, files: Workspace) -> None:
        self._files = files
        self._fd = -1
        self._end = 0
        self._known: dict[tuple[str, Stamp], _Blob] = {}

    def take(self) -> Snapshot:
        """The files as they are now; only what changed since the last time is copied."""
        blobs: dict[str, _Blob] = {}
        known: dict[tuple[str, Stamp], _Blob] = {}
        pace = Pace()
        for path, stamp in self._files.listing(pace=pace).items():
            pace()
            blob = self._known.get((path, stamp)) or self._copy(path)
            if blob is not None:
                blobs[path] = known[path, stamp] = blob
        self._known = known
        return Snapshot(blobs)

    def restore(self, snapshot: Snapshot) -> Listing:
        """Make the files what they were at `snapshot`; gives back the listing that results."""
        pace = Pace()
        now = self._files.listing(pace=pace)
        for path in now:
            pace()
            if path not in snapshot.blobs:
                self._files.remove(path)
        for path, blob in snapshot.blobs.items():
            pace()
            stamp = now.get(path)
            if stamp is None or self._known.get((path, stamp)) != blob:
                self._files.put(path, os.pread(self._fd, blob.size, blob.offset))
        after = self._files.listing(pace=pace)
        self._known = {
            (path, stamp): snapshot.blobs[path]
            for path, stamp in after.items()
            if path in snapshot.blobs
        }
        return after

    def move_to(self, files: Workspace) -> None:
        """Restore to `files` from now on, another workspace."""
        self._files = files
        self._known = {}

    def close(self) -> None:
        """Give back the disk space."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _copy(self, path: str) -> _Blob | None:
        try:
            data = self._files.get(path)
        except FileRefused:
            return None  # Closed by the guest, or gone since it was listed.
        if self._fd < 0:
            directory = tempfile.gettempdir()
            self._fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        blob = _Blob(self._end, len(data))
        written = 0
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], blob.offset + written)
        self._end += len(data)
        return blob

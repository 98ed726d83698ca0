"""Looks at directories of a session, makes them and removes them, by descriptors alone.

The caller acts as the guest's id already. Everything here raises OSError as the kernel gave it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sandbox.files.beneath import DIRECTORY, open_beneath, open_made, open_parts
from sandbox.files.pace import NO_PACE, Pace, in_order
from sandbox.protocol import trees

FileKind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStat:
    """What is at a path of a session: itself, not what a link leads to."""

    path: str
    kind: FileKind
    """`other` is a FIFO or a socket."""
    size_bytes: int
    mode: int
    """Permission bits, such as 0o644."""
    modified_at: float
    """Seconds since the epoch; the guest may have set it."""


def stat_of(directory_fd: int, parts: list[str], path: str) -> FileStat:
    """What is at `parts` below a directory, as of `path`."""
    fd = open_parts(directory_fd, parts, os.O_PATH)
    try:
        return _as_stat(path, os.fstat(fd))
    finally:
        os.close(fd)


def entries(directory_fd: int, most: int, names_bytes: int, pace: Pace = NO_PACE) -> list[FileStat]:
    """What is in a directory, sorted: at most so many, with names of so many bytes together."""
    found: dict[str, FileStat] = {}
    for entry in _entries(directory_fd, most, names_bytes):
        found[entry.path] = entry
        pace()
    return [found[name] for name in in_order(found, pace)]


def make(directory_fd: int, parts: list[str], *, exist_ok: bool) -> None:
    """Make the directory `parts`, with those above it."""
    if not exist_ok:
        if not parts:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        above = open_made(directory_fd, parts[:-1])
        try:
            os.mkdir(parts[-1], 0o755, dir_fd=above)
        finally:
            os.close(above)
        return
    try:
        os.close(open_made(directory_fd, parts))
    except NotADirectoryError:
        if parts and stat_of(directory_fd, parts, "").kind != "directory":
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        raise


def remove(name: str, parent_fd: int, most: int, *, recursive: bool) -> None:
    """Remove `name` of a directory, if it is there; `most` names below it at once."""
    try:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return
        if not recursive:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        fd = open_beneath(parent_fd, name, DIRECTORY)
        try:
            trees.empty(fd, 2 * most)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return  # It was not there, or the guest was faster.


def _entries(directory_fd: int, most: int, names_bytes: int) -> Iterator[FileStat]:
    seen = named = 0
    with os.scandir(directory_fd) as found:
        for entry in found:
            seen += 1
            named += len(entry.name)
            if seen > most or named > names_bytes:
                return
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # Removed by the guest since it was listed.
            yield _as_stat(entry.name, status)


def _as_stat(path: str, status: os.stat_result) -> FileStat:
    return FileStat(
        path=path,
        kind=_kind(status.st_mode),
        size_bytes=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        modified_at=status.st_mtime,
    )


def _kind(mode: int) -> FileKind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"

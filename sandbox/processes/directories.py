"""Directories of sessions on the host's file systems, and what they hold.

Sessions that have no file system of their own get a directory below the temporary one. The host
and the launcher of its zygote hold a lock on it (flock(2)), which ends with the last of them. A
directory that can be locked alone is not in use any more, and the next start removes it.
"""

import asyncio
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from sandbox.protocol.plan import JailPlan
from sandbox.protocol.trees import hold, remove_tree

PREFIX = "cellblock-sessions-"
ADDED_UP_HERE = 200
"""So many files are added up on the loop; a thread takes longer to begin."""
BLOCK_BYTES = 512
"""Unit of `st_blocks`: stat(2)."""
MODE = 0o711
"""Sessions under other ids go through it to directories of their own."""


class OwnDirectory:
    """A fresh directory that this process holds until `remove`, in the temporary directory."""

    def __init__(self, prefix: str = PREFIX, within: str | None = None) -> None:
        while True:
            self.path = tempfile.mkdtemp(prefix=prefix, dir=within)
            self._fd = hold(self.path)
            # Between the two, a sweep may have taken it for one that is left.
            if self._fd >= 0 and os.fstat(self._fd).st_nlink:
                os.fchmod(self._fd, MODE)
                return
            self.close_in_child()

    def remove(self) -> None:
        """Remove it with all that is in it. Raises OSError where something stays."""
        try:
            remove_tree(self.path)
        finally:
            self.close_in_child()

    def close_in_child(self) -> None:
        """Let go of it: it stays until no process holds it and a start sweeps."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sweep(prefix: str = PREFIX) -> int:
    """Remove directories of this user whose host and launcher were killed; how many they were."""
    count = 0
    for path in _own(prefix):
        fd = _lock_alone(path)
        if fd < 0:
            continue
        try:
            remove_tree(path)
            count += 1
        except OSError:
            continue  # Processes that wrote there are on their way out: the next start has it.
        finally:
            os.close(fd)
    return count


def _own(prefix: str) -> Iterator[str]:
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # Another start was faster.
                if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                    yield entry.path


def _lock_alone(path: str) -> int:
    """A descriptor that holds the directory `path` alone; -1 if another process holds it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


class SessionDisk:
    """Where one session's files are, and how much of its share they take."""

    def __init__(self, plan: JailPlan, path: str) -> None:
        self._plan = plan
        self.path = path
        """The session's directory on the host where no file system of its own caps it; or ""."""
        self.directories: tuple[int, ...] = ()
        """Descriptors of the workspace and of the temporary file systems."""

    def temporary_bytes(self) -> int:
        """Bytes in the session's temporary file systems, where it has its own."""
        return sum(_used_bytes(fd) for fd in self._own_filesystems())

    async def directory_bytes(self) -> int:
        """Bytes on disk in the session's directory, where no file system of its own caps them.

        A file counts with at least its share of `workspace_bytes`, so that one bound holds for
        bytes and for files. Many files are added up in a thread.
        """
        if not self.path:
            return 0
        used = self._directory_bytes(ADDED_UP_HERE)
        if used is None:
            used = await asyncio.to_thread(self._directory_bytes, None)
        return used or 0

    def _directory_bytes(self, most: int | None) -> int | None:
        share = self._plan.workspace_bytes // self._plan.workspace_files
        return used_below(self.path, least_bytes=share, most=most)

    def used_bytes(self) -> int:
        """Bytes in the fullest file system that the guest may write to."""
        return max((_used_bytes(fd) for fd in self._own_filesystems()), default=0)

    def is_full(self) -> bool:
        """Whether not one more page fits into one of them."""
        return any(os.fstatvfs(fd).f_bfree == 0 for fd in self._own_filesystems())

    async def close(self) -> None:
        """Give the descriptors back and remove the directory; once is enough."""
        for fd in self.directories:
            os.close(fd)
        self.directories = ()
        if self.path:
            await asyncio.to_thread(remove_tree, self.path)

    def _own_filesystems(self) -> tuple[int, ...]:
        return self.directories if self._plan.asks_for("mount_namespace") else ()


def _used_bytes(fd: int) -> int:
    usage = os.fstatvfs(fd)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def used_below(directory: str, *, least_bytes: int, most: int | None = None) -> int | None:
    """Bytes that the files below `directory` take on disk, each at least `least_bytes`.

    As far as they can be listed: a file that was removed and is still open is not. None if there
    are more than `most` of them.
    """
    fd = _open_below(directory, None)
    if fd < 0:
        return 0
    seen: set[int] = set()
    total = count = 0
    levels: list[_Level] = []
    try:
        while True:
            level = _Level(_identity(fd), [])
            for name, status in _statuses(fd):
                count += 1
                if most is not None and count > most:
                    return None
                # Many names may lead to one file; each name is a file as far as numbers go.
                is_known = status.st_nlink > 1 and status.st_ino in seen
                total += max(least_bytes, 0 if is_known else status.st_blocks * BLOCK_BYTES)
                seen.add(status.st_ino)
                if stat.S_ISDIR(status.st_mode):
                    level.below.append(name)
            levels.append(level)
            following = _next_directory(fd, levels)
            if following < 0:
                return total
            os.close(fd)
            fd = following
    finally:
        os.close(fd)


class _Level(NamedTuple):
    """A directory that is being walked, and those in it that have not been."""

    identity: tuple[int, int]
    below: list[str]


def _next_directory(fd: int, levels: list[_Level]) -> int:
    """The directory to be walked after `fd`, the last of `levels`; -1 at the end.

    One descriptor is open at a time, however deep the tree is. The way up is `..`, and ends the
    walk where the guest has moved the directory meanwhile.
    """
    current = os.dup(fd)
    while levels:
        if not levels[-1].below:
            levels.pop()
            above = _open_below("..", current) if levels else -1
            os.close(current)
            if above < 0:
                return -1
            current = above
            if _identity(current) != levels[-1].identity:
                break
            continue
        below = _open_below(levels[-1].below.pop(), current)
        if below >= 0:
            os.close(current)
            return below
    os.close(current)
    return -1


def _statuses(fd: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except OSError:
                continue  # Removed since it was listed; the others count all the same.


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _open_below(name: str, parent: int | None) -> int:
    """The directory `name` of `parent`, which is opened through no link; -1 if it cannot be."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError:
        return -1

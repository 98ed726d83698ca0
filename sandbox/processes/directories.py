"""Directories of sessions on the host's file systems, and what they hold.

Sessions that have no file system of their own get a directory below the temporary one. The host
and the launcher of its zygote hold a lock on it (flock(2)), which ends with the last of them. A
directory that can be locked alone is not in use any more, and the next start removes it.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator

from sandbox.protocol.plan import JailPlan
from sandbox.protocol.trees import hold, remove_tree

PREFIX = "cellblock-sessions-"
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

    def directory_bytes(self) -> int:
        """Bytes on disk in the session's directory, where no file system of its own caps them.

        A file counts with at least its share of `workspace_bytes`, so that one bound holds for
        bytes and for files.
        """
        share = self._plan.workspace_bytes // self._plan.workspace_files
        return used_below(self.path, least_bytes=share) if self.path else 0

    def used_bytes(self) -> int:
        """Bytes in the fullest file system that the guest may write to."""
        return max((_used_bytes(fd) for fd in self._own_filesystems()), default=0)

    def is_full(self) -> bool:
        """Whether not one more page fits into one of them."""
        return any(os.fstatvfs(fd).f_bfree == 0 for fd in self._own_filesystems())

    def close(self) -> None:
        """Give the descriptors back and remove the directory; once is enough."""
        for fd in self.directories:
            os.close(fd)
        self.directories = ()
        if self.path:
            remove_tree(self.path)

    def _own_filesystems(self) -> tuple[int, ...]:
        return self.directories if self._plan.asks_for("mount_namespace") else ()


def _used_bytes(fd: int) -> int:
    usage = os.fstatvfs(fd)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def used_below(directory: str, *, least_bytes: int) -> int:
    """Bytes that the files below `directory` take on disk, each at least `least_bytes`.

    As far as they can be listed: a file that was removed and is still open is not.
    """
    total = 0
    seen: set[int] = set()
    waiting = [directory]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # Removed since it was listed; the others count all the same.
                    # Many names may lead to one file; each name is a file as far as numbers go.
                    is_known = status.st_nlink > 1 and status.st_ino in seen
                    total += max(least_bytes, 0 if is_known else status.st_blocks * BLOCK_BYTES)
                    seen.add(status.st_ino)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue  # Removed or closed since it was listed; or deeper than a path can say.
    return total

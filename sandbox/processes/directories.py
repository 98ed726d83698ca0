"""Directories below the temporary one, for sessions that have no file system of their own.

Who uses such a directory holds a lock on it (flock(2)), which ends with the last process that does:
the host and the launcher of its zygote. A directory that can be locked alone belongs to nobody any
more, and whoever starts next removes it.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator

from sandbox.protocol.trees import hold, remove_tree

PREFIX = "cellblock-sessions-"
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
        """Let go of it: it stays until nobody else holds it and someone sweeps."""
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
    """A descriptor that holds the directory `path` and nobody else does; -1 if somebody does."""
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

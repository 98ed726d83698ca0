"""Emulates chmod, chown and utime where the seccomp filter refuses them.

Where sessions share the uid of their user's other processes, Landlock would let a snippet change
the modes of all that this user owns: the filter refuses those calls. But a function that copies or
unpacks files sets modes and times at its end (shutil, zipfile, dbm). So for a file of the session's
own such a call passes without an effect, as on a file system that has no modes (mount(8), `quiet`
of vfat); for any other file it fails as before. This is a courtesy: the wall is the filter.
"""

import fcntl
import functools
import os
from collections.abc import Callable
from typing import Any

FORGIVEN = ("chmod", "fchmod", "chown", "fchown", "lchown", "utime")
SETS = (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks)
"""Where callers look up what a function of `os` can do."""


def forgive(directory: str) -> None:
    """Let the calls pass for files below `directory`, which is the session's own."""
    for name in FORGIVEN:
        refused = getattr(os, name)
        passing = _passing(refused, os.path.realpath(directory) + os.sep)
        setattr(os, name, passing)
        for known in SETS:
            if refused in known:
                known.add(passing)


def _passing(refused: Callable[..., None], own: str) -> Callable[..., None]:
    @functools.wraps(refused)
    def passing(path: Any, *arguments: Any, **options: Any) -> None:
        try:
            refused(path, *arguments, **options)
        except PermissionError:
            if not _is_own(path, own, options.get("dir_fd")):
                raise

    return passing


def _is_own(path: Any, own: str, dir_fd: int | None) -> bool:
    """Whether `path` is below the session's own directory. Raises OSError if it is nowhere."""
    if isinstance(path, int):
        # Landlock lets nothing else be opened for writing.
        return fcntl.fcntl(path, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if dir_fd is not None:
        return False
    name = os.fsdecode(path)
    os.lstat(name)
    return os.path.realpath(name).startswith(own)

"""A directory that a guest fills: held while it is in use; removed of any depth, with any names."""

import contextlib
import errno
import fcntl
import os


def hold(path: str) -> int:
    """A descriptor that marks the directory `path` as in use, until its last copy is closed.

    -1 if the directory is gone. Any number of processes may hold it: a shared lock, flock(2).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def remove_tree(path: str) -> None:
    """Remove the directory `path` and all beneath it, through no link; nothing if it is not there.

    Directories are moved up before they are emptied, so that neither the stack nor the number of
    descriptors grows with the depth. What cannot be removed stays, and `path` with it: OSError.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def empty(top: int, most: int | None = None) -> None:
    """Remove all beneath the directory `top`. Raises OSError for what cannot be removed.

    So it does after `most` names: processes may make new ones meanwhile.
    """
    moved = seen = 0
    unique = os.urandom(8).hex()  # A name that no guest has put in the way.
    while names := os.listdir(top):
        for name in names:
            seen += 1
            if most is not None and seen > most:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            if _removed(name, top):
                continue
            below = _open_directory(name, top)
            try:
                for child in os.listdir(below):
                    if not _removed(child, below):
                        moved += 1
                        _make_movable(child, below)
                        os.rename(child, f".{unique}-{moved}", src_dir_fd=below, dst_dir_fd=top)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=top)


def _removed(name: str, parent: int) -> bool:
    """Remove what is no directory, or an empty one, in as few calls as there can be.

    False for a directory with something in it. A guest may have left ten thousands of them.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
    return True


def _open_directory(name: str, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, flags, dir_fd=parent)
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, 0o700)
    return fd


def _make_movable(name: str, parent: int) -> None:
    """A directory that its owner may not write cannot be moved to another parent (rename(2))."""
    with contextlib.suppress(PermissionError):
        os.chmod(name, 0o700, dir_fd=parent)

"""Opens what lies beneath a directory descriptor, and says in types why something was refused.

No link is followed, no other file system entered, no step taken upwards: openat2(2). What a guest
swaps meanwhile changes which of its own files is met, and nothing else.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sandbox.errors import (
    FileIsDirectory,
    FileIsThere,
    FileNotDirectory,
    FileNotPermitted,
    FileNotThere,
    FileRefused,
    NoRoomForFile,
)
from sandbox.protocol.plan import WORKSPACE, WORKSPACE_ALIAS

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
OPENAT2 = 437
"""The number of openat2(2), the same on every architecture."""
DEPTH_CAP = 64
PATH_CAP_BYTES = 4000
"""A little less than PATH_MAX, which is 4096: limits.h(0p)."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

_libc = ctypes.CDLL(None, use_errno=True)


def parts_of(path: str, *, may_be_root: bool = False) -> list[str]:
    """The names of a relative path; a path below the workspace's own is accepted too.

    Raises FileRefused. Without names it is the directory itself, where that `may_be_root`.
    """
    check_path(path)
    for root in (WORKSPACE, WORKSPACE_ALIAS):
        if path == root or path.startswith(root + "/"):
            path = path[len(root) + 1 :] or "."
    if path.startswith("/"):
        raise FileNotPermitted(
            path,
            "it is outside of the places where a session keeps files",
            "Give a relative path, or one below /mnt/data, /tmp, /home/user or /dev/shm",
        )
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not (parts or may_be_root):
        raise FileNotPermitted(path, "it leads out of the workspace", "Give a path without ..")
    if len(parts) > DEPTH_CAP:
        raise FileRefused(path, f"it is more than {DEPTH_CAP} directories deep")
    return parts


def check_path(path: object) -> None:
    """Raise FileRefused for what is no text, or none that a path can be."""
    if not isinstance(path, str):
        kind = type(path).__name__
        raise FileRefused(str(path), f"it is of type {kind}, not str", "Give the path as a str")
    if not path or "\0" in path or not _is_encodable(path):
        remedy = "Give a name" if not path else "Give a text without NUL"
        raise FileRefused(path, "it is empty" if not path else "it is no file name", remedy)


def open_beneath(directory_fd: int, path: str, flags: int) -> int:
    """Open `path` below a directory, through no link and no mount. Source: openat2(2)."""
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | (0 if flags & os.O_PATH else os.O_NOCTTY)
    how = struct.pack("QQQ", flags, 0, RESOLVE)
    fd: int = _libc.syscall(
        ctypes.c_long(OPENAT2),
        ctypes.c_long(directory_fd),
        os.fsencode(path),
        how,
        ctypes.c_long(len(how)),
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def open_parts(directory_fd: int, parts: list[str], flags: int) -> int:
    """The file `parts`, opened in steps that are each short enough for the kernel."""
    fd = directory_fd
    try:
        while len(parts) > 1 and sum(map(_encoded_bytes, parts)) > PATH_CAP_BYTES:
            below = open_beneath(fd, parts[0], DIRECTORY)
            if fd != directory_fd:
                os.close(fd)
            fd, parts = below, parts[1:]
        return open_beneath(fd, "/".join(parts) or ".", flags)
    finally:
        if fd != directory_fd:
            os.close(fd)


def open_made(directory_fd: int, parts: list[str]) -> int:
    """The directory `parts`, made where it is missing, with those above it."""
    fd = os.open(".", DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    for name in parts:
        try:
            if not exists(name, fd):
                with suppress(FileExistsError):  # The guest was faster.
                    os.mkdir(name, 0o755, dir_fd=fd)
            below = open_beneath(fd, name, DIRECTORY)
        finally:
            os.close(fd)
        fd = below
    return fd


def exists(name: str, directory_fd: int) -> bool:
    """Whether the directory has `name`, also as a link to nothing."""
    try:
        os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def acting_as(owner: int | None) -> Iterator[None]:
    """Act on files with the ids of the guest, and no more rights than it has.

    Only this thread is changed. The workspace's file system knows no other ids than those of
    its user namespace, so a file could not even be made as the host's root (EOVERFLOW).
    Source: setfsuid(2).
    """
    if owner is None:
        yield
        return
    _libc.setfsgid(owner)
    _libc.setfsuid(owner)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())


# ---- refusals -----------------------------------------------------------------------------------

_REFUSALS: dict[int, tuple[type[FileRefused], str]] = {
    errno.ENOENT: (FileNotThere, "there is no such file"),
    errno.ELOOP: (FileRefused, "it is a symbolic link or lies behind one"),
    errno.EXDEV: (FileNotPermitted, "it leads out of the workspace"),
    errno.EACCES: (FileNotPermitted, "the guest closed it to everybody else"),
    errno.EPERM: (FileNotPermitted, "the guest's id may not do that"),
    errno.EROFS: (FileNotPermitted, "it is read-only"),
    errno.ENXIO: (FileRefused, "it is a FIFO or a socket, not a regular file"),
    errno.ENOTDIR: (FileNotDirectory, "a part of the path is no directory"),
    errno.EISDIR: (FileIsDirectory, "it is a directory, not a regular file"),
    errno.ENOTEMPTY: (FileIsDirectory, "it is a directory that is not empty"),
    errno.EEXIST: (FileIsThere, "there is something of that name already"),
    errno.ENOSPC: (NoRoomForFile, "the workspace is full"),
    errno.EDQUOT: (NoRoomForFile, "the workspace is full"),
    errno.ENAMETOOLONG: (FileRefused, "its name is too long"),
}


def refusal(path: str, error: OSError) -> FileRefused:
    """What to raise for `error`, which the kernel gave for the file `path`."""
    kind, reason = _REFUSALS.get(error.errno or 0, (FileRefused, os.strerror(error.errno or 0)))
    return kind(path, reason)


def not_regular(path: str, mode: int) -> FileRefused:
    """What to raise for a file that is not of the kind that can be read."""
    if stat.S_ISDIR(mode):
        return FileIsDirectory(path, "it is a directory, not a regular file")
    if stat.S_ISFIFO(mode):
        return FileRefused(path, "it is a FIFO, not a regular file")
    if stat.S_ISSOCK(mode):
        return FileRefused(path, "it is a socket, not a regular file")
    return FileRefused(path, "it is a device, not a regular file")


def _encoded_bytes(name: str) -> int:
    return len(os.fsencode(name)) + 1


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False  # A surrogate that stands for no byte.
    return True

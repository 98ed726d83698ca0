"""What a tree of files has beside the content of its files: directories, links, modes and times.

Taken and put on by descriptors beneath the tree's own, as its files are. A link is text: where it
leads is looked at by the guest alone.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from sandbox.files.beneath import DIRECTORY, open_beneath, open_made, open_parts

MODE_BITS = 0o777
"""What of a mode is kept: no bit that lends rights."""


class Shape(NamedTuple):
    """Modes of directories by path, targets of links, and of files (mode, time in ns)."""

    directories: dict[str, int]
    links: dict[str, str]
    files: dict[str, tuple[int, int]]


def shape_of(
    root_fd: int, entries: Iterable[tuple[str, os.stat_result]], targets_bytes: int
) -> Shape:
    """The shape of `entries` below `root_fd`; links as long as their targets have that room."""
    shape = Shape({}, {}, {})
    own_device = os.fstat(root_fd).st_dev
    for path, status in entries:
        if status.st_dev != own_device:
            continue  # Where the jail has mounted something: an interpreter below /tmp.
        mode = status.st_mode & MODE_BITS
        if stat.S_ISDIR(status.st_mode):
            shape.directories[path] = mode
        elif stat.S_ISREG(status.st_mode):
            shape.files[path] = mode, status.st_mtime_ns
        elif stat.S_ISLNK(status.st_mode) and (targets_bytes := targets_bytes - status.st_size) > 0:
            with suppress(OSError):  # Removed by the guest since it was listed.
                shape.links[path] = _target(root_fd, path)
    return shape


def make_skeleton(root_fd: int, shape: Shape) -> None:
    """Make the directories and links that are not there yet. Raises OSError.

    Not where something is mounted: with the processes of the session before, its mounts are gone,
    and show as the directories that they were on.
    """
    for path in shape.directories:
        try:
            os.close(open_made(root_fd, path.split("/")))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    for path, target in shape.links.items():
        *above, name = path.split("/")
        parent = open_made(root_fd, above)
        try:
            with suppress(FileExistsError):
                os.symlink(target, name, dir_fd=parent)
        finally:
            os.close(parent)


def put_on(root_fd: int, shape: Shape) -> None:
    """Give files and directories their modes and times; what is not there is left out."""
    for path, (mode, changed_ns) in shape.files.items():
        _put_on(root_fd, path, mode, changed_ns)
    # The deepest first: one that cannot be searched any more would hide what is in it.
    for path in sorted(shape.directories, key=lambda path: -path.count("/")):
        _put_on(root_fd, path, shape.directories[path], None)


def _put_on(root_fd: int, path: str, mode: int, changed_ns: int | None) -> None:
    with suppress(OSError):
        fd = open_parts(root_fd, path.split("/"), os.O_RDONLY | os.O_NONBLOCK)
        try:
            if changed_ns is not None:
                os.utime(fd, ns=(changed_ns, changed_ns))
            os.fchmod(fd, mode)
        finally:
            os.close(fd)


def _target(root_fd: int, path: str) -> str:
    *above, name = path.split("/")
    parent = (
        open_parts(root_fd, above, DIRECTORY) if above else open_beneath(root_fd, ".", DIRECTORY)
    )
    try:
        return os.readlink(name, dir_fd=parent)
    finally:
        os.close(parent)

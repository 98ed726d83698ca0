"""Lays unpacked packages into a session: as the guest's id, by descriptors, within its disk."""

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from sandbox.errors import FileRefused, PackagesNotInstalled
from sandbox.files.workspace import Workspace
from sandbox.packages.installer import Installer, Pin
from sandbox.protocol.plan import OWN_PACKAGES

DIST_INFO = re.compile(r"([A-Za-z0-9._]+)-[^-/]+\.dist-info")


class _File(NamedTuple):
    path: str
    source: str
    size: int


def lay(
    files: Workspace,
    home: str,
    requirements: Sequence[str],
    installer: Installer,
    room: tuple[int, int],
) -> list[Pin]:
    """Resolve, fetch and lay `requirements` below `home`; what was laid.

    `room` is how many bytes and files the session's disk has room for. Raises
    PackagesNotInstalled, and then leaves nothing new.
    """
    pins = installer.missing(requirements)
    if not pins:
        return []
    with tempfile.TemporaryDirectory(prefix="cellblock-packages-") as directory:
        installer.unpack([str(pin) for pin in pins], directory)
        found = list(_files_of(directory))
        needed = sum(one.size for one in found)
        bytes_left, files_left = room
        if needed > bytes_left or len(found) > files_left:
            raise PackagesNotInstalled(
                requirements,
                "no_room",
                f"{needed} bytes in {len(found)} files, and the session's disk has room for"
                f" {bytes_left} in {files_left}",
                "Raise workspace_bytes and workspace_files, or make an environment",
            )
        below = f"{home}/{OWN_PACKAGES}"
        try:
            _remove_older(files, below, {one.path.split("/")[0] for one in found})
            for one in found:
                with open(one.source, "rb") as stream:
                    files.put(f"{below}/{one.path}", stream.read())
        except FileRefused as error:
            for one in found:
                files.remove(f"{below}/{one.path}")
            raise PackagesNotInstalled(requirements, "no_room", str(error)) from error
    return pins


def _files_of(directory: str) -> list[_File]:
    """Every regular file below `directory`, by its path from there."""
    found = []
    for root, _directories, names in os.walk(directory):
        for name in names:
            source = os.path.join(root, name)
            status = os.lstat(source)
            if stat.S_ISREG(status.st_mode):
                found.append(_File(os.path.relpath(source, directory), source, status.st_size))
    return sorted(found)


def _remove_older(files: Workspace, below: str, tops: set[str]) -> None:
    """Forget other versions of what is laid: a package has one version at a time."""
    laid = {_normal(match[1]) for top in tops if (match := DIST_INFO.fullmatch(top))}
    for entry in files.entries(below):
        match = DIST_INFO.fullmatch(entry.path)
        if match and _normal(match[1]) in laid and entry.path not in tops:
            files.remove(f"{below}/{entry.path}", recursive=True)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

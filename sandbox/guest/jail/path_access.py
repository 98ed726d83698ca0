"""Makes paths below root-only directories reachable for a session without privileges.

Without user namespaces a session of root's runs under an id of its own, which cannot enter a
directory such as `/root`, where root's interpreter may be. In a mount namespace of the zygote's
own, each such directory is covered by an empty one that holds the wanted paths and nothing else.
It hides more than it shows, but is no layer: nothing here is relied on to contain a guest.
"""

import os
import stat

from sandbox.guest.kernel import sysapi

COVER_BYTES = 1024 * 1024


def open_ways(paths: list[str]) -> None:
    """Make each of `paths` reachable for every id. Needs CAP_SYS_ADMIN only if one is not.

    Raises OSError where that is missing: then the interpreter must live elsewhere.
    """
    closed: dict[str, list[str]] = {}
    for path in paths:
        barrier = _first_closed(path)
        if barrier is not None:
            closed.setdefault(barrier, []).append(path)
    if not closed:
        return
    sysapi.unshare(sysapi.CLONE_NEWNS)
    sysapi.mount("", "/", None, sysapi.MS_REC | sysapi.MS_PRIVATE)
    for barrier, wanted in closed.items():
        _cover(barrier, wanted)


def _first_closed(path: str) -> str | None:
    """The highest directory above `path` that others may not enter; None if all are open."""
    parts = path.split("/")[1:-1]
    for end in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:end])
        if not os.stat(directory).st_mode & stat.S_IXOTH:
            return directory
    return None


def _cover(barrier: str, wanted: list[str]) -> None:
    trees = [
        (path, os.path.isdir(path), sysapi.clone_tree(path, recursive=True)) for path in wanted
    ]
    sysapi.mount(
        "cellblock",
        barrier,
        "tmpfs",
        sysapi.MS_NOSUID | sysapi.MS_NODEV,
        f"mode=0755,size={COVER_BYTES}",
    )
    for path, is_directory, fd in trees:
        os.makedirs(path if is_directory else os.path.dirname(path), mode=0o755, exist_ok=True)
        if not is_directory:
            os.mknod(path, stat.S_IFREG | 0o644)
        sysapi.attach_mount(fd, path)
        os.close(fd)

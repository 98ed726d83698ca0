"""Goes on with the files of a session whose process was lost, in a new process.

Variables end with the process; files lie on file systems that the host holds open. They are copied
when the session is next used: those of the workspace and of `/tmp`, with directories and links,
modes and times; what is neither file, directory nor link is left out.
"""

import asyncio
from collections.abc import Callable

from sandbox.files.file_snapshots import FileSnapshots, Snapshot
from sandbox.files.session_files import SessionFiles
from sandbox.files.tree_shapes import Shape
from sandbox.processes.supply import WorkerSource
from sandbox.session.live_session import LiveSession


async def renewed(
    lost: LiveSession, supply: WorkerSource, give_back: Callable[[LiveSession], None]
) -> LiveSession:
    """What goes on in the place of `lost`, which is given back. Raises SandboxError."""
    snapshots = [FileSnapshots(files) for files in lost.files.lasting]
    try:
        taken = await asyncio.to_thread(_take, snapshots, lost.files)
        give_back(lost)
        fresh = lost.continued(await supply.take())
        try:
            await asyncio.to_thread(_restore, snapshots, taken, fresh.files)
        except BaseException:
            give_back(fresh)
            fresh.forget_files()
            raise
        return fresh
    finally:
        lost.is_renewable = False
        give_back(lost)
        lost.forget_files()
        for one in snapshots:
            one.close()


def _take(snapshots: list[FileSnapshots], files: SessionFiles) -> list[tuple[Shape, Snapshot]]:
    pairs = zip(snapshots, files.lasting, strict=True)
    return [(place.shape(), one.take()) for one, place in pairs]


def _restore(
    snapshots: list[FileSnapshots], taken: list[tuple[Shape, Snapshot]], files: SessionFiles
) -> None:
    for one, (shape, snapshot), target in zip(snapshots, taken, files.lasting, strict=True):
        target.make_skeleton(shape)
        one.move_to(target)
        one.restore(snapshot)
        target.put_on(shape)

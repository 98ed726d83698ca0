"""Goes on with the files of a session whose process was lost, in a new process.

Variables end with the process; files lie on file systems that the host holds open. They are copied
when the session is next used: regular files, with their content, of the workspace and of `/tmp`.
"""

import asyncio
from collections.abc import Callable

from sandbox.files.file_snapshots import FileSnapshots, Snapshot
from sandbox.files.session_files import SessionFiles
from sandbox.processes.supply import WorkerSource
from sandbox.session.live_session import LiveSession


async def renewed(
    lost: LiveSession, supply: WorkerSource, give_back: Callable[[LiveSession], None]
) -> LiveSession:
    """What goes on in the place of `lost`, which is given back. Raises SandboxError."""
    snapshots = [FileSnapshots(files) for files in lost.files.lasting]
    try:
        taken = await asyncio.to_thread(_take, snapshots)
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


def _take(snapshots: list[FileSnapshots]) -> list[Snapshot]:
    return [one.take() for one in snapshots]


def _restore(snapshots: list[FileSnapshots], taken: list[Snapshot], files: SessionFiles) -> None:
    for one, snapshot, target in zip(snapshots, taken, files.lasting, strict=True):
        one.move_to(target)
        one.restore(snapshot)

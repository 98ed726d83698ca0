"""The processes of a session as the host sees them, and the memory that they take."""

from collections.abc import Iterable

import psutil

from sandbox import AsyncSession


def session_processes(session: AsyncSession) -> list[int]:
    """Host pids of the session's processes: init, the session process and what it started.

    Without a standby that has ended: until the next one it is kept as an entry of the kernel's.
    """
    assert session._live is not None
    init = session._live.worker.init.pid
    below = psutil.Process(init).children(recursive=True)
    return [init, *(child.pid for child in below if child.status() != psutil.STATUS_ZOMBIE)]


def memory_bytes(pids: Iterable[int]) -> int:
    """Proportional set sizes together: private memory, and a share of what is shared."""
    return sum(_row(f"/proc/{pid}/smaps_rollup", "Pss:") * 1024 for pid in pids)


def private_bytes(pids: Iterable[int]) -> int:
    """Memory that each of `pids` shares with no other process, together."""
    return sum(
        (_row(path, "Private_Clean:") + _row(path, "Private_Dirty:")) * 1024
        for path in (f"/proc/{pid}/smaps_rollup" for pid in pids)
    )


def _row(path: str, key: str) -> int:
    with open(path) as stream:
        for line in stream:
            if line.startswith(key):
                return int(line.split()[1])
    raise RuntimeError(f"{path} has no row {key}")

"""Counts the memory of a session apart from that of its copies.

A standby and checkpoints share every page with the session until one side changes it; then both
have one, and the cgroup is charged for both. What only copies hold is not the snippet's: a limit of
memory is for what the session has. So the kernel's limit is raised, before a snippet, by as much as
its copies can come to hold, which is what the session holds at that time, and the host compares
what is the session's own. The kernel's limit stays the wall: it holds whatever a guest says.
"""

import asyncio
import contextlib
from collections.abc import Collection
from typing import NamedTuple

from sandbox.processes.cgroup import SessionGroup
from sandbox.processes.worker import Worker

ROOM_FROM_BYTES = 32 * 1024 * 1024
"""A session that holds less is not worth the looks: the kernel's limit is the limit."""
GIVING_BACK_CHECKS = 10
GIVING_BACK_S = 0.02


class _Seen(NamedTuple):
    number: int
    """Its pid in the pid namespace that it lives in."""
    anonymous_bytes: int


async def make_room(
    worker: Worker, group: SessionGroup, allowed_bytes: int, copies: Collection[int] | None
) -> int:
    """Limit the memory of the session's group for a snippet that may have `allowed_bytes`.

    0, or what the session holds if that is more already. `copies` are pids of checkpoints; None if
    there are none and there will be no standby.
    """
    held = 0
    for _ in range(GIVING_BACK_CHECKS):
        room = 0
        if copies is not None and group.used_bytes() >= ROOM_FROM_BYTES:
            room = await asyncio.to_thread(group.held_bytes)
        if group.limit_memory(allowed_bytes + room):
            if room <= allowed_bytes:
                return 0
            held = await asyncio.to_thread(own_bytes, worker, group, copies or ())
            if held <= allowed_bytes:
                return 0
        # The standby of the snippet before may not have ended yet.
        await asyncio.sleep(GIVING_BACK_S)
    return held or group.held_bytes()


def own_bytes(worker: Worker, group: SessionGroup, copies: Collection[int]) -> int:
    """Memory of the session without what only its `copies` hold; pids as the session has them.

    The less of two bounds: what the group holds less the private pages of each copy, which are
    closed to a plain user; and what the session's processes have, where those that it forked
    count for themselves.
    """
    held, private, mapped = group.held_bytes(), 0, group.shared_bytes()
    inherited = 0
    init = _seen(worker.init.pid)
    if init is not None:
        inherited = init.anonymous_bytes
    for pid in group.pids():
        seen = _seen(pid)
        if seen is None or pid == worker.init.pid:
            continue
        if seen.number in copies:
            private += _private_bytes(pid)
        elif seen.number == worker.guest.pid:
            mapped += max(0, seen.anonymous_bytes - inherited)
        else:
            mapped += seen.anonymous_bytes
    return max(0, min(held - private, mapped))


def _seen(pid: int) -> _Seen | None:
    """What /proc shows of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as stream:
            lines = (line.partition(b":\t") for line in stream.read().split(b"\n")[1:])
    except (FileNotFoundError, ProcessLookupError):
        return None
    shown = {name: value.split() for name, _colon, value in lines}
    kib = sum(int(shown[name][0]) for name in (b"RssAnon", b"VmSwap") if name in shown)
    return _Seen(int(shown[b"NSpid"][-1]), kib * 1024)


def _private_bytes(pid: int) -> int:
    """What only this process holds; 0 where that is not shown to this user, or it has ended."""
    with contextlib.suppress(PermissionError, FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/smaps_rollup", "rb") as stream:
            rows = [line.split() for line in stream if line.startswith(b"Private_")]
        return sum(int(row[1]) for row in rows) * 1024
    return 0

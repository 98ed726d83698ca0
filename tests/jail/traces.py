"""What this process holds: descriptors, children, mounts, cgroups, files, open sessions."""

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox import Sandbox, blocking
from sandbox.processes import cgroup

RESTS_WITHIN_S = 10.0
LOOKS_EVERY_S = 0.001
OF_OTHER_TESTS = "/pytest-of-"
"""Where tests of other processes mount file systems of their own; sandboxes never do."""


class Traces(NamedTuple):
    """All that this process holds and a test could leave, by name and number."""

    descriptors: Counter[str]
    children: Counter[str]
    mounts: Counter[str]
    groups: Counter[str]
    files: Counter[str]
    sessions: Counter[str]

    def beyond(self, before: "Traces") -> dict[str, Counter[str]]:
        """What is here and was not there, by kind."""
        found = {kind: getattr(self, kind) - getattr(before, kind) for kind in self._fields}
        return {kind: more for kind, more in found.items() if more}


def bring_to_rest() -> None:
    """Wait until every open sandbox has its warm workers and has ended the used ones."""
    deadline = time.monotonic() + RESTS_WITHIN_S
    for box in list(blocking._open_boxes):
        box.__enter__()
        pool = box._box._supply.pool
        assert pool is not None
        while pool._tasks:
            assert time.monotonic() < deadline, "a sandbox does not come to rest"
            time.sleep(LOOKS_EVERY_S)


def traces(directory: Path, group_parents: Sequence[str]) -> Traces:
    """What this process holds now."""
    prefix = f"{cgroup.PREFIX}{os.getpid()}-"
    return Traces(
        descriptors=Counter(map(_kind_of, os.listdir("/proc/self/fd"))),
        children=Counter(map(_command_of, _children())),
        mounts=Counter(
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if OF_OTHER_TESTS not in line
        ),
        groups=Counter(
            f"{parent}/{name}"
            for parent in group_parents
            for name in os.listdir(parent)
            if name.startswith(prefix)
        ),
        files=Counter(os.listdir(directory)),
        sessions=Counter({"open": sum(map(_sessions_of, blocking._open_boxes))}),
    )


def _kind_of(fd: str) -> str:
    """What a descriptor is: its path, or its kind; the numbers of objects do not matter."""
    try:
        return re.sub(r"\d+", "N", os.readlink(f"/proc/self/fd/{fd}"))
    except FileNotFoundError:
        return "gone"  # The one that listed them.


def _children() -> list[int]:
    """Pids of the children of every thread: psutil would look at all processes of the machine."""
    tasks = Path("/proc/self/task")
    while True:
        try:
            return [
                int(word)
                for task in os.listdir(tasks)
                for word in (tasks / task / "children").read_text().split()
            ]
        except (FileNotFoundError, ProcessLookupError):
            continue  # A thread ended since they were listed: another has its children.


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    return f"{pid} {words.decode(errors='replace')[:80]}"


def _sessions_of(box: Sandbox) -> int:
    pool = box._box._supply.pool
    return pool.live if pool is not None else 0

"""Whether this process can put sessions into cgroups of their own, found by doing so.

Version 2 is taken where its controllers are there, in the own group or, when systemd has
delegated the one above (`DelegateSubgroup=`), in that; version 1 needs each controller writable.
"""

import errno
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from sandbox.guest.probe.trial import Refused, Trial, calling, expect, name_of, write

V1_CONTROLLERS = ("memory", "pids", "cpuacct")
V2_CONTROLLERS = ("memory", "pids", "cpu")
MEMORY_BYTES = 64 * 1024 * 1024
REMOVE_WITHIN_S = 1.0
FORKED = 255
"""Exit code that says: a fork over the limit went through. Any other but 0 is an errno."""


class Place(NamedTuple):
    """The group of this process in one hierarchy. `controller` is "all" for version 2."""

    version: int
    controller: str
    path: str
    top: str
    """Where the hierarchy is mounted."""


class Parents(NamedTuple):
    """Directories in which groups can be made, by controller."""

    version: int
    directories: dict[str, str]


def places(own: str, mounts: str) -> list[Place]:
    """Where this process is, from the texts of /proc/self/cgroup and /proc/self/mountinfo.

    A group that lies outside of what is mounted is left out. Source: cgroups(7), proc(5).
    """
    points = list(_mount_points(mounts))
    found = []
    for line in own.splitlines():
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            for kind, options, root, top in points:
                version = 1 if name else 2
                fits = kind == "cgroup2" if version == 2 else name in options
                relative = path.removeprefix(root.rstrip("/"))
                is_below = path == root or path.startswith(root.rstrip("/") + "/")
                if fits and is_below and not path.startswith("/.."):
                    found.append(Place(version, name or "all", (top + relative).rstrip("/"), top))
                    break
    return found


def _mount_points(mounts: str) -> Iterator[tuple[str, list[str], str, str]]:
    """Kind, controllers, root and mount point of every mounted hierarchy."""
    for line in mounts.splitlines():
        before, _dash, after = line.partition(" - ")
        kind, _source, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = before.split()
            yield kind, options.split(","), fields[3], fields[4]


def choose() -> Parents:
    """Where groups may be made. Raises Refused, which says what is in the way."""
    with open("/proc/self/cgroup") as own, open("/proc/self/mountinfo") as mounts:
        found = places(own.read(), mounts.read())
    if not found:
        raise Refused("find", "", "no hierarchy of cgroups is mounted")
    unified = [place for place in found if place.version == 2]
    if unified and set(V2_CONTROLLERS) <= _words(f"{unified[0].path}/cgroup.controllers"):
        return Parents(2, {"all": delegated(unified[0])})
    directories = {place.controller: place.path for place in found if place.version == 1}
    missing = [name for name in V1_CONTROLLERS if name not in directories]
    if missing:
        raise Refused("controllers", "", f"no controller {', '.join(missing)} is there")
    return Parents(1, {name: directories[name] for name in V1_CONTROLLERS})


def delegated(place: Place) -> str:
    """The own group, or the one above it if that was delegated to us."""
    above = os.path.dirname(place.path)
    for directory in (place.path, above) if _wasdelegated(above, place.top) else (place.path,):
        if set(V2_CONTROLLERS) <= _words(f"{directory}/cgroup.subtree_control"):
            return directory
    # A group with processes of its own cannot hand controllers to its children; so the engine
    # needs a group above its own. Source: cgroups(7), "no internal processes" rule.
    names = ", ".join(V2_CONTROLLERS)
    raise Refused("cgroup.subtree_control", "", f"cgroup.subtree_control has not all of {names}")


def _wasdelegated(directory: str, top: str) -> bool:
    """Whether `directory` is ours to manage: systemd says so, or it is a container's root."""
    try:
        if os.getxattr(directory, "user.delegate") == b"1":
            return True
    except OSError:
        # ENODATA: not marked, or no systemd at all.
        pass
    return directory == top and os.path.exists(f"{directory}/cgroup.type")


def try_cgroup(_trial: Trial) -> str:
    """Groups with a memory and a process limit, and a process in them that cannot fork."""
    parents = choose()
    # The host's sweep takes groups of this form away, should this process be killed.
    name = f"cellblock-{os.getppid()}-probe"
    groups = {key: f"{path}/{name}" for key, path in parents.directories.items()}
    try:
        for path in groups.values():
            with calling(f"mkdir in version {parents.version}"):
                os.mkdir(path)
        _limit(parents.version, groups)
        _fork_inside(parents.version, list(groups.values()))
    finally:
        for path in groups.values():
            _remove(path)
    names = V2_CONTROLLERS if parents.version == 2 else V1_CONTROLLERS
    return f"version {parents.version}, {', '.join(names)}; a fork over pids.max gave EAGAIN"


def _limit(version: int, groups: dict[str, str]) -> None:
    memory = groups["memory" if version == 1 else "all"]
    pids = groups["pids" if version == 1 else "all"]
    limit = f"{memory}/{'memory.limit_in_bytes' if version == 1 else 'memory.max'}"
    with calling(f"write({os.path.basename(limit)})"):
        write(limit, str(MEMORY_BYTES))
    with calling("write(pids.max)"):
        write(f"{pids}/pids.max", "1")
    kept = _words(limit)
    expect(kept == {str(MEMORY_BYTES)}, f"write({os.path.basename(limit)})", f"it reads {kept}")


def _fork_inside(version: int, groups: list[str]) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(_join_and_fork(version, groups))
    _pid, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, FORKED):
        name = name_of(code)
        call = f"join in version {version}"
        raise Refused(call, name, f"{call} gave {name}")
    expect(code == 0, "write(pids.max)", "a fork over it went through")


def _join_and_fork(version: int, groups: list[str]) -> int:
    try:
        for path in groups:
            write(f"{path}/{'tasks' if version == 1 else 'cgroup.procs'}", "0")
    except OSError as error:
        return error.errno or FORKED
    try:
        pid = os.fork()
    except OSError as error:
        return 0 if error.errno == errno.EAGAIN else FORKED
    if pid:
        os.waitpid(pid, 0)
    return FORKED


def _remove(path: str) -> None:
    """Remove a group; EBUSY for a moment after its last process was reaped."""
    deadline = time.monotonic() + REMOVE_WITHIN_S
    while os.path.isdir(path):
        try:
            os.rmdir(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def _words(path: str) -> set[str]:
    with calling(f"read({os.path.basename(path)})"), open(path) as stream:
        return set(stream.read().split())

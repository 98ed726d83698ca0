"""Cgroups of sessions: version 2 where delegated, version 1 where writable, else none.

One group per zygote and controller, `cellblock-<pid>-<token>`, with one child per session. The
names let a later process see which of them have no owner any more.
"""

import contextlib
import errno
import os
import secrets
import signal
import time
from collections.abc import Mapping
from typing import NamedTuple

from sandbox.protocol.plan import ENGINE_PROCESSES

V1_CONTROLLERS = ("memory", "pids", "cpuacct")
V2_CONTROLLERS = ("memory", "pids", "cpu")
PREFIX = "cellblock-"
REMOVE_WITHIN_S = 2.0
MOST_BYTES = 2**63
"""More than any group holds: the limit of a new one."""
LEFT_BYTES = 16 * 1024 * 1024
"""What the kernel may still hold for sessions that have ended: its own structures, for a while."""
NUMBER_BYTES = 64
TABLE_BYTES = 4096
"""Of a control file: what it says is no longer."""
COPYING = 1
"""A copy is made by a process that lives for a moment beside it."""


class CpuTime(NamedTuple):
    user_s: float
    system_s: float


class Files(NamedTuple):
    """Names of one version's files for what a session needs; None where it has none."""

    memory_limit: str
    swap_limit: str | None
    memory_used: str
    memory_peak: str
    oom_kills: str
    join: str


V1_FILES = Files(
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
    "tasks",
)
V2_FILES = Files(
    "memory.max",
    "memory.swap.max",
    "memory.current",
    "memory.peak",
    "memory.events",
    "cgroup.procs",
)


class Hierarchies(NamedTuple):
    """Where this process may make groups: a directory per controller."""

    version: int
    parents: Mapping[str, str]


def find() -> Hierarchies | None:
    """Writable cgroups of this process, found by making and removing one in each."""
    own = _own_paths()
    if "" in own:
        parent = _delegated(_mount_point("cgroup2"), own[""])
        if parent is not None:
            return Hierarchies(2, {"all": parent})
    parents = {}
    for name in V1_CONTROLLERS:
        if name not in own:
            return None
        parents[name] = f"/sys/fs/cgroup/{name}{own[name].rstrip('/')}"
        if not _can_make(parents[name]):
            return None
    return Hierarchies(1, parents)


def sweep(hierarchies: Hierarchies) -> int:
    """Remove groups whose host and launcher were both killed; how many were removed."""
    count = 0
    for parent in hierarchies.parents.values():
        for name in os.listdir(parent):
            pid = name.removeprefix(PREFIX).partition("-")[0]
            if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                # No waiting: what still runs in one goes with a later start.
                count += _remove_tree(f"{parent}/{name}", within_s=0)
    return count


class ZygoteGroups:
    """The groups of one zygote; each session gets a child of them."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self.hierarchies = hierarchies
        self.name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self.limits_swap: bool | None = None
        """Whether its groups can limit swap; None before the first was made."""
        self._directories = [f"{path}/{self.name}" for path in hierarchies.parents.values()]
        for directory in self._directories:
            os.mkdir(directory)
        if hierarchies.version == 2:
            _write(f"{self._directories[0]}/cgroup.subtree_control", "+memory +pids +cpu")

    @property
    def parents(self) -> list[str]:
        """The directories that hold the groups, in the order of the controllers."""
        return list(self.hierarchies.parents.values())

    def make(self, number: int, *, memory_bytes: int, processes: int) -> "SessionGroup":
        """A group for one session."""
        return SessionGroup(self, number, memory_bytes=memory_bytes, processes=processes)

    def make_kept(self, number: int, *, memory_bytes: int, processes: int) -> "KeptGroup":
        """A group for one session after the other."""
        return KeptGroup(self, number, memory_bytes=memory_bytes, processes=processes)

    def directory(self, controller: str) -> str:
        """The group of this zygote that `controller` governs."""
        names = list(self.hierarchies.parents)
        return self._directories[names.index(controller) if controller in names else 0]

    def remove(self) -> None:
        """Remove the groups; their processes must have ended."""
        for directory in self._directories:
            _remove_tree(directory)


class SessionGroup:
    """The cgroups of one session."""

    def __init__(
        self, zygote: ZygoteGroups, number: int, *, memory_bytes: int, processes: int
    ) -> None:
        self._files = V1_FILES if zygote.hierarchies.version == 1 else V2_FILES
        self._is_v1 = zygote.hierarchies.version == 1
        names = V1_CONTROLLERS if self._is_v1 else ("all",)
        self._paths = {name: f"{zygote.directory(name)}/s{number}" for name in names}
        for path in self._paths.values():
            os.mkdir(path)
        self._memory_bytes = MOST_BYTES
        if zygote.limits_swap is None:
            swap_limit = f"{self._path('memory')}/{self._files.swap_limit}"
            zygote.limits_swap = os.path.exists(swap_limit)
        self._limits_swap = zygote.limits_swap
        self._write_limits(memory_bytes)
        self._processes = processes
        self.make_room(0)
        size = NUMBER_BYTES if self._is_v1 else TABLE_BYTES
        self._usage = tuple(self._counter(*at, size=size) for at in self._usage_files())
        self._peak = self._counter("memory", self._files.memory_peak, os.O_RDWR)
        self._ooms = self._counter("memory", self._files.oom_kills, size=TABLE_BYTES)
        self._forks = self._counter("pids", "pids.events", size=TABLE_BYTES)
        self._count = self._counter("pids", "pids.current")
        self._used = self._counter("memory", self._files.memory_used)

    def get_ready(self) -> None:
        """Open what each snippet has counted, before there is one."""
        for counter in (*self._usage, self._peak, self._ooms, self._forks, self._count):
            counter.open()

    def join_fds(self) -> list[int]:
        """Descriptors to write "0" to, by the process that is to join. The caller closes them."""
        return [
            os.open(f"{path}/{self._files.join}", os.O_WRONLY | os.O_CLOEXEC)
            for path in self._paths.values()
        ]

    def limit_memory(self, memory_bytes: int) -> bool:
        """Cap the memory of the group, swap included, at `memory_bytes`.

        False, and the limit is what it was, if the group holds more than that already.
        """
        before = self._memory_bytes
        if memory_bytes == before:
            return True
        if not self._is_v1 and memory_bytes < before and self.held_bytes() > memory_bytes:
            return False  # Version 2 would end processes until it fits.
        try:
            self._write_limits(memory_bytes)
        except OSError as error:
            # Version 1, which has tried to give cached pages of files back.
            if error.errno != errno.EBUSY or memory_bytes >= before:
                raise
            self._write_limits(before)
            return False
        return True

    @property
    def memory_limit_bytes(self) -> int:
        return self._memory_bytes

    def used_bytes(self) -> int:
        """Memory in use, cached pages of the disk's files included."""
        return int(self._used.read())

    def held_bytes(self) -> int:
        """Memory in use that cannot be given back; without cached pages of the disk's files."""
        used = self.used_bytes()
        told = self._memory_told()
        cached = told.get("total_cache", 0) if self._is_v1 else told.get("file", 0)
        return used - max(0, cached - self._shared_bytes(told))

    def shared_bytes(self) -> int:
        """Memory of files in tmpfs and of shared mappings."""
        return self._shared_bytes(self._memory_told())

    def pids(self) -> list[int]:
        """Pids of its processes, as this process numbers them."""
        words = _read_words(f"{self._path('memory')}/cgroup.procs")
        return [int(word) for word in words if word != "0"]

    def _memory_told(self) -> dict[str, int]:
        return _fields(_read(f"{self._path('memory')}/memory.stat"))

    def _shared_bytes(self, told: dict[str, int]) -> int:
        return told.get("total_shmem" if self._is_v1 else "shmem", 0)

    def _write_limits(self, memory_bytes: int) -> None:
        memory = self._path("memory")
        limits = [(f"{memory}/{self._files.memory_limit}", memory_bytes)]
        if self._limits_swap:
            swap = f"{memory}/{self._files.swap_limit}"
            limits.append((swap, memory_bytes if self._is_v1 else 0))
        # Version 1 refuses a limit of memory above that of memory and swap at every moment.
        if self._is_v1 and memory_bytes > self._memory_bytes:
            limits.reverse()
        for path, value in limits:
            _write(path, str(value))
        self._memory_bytes = memory_bytes

    def make_room(self, copies: int) -> None:
        """Let `copies` parked processes live beside those of the snippet."""
        most = self._processes + ENGINE_PROCESSES + COPYING + copies
        _write(f"{self._path('pids')}/pids.max", str(most))

    def cpu(self) -> CpuTime:
        """CPU time that the group has used since it was made."""
        if self._is_v1:
            user, system = self._usage
            return CpuTime(int(user.read()) / 1e9, int(system.read()) / 1e9)
        fields = _fields(self._usage[0].read())
        return CpuTime(fields["user_usec"] / 1e6, fields["system_usec"] / 1e6)

    def start_peak(self) -> None:
        """Measure the peak anew from here on, where the kernel allows it."""
        try:
            self._peak.write(b"0")
        except OSError:
            # Version 2 before Linux 6.12: the peak is that of the session's whole life.
            return

    def peak_bytes(self) -> int:
        """Most memory in use at once since `start_peak`."""
        return int(self._peak.read())

    def oom_kills(self) -> int:
        """How many processes the kernel has killed because the group was at its limit."""
        return self._ooms.read_field(b"oom_kill")

    def forks_refused(self) -> int:
        """How often a fork failed because the group was at its limit."""
        return self._forks.read_field(b"max")

    def processes(self) -> int:
        """How many processes and threads are in the group."""
        return int(self._count.read())

    def close(self) -> None:
        """Close the descriptors, end what still runs in the group, and remove it."""
        with contextlib.suppress(OSError):  # The group may have been removed from outside.
            if self.processes():
                self._end_processes()
        counters = (*self._usage, self._peak, self._ooms, self._forks, self._count, self._used)
        for counter in counters:
            counter.close()
        for path in self._paths.values():
            _remove_tree(path)

    def _end_processes(self) -> None:
        """SIGKILL to all that is left: where init itself was killed, its children may be."""
        deadline = time.monotonic() + REMOVE_WITHIN_S
        listing = f"{self._path('pids')}/cgroup.procs"
        # A process of another pid namespace is listed as 0.
        while left := [word for word in _read_words(listing) if word != "0"]:
            for word in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(word), signal.SIGKILL)
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)

    def _usage_files(self) -> list[tuple[str, str]]:
        if self._is_v1:
            return [("cpuacct", "cpuacct.usage_user"), ("cpuacct", "cpuacct.usage_sys")]
        return [("cpu", "cpu.stat")]

    def _path(self, controller: str) -> str:
        return self._paths[controller if self._is_v1 else "all"]

    def _counter(
        self, controller: str, name: str, flags: int = os.O_RDONLY, size: int = NUMBER_BYTES
    ) -> "_Counter":
        return _Counter(f"{self._path(controller)}/{name}", flags, size)


class _Counter:
    """A control file that is read for every snippet: to open one costs five times a read of it.

    It stays open from the first use on, which some have in no session of a single snippet.
    """

    def __init__(self, path: str, flags: int, size: int) -> None:
        self._path = path
        self._flags = flags | os.O_CLOEXEC
        self._size = size
        self._fd = -1
        self._content = b""
        self._field = 0
        """What `read_field` found in that content: it hardly ever changes."""

    def open(self) -> int:
        """Its descriptor, which stays open."""
        if self._fd < 0:
            self._fd = os.open(self._path, self._flags)
        return self._fd

    def read(self) -> bytes:
        """What it says now."""
        return os.pread(self.open(), self._size, 0)

    def read_field(self, key: bytes) -> int:
        """The number in the row of `key`, the same one each time."""
        content = self.read()
        if content != self._content:
            self._content, self._field = content, _field(content, key)
        return self._field

    def write(self, value: bytes) -> None:
        os.write(self.open(), value)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class KeptGroup(SessionGroup):
    """The cgroups of one session after the other: none of them ends with a session."""

    def join_fds(self) -> list[int]:
        """None: what forks the sessions has those of `given_fds`."""
        return []

    def given_fds(self) -> list[int]:
        """As `SessionGroup.join_fds`, for what forks the sessions."""
        return super().join_fds()

    def close(self) -> None:
        """Keep all of it; `remove` is the end."""

    def remove(self) -> None:
        """Close and remove the groups, and end what is left in them."""
        super().close()

    def counts_anew(self) -> bool:
        """Whether the kernel can forget the highest use of memory: else one session's is told of
        those that come after it."""
        try:
            self._peak.write(b"0")
        except OSError:
            return False
        return True

    def is_empty(self) -> bool:
        """Whether nothing is in it: no process, and hardly any memory that was not given back."""
        return self.processes() == 0 and self.used_bytes() <= LEFT_BYTES


def _delegated(mount_point: str, own: str) -> str | None:
    """The nearest group at or above `own` that hands controllers on and that is ours to use.

    A group that holds processes cannot hand any on (cgroup v2, "no internal processes"), so it is
    most often the one above. Moving a process needs its `cgroup.procs` to be writable too.
    """
    path = mount_point + own.rstrip("/")
    while path.startswith(mount_point):
        offered = _read_words(f"{path}/cgroup.subtree_control")
        if (
            set(V2_CONTROLLERS) <= set(offered)
            and os.access(f"{path}/cgroup.procs", os.W_OK)
            and _can_make(path)
        ):
            return path
        path = path.rpartition("/")[0]
    return None


def _fields(content: bytes) -> dict[str, int]:
    rows = (line.split() for line in content.decode().splitlines())
    return {key: int(value) for key, value in rows}


def _field(content: bytes, key: bytes) -> int:
    """The number in the row of `key`; 0 where the kernel has no such row."""
    row = (b"\n" + content).partition(b"\n" + key + b" ")[2]
    return int(row.partition(b"\n")[0] or 0)


def _own_paths() -> dict[str, str]:
    """The group of this process by controller; "" stands for version 2."""
    paths = {}
    with open("/proc/self/cgroup") as stream:
        for line in stream:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            for name in controllers.split(","):
                paths[name] = path
    return paths


def _mount_point(kind: str) -> str:
    with open("/proc/self/mounts") as stream:
        for line in stream:
            _source, point, found, *_rest = line.split()
            if found == kind:
                return point
    return "/sys/fs/cgroup"


def _read_words(path: str) -> list[str]:
    try:
        with open(path, "rb", buffering=1 << 16) as stream:
            return stream.read().decode().split()
    except OSError:
        return []


def _can_make(parent: str) -> bool:
    trial = f"{parent}/{PREFIX}{os.getpid()}-try{secrets.token_hex(2)}"
    try:
        os.mkdir(trial)
        os.rmdir(trial)
    except OSError:
        return False
    return True


def _read(path: str) -> bytes:
    """The first page of a control file, which is all of it; `open` costs three times as much."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _remove_tree(directory: str, *, within_s: float = REMOVE_WITHIN_S) -> int:
    """Remove a group and its children; 1 if that is done, 0 if something still runs in it."""
    with contextlib.suppress(OSError):
        os.rmdir(directory)  # Most often that is all.
        return 1
    deadline = time.monotonic() + within_s
    while True:
        try:
            with os.scandir(directory) as entries:
                children = [entry.path for entry in entries if entry.is_dir()]
            for child in children:
                os.rmdir(child)
            os.rmdir(directory)
        except FileNotFoundError:
            return 0
        except OSError:
            # EBUSY for a moment after the last process of the group was reaped.
            if time.monotonic() >= deadline:
                return 0
            time.sleep(0.001)
        else:
            return 1

"""Cgroups of both versions over a made-up kernel: a directory tree that fills itself."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.processes import cgroup
from sandbox.processes.cgroup import CpuTime, Hierarchies, SessionGroup, ZygoteGroups

GiB = 1024**3
V1_FILES = {
    "memory": {
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.memsw.limit_in_bytes": "9223372036854771712",
        "memory.usage_in_bytes": "2048",
        "memory.max_usage_in_bytes": "4096",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "tasks": "",
    },
    "pids": {"pids.max": "max", "pids.events": "max 3\n", "pids.current": "5\n", "tasks": ""},
    "cpuacct": {
        "cpuacct.usage_user": "1500000000\n",
        "cpuacct.usage_sys": "250000000\n",
        "tasks": "",
    },
}
V2_FILES = {
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.current": "4096\n",
    "memory.stat": "anon 4096\nfile 0\nshmem 0\n",
    "memory.peak": "8192\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n",
    "pids.max": "max",
    "pids.events": "max 4\n",
    "pids.current": "6\n",
    "cpu.stat": "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n",
}


class FakeKernel:
    """Fills each new directory below `root` with a group's files, and removes them with it."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._mkdir, self._rmdir = os.mkdir, os.rmdir
        patch.setattr(os, "mkdir", self.mkdir)
        patch.setattr(os, "rmdir", self.rmdir)

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._mkdir(path, mode, dir_fd=dir_fd)
        controller = Path(path).relative_to(self.root).parts[0]
        for name, content in V1_FILES.get(controller, V2_FILES).items():
            (Path(path) / name).write_text(content)

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        if any(entry.is_dir() for entry in Path(path).iterdir()):
            raise OSError(16, "Device or resource busy")
        for entry in Path(path).iterdir():
            entry.unlink()
        self._rmdir(path, dir_fd=dir_fd)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, monkeypatch)


@pytest.fixture
def v1(tmp_path: Path, kernel: FakeKernel) -> ZygoteGroups:
    for name in cgroup.V1_CONTROLLERS:
        (tmp_path / name).mkdir()
    return ZygoteGroups(
        Hierarchies(1, {name: str(tmp_path / name) for name in cgroup.V1_CONTROLLERS})
    )


@pytest.fixture
def v2(tmp_path: Path, kernel: FakeKernel) -> ZygoteGroups:
    (tmp_path / "unified").mkdir()
    return ZygoteGroups(Hierarchies(2, {"all": str(tmp_path / "unified")}))


def content(groups: ZygoteGroups, controller: str, name: str) -> str:
    return (Path(groups.directory(controller)) / "s7" / name).read_text().rstrip("\0")


def groups_in(parent: Path) -> list[str]:
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir())


def session_of(groups: ZygoteGroups) -> SessionGroup:
    return groups.make(7, memory_bytes=GiB, processes=10)


def test_version_1_limits_memory_with_swap_and_counts_in_nanoseconds(v1: ZygoteGroups) -> None:
    group = session_of(v1)
    assert content(v1, "memory", "memory.limit_in_bytes").startswith(str(GiB))
    assert content(v1, "memory", "memory.memsw.limit_in_bytes").startswith(str(GiB))
    # The snippet's own ten, init, the standby, and the process that makes a copy.
    assert content(v1, "pids", "pids.max").startswith("13")
    assert group.cpu() == CpuTime(1.5, 0.25)
    assert (group.peak_bytes(), group.oom_kills(), group.forks_refused()) == (4096, 2, 3)
    assert group.processes() == 5
    group.close()


def test_version_2_forbids_swap_and_counts_in_microseconds(v2: ZygoteGroups) -> None:
    assert (Path(v2.directory("all")) / "cgroup.subtree_control").read_text() == (
        "+memory +pids +cpu"
    )
    group = session_of(v2)
    assert content(v2, "all", "memory.max").startswith(str(GiB))
    assert content(v2, "all", "memory.swap.max").startswith("0")
    assert group.cpu() == CpuTime(2.0, 1.0)
    assert (group.peak_bytes(), group.oom_kills(), group.forks_refused()) == (8192, 1, 4)
    group.close()


def test_version_1_is_never_asked_for_more_memory_than_memory_and_swap(
    v1: ZygoteGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = session_of(v1)
    written: list[tuple[str, int]] = []
    write: Callable[[str, str], None] = cgroup._write

    def record(path: str, value: str) -> None:
        written.append((os.path.basename(path), int(value)))
        write(path, value)

    monkeypatch.setattr(cgroup, "_write", record)
    memory, both = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    group.limit_memory(GiB // 2)
    group.limit_memory(GiB)
    assert written == [(memory, GiB // 2), (both, GiB // 2), (both, GiB), (memory, GiB)]
    group.close()


def test_version_2_is_not_asked_for_less_than_the_group_holds(v2: ZygoteGroups) -> None:
    group = session_of(v2)
    folder = Path(v2.directory("all")) / "s7"
    (folder / "memory.current").write_text(f"{GiB // 2 + 4096}\n")
    (folder / "memory.stat").write_text("file 8192\nshmem 4096\n")
    assert group.held_bytes() == GiB // 2
    assert group.limit_memory(GiB // 2 - 1) is False
    assert content(v2, "all", "memory.max").startswith(str(GiB))
    assert group.limit_memory(GiB // 2) is True
    assert content(v2, "all", "memory.max").startswith(str(GiB // 2))
    group.close()


def test_room_for_copies_is_added_to_the_limit_of_processes(v2: ZygoteGroups) -> None:
    group = session_of(v2)
    group.make_room(8)
    assert content(v2, "all", "pids.max").startswith("21")
    group.close()


def test_a_closed_group_leaves_neither_directory_nor_descriptor(v1: ZygoteGroups) -> None:
    before = len(os.listdir("/proc/self/fd"))
    group = session_of(v1)
    for fd in group.join_fds():
        os.close(fd)
    group.close()
    v1.remove()
    assert len(os.listdir("/proc/self/fd")) == before
    assert [group for parent in v1.parents for group in groups_in(Path(parent))] == []


def test_groups_of_dead_processes_are_swept_and_others_are_not(
    tmp_path: Path, kernel: FakeKernel
) -> None:
    (tmp_path / "unified").mkdir()
    found = Hierarchies(2, {"all": str(tmp_path / "unified")})
    names = [f"cellblock-{os.getpid()}-aa", "cellblock-99999999-bb", "cellblock-x-cc", "user.slice"]
    for name in names:
        os.mkdir(str(tmp_path / "unified" / name))
    os.mkdir(str(tmp_path / "unified" / names[1] / "s1"))
    assert cgroup.sweep(found) == 1
    assert groups_in(tmp_path / "unified") == sorted([names[0], *names[2:]])


def test_version_2_is_used_where_a_group_above_hands_its_controllers_on(
    tmp_path: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "user" / "app" / "leaf"
    own.mkdir(parents=True)
    (own.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (own.parent / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroup, "_own_paths", lambda: {"": "/user/app/leaf"})
    monkeypatch.setattr(cgroup, "_mount_point", lambda _kind: str(tmp_path))
    assert cgroup.find() == Hierarchies(2, {"all": str(own.parent)})


@pytest.mark.parametrize("offered", ["", "cpu memory", "memory pids io"])
def test_version_2_is_not_used_without_all_controllers(
    tmp_path: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, offered: str
) -> None:
    own = tmp_path / "app"
    own.mkdir()
    (own / "cgroup.subtree_control").write_text(offered)
    (own / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroup, "_own_paths", lambda: {"": "/app"})
    monkeypatch.setattr(cgroup, "_mount_point", lambda _kind: str(tmp_path))
    assert cgroup.find() is None


def test_without_any_controller_there_is_nothing_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_own_paths", dict)
    assert cgroup.find() is None

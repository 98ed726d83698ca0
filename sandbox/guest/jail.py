"""The ordered steps from fork to no way back.

Theory of operation
===================

A zygote is pid 1 of its own pid namespace, root of its own user namespace, and sees a read-only
root (`root.py`). Every session is one fork of it. The fork walks `SESSION_STEPS` from top to
bottom; the order is forced by what each step needs:

* The control groups come first: pages and processes are charged to where they are made.
* Mounts, interfaces and `/proc` are made while the process is still root of the zygote's user
  namespace. That namespace owns them. The session then enters a user namespace of its own,
  in which one id is mapped: even a guest that got all capabilities back *there* would own none
  of the mounts, interfaces or pid namespaces that hold it.
* The host id is taken on before the new user namespace, so that the process can write its own
  one-line map, which needs no privilege (user_namespaces(7)), and no second process.
* Limits, then capabilities, then no_new_privs: without it seccomp(2) and landlock_restrict_self(2)
  refuse a caller without CAP_SYS_ADMIN. Landlock before seccomp, whose table has no landlock call.

After the last step `verify` reads back what the kernel says, and only then is the session
process forked. A step that fails raises JailError with its name; the zygote's child reports it
and exits. Nothing is skipped: the plan lists what must hold.

Who kills whom: the end of the supervisor closes the zygote channel; the zygote exits; the kernel
kills every process of its pid namespace, all sessions with it. The end of a session is SIGKILL
to its init, pid 1 of the session's pid namespace, with the same effect one level down.
"""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.guest import landlock, seccomp, sysapi
from sandbox.protocol.plan import GUEST_ID, SHARED_MEMORY, TEMPORARY, WORKSPACE, JailPlan

HOME = "home"
SESSION_NAMESPACES = {
    "mount_namespace": sysapi.CLONE_NEWNS,
    "net_namespace": sysapi.CLONE_NEWNET,
    "ipc_namespace": sysapi.CLONE_NEWIPC,
    "uts_namespace": sysapi.CLONE_NEWUTS,
    "cgroup_namespace": sysapi.CLONE_NEWCGROUP,
}
MOUNT_ATTRIBUTES = sysapi.MOUNT_ATTR_NOSUID | sysapi.MOUNT_ATTR_NODEV
SIGNALS_QUEUED = 256
DETAIL_CAP = 2_000
BRANCHES_COUNTED = 16
LOCKED_BYTES = 64 * 1024
ABOVE_MOUNTS = ("/mnt", "/dev")
"""Directories below which sessions and branches mount what they may write. Rules are on these,
which are read-only: a branch mounts its own there, and a ruleset in force takes no more rules."""


class JailError(Exception):
    """A step of the jail failed: nothing may run in it."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(f"{step}: {detail}")
        self.step = step
        self.detail = detail[:DETAIL_CAP]


@contextmanager
def step(name: str) -> Iterator[None]:
    """Turn what goes wrong inside into a JailError that names the step."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise JailError(name, str(error)) from error


@dataclass
class Prepared:
    """What a zygote makes once, so that a session costs little."""

    seccomp_program: bytes
    init_program: bytes
    """The filter of init, which must be able to end processes whatever Landlock scopes."""
    rule_fds: list[int]
    """Descriptors that rules are made from; no session process may keep them."""
    ruleset: landlock.Ruleset | None
    """What every session may read; each adds what it may write."""
    steps: "tuple[Callable[[Entry], None], ...]"
    """See `steps_of`."""
    covered: tuple[str, ...]
    """Where the user has something below what each session mounts its own over."""
    ready_rules: int
    """The same with what sessions may write, as one of `rule_fds`; -1 where that differs."""
    data_bytes: int
    """Private memory that this process had mapped before any session: VmData."""


@dataclass
class Entry:
    """One session on its way into the jail."""

    plan: JailPlan
    prepared: Prepared
    number: int
    cgroup_fds: Sequence[int]
    workspace: str
    scratch: str
    """Where HOME and the temporary directory are; the parent of both in the reduced tiers."""
    directories: list[int] = field(default_factory=list)
    """Descriptors of the workspace, /tmp and /dev/shm, for the host."""
    proc_fd: int = -1
    """A listing of this pid namespace for init; the guest's own /proc hides processes."""


def confine_session_process(entry: Entry) -> int:
    """The last steps, for the session process alone: Landlock and the call filter.

    Init stays outside of both. It makes the namespaces of a branch, and without a pid namespace
    it reads the host's /proc to find what it is to kill; it runs no guest code. Returns the
    filter's listener for init, or -1.
    """
    listener = -1
    plan = entry.plan
    if plan.asks_for("landlock"):
        with step("restrict paths"):
            _restrict_paths(entry)
    if plan.asks_for("seccomp"):
        with step("filter calls"):
            listens = plan.tier == "namespaces"
            listener = seccomp.install(entry.prepared.seccomp_program, listen=listens)
    close_rule_fds(entry)
    with step("verify"):
        verify(plan, FINAL_LAYERS)
    return listener


def close_rule_fds(entry: Entry) -> None:
    """Close what rules were made from: paths of the zygote, its own /proc among them."""
    for fd in entry.prepared.rule_fds:
        os.close(fd)


def filter_init(entry: Entry) -> None:
    """Init's own filter, in the tier where it makes no namespaces."""
    if entry.plan.tier == "landlock" and entry.plan.asks_for("seccomp"):
        with step("filter calls"):
            seccomp.install(entry.prepared.init_program)


class SessionStep(NamedTuple):
    layer: str
    """The plan's layer that this step belongs to; "-name" where that layer is not asked for."""
    apply: Callable[[Entry], None]

    def applies_to(self, plan: JailPlan) -> bool:
        if self.layer.startswith("-"):
            return not plan.asks_for(self.layer[1:])
        return not self.layer or plan.asks_for(self.layer)


def steps_of(plan: JailPlan) -> tuple[Callable[[Entry], None], ...]:
    """What `enter` does for `plan`, in order."""
    return tuple(row.apply for row in SESSION_STEPS if row.applies_to(plan))


def enter(entry: Entry) -> None:
    """Put this process, and all that it will fork, into the jail. It cannot be undone.

    Called by the first process of a new pid namespace. Raises JailError.
    """
    for apply in entry.prepared.steps:
        try:
            apply(entry)
        except (OSError, ValueError) as error:
            name = apply.__name__.strip("_").replace("_", " ")
            raise JailError(name, str(error)) from error


def join_cgroups(entry: Entry) -> None:
    for fd in entry.cgroup_fds:
        # "0" to a file of *threads* moves the caller alone, without the global lock that makes
        # a write to cgroup.procs wait for an RCU grace period: 0.4 ms against 15 ms, measured.
        os.write(fd, b"0")
        os.close(fd)


def _unshare_namespaces(entry: Entry) -> None:
    flags = 0
    for layer, flag in SESSION_NAMESPACES.items():
        if entry.plan.asks_for(layer):
            flags |= flag
    if flags:
        sysapi.unshare(flags)


def _mount_workspace(entry: Entry) -> None:
    mount_own_filesystems(entry, _host_id(entry))
    owner = _host_id(entry)
    os.mkdir(HOME, mode=0o700, dir_fd=entry.directories[1])
    os.chown(HOME, owner, owner, dir_fd=entry.directories[1])


def mount_own_filesystems(entry: Entry, owner: int) -> None:
    """Fresh file systems for the workspace, /tmp and shared memory, over what is there."""
    plan = entry.plan
    covered = [
        (target, sysapi.clone_tree(target, recursive=True)) for target in entry.prepared.covered
    ]
    inodes = plan.workspace_files + 1
    for path, size, mode in (
        (WORKSPACE, plan.workspace_bytes, "0755"),
        (TEMPORARY, plan.workspace_bytes, "1777"),
        (SHARED_MEMORY, plan.shm_bytes, "1777"),
    ):
        options = f"size={size},nr_inodes={inodes},mode={mode},uid={owner},gid={owner}"
        sysapi.mount("tmpfs", path, "tmpfs", sysapi.MS_NOSUID | sysapi.MS_NODEV, options)
        entry.directories.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    for target, fd in covered:
        os.makedirs(target, exist_ok=True)
        sysapi.attach_mount(fd, target)
        os.close(fd)


def _open_workspace(entry: Entry) -> None:
    for path in (entry.workspace, entry.scratch):
        entry.directories.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def mount_proc(entry: Entry) -> None:
    attributes = MOUNT_ATTRIBUTES | sysapi.MS_NOEXEC
    listing = sysapi.new_filesystem("proc", [("subset", "pid")], attributes)
    # A mount that is attached nowhere cannot be opened by path; init lists it by descriptor.
    entry.proc_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=listing)
    os.close(listing)
    options = [("subset", "pid"), ("hidepid", "invisible")]
    fd = sysapi.new_filesystem("proc", options, attributes)
    sysapi.attach_mount(fd, "/proc")
    os.close(fd)


def _bring_loopback_up(entry: Entry) -> None:
    sysapi.bring_loopback_up()


def _take_host_id(entry: Entry) -> None:
    host_id = _host_id(entry)
    if host_id != os.getuid():
        os.setgroups([])
        sysapi.prctl(sysapi.PR_SET_KEEPCAPS, 1)
        os.setresgid(host_id, host_id, host_id)
        os.setresuid(host_id, host_id, host_id)


def _enter_user_namespace(entry: Entry) -> None:
    host_id = _host_id(entry)
    sysapi.unshare(sysapi.CLONE_NEWUSER)
    # A change of ids made this process undumpable, and its map files root's.
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 1)
    write_id_maps(host_id)


def write_id_maps(outside: int) -> None:
    """Map the guest's id to `outside`, the caller's own in the parent user namespace."""
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{GUEST_ID} {outside} 1"),
        ("gid_map", f"{GUEST_ID} {outside} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


def _enter_workspace(entry: Entry) -> None:
    os.chdir(entry.workspace)
    os.umask(0o022)


def _set_rlimits(entry: Entry) -> None:
    limits = entry.plan.rlimits
    if limits.data_bytes is not None:
        _cap(resource.RLIMIT_DATA, entry.prepared.data_bytes + limits.data_bytes)
    if limits.processes is not None:
        # The kernel counts branches to their origin too. Control groups count each by itself.
        share = BRANCHES_COUNTED if entry.cgroup_fds else 1
        _cap(resource.RLIMIT_NPROC, limits.processes * share)
    _cap(resource.RLIMIT_NOFILE, limits.open_files)
    _cap(resource.RLIMIT_FSIZE, limits.file_bytes)
    _cap(resource.RLIMIT_STACK, limits.stack_bytes)
    _cap(resource.RLIMIT_CORE, 0)
    _cap(resource.RLIMIT_MEMLOCK, LOCKED_BYTES)
    _cap(resource.RLIMIT_MSGQUEUE, 0)
    _cap(resource.RLIMIT_SIGPENDING, SIGNALS_QUEUED)
    _cap(resource.RLIMIT_NICE, 0)
    _cap(resource.RLIMIT_RTPRIO, 0)


def _cap(which: int, value: int) -> None:
    """Soft and hard alike, and never above what this process was given."""
    _soft, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _drop_capabilities(entry: Entry) -> None:
    sysapi.drop_capabilities()


def _forbid_new_privileges(entry: Entry) -> None:
    sysapi.prctl(sysapi.PR_SET_NO_NEW_PRIVS, 1)


def _become_undumpable(entry: Entry) -> None:
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)


def _restrict_paths(entry: Entry) -> None:
    prepared = entry.prepared
    assert prepared.ruleset is not None
    if prepared.ready_rules >= 0:
        landlock.put_on(prepared.ready_rules, prepared.ruleset.flags)
    else:
        writable = (entry.workspace, entry.scratch)
        prepared.ruleset.restrict([landlock.PathRule(path, "rw") for path in writable])


def _verify(entry: Entry) -> None:
    verify(entry.plan, FIRST_LAYERS)


SESSION_STEPS = (
    SessionStep("", join_cgroups),
    SessionStep("", _unshare_namespaces),
    SessionStep("mount_namespace", _mount_workspace),
    SessionStep("-mount_namespace", _open_workspace),
    SessionStep("pid_namespace", mount_proc),
    SessionStep("net_namespace", _bring_loopback_up),
    SessionStep("", _take_host_id),
    SessionStep("user_namespace", _enter_user_namespace),
    SessionStep("", _enter_workspace),
    SessionStep("rlimits", _set_rlimits),
    SessionStep("capabilities", _drop_capabilities),
    SessionStep("no_new_privs", _forbid_new_privileges),
    SessionStep("not_dumpable", _become_undumpable),
    SessionStep("", _verify),
)


FIRST_LAYERS: dict[str, Callable[[], bool]] = {
    "no_new_privs": lambda: sysapi.prctl(sysapi.PR_GET_NO_NEW_PRIVS) == 1,
    "not_dumpable": lambda: sysapi.prctl(sysapi.PR_GET_DUMPABLE) == 0,
    "capabilities": sysapi.holds_no_capability,
    "user_namespace": lambda: os.getresuid() == (GUEST_ID,) * 3,
    "pid_namespace": lambda: os.getpid() == 1,
}
FINAL_LAYERS: dict[str, Callable[[], bool]] = {
    "no_new_privs": lambda: sysapi.prctl(sysapi.PR_GET_NO_NEW_PRIVS) == 1,
    "not_dumpable": lambda: sysapi.prctl(sysapi.PR_GET_DUMPABLE) == 0,
    "seccomp": lambda: sysapi.prctl(sysapi.PR_GET_SECCOMP) == 2,
}


def verify(plan: JailPlan, facts: dict[str, Callable[[], bool]]) -> None:
    """Raise JailError unless the kernel confirms what can be asked of it."""
    for layer, holds in facts.items():
        if plan.asks_for(layer) and not holds():
            raise JailError("verify", f"{layer} does not hold")


def _host_id(entry: Entry) -> int:
    """The id, as this process's user namespace numbers it, that the session runs under."""
    host_id = entry.plan.session_host_id(entry.number)
    if host_id is None:
        return os.getuid()
    if entry.plan.tier == "namespaces":
        assert entry.plan.host_id_base is not None
        return host_id - entry.plan.host_id_base
    return host_id

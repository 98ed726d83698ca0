"""Puts a session into its jail: the ordered steps from fork to no way back.

Theory of operation
===================

A zygote is pid 1 of its own pid namespace, root of its own user namespace, and sees a read-only
root (`root.py`). Every session is one fork of it.

What is the same for every session is prepared in advance (`AHEAD_STEPS`): while the zygote waits
for the next `Spawn`, it is in the namespaces of the next session, with their mounts and interfaces.
They are made by root of the zygote's user namespace, which owns them. The session then enters a
user namespace of its own, in which one id is mapped: even a guest that got all capabilities back
*there* would own none of the mounts, interfaces or pid namespaces that hold it.

The fork is the session's init. It joins the cgroups, for pages and processes are charged
to where they are made, and forks the session process at once: each page that a process touches
after a fork is copied, and what init needs not do costs no page of it. Then it gives up all that
it may do (`INIT_STEPS`). The session process walks `SESSION_STEPS`; the order is forced by what
each step needs:

* The host id is taken on before the new user namespace, so that the process can write its own
  one-line map, which needs no privilege (user_namespaces(7)), and no second process. Init stays
  outside of that namespace, with the same id and without a capability, until a branch is made.
* Limits, then capabilities, then no_new_privs: without it seccomp(2) and landlock_restrict_self(2)
  refuse a caller without CAP_SYS_ADMIN. Landlock before seccomp, whose table has no landlock call.

Then the session process reads back what the kernel says of it (`verify`), and only then says that
it is ready. A step that fails raises JailError with its name; the process reports it and
exits. Nothing is skipped: the plan lists what must hold.

What kills what: the end of the host closes the zygote channel; the zygote exits; the kernel
kills every process of its pid namespace, all sessions with it. The end of a session is SIGKILL
to its init, pid 1 of the session's pid namespace, with the same effect one level down.
"""

import errno
import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.guest.jail import landlock, machine, seccomp
from sandbox.guest.jail.callrules import Rule
from sandbox.guest.kernel import sysapi
from sandbox.protocol.plan import GUEST_ID, HOMES, SHARED_MEMORY, TEMPORARY, WORKSPACE, JailPlan

HOME = HOMES[0]
NAMESPACES_AHEAD = {
    "mount_namespace": sysapi.CLONE_NEWNS,
    "pid_namespace": sysapi.CLONE_NEWPID,
    "net_namespace": sysapi.CLONE_NEWNET,
    "ipc_namespace": sysapi.CLONE_NEWIPC,
    "uts_namespace": sysapi.CLONE_NEWUTS,
}
"""Namespaces that can be made before the session is known, by layer."""
MOUNT_ATTRIBUTES = sysapi.MOUNT_ATTR_NOSUID | sysapi.MOUNT_ATTR_NODEV
PROC_ATTRIBUTES = MOUNT_ATTRIBUTES | sysapi.MS_NOEXEC
DETAIL_CAP = 2_000
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


class Filesystem(NamedTuple):
    """A tmpfs of a session's own."""

    path: str
    options: str


@dataclass
class JailTemplate:
    """What a zygote makes once, so that a session costs little."""

    seccomp_program: bytes
    traced_program: bytes
    """The same with refusals that ask init, for a session process that is traced; else empty."""
    rules: tuple[Rule, ...]
    """What both are made of, for init to know what it answers; empty where nothing is traced."""
    init_program: bytes
    """The filter of init, which must be able to end processes whatever Landlock scopes; empty in
    the tier where it makes the namespaces of branches."""
    kept_program: bytes
    """The filter of a session in a kept jail; empty where there are none."""
    rule_fds: list[int]
    """Descriptors that rules are made from; no session process may keep them."""
    ruleset: landlock.Ruleset | None
    """What every session may read; each adds what it may write."""
    ahead_steps: "tuple[Step, ...]"
    init_steps: "tuple[Step, ...]"
    session_steps: "tuple[Step, ...]"
    """See `steps_of`."""
    inherited_facts: "tuple[Fact, ...]"
    final_facts: "tuple[Fact, ...]"
    """See `facts_of`."""
    layers: bytes
    """Those of the plan, as JSON."""
    namespaces: int
    """Flags of those that are made before the session is known."""
    filesystems: tuple[Filesystem, ...]
    covered: tuple[str, ...]
    """Where the user has something below what each session mounts its own over."""
    ready_rules: int
    """The same with what sessions may write, as one of `rule_fds`; -1 where that differs."""
    limits: tuple[tuple[int, tuple[int, int]], ...]
    """What setrlimit(2) is given, but for the number of processes."""
    data_bytes: int
    """Private memory that this process had mapped before any session: VmData."""


@dataclass
class JailContext:
    """One session on its way into the jail, from before anything is known of it."""

    plan: JailPlan
    template: JailTemplate
    listeners: list[int] = field(default_factory=list)
    """Sockets that listen in the session's net namespace, for the host to serve."""
    directories: list[int] = field(default_factory=list)
    """Descriptors of the workspace, /tmp and /dev/shm, for the host."""
    host_id: int = -1
    """The id that the session runs under, as the zygote's user namespace numbers it."""
    cgroup_fds: Sequence[int] = ()
    workspace: str = WORKSPACE
    scratch: str = TEMPORARY
    """Where HOME and the temporary directory are; the parent of both in the reduced tiers."""
    user_namespace: int = -1
    """A descriptor of the session's own."""
    proc_fd: int = -1
    """A listing of this pid namespace for init; the guest's own /proc hides processes."""

    @property
    def handed_over(self) -> list[int]:
        """Descriptors that the host is given: directories, then listeners."""
        return [*self.directories, *self.listeners]


Step = tuple[str, Callable[[JailContext], None]]
"""The name of a step, and what applies it."""
Holds = Callable[[], bool]
Fact = tuple[str, Holds]
"""A layer, and what asks the kernel whether it holds for this process."""


class InitFds(NamedTuple):
    """Descriptors that the session process hands to its init; -1 for what there is not."""

    listener: int
    """Of its seccomp filter."""
    user_namespace: int
    proc_fd: int


def confine_session_process(context: JailContext) -> InitFds:
    """The steps of the session process, then what is its alone: Landlock and the seccomp filter.

    Init stays outside of both. It makes the namespaces of a branch, and without a pid namespace
    it reads the host's /proc to find what it is to kill; it runs no guest code. Raises JailError.
    """
    apply(context.template.session_steps, context)
    listener = restrict(context, listens=True)
    return InitFds(listener, context.user_namespace, context.proc_fd)


def restrict(context: JailContext, *, listens: bool) -> int:
    """Put on Landlock and the seccomp filter; its listener, or -1. Raises JailError."""
    listener = -1
    plan, template = context.plan, context.template
    if plan.asks_for("landlock"):
        apply((("restrict paths", restrict_paths),), context)
    if plan.asks_for("seccomp"):
        try:
            if listens:
                program = template.traced_program or template.seccomp_program
                listener = filter_calls(plan, program, template.seccomp_program)
            else:
                seccomp.install(template.kept_program)
        except (OSError, ValueError) as error:
            raise JailError("filter calls", str(error)) from error
    close_rule_fds(context)
    apply((("verify", lambda held: verify(held.template.final_facts)),), context)
    return listener


def filter_calls(plan: JailPlan, program: bytes, without_listener: bytes) -> int:
    """Install the session's filter; the listener that init answers on, or -1.

    `without_listener` is the filter where there can be no listener.
    """
    try:
        return seccomp.install(program, listen=True)
    except OSError as error:
        # The engine is filtered itself, by a filter with a listener: the kernel takes one. What
        # this filter would ask init about is refused then, and branches cannot be made.
        if error.errno != errno.EBUSY or plan.tier == "namespaces":
            raise
        return seccomp.install(without_listener)


def close_rule_fds(context: JailContext) -> None:
    """Close what rules were made from: paths of the zygote, its own /proc among them."""
    for fd in context.template.rule_fds:
        os.close(fd)


class LayerStep(NamedTuple):
    layer: str
    """The plan's layer that this step belongs to; "-name" where that layer is not asked for."""
    name: str
    """What a failure of the step is reported as."""
    apply: Callable[[JailContext], None]

    def applies_to(self, plan: JailPlan) -> bool:
        if self.layer.startswith("-"):
            return not plan.asks_for(self.layer[1:])
        return not self.layer or plan.asks_for(self.layer)


def steps_of(plan: JailPlan, rows: Sequence[LayerStep]) -> tuple[Step, ...]:
    """What `apply` does for `plan`, in order."""
    return tuple((row.name, row.apply) for row in rows if row.applies_to(plan))


def apply(steps: Sequence[Step], context: JailContext) -> None:
    """Take this process, and all that it will fork from then on, into the jail, for good.

    Raises JailError.
    """
    for name, apply_step in steps:
        try:
            apply_step(context)
        except (OSError, ValueError) as error:
            raise JailError(name, str(error)) from error


def join_cgroups(context: JailContext) -> None:
    for fd in context.cgroup_fds:
        # "0" to a file of *threads* moves the caller alone, without the global lock that makes
        # a write to cgroup.procs wait for an RCU grace period: 0.4 ms against 15 ms, measured.
        os.write(fd, b"0")
        os.close(fd)


def namespaces_ahead(plan: JailPlan) -> int:
    """Flags of the namespaces that `plan` asks for and that are made ahead."""
    return sum(flag for layer, flag in NAMESPACES_AHEAD.items() if plan.asks_for(layer))


def filesystems_of(plan: JailPlan, owner: int) -> tuple[Filesystem, ...]:
    """Workspace, /tmp and shared memory of a session of `plan`, all empty."""
    inodes = plan.workspace_files + 1
    return tuple(
        Filesystem(path, f"size={size},nr_inodes={inodes},mode={mode},uid={owner},gid={owner}")
        for path, size, mode in (
            (WORKSPACE, plan.workspace_bytes, "0755"),
            (TEMPORARY, plan.workspace_bytes, "1777"),
            (SHARED_MEMORY, plan.shm_bytes, "1777"),
        )
    )


def mount_filesystems(context: JailContext, filesystems: Sequence[Filesystem]) -> None:
    """Mount them over what is there, and keep what the user has below."""
    covered = [
        (target, sysapi.clone_tree(target, recursive=True)) for target in context.template.covered
    ]
    for path, options in filesystems:
        sysapi.mount("tmpfs", path, "tmpfs", sysapi.MS_NOSUID | sysapi.MS_NODEV, options)
        context.directories.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    for target, fd in covered:
        os.makedirs(target, exist_ok=True)
        sysapi.attach_mount(fd, target)
        os.close(fd)


def _make_namespaces(context: JailContext) -> None:
    if context.template.namespaces:
        # Children of this process, not itself, will be in the pid namespace.
        sysapi.unshare(context.template.namespaces)


def make_workspace(context: JailContext) -> None:
    """Mount what a session may write, and make its home."""
    mount_filesystems(context, context.template.filesystems)
    for path in HOMES:
        os.mkdir(path, mode=0o700, dir_fd=context.directories[1])


def _bring_loopback_up(_context: JailContext) -> None:
    sysapi.bring_loopback_up()


def listen_for_host(context: JailContext) -> None:
    """Make the sockets on which the host serves the session's way out, if the plan has one."""
    for port in context.plan.listen_ports:
        context.listeners.append(sysapi.listen_on_loopback(port))


def _own_workspace(context: JailContext) -> None:
    owner = context.host_id
    if owner != os.getuid():
        for fd in context.directories:
            os.chown(fd, owner, owner)
        for path in HOMES:
            os.chown(path, owner, owner, dir_fd=context.directories[1])


def _open_workspace(context: JailContext) -> None:
    for path in (context.workspace, context.scratch):
        context.directories.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def mount_proc(context: JailContext) -> None:
    """Mount a /proc of this process's pid namespace; the zygote cannot make it ahead."""
    context.proc_fd = machine.mount_for_init(PROC_ATTRIBUTES)
    machine.mount_for_guest(PROC_ATTRIBUTES)


def mount_guests_proc(_context: JailContext) -> None:
    """Mount as `mount_proc` does, where there is no init, and no branch to come."""
    machine.mount_for_guest(PROC_ATTRIBUTES)


def _take_host_id(context: JailContext) -> None:
    sysapi.prctl(sysapi.PR_SET_KEEPCAPS, 1)
    _change_ids(context)


def _change_ids(context: JailContext) -> None:
    host_id = context.host_id
    if host_id != os.getuid():
        os.setgroups([])
        os.setresgid(host_id, host_id, host_id)
        os.setresuid(host_id, host_id, host_id)


def _enter_user_namespace(context: JailContext) -> None:
    sysapi.unshare(sysapi.CLONE_NEWUSER)
    # A change of ids made this process undumpable, and its map files root's.
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 1)
    write_id_maps(context.host_id)
    context.user_namespace = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)


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


def _enter_workspace(context: JailContext) -> None:
    os.chdir(context.workspace)
    os.umask(0o022)


def set_rlimits(context: JailContext) -> None:
    """Set the plan's resource limits for this process."""
    for which, both in context.template.limits:
        resource.setrlimit(which, both)


def _drop_capabilities(context: JailContext) -> None:
    sysapi.drop_capabilities()


def _forbid_new_privileges(context: JailContext) -> None:
    sysapi.prctl(sysapi.PR_SET_NO_NEW_PRIVS, 1)


def _become_undumpable(context: JailContext) -> None:
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)


def restrict_paths(context: JailContext) -> None:
    """Put the Landlock rules of the plan on this process."""
    template = context.template
    assert template.ruleset is not None
    if template.ready_rules >= 0:
        landlock.put_on(template.ready_rules, template.ruleset.flags)
    else:
        writable = (context.workspace, context.scratch)
        template.ruleset.restrict([landlock.PathRule(path, "rw") for path in writable])


def _clear_capabilities(_context: JailContext) -> None:
    sysapi.clear_capability_sets()


def _filter_own_calls(context: JailContext) -> None:
    if context.template.init_program:
        seccomp.install(context.template.init_program)


def _verify(context: JailContext) -> None:
    verify(context.template.inherited_facts)


AHEAD_STEPS = (
    LayerStep("", "make namespaces", _make_namespaces),
    LayerStep("mount_namespace", "make workspace", make_workspace),
    LayerStep("net_namespace", "bring loopback up", _bring_loopback_up),
    LayerStep("net_namespace", "listen for the host", listen_for_host),
)
"""What the zygote does before the session is known; `go_home` closes what they opened."""
INIT_STEPS = (
    LayerStep("", "change ids", _change_ids),
    LayerStep("capabilities", "clear capabilities", _clear_capabilities),
    LayerStep("no_new_privs", "forbid new privileges", _forbid_new_privileges),
    LayerStep("not_dumpable", "become undumpable", _become_undumpable),
    LayerStep("seccomp", "filter own calls", _filter_own_calls),
)
"""What binds init once it has forked the session process, whose steps need capabilities."""
SESSION_STEPS = (
    LayerStep("pid_namespace", "mount proc", mount_proc),
    LayerStep("mount_namespace", "own workspace", _own_workspace),
    LayerStep("-mount_namespace", "open workspace", _open_workspace),
    LayerStep("", "take host id", _take_host_id),
    LayerStep("user_namespace", "enter user namespace", _enter_user_namespace),
    LayerStep("", "enter workspace", _enter_workspace),
    LayerStep("rlimits", "set rlimits", set_rlimits),
    LayerStep("capabilities", "drop capabilities", _drop_capabilities),
    LayerStep("no_new_privs", "forbid new privileges", _forbid_new_privileges),
    LayerStep("not_dumpable", "become undumpable", _become_undumpable),
    LayerStep("", "verify", _verify),
)


FIRST_LAYERS: Mapping[str, "Holds"] = {
    "no_new_privs": lambda: sysapi.prctl(sysapi.PR_GET_NO_NEW_PRIVS) == 1,
    "not_dumpable": lambda: sysapi.prctl(sysapi.PR_GET_DUMPABLE) == 0,
    "capabilities": sysapi.holds_no_capability,
    "user_namespace": lambda: os.getresuid() == (GUEST_ID,) * 3,
    "pid_namespace": lambda: os.getpid() == 1,
}
INHERITED_LAYERS: Mapping[str, "Holds"] = {
    **FIRST_LAYERS,
    "pid_namespace": lambda: os.getppid() == 1,
}
"""The same for a process that the first one forked: what it holds, the first one held."""
FINAL_LAYERS: Mapping[str, "Holds"] = {
    "no_new_privs": lambda: sysapi.prctl(sysapi.PR_GET_NO_NEW_PRIVS) == 1,
    "not_dumpable": lambda: sysapi.prctl(sysapi.PR_GET_DUMPABLE) == 0,
    "seccomp": lambda: sysapi.prctl(sysapi.PR_GET_SECCOMP) == 2,
}


def facts_of(plan: JailPlan, layers: Mapping[str, Holds]) -> tuple[Fact, ...]:
    """What `verify` is given for `plan`."""
    return tuple((layer, holds) for layer, holds in layers.items() if plan.asks_for(layer))


def verify(facts: Sequence[Fact]) -> None:
    """Raise JailError unless the kernel confirms each of them."""
    for layer, holds in facts:
        if not holds():
            raise JailError("verify", f"{layer} does not hold")


def host_id(plan: JailPlan, number: int) -> int:
    """The id that session `number` runs under, as this process's user namespace numbers it."""
    outside = plan.session_host_id(number)
    if outside is None:
        return os.getuid()
    if plan.tier == "namespaces":
        assert plan.host_id_base is not None
        return outside - plan.host_id_base
    return outside

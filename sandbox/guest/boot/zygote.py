"""Runs the zygote: builds its root, imports the preloads, then forks a worker on request.

It runs no snippet and reads nothing that a snippet wrote. It is pid 1 of its pid namespace (in
the full tier), so its end is the end of everything below it.
"""

import _socket
import importlib
import json
import os
import platform
import signal
import site
import sys
import time
from contextlib import suppress
from typing import NoReturn

from sandbox.guest.boot import holder, init, memory, rehearsal
from sandbox.guest.jail import jail, landlock, rlimits, seccomp
from sandbox.guest.jail.callrules import Rule
from sandbox.guest.jail.jail import JailError, step
from sandbox.guest.jail.landlock import PathRule
from sandbox.guest.jail.root import is_hidden_by_session
from sandbox.guest.jail.traced_rules import traced
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.guest.language import kept_code
from sandbox.guest.session import atfork, interpreter, program_end, session_process
from sandbox.protocol.messages import TO_GUEST_CAP_BYTES, Failed, Spawn, SpawnHolder, ZygoteReady
from sandbox.protocol.plan import WORKSPACE, Access, JailPlan

SPAWN_DESCRIPTORS = 4
RETURNS = (  # layer, name below /proc/self/ns, kind: what the zygote must be home in before it
    ("mount_namespace", "mnt", sysapi.CLONE_NEWNS),  # copies its mounts for the next session
    ("pid_namespace", "pid", sysapi.CLONE_NEWPID),  # makes the next one below its own
)
PRELOAD_HOME = "preload"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def serve(plan: JailPlan, channel: GuestChannel, directory: str) -> NoReturn:
    """Become the environment of `plan` and fork workers until the channel closes.

    `directory` is the engine's own on the host's disk, where the tier has one; else empty.
    """
    try:
        started = time.monotonic()
        if plan.tier == "namespaces":
            with step("proc"):
                _mount_own_proc()
        # No process waits for workers that end: the host holds their pidfds.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        session = warm(plan, directory)
        template = _prepare(plan)
        place = NextNamespaces(plan, template)
        place.go_ahead()
        if place.failure is not None:
            raise place.failure
    except JailError as error:
        channel.send(Failed(error.step, error.detail))
        os._exit(1)
    channel.send(
        ZygoteReady(
            [layer for layer in plan.layers],
            platform.python_version(),
            time.monotonic() - started,
            template.data_bytes,
        )
    )
    _fork_workers(plan, channel, session, place)


def _mount_own_proc() -> None:
    """Cover the host's /proc, which was kept in the tree so that the kernel allows this mount."""
    flags = sysapi.MS_NOSUID | sysapi.MS_NODEV | sysapi.MS_NOEXEC
    sysapi.mount("proc", "/proc", "proc", flags)


def warm(plan: JailPlan, directory: str = "") -> session_process.SessionProcess:
    """Import the preloads, and make what every session starts a copy of."""
    interpreter.look_plainly_started()
    if plan.byte_code:
        kept_code.offer(plan.byte_code)
    _preload(plan, directory)
    session = session_process.SessionProcess(plan)
    # What a lookup leaves in this cache names a string of any page, which the next one writes to.
    memory.forget_looked_up()
    rehearsal.rehearse(session)
    if plan.tier == "namespaces":
        interpreter.find_own_modules(plan)
    return session


def _preload(plan: JailPlan, directory: str) -> None:
    os.environ.clear()
    os.environ.update(plan.env)
    if directory:
        # Files that a package makes while it is imported end with the zygote.
        own = f"{directory}/{PRELOAD_HOME}"
        os.mkdir(own, 0o700)
        os.environ.update(HOME=own, TMPDIR=own)
    sys.argv = [""]
    with atfork.watched():
        with step("site packages"):
            # Its .pth files and its sitecustomize run code, for which there must be a jail already;
            # without one here, sessions add the directory themselves.
            if plan.packages and plan.tier == "namespaces":
                site.addsitedir(plan.packages)
            site.main()
        for module in plan.preload:
            try:
                importlib.import_module(module)
            # Whatever a package raises while it is imported is its failure to load.
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                if plan.packages and plan.tier != "namespaces":
                    why += ". In this tier packages of an environment are not imported ahead"
                raise JailError(f"preload {module}", why) from error
    sys.path.insert(0, WORKSPACE)


def _prepare(plan: JailPlan) -> jail.JailTemplate:
    with step("seccomp filter"):
        program = traced_program = init_program = kept_program = b""
        rules: tuple[Rule, ...] = ()
        if plan.asks_for("seccomp"):
            version = landlock.abi()
            program = _compile(plan, version)
            if plan.trace:
                rules = _rules(plan, version)
                traced_program = seccomp.compile_filter(traced(rules, sysapi.ARCH), sysapi.ARCH)
            if plan.tier == "landlock":
                init_program = _compile(plan, version, for_init=True)
            else:
                kept_program = _compile(plan, version, in_kept_jail=True)
    with step("landlock rules"):
        readable = _readable(plan) if plan.asks_for("landlock") else []
        rule_fds = [fd for fd, _access in readable]
        ruleset = landlock.prepare(readable, tier=plan.tier) if readable else None
        ready_rules = -1
        if ruleset is not None and plan.asks_for("mount_namespace"):
            # What every session mounts lies at the same places, so one ruleset serves them all.
            ready_rules = ruleset.make([PathRule(path, "rw") for path in jail.ABOVE_MOUNTS])
            for fd in rule_fds:
                os.close(fd)
            rule_fds = [ready_rules]
    program_end.leave_logging_out()
    memory.freeze_heap()
    data_bytes = _data_bytes()
    return jail.JailTemplate(
        seccomp_program=program,
        traced_program=traced_program,
        rules=rules,
        init_program=init_program,
        kept_program=kept_program,
        rule_fds=rule_fds,
        ruleset=ruleset,
        ready_rules=ready_rules,
        ahead_steps=jail.steps_of(plan, jail.AHEAD_STEPS),
        init_steps=jail.steps_of(plan, jail.INIT_STEPS),
        session_steps=jail.steps_of(plan, jail.SESSION_STEPS),
        inherited_facts=jail.facts_of(plan, jail.INHERITED_LAYERS),
        layers=json.dumps(plan.layers, separators=(",", ":")).encode(),
        final_facts=jail.facts_of(plan, jail.FINAL_LAYERS),
        namespaces=jail.namespaces_ahead(plan),
        filesystems=jail.filesystems_of(plan, os.getuid()),
        limits=rlimits.limits_of(plan, data_bytes),
        covered=tuple(bind.target for bind in plan.binds if is_hidden_by_session(bind)),
        data_bytes=data_bytes,
    )


def _compile(
    plan: JailPlan, landlock_abi: int, *, for_init: bool = False, in_kept_jail: bool = False
) -> bytes:
    rules = _rules(plan, landlock_abi, for_init=for_init, in_kept_jail=in_kept_jail)
    return seccomp.compile_filter(rules, sysapi.ARCH)


def _rules(
    plan: JailPlan, landlock_abi: int, *, for_init: bool = False, in_kept_jail: bool = False
) -> tuple[Rule, ...]:
    return seccomp.rules_for(
        plan.tier,
        landlock_abi,
        own_id=plan.has_own_ids,
        is_metered=not plan.has_groups,
        for_init=for_init,
        in_kept_jail=in_kept_jail,
    )


def _readable(plan: JailPlan) -> list[tuple[int, Access]]:
    """What every session may open, by descriptors that stay open in the zygote."""
    rules: list[tuple[str, Access]] = [(path, "rw") for path in DEVICES]
    if plan.tier == "namespaces":
        rules += [("/", "ro"), ("/proc", "ro")]
        rules += [(bind.target, bind.access) for bind in plan.binds if bind.access == "rw"]
    else:
        rules += [(bind.source, bind.access) for bind in plan.binds]
    return [
        (os.open(path, os.O_PATH | os.O_CLOEXEC), access)
        for path, access in rules
        if os.path.exists(path)
    ]


def _data_bytes() -> int:
    with open("/proc/self/status", "rb") as stream:
        for line in stream:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    raise JailError("memory", "/proc/self/status has no line VmData")


class NextNamespaces:
    """Moves the zygote between its own namespaces and those of the session that comes next."""

    def __init__(self, plan: JailPlan, template: jail.JailTemplate) -> None:
        self._plan = plan
        self._template = template
        self._home = [
            (os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind)
            for layer, name, kind in RETURNS
            if plan.asks_for(layer)
        ]
        self.context = jail.JailContext(plan, template)
        """That of the session that comes next."""
        self.guest_end, self.init_end = -1, -1
        """Ends of a socket pair on which the session process will speak to its init."""
        self.failure: JailError | None = None

    @property
    def home_fds(self) -> list[int]:
        return [fd for fd, _kind in self._home]

    def go_ahead(self) -> None:
        """Move to the namespaces of the next session; `failure` says if that cannot be."""
        self.failure = None
        try:
            jail.apply(self._template.ahead_steps, self.context)
            guest_end, init_end = _socket.socketpair()
            self.guest_end, self.init_end = guest_end.detach(), init_end.detach()
        except JailError as error:
            self.failure = error

    def go_home(self) -> None:
        """Leave them to the session that was forked, if one was."""
        for fd, kind in self._home:
            # unshare(CLONE_NEWPID) works once for each return to the own pid namespace.
            sysapi.setns(fd, kind)
        for fd in (*self.context.handed_over, self.guest_end, self.init_end):
            if fd >= 0:
                os.close(fd)
        self.context = jail.JailContext(self._plan, self._template)
        self.guest_end = self.init_end = -1


def _fork_workers(
    plan: JailPlan,
    channel: GuestChannel,
    session: session_process.SessionProcess,
    place: NextNamespaces,
) -> NoReturn:
    others = (channel.fileno(), *place.home_fds)
    while True:
        try:
            request = channel.receive()
        except ChannelClosed:
            os._exit(0)
        if isinstance(request, SpawnHolder):
            _fork_holder(channel, request, session, place)
            continue
        assert isinstance(request, Spawn)
        descriptors = channel.take_descriptors(SPAWN_DESCRIPTORS + request.cgroups)
        context = place.context
        context.host_id = jail.host_id(plan, request.session)
        context.cgroup_fds = descriptors[SPAWN_DESCRIPTORS:]
        if request.directory:
            context.workspace = f"{request.directory}/workspace"
            context.scratch = f"{request.directory}/tmp"
        control, guest, stdout, stderr = descriptors[:SPAWN_DESCRIPTORS]
        ends = init.SessionFds(control, guest, stdout, stderr, place.init_end, place.guest_end)
        try:
            if place.failure is not None:
                raise place.failure
            is_worker = sysapi.fork() == 0
        except (JailError, OSError) as error:
            # The host is out of processes or of namespaces: one session fails, the others go on.
            is_worker = False
            answer = GuestChannel(os.dup(control), "to_init", TO_GUEST_CAP_BYTES)
            failure = error if isinstance(error, JailError) else JailError("fork", str(error))
            answer.send(Failed(failure.step, failure.detail))
            answer.close()
        if is_worker:
            init.serve(context, ends, others, session)
        for fd in descriptors:
            os.close(fd)
        place.go_home()
        place.go_ahead()


def _fork_holder(
    channel: GuestChannel,
    request: SpawnHolder,
    session: session_process.SessionProcess,
    place: NextNamespaces,
) -> None:
    """Leave the namespaces of the next session to the holder of a reused jail."""
    end, *cgroup_fds = descriptors = channel.take_descriptors(1 + request.cgroups)
    # Where the holder cannot be made, its channel ends without a word: the host asks for another
    # session, and hears why there.
    with suppress(JailError):
        if place.failure is not None:
            raise place.failure
        with step("fork"):
            is_holder = sysapi.fork() == 0
        if is_holder:
            holder.serve(place.context, end, cgroup_fds, session)
    for fd in descriptors:
        os.close(fd)
    place.go_home()
    place.go_ahead()

"""Runs the launcher: makes the namespaces, forks the zygote into them, and waits for it.

The host starts it (`processes/zygote.py`) as `python -s -P -S -B -X utf8 -c BOOTSTRAP` with the
number of one descriptor, the zygote channel, and the directories to import from; its environment
has only what its own start needs. It stays where the host is, for three duties that cannot be done
from inside: writing the map of host ids, reporting how the zygote ended, and removing cgroups and
directories when the host itself was killed.

A second process, the setup process, enters the namespaces one after the other and forks the zygote
as the first process of the pid namespace. Each namespace must belong to the user namespace in which
the zygote is root, or the zygote could not enter its own pid namespace again (setns(2)) before each
fork. As root the setup process builds the file tree first, with the rights to reach every path.
"""

import importlib
import os
import signal
import sys
from typing import NamedTuple, NoReturn

from sandbox.guest.boot import zygote
from sandbox.guest.jail import path_access, root
from sandbox.guest.jail.jail import JailError, step
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.protocol.messages import TO_HOST_CAP_BYTES, Failed, Plan
from sandbox.protocol.plan import HOSTNAME, IDS_PER_ZYGOTE, JailPlan
from sandbox.protocol.trees import hold, remove_tree

NAMESPACES = (
    sysapi.CLONE_NEWNS
    | sysapi.CLONE_NEWPID
    | sysapi.CLONE_NEWNET
    | sysapi.CLONE_NEWIPC
    | sysapi.CLONE_NEWUTS
    | sysapi.CLONE_NEWCGROUP
)
ID_COUNT = IDS_PER_ZYGOTE + 100
WORD_BYTES = 64
MAP_IDS = b"x"


def main(channel_fd: int) -> NoReturn:
    """Run until the zygote has ended; exit with its status."""
    # The thread that started it may have blocked signals, and a session inherits that.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    channel = GuestChannel(channel_fd, "to_zygote", TO_HOST_CAP_BYTES)
    try:
        message = channel.receive()
    except ChannelClosed:
        os._exit(0)
    if not isinstance(message, Plan):
        raise SystemExit("the first message must be the plan")
    plan = JailPlan.from_json(message.plan.encode())
    if plan.language == "restricted":
        _load_language(channel, sys.argv[3])
    janitor = Janitor(message.cgroups, channel.take_descriptors(len(message.cgroups)), message)
    status = _launch(plan, channel, janitor)
    _end_orphans()
    janitor.clean()
    os._exit(status)


def _load_language(channel: GuestChannel, directory: str) -> None:
    """Import what compiles the restricted language: the host's, which no jail has to show."""
    sys.path.append(directory)
    try:
        importlib.import_module("sandbox.guest.language.restricted")
    except ImportError as error:
        channel.send(Failed("restricted language", str(error)))
        os._exit(1)
    finally:
        sys.path.remove(directory)


def _launch(plan: JailPlan, channel: GuestChannel, janitor: "Janitor") -> int:
    """Have the zygote made and wait for it; its exit code, 128 plus the signal if one killed it."""
    # Children of the setup process come here when it exits; so do sessions without a zygote.
    sysapi.prctl(sysapi.PR_SET_CHILD_SUBREAPER, 1)
    requests, request = os.pipe()
    replies, reply = os.pipe()
    setup = os.fork()
    if setup == 0:
        os.close(requests)
        os.close(reply)
        janitor.forget()
        _set_up(plan, channel, Parent(request, replies), janitor)
    channel.close()
    os.close(request)
    os.close(replies)
    word = os.read(requests, WORD_BYTES)
    if word == MAP_IDS:
        assert plan.host_id_base is not None
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{setup}/{name}", "w") as stream:
                stream.write(f"0 {plan.host_id_base} {ID_COUNT}")
        os.write(reply, b"m")
        word = os.read(requests, WORD_BYTES)
    _pid, status = os.waitpid(setup, 0)
    if status:
        return 1  # It has said why.
    os.write(reply, b"z")
    return _wait_for(int(word))


def _wait_for(zygote_pid: int) -> int:
    """The exit code of the zygote, 128 plus the signal if one killed it; reaps others meanwhile.

    Without a pid namespace, processes of sessions that lost their init become children of this
    process: their end is not the zygote's.
    """
    while True:
        pid, status = os.wait()
        if pid == zygote_pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


class Parent(NamedTuple):
    """Pipe ends of the setup process to the launcher: a request for a map of ids, and the reply.

    The setup process's last word is the zygote's pid.
    """

    request: int
    reply: int

    def map_ids(self) -> None:
        os.write(self.request, MAP_IDS)
        if os.read(self.reply, 1) != b"m":
            raise OSError("the launcher could not write the map of host ids")

    def name_zygote(self, pid: int) -> None:
        """Report the zygote's `pid`, as the launcher's own namespace numbers it."""
        os.write(self.request, str(pid).encode())

    def wait_for_setup(self) -> None:
        """Return once the setup process is gone and the launcher is the parent of this process."""
        os.close(self.request)
        if os.read(self.reply, 1) != b"z":
            os._exit(1)
        os.close(self.reply)


def _set_up(plan: JailPlan, channel: GuestChannel, parent: Parent, janitor: "Janitor") -> NoReturn:
    """Enter the namespaces, fork the zygote, exit."""
    try:
        if plan.tier == "namespaces":
            if plan.host_id_base is None:
                with step("user namespace"):
                    _enter_own_user_namespace()
            with step("mount namespace"):
                sysapi.unshare(sysapi.CLONE_NEWNS)
            with step("root"):
                root.build(plan)
            if plan.host_id_base is not None:
                with step("user namespace"):
                    sysapi.unshare(sysapi.CLONE_NEWUSER)
                    parent.map_ids()
                    os.setgroups([])
                    os.setresgid(0, 0, 0)
                    os.setresuid(0, 0, 0)
            with step("namespaces"):
                sysapi.unshare(NAMESPACES)
                sysapi.syscall("sethostname", HOSTNAME.encode(), len(HOSTNAME))
        elif plan.host_id_base is not None:
            with step("reachable interpreter"):
                path_access.open_ways([bind.source for bind in plan.binds])
        pid = os.fork()
        if pid == 0:
            parent.wait_for_setup()
            # The launcher has one thread, so this means the end of the process, not of a thread.
            sysapi.prctl(sysapi.PR_SET_PDEATHSIG, signal.SIGKILL)
            zygote.serve(plan, channel, janitor.directory)
        parent.name_zygote(pid)
    except JailError as error:
        channel.send(Failed(error.step, error.detail))
        os._exit(1)
    os._exit(0)


def _enter_own_user_namespace() -> None:
    """Become root of a new user namespace in which only the caller's own ids exist."""
    uid, gid = os.getuid(), os.getgid()
    sysapi.unshare(sysapi.CLONE_NEWUSER)
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as stream:
            stream.write(line)


def _end_orphans() -> None:
    """Kill and reap until this process has no children; orphans of theirs become its own."""
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as stream:
                children = stream.read().split()
        except OSError:
            children = []
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


class Janitor:
    """Removes what outlives processes, once all of them are gone."""

    def __init__(self, names: list[str], parents: list[int], plan: Plan) -> None:
        self._cgroups = list(zip(names, parents, strict=True))
        self.directory = plan.directory
        self._held = hold(plan.directory) if plan.directory else -1

    def forget(self) -> None:
        """Close what the zygote must not hold."""
        if self._held >= 0:
            os.close(self._held)
        for _name, fd in self._cgroups:
            os.close(fd)

    def clean(self) -> None:
        """Remove cgroups and directories that the host left; most often none."""
        for name, fd in self._cgroups:
            _remove_cgroup(name, fd)
        if self.directory:
            remove_tree(self.directory)


def _remove_cgroup(name: str, parent_fd: int) -> None:
    try:
        group_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
    except FileNotFoundError:
        return  # The host was not killed and has cleaned up itself.
    with os.scandir(group_fd) as entries:
        children = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for child in children:
        os.rmdir(child, dir_fd=group_fd)
    os.close(group_fd)
    os.rmdir(name, dir_fd=parent_fd)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Makes the namespaces of the branches of one call, and forks the init of each.

It lives in a user namespace that init has made for the call and that owns all other namespaces of
these branches: so one process can make them, and one entrant can enter them. It returns from each
branch to a mount namespace of its own, from which the next one's is copied, and has nothing of one
branch open when it makes another. Its init is forked once its file systems are there.
"""

import dataclasses
import errno
import os
import socket
from array import array
from collections.abc import Callable, Sequence
from typing import NoReturn

from sandbox.guest.branching import branch
from sandbox.guest.jail import jail
from sandbox.guest.jail.jail import JailError, step
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.protocol.messages import (
    NESTING,
    TO_GUEST_CAP_BYTES,
    BuildNamespaces,
    Failed,
    NamespacesReady,
    pack,
)
from sandbox.protocol.plan import GUEST_ID

NAMESPACES = sysapi.CLONE_NEWUSER | sysapi.CLONE_NEWNS
"""What a builder is forked into. The mount namespace is the one that each branch's is copied from:
the session's own belongs to a user namespace above, to which there is no way back."""
_OF_EACH_BRANCH = (
    sysapi.CLONE_NEWNS
    | sysapi.CLONE_NEWNET
    | sysapi.CLONE_NEWIPC
    | sysapi.CLONE_NEWUTS
    | sysapi.CLONE_NEWCGROUP
)
"""All but the pid namespace, which a process cannot enter itself."""

_MADE_HERE = [name for name, _kind in branch.KINDS if name not in ("user", "pid")]

BecomeInit = Callable[[jail.JailContext, int], NoReturn]


def serve(context: jail.JailContext, channel_fd: int, become_init: BecomeInit) -> NoReturn:
    """Make a branch for each `BuildNamespaces`, until the host closes the channel.

    Called in a fork of init. A step that fails is reported on the control channel of the branch,
    and ends the builder.
    """
    try:
        _serve(context, channel_fd, become_init)
    finally:
        os._exit(1)  # Nothing may unwind into the frames of init.


def _serve(context: jail.JailContext, channel_fd: int, become_init: BecomeInit) -> NoReturn:
    sysapi.close_all_but((channel_fd, *context.template.rule_fds))
    channel = GuestChannel(channel_fd, "to_init", TO_GUEST_CAP_BYTES)
    os.setsid()
    # Undumpable, this process could not open its own map files.
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 1)
    jail.write_id_maps(GUEST_ID)
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)
    # Those that it holds are its own to use; inits that it forks give theirs up for good.
    sysapi.bound_capabilities()
    sources = branch.open_own_filesystems()
    user, home = branch.open_namespaces(("user", "mnt"))
    template = pack(NamespacesReady(len(branch.KINDS)))
    while True:
        try:
            message = channel.receive()
        except (ChannelClosed, ConnectionError):
            os._exit(0)
        assert isinstance(message, BuildNamespaces)
        control_fd, *cgroup_fds = channel.take_descriptors(1 + message.cgroups)
        own = dataclasses.replace(
            context, cgroup_fds=cgroup_fds, directories=[], proc_fd=-1, listeners=[]
        )
        try:
            _furnish(own, sources)
            made = branch.open_namespaces(_MADE_HERE)
            is_init = sysapi.fork_into(sysapi.CLONE_NEWPID) == 0
        except (JailError, OSError) as error:
            say_why_not(GuestChannel(control_fd, "to_init", TO_GUEST_CAP_BYTES), error)
            os._exit(1)
        if is_init:
            channel.close()
            os.close(home)
            _finish_init(own, control_fd, template, user, made)
            for fd in (*sources, *own.handed_over, *made, user):
                os.close(fd)
            become_init(own, control_fd)
        for fd in (control_fd, *own.handed_over, *made):
            os.close(fd)
        sysapi.setns(home, sysapi.CLONE_NEWNS)


def _finish_init(
    context: jail.JailContext, control_fd: int, template: bytes, user: int, made: Sequence[int]
) -> None:
    """Finish the jail of a branch init, in the first process of its pid namespace; exit on failure.

    Each page that is touched here is copied for each branch: what the builder could do, it did.
    """
    os.setsid()
    try:
        with step("process listing"):
            jail.mount_proc(context)
            [pid_namespace] = branch.open_namespaces(("pid",))
        with step("capabilities"):
            sysapi.clear_capability_sets()
            jail.verify(jail.facts_of(context.plan, jail.FIRST_LAYERS))
    except JailError as error:
        say_why_not(GuestChannel(control_fd, "to_init", TO_GUEST_CAP_BYTES), error)
        os._exit(1)
    fds = array("i", (user, pid_namespace, *made, *context.handed_over))
    control = socket.socket(fileno=control_fd)
    control.sendmsg([template], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    control.detach()
    os.close(pid_namespace)


def say_why_not(channel: GuestChannel, error: JailError | OSError) -> None:
    """Report to the host why there is no branch; `NESTING` if namespaces nest too deep."""
    if isinstance(error, JailError):
        channel.send(Failed(error.step, error.detail))
    else:
        is_depth = error.errno == errno.ENOSPC  # Source: clone(2), pid_namespaces(7).
        channel.send(Failed(NESTING if is_depth else "namespaces", str(error)))
    channel.close()


def _furnish(context: jail.JailContext, sources: list[int]) -> None:
    """Enter the namespaces of the next branch and furnish them. Raises JailError."""
    with step("cgroups"):
        # Before the file systems, whose pages are charged to the group of their writer.
        jail.join_cgroups(context)
    with step("namespaces"):
        sysapi.unshare(_OF_EACH_BRANCH)
    with step("file systems"):
        jail.mount_filesystems(context, jail.filesystems_of(context.plan, GUEST_ID))
        for source, target in zip(sources, context.directories, strict=True):
            branch.copy_tree(source, target)
    with step("loopback"):
        sysapi.bring_loopback_up()
        jail.listen_for_host(context)

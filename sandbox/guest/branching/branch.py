"""Branches: a fork of a session that goes on in namespaces, files and limits of its own.

Theory of operation
===================

A fork inherits the namespaces of its parent, and only a process with capabilities over other
namespaces can enter them. Guest processes have none, and the kernel has no call that moves
another process. What it does have: a user namespace gives every capability in it to a process of
its parent namespace whose id made it (user_namespaces(7)), and a guest shares that id with init.

1. Init, which no filter binds, forks a *namespace builder* into a user namespace below the
   session's own, one for all branches of a call. For each the builder makes all other namespaces,
   owned by that one, mounts the branch's own file systems, copies the files, brings loopback up,
   and forks the *branch init*: pid 1 of the new pid namespace. It mounts /proc, gives up its
   capabilities, and
   hands descriptors of the namespaces to the host.
2. The session process forks an *entrant*, one for all branches of a call. It enters the user
   namespace, and then for each branch the pid namespace and the others, joins the branch's
   cgroups, and forks twice: the grandchild lives in the new pid namespace, is adopted by
   the branch init, starts a process group of its own, gives up its capabilities and waits for the
   host like any copy.
3. When the entrant has ended, the branch init confirms what the kernel says of the grandchild:
   no capability, a filter, no process group from outside, no other process in the pid namespace.
   Then the branch is a session like others.

The processes work at the same time: the builder makes the next branch while the entrant forks into
this one, and the grandchild finishes alone. What costs is a fork of a large heap, two for each
branch: the entrant needs the one between, whose end gives the grandchild to the branch init.

Branches of a call share a user namespace, as processes of one id in it. It gives nothing to any of
them: none holds a capability in it or can get one back, and the namespaces that are each branch's
own decide which processes another one can name, signal, open or map.

The seccomp filter answers setns(2) with a question to init (`seccomp_notifier`). Init allows it to
exactly one process, the first that asks after the host sent `AllowSetns`, with exactly the calls of
the list in their order, and to the same one for the branches that follow. A session that keeps
descriptors of its branch's namespaces can do nothing with them: setns is refused again. A process
that entered is ended before step 3 if it has not ended by then (`KillEscaped`): it lives in the
session's pid namespace and in the branch's files. What it forked once it was in the branch's pid
namespace is seen in step 3; what it forked before that has capabilities, which no other process of
the session's own pid namespace has once the builder was ended, and init looks for such processes.
If a process entered and no branch came of it, or one stayed outside, the host ends the session and
all of its branches: a process used the grant that was meant for another. An entrant that may have
no more processes says so, and is ended with the branches that it was to make.

A branch shares with its origin only what the origin had made before: open files, pipes and sockets,
and memory mapped shared. Files it opens anew; a session that has some of the others is not branched
(`own_objects`). Whether it has some, and that it gives up what it held, is its own word: a session
that was hostile before it was branched may go on talking to its branches.

The kernel hides a pid namespace from those below it, not from those above, and lets an origin
signal its branches: a copy of a process can only go down, the user namespaces of branches belong
to the id that made them, and that id has every right over them. Neither another uid for each
branch nor another builder changes that, as long as the entrant, which is the origin's process, is
to be let in. Moving the origin as well would make both siblings, and every fork one
namespace deeper, of 32 that there may be. So it is the filter that keeps an origin from its
branches: each call that names another process by number is a question to init. See
`seccomp_notifier`.
"""

import contextlib
import os
import posix
import shutil
import stat
from collections.abc import Iterable, Sequence

from sandbox.guest.branching.own_objects import OWN_FILESYSTEMS
from sandbox.guest.jail.jail import JailError
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.procfs import Processes, fields
from sandbox.protocol.plan import WORKSPACE

KINDS = (  # in this order: see the module's docstring
    ("user", sysapi.CLONE_NEWUSER),
    ("pid", sysapi.CLONE_NEWPID),
    ("mnt", sysapi.CLONE_NEWNS),
    ("net", sysapi.CLONE_NEWNET),
    ("ipc", sysapi.CLONE_NEWIPC),
    ("uts", sysapi.CLONE_NEWUTS),
    ("cgroup", sysapi.CLONE_NEWCGROUP),
)


# ---- the branch init --------------------------------------------------------------------------


def open_own_filesystems() -> list[int]:
    """Descriptors of the directories that a branch gets a copy of."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return [os.open(path, flags) for path in OWN_FILESYSTEMS]


def open_namespaces(names: Iterable[str]) -> list[int]:
    """Descriptors of this process's namespaces of those kinds."""
    return [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy what is in one directory into another, both ours, links and times included."""
    if not os.listdir(source_fd):
        return
    shutil.copytree(
        f"/proc/self/fd/{source_fd}",
        f"/proc/self/fd/{target_fd}",
        symlinks=True,
        dirs_exist_ok=True,
        ignore=_what_is_not_copied,
    )


def _what_is_not_copied(directory: str, names: list[str]) -> set[str]:
    """FIFOs and sockets, which lead to processes of the origin, and what is mounted below."""
    left_out = set()
    device = os.stat(directory).st_dev
    for name in names:
        status = os.lstat(os.path.join(directory, name))
        kind = stat.S_IFMT(status.st_mode)
        if status.st_dev != device or kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            left_out.add(name)
    return left_out


def confirm(pid: int, proc_fd: int) -> None:
    """Raise JailError unless process `pid` of this pid namespace is bound, and alone with us."""
    processes = Processes(proc_fd)
    shown = fields(processes.status(pid))
    own = str(pid).encode()
    if shown.get(b"NSpgid") != own or shown.get(b"NSsid") != own:
        # A group from outside could be signalled whole, its members outside included.
        raise JailError("branch", "the session process is in a process group from outside")
    wanted = {b"Seccomp": b"2", b"NoNewPrivs": b"1"}
    wanted |= {name: b"0" * 16 for name in (b"CapInh", b"CapPrm", b"CapEff", b"CapAmb")}
    for name, value in wanted.items():
        if shown.get(name) != value:
            seen = shown.get(name, b"missing").decode(errors="replace")
            raise JailError("branch", f"{name.decode()} of the session process is {seen}")
    pids = set(processes.pids())
    if pids != {os.getpid(), pid}:
        raise JailError("branch", f"{len(pids)} processes are in it instead of two")


# ---- the entrant, in the session process ----------------------------------------------------


def enter_namespaces(namespaces: Sequence[int], cgroups: Sequence[int]) -> None:
    """Enter the branch's namespaces and groups; the caller forks twice after this.

    The user namespace, first of all, is entered once by each entrant, and left out after that.
    """
    for fd, (_name, kind) in zip(namespaces, KINDS[-len(namespaces) :], strict=True):
        sysapi.setns(fd, kind)
        os.close(fd)
    for fd in cgroups:
        os.write(fd, b"0")
        os.close(fd)


def await_children() -> None:
    """Wait until every child of this process has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def drop_privileges() -> None:
    """Give up, in the grandchild, what entering the user namespace gave; go to its own files."""
    os.setsid()
    posix.chdir(WORKSPACE)  # Before: the session may have closed its own directory to itself.
    sysapi.clear_capability_sets()
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)

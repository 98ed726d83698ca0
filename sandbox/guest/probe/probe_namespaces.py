"""Tries of the namespaces: each does what a launcher, a zygote and a session do on their way in.

With CAP_SYS_ADMIN the root is built first and the user namespace, with a range of spare host
ids, comes after it; without, the user namespace comes first and has the caller's own ids alone.
"""

import os
import signal
import socket

from sandbox.guest.kernel import sysapi
from sandbox.guest.probe.trial import (
    LIBRARY,
    Trial,
    calling,
    enter_user_namespace,
    error_of,
    expect,
    may_make_namespaces,
)
from sandbox.protocol.plan import GUEST_ID

STAGE = "/dev"
"""Where the new root is mounted until the pivot, as in `root.py`."""


def try_user_namespace(trial: Trial) -> str:
    """Root of a new user namespace, then a nested one with a single id, as a session's."""
    has_spare_ids = trial.become_root()
    # AppArmor may let a user namespace be made and take its capabilities away.
    with calling("sethostname in a new user namespace"):
        sysapi.unshare(sysapi.CLONE_NEWUTS)
        socket.sethostname("cellblock")
    if has_spare_ids:
        with calling("setresuid"):
            os.setresgid(2, 2, 2)
            os.setresuid(2, 2, 2)
    with calling("nested unshare(CLONE_NEWUSER)"):
        enter_user_namespace(inside=GUEST_ID)
    expect(os.getresuid() == (GUEST_ID,) * 3, "write(uid_map)", f"the uid is {os.getuid()}")
    owner = "a spare id of the host" if has_spare_ids else "the caller's id"
    return f"nested twice, uid {GUEST_ID} is {owner}"


def try_mount_namespace(trial: Trial) -> str:
    """A new root with a read-only bind, and a tmpfs from inside the user namespace."""
    is_first = may_make_namespaces()
    if not is_first:
        trial.become_root()
    _leave_shared_mounts()
    with calling("open_tree(OPEN_TREE_CLONE)"):
        library = sysapi.clone_tree(LIBRARY, recursive=True)
    with calling("mount_setattr(MOUNT_ATTR_RDONLY)"):
        sysapi.set_mount_attributes(library, sysapi.MOUNT_ATTR_RDONLY, recursive=True)
    with calling("mount(tmpfs)"):
        sysapi.mount("cellblock", STAGE, "tmpfs", sysapi.MS_NOSUID, "mode=0755,size=65536")
    for name in ("library", "session"):
        os.mkdir(f"{STAGE}/{name}")
    with calling("move_mount"):
        sysapi.attach_mount(library, f"{STAGE}/library")
    with calling("pivot_root"):
        os.chdir(STAGE)
        sysapi.pivot_root(".", ".")
    with calling("umount2"):
        sysapi.unmount(".")
        os.chdir("/")
    if is_first:
        trial.become_root()
        with calling("unshare(CLONE_NEWNS) in a new user namespace"):
            sysapi.unshare(sysapi.CLONE_NEWNS)
    with calling("fsopen(tmpfs)"):
        session = sysapi.new_filesystem("tmpfs", [("size", "65536")], sysapi.MOUNT_ATTR_NODEV)
        sysapi.attach_mount(session, "/session")
    expect(sorted(os.listdir("/")) == ["library", "session"], "pivot_root", "/ is another")
    with calling("write to a new tmpfs"), open("/session/file", "w") as stream:
        stream.write("x")
    error = error_of(lambda: os.open("/library/cellblock", os.O_CREAT | os.O_WRONLY))
    expect(error == "EROFS", "mount_setattr(MOUNT_ATTR_RDONLY)", f"a write gave {error}")
    return "a new root; writing to its read-only bind gave EROFS"


def try_pid_namespace(trial: Trial) -> str:
    """Pid 1 of a new pid namespace, with a /proc that shows nothing else."""
    trial.become_root()
    with calling("unshare(CLONE_NEWPID)"):
        sysapi.unshare(sysapi.CLONE_NEWPID)
    child = os.fork()
    if child:
        # The child answers for both, on the channel that it fork_safety.
        os.waitpid(child, 0)
        os._exit(0)
    sysapi.prctl(sysapi.PR_SET_PDEATHSIG, signal.SIGKILL)
    expect(os.getpid() == 1, "unshare(CLONE_NEWPID)", f"the first process is {os.getpid()}")
    _leave_shared_mounts()
    with calling("mount(proc)"):
        flags = sysapi.MS_NOSUID | sysapi.MS_NODEV | sysapi.MS_NOEXEC
        sysapi.mount("proc", "/proc", "proc", flags)
    with calling("fsopen(proc, subset=pid)"):
        options = [("subset", "pid"), ("hidepid", "invisible")]
        listing = sysapi.new_filesystem("proc", options, sysapi.MOUNT_ATTR_NODEV)
        sysapi.attach_mount(listing, "/proc")
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    expect(pids == ["1"], "mount(proc)", f"it shows {len(pids)} processes")
    return "pid 1, and its own /proc shows no other process"


def try_net_namespace(trial: Trial) -> str:
    """A network of nothing but a loopback that works."""
    trial.become_root()
    with calling("unshare(CLONE_NEWNET)"):
        sysapi.unshare(sysapi.CLONE_NEWNET)
    names = [name for _index, name in socket.if_nameindex()]
    # Some kernels put fallback tunnels into every new network namespace; they lead nowhere.
    expect("lo" in names, "unshare(CLONE_NEWNET)", "it has no lo")
    with calling("ioctl(SIOCSIFFLAGS) on lo"):
        sysapi.bring_loopback_up()
    with calling("connect to 127.0.0.1"), socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.settimeout(1.0)
        client.connect(server.getsockname())
    with socket.socket() as outward:
        outward.settimeout(1.0)
        # TEST-NET-1 (RFC 5737): no packet to it leaves even where there is a route.
        error = error_of(lambda: outward.connect(("192.0.2.1", 9)))
    expect(error == "ENETUNREACH", "unshare(CLONE_NEWNET)", f"connecting outward gave {error}")
    return "lo works, connecting outward gave ENETUNREACH"


def try_ipc_namespace(trial: Trial) -> str:
    """Another set of System V objects than the host's."""
    trial.become_root()
    _unshare_own("ipc", "CLONE_NEWIPC", sysapi.CLONE_NEWIPC)
    return "a new one"


def try_uts_namespace(trial: Trial) -> str:
    """A host name of its own."""
    trial.become_root()
    _unshare_own("uts", "CLONE_NEWUTS", sysapi.CLONE_NEWUTS)
    with calling("sethostname"):
        socket.sethostname("cellblock-probe")
    expect(socket.gethostname() == "cellblock-probe", "sethostname", "the name is another")
    return "its host name changed alone"


def try_cgroup_namespace(trial: Trial) -> str:
    """The own cgroups look like the root."""
    trial.become_root()
    _unshare_own("cgroup", "CLONE_NEWCGROUP", sysapi.CLONE_NEWCGROUP)
    with open("/proc/self/cgroup") as stream:
        paths = {line.rstrip("\n").split(":", 2)[2] for line in stream}
    expect(paths <= {"/"}, "unshare(CLONE_NEWCGROUP)", "paths of cgroups still show")
    return "every cgroup looks like /"


def _leave_shared_mounts() -> None:
    with calling("unshare(CLONE_NEWNS)"):
        sysapi.unshare(sysapi.CLONE_NEWNS)
    # Before anything else: a shared mount would carry every step back to the host.
    with calling("mount(MS_PRIVATE)"):
        sysapi.mount("", "/", None, sysapi.MS_REC | sysapi.MS_PRIVATE)


def _unshare_own(kind: str, flag_name: str, flag: int) -> None:
    """Leave one namespace for a new one, and see that it is another."""
    before = os.readlink(f"/proc/self/ns/{kind}")
    with calling(f"unshare({flag_name})"):
        sysapi.unshare(flag)
    after = os.readlink(f"/proc/self/ns/{kind}")
    expect(before != after, f"unshare({flag_name})", "it is the same namespace as before")

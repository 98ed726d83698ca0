"""The read-only root that a zygote and all of its sessions see.

A tmpfs with bind mounts of the interpreter and the system libraries, a synthetic `/etc`, a
`/dev` of six nodes and mount points for what each session brings. Built once per zygote, in a
new mount namespace, before anything of the user is imported.
"""

import os
import stat

from sandbox.guest.jail import machine
from sandbox.guest.kernel import sysapi
from sandbox.protocol.plan import (
    GUEST_ID,
    HOME_ALIAS,
    SHARED_MEMORY,
    TEMPORARY,
    WORKSPACE,
    WORKSPACE_ALIAS,
    Bind,
    JailPlan,
)

STAGE = "/dev"
"""Where the new root is mounted until the pivot. Any directory does; this one always exists."""

DEVICES = ("null", "zero", "full", "random", "urandom")
LINKS = (  # path                target                  why
    ("/tmp", "mnt/tmp"),  # relative: it is followed while the root is still a stage
    ("/var/tmp", "/tmp"),
    (WORKSPACE_ALIAS, WORKSPACE),
    (HOME_ALIAS, f"{TEMPORARY}/home"),
    ("/dev/fd", "/proc/self/fd"),  # shells and multiprocessing open it
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)
MOUNT_POINTS = (WORKSPACE, TEMPORARY, SHARED_MEMORY, "/proc", machine.WHOLE_PROC, "/home", "/var")
SYSTEM_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""On a merged-/usr host these are links, and links they stay."""
ETC_FILES = {
    "passwd": "root:x:0:0:root:/:/bin/false\n"
    f"cellblock:x:{GUEST_ID}:{GUEST_ID}::/tmp/home:/bin/sh\n",
    "group": f"root:x:0:\ncellblock:x:{GUEST_ID}:\n",
    "hosts": "127.0.0.1 localhost cellblock\n::1 localhost\n",
    "hostname": "cellblock\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
ROOT_BYTES = 4 * 1024 * 1024
PRELOAD_TMP_BYTES = 64 * 1024 * 1024
"""Packages write caches while they are imported; no session sees that /tmp."""
OWN_TO_SESSIONS = (WORKSPACE, TEMPORARY, "/tmp", SHARED_MEMORY)
"""Where each session mounts its own; a bind below them has to be brought back then."""


def build(plan: JailPlan) -> None:
    """Make `/` of this mount namespace the jail's root; nothing of the old one stays reachable.

    The caller is alone in a new mount namespace and holds CAP_SYS_ADMIN over it. Raises OSError
    if a step fails.
    """
    # Before anything else: a shared mount would carry every step back to the host.
    sysapi.mount("", "/", None, sysapi.MS_REC | sysapi.MS_PRIVATE)
    # Sources are cloned first: the stage hides the host's /dev.
    devices = [(name, sysapi.clone_tree(f"/dev/{name}")) for name in DEVICES]
    binds = [(bind, _clone(bind, plan)) for bind in plan.binds]
    proc = sysapi.clone_tree("/proc", recursive=True)
    links = [(path, os.readlink(path)) for path in SYSTEM_LINKS if os.path.islink(path)]
    sysapi.mount("cellblock", STAGE, "tmpfs", sysapi.MS_NOSUID, f"mode=0755,size={ROOT_BYTES}")

    for path in MOUNT_POINTS:
        os.makedirs(STAGE + path, mode=0o755, exist_ok=True)
    for path, target in (*links, *LINKS):
        # The interpreter may lie below a home of that name: then it is a directory.
        if path != HOME_ALIAS or not plan.shows_below(HOME_ALIAS):
            os.symlink(target, STAGE + path)
    _write_etc()
    _write_machine(plan)
    options = f"mode=1777,size={PRELOAD_TMP_BYTES}"
    flags = sysapi.MS_NOSUID | sysapi.MS_NODEV
    sysapi.mount("tmpfs", STAGE + TEMPORARY, "tmpfs", flags, options)
    for name, fd in devices:
        _place(fd, f"/dev/{name}", is_directory=False)
    for bind, fd in binds:
        _place(fd, bind.target, is_directory=os.path.isdir(bind.source))

    # The zygote mounts its own over it. Without one that is fully visible the kernel would refuse
    # that mount (mount_too_revealing in fs/namespace.c).
    _place(proc, "/proc", is_directory=True)
    os.chdir(STAGE)
    sysapi.pivot_root(".", ".")
    sysapi.unmount(".")
    os.chdir("/")
    sysapi.mount(
        "", "/", None, sysapi.MS_REMOUNT | sysapi.MS_BIND | sysapi.MS_RDONLY | sysapi.MS_NOSUID
    )


def is_hidden_by_session(bind: Bind) -> bool:
    """Whether a session's own mounts would cover what `bind` shows."""
    return any(bind.target.startswith(path + "/") for path in OWN_TO_SESSIONS)


def _clone(bind: Bind, plan: JailPlan) -> int:
    """A detached copy of the host path with the attributes that `bind` asks for."""
    fd = sysapi.clone_tree(bind.source, recursive=bind.access == "ro")
    attributes = sysapi.MOUNT_ATTR_NOSUID | sysapi.MOUNT_ATTR_NODEV
    if bind.access == "ro":
        sysapi.set_mount_attributes(fd, attributes | sysapi.MOUNT_ATTR_RDONLY, recursive=True)
        return fd
    sysapi.set_mount_attributes(fd, attributes | sysapi.MOUNT_ATTR_NOSYMFOLLOW)
    if plan.shared_host_id is not None:
        _present_as_owned(fd, os.stat(bind.source), plan.shared_host_id)
    return fd


def _present_as_owned(fd: int, owner: os.stat_result, host_id: int) -> None:
    """Let `host_id` act as `owner` on the mount `fd`, and let new files belong to `owner`.

    Source: mount_setattr(2), ID-mapped mounts.
    """
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready_read)
        os.close(done_write)
        sysapi.unshare(sysapi.CLONE_NEWUSER)
        os.write(ready_write, b"x")
        os.read(done_read, 1)
        os._exit(0)
    os.close(ready_write)
    os.close(done_read)
    try:
        if not os.read(ready_read, 1):
            raise OSError("unshare(CLONE_NEWUSER) for an ID-mapped mount failed")
        for name, owner_id in (("uid_map", owner.st_uid), ("gid_map", owner.st_gid)):
            with open(f"/proc/{child}/{name}", "w") as stream:
                stream.write(f"{owner_id} {host_id} 1\n")
        namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            sysapi.set_mount_attributes(fd, sysapi.MOUNT_ATTR_IDMAP, user_namespace_fd=namespace)
        finally:
            os.close(namespace)
    finally:
        os.close(done_write)
        os.close(ready_read)
        os.waitpid(child, 0)


def _place(fd: int, target: str, *, is_directory: bool) -> None:
    """Attach the detached mount `fd` at `target` of the new root, making the way to it."""
    path = STAGE + target
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if is_directory:
        os.makedirs(path, mode=0o755, exist_ok=True)
    elif not os.path.lexists(path):
        os.mknod(path, stat.S_IFREG | 0o644)
    sysapi.attach_mount(fd, path)
    os.close(fd)


def _write_machine(plan: JailPlan) -> None:
    for directory, files in (
        (machine.PROC_FILES, machine.proc_files(plan)),
        (machine.CPU_FILES, machine.cpu_files()),
    ):
        os.makedirs(STAGE + directory, mode=0o755, exist_ok=True)
        for name, content in files.items():
            with open(f"{STAGE}{directory}/{name}", "w") as stream:
                stream.write(content)


def _write_etc() -> None:
    os.makedirs(STAGE + "/etc", mode=0o755, exist_ok=True)
    for name, content in ETC_FILES.items():
        with open(f"{STAGE}/etc/{name}", "w") as stream:
            stream.write(content)

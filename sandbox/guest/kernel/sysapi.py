"""System calls that Python's `os` does not have: numbers, structs, calls; one man page each.

Every function raises OSError with the kernel's errno, and names the call in the message.
"""

import _socket
import ctypes
import fcntl
import functools
import mmap
import os
import signal
import struct
from collections.abc import Sequence
from contextlib import suppress

from sandbox.guest.kernel.syscalls import NUMBERS

ARCH = os.uname().machine
LISTEN_BACKLOG = 64
_NUMBERS = NUMBERS[ARCH]
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, *(ctypes.c_void_p,) * 6)
_locked_libc = ctypes.PyDLL(None, use_errno=True)
_locked_libc.syscall.restype = ctypes.c_long
"""Calls through it keep the interpreter's lock, as `os.fork` does."""
_fork = _locked_libc.fork
_clone = _locked_libc.clone
_pause = ctypes.cast(_locked_libc.pause, ctypes.c_void_p)
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)

# clone(2), unshare(2), setns(2)
CLONE_VM = 0x00000100
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# mount(2)
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

# mount_setattr(2), open_tree(2), move_mount(2)
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOSYMFOLLOW = 0x200000
MOUNT_ATTR_IDMAP = 0x100000
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4

# fsopen(2), fsconfig(2), fsmount(2)
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7
FSPICK_CLOEXEC = 1
FSPICK_EMPTY_PATH = 8

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_GET_SECCOMP = 21
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_GET_TID_ADDRESS = 40
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITIES_CAP = 64
"""A set has so many bits."""

_CAPABILITY_HEADER = struct.pack("Ii", 0x20080522, 0)
"""_LINUX_CAPABILITY_VERSION_3, and the caller's own sets."""
_NO_CAPABILITIES = bytes(24)
_capabilities = ctypes.create_string_buffer(len(_NO_CAPABILITIES))
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFREQ_LOOPBACK_UP = struct.pack("16sh22x", b"lo", _IFF_UP)

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None


def syscall(
    name: str,
    first: Argument = 0,
    second: Argument = 0,
    third: Argument = 0,
    fourth: Argument = 0,
    fifth: Argument = 0,
) -> int:
    """The result of the system call `name`. Raises OSError if the kernel refuses it."""
    result: int = _syscall(_NUMBERS[name], first, second, third, fourth, fifth, 0)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def fork() -> int:
    """`os.fork` without the functions that modules registered to be called in the child.

    For a child that runs none of their code, and would pay for each page that they touch;
    `run_fork_hooks` makes up for it. Only in a process of one Python thread: then there is no lock
    that another thread could hold.
    """
    pid: int = _fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fork: {os.strerror(number)}")
    return pid


def thread_id_address() -> int:
    """Where the C library keeps the number of this thread; 0 where that cannot be known.

    Only with CONFIG_CHECKPOINT_RESTORE, and not with musl, which has the kernel clear a lock of its
    own. Source: PR_GET_TID_ADDRESS of prctl(2).
    """
    address = ctypes.c_size_t()
    if _prctl(PR_GET_TID_ADDRESS, ctypes.addressof(address), 0, 0, 0) != 0 or not address.value:
        return 0
    kept = ctypes.c_int.from_address(address.value).value
    return address.value if kept == os.getpid() else 0


def fork_unwaited(id_address: int) -> int:
    """As `fork`; the child is one that no wait for children finds, and whose end sends no signal.

    It has no exit signal: only calls with __WALL or __WCLONE are told of it, see wait(2). Once its
    parent has ended the kernel gives it SIGCHLD (`reparent_leader` in kernel/exit.c), so that the
    process that adopts it finds it. The C library does not see the fork, and its handlers
    (pthread_atfork) do not run: only for a process of one thread, native ones counted. The kernel
    writes the child's number to `id_address`, that of `thread_id_address`, as for fork(3).
    """
    flags = CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID
    places = (id_address, 0) if ARCH == "x86_64" else (0, id_address)
    arguments = [ctypes.c_long(value) for value in (flags, 0, 0, *places)]
    pid: int = _locked_libc.syscall(ctypes.c_long(_NUMBERS["clone"]), *arguments)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def run_fork_hooks() -> None:
    """Call, in a child of `fork`, what it left out: the hooks of the interpreter and of modules."""
    _before_fork()
    _after_fork_in_child()


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones. Source: unshare(2)."""
    syscall("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Join the namespace that `fd` refers to. Source: setns(2)."""
    syscall("setns", fd, kind)


def fork_into(flags: int) -> int:
    """As `fork`, the child being in new namespaces.

    One fork where unshare(2) and then a fork for the pid namespace would be two. The C library
    does not see it: the child must start no thread. Source: clone(2).
    """
    arguments = [ctypes.c_long(value) for value in (flags | signal.SIGCHLD, 0, 0, 0, 0)]
    pid: int = _locked_libc.syscall(ctypes.c_long(_NUMBERS["clone"]), *arguments)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def make_stack(size: int) -> mmap.mmap:
    """Memory for the stack of `clone_idle`."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def clone_idle(flags: int, stack: mmap.mmap) -> int:
    """Start a process that does nothing but wait in pause(2); its pid. Source: clone(2).

    With CLONE_VM in `flags` it shares this process's memory, and costs no copy of it. The caller
    must have blocked all signals: it inherits that, and so never comes back from that call. The
    stack may be used again when it has ended.
    """
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + len(stack)
    pid: int = _clone(_pause, ctypes.c_void_p(top), ctypes.c_int(flags | signal.SIGCHLD), None)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def prctl(option: int, value: int = 0) -> int:
    """Source: prctl(2)."""
    result: int = _prctl(option, value, 0, 0, 0)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Call mount(2)."""
    syscall(
        "mount",
        source.encode(),
        os.fsencode(target),
        kind.encode() if kind else None,
        flags,
        data.encode() if data else None,
    )


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """Call umount2(2)."""
    syscall("umount2", os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Call pivot_root(2)."""
    syscall("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def clone_tree(path: str, *, recursive: bool = False) -> int:
    """A detached copy of the mount at `path`, as a descriptor. Source: open_tree(2)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return syscall("open_tree", AT_FDCWD, os.fsencode(path), flags)


def set_mount_attributes(
    fd: int, attributes: int, *, user_namespace_fd: int = 0, recursive: bool = False
) -> None:
    """Add `attributes` to the detached mount `fd`; they are never taken away.

    Unlike a remount this keeps flags that an outer user namespace has locked.
    Source: mount_setattr(2).
    """
    structure = struct.pack("QQQQ", attributes, 0, 0, user_namespace_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", fd, b"", flags, structure, len(structure))


def attach_mount(fd: int, target: str) -> None:
    """Put the detached mount `fd` at `target`. Source: move_mount(2)."""
    syscall("move_mount", fd, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)


def new_filesystem(kind: str, options: Sequence[tuple[str, str | None]], attributes: int) -> int:
    """A detached mount of a new `kind` file system, as a descriptor.

    An option with None is a flag. Source: fsopen(2), fsconfig(2), fsmount(2).
    """
    fd = syscall("fsopen", kind.encode(), FSOPEN_CLOEXEC)
    try:
        for key, value in options:
            if value is None:
                syscall("fsconfig", fd, FSCONFIG_SET_FLAG, key.encode(), None, 0)
            else:
                syscall("fsconfig", fd, FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)
        syscall("fsconfig", fd, FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall("fsmount", fd, FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(fd)


def change_filesystem(mount_fd: int, options: Sequence[tuple[str, str]]) -> None:
    """Set options of the file system that `mount_fd` is a mount of. Source: fspick(2)."""
    fd = syscall("fspick", mount_fd, b"", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)
    try:
        for key, value in options:
            syscall("fsconfig", fd, FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)
        syscall("fsconfig", fd, FSCONFIG_CMD_RECONFIGURE, None, None, 0)
    finally:
        os.close(fd)


def drop_capabilities() -> None:
    """Give up every capability of every set, for good. Source: capabilities(7)."""
    bound_capabilities()
    clear_capability_sets()


def bound_capabilities() -> None:
    """Let no capability come back once it is given up. Source: capabilities(7)."""
    prctl_ambient = syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    assert prctl_ambient == 0
    for capability in known_capabilities():
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            # The caller holds no CAP_SETPCAP: it has nothing in its sets that could come back.
            break


@functools.cache
def known_capabilities() -> range:
    """All that this kernel knows; a zygote asks once for its sessions."""
    count = 0
    with suppress(OSError):  # EINVAL: past the last one.
        while count < CAPABILITIES_CAP:
            prctl(PR_CAPBSET_READ, count)
            count += 1
    return range(count)


def clear_capability_sets() -> None:
    """Empty the effective, permitted and inheritable sets. Source: capset(2)."""
    syscall("capset", _CAPABILITY_HEADER, _NO_CAPABILITIES)


def holds_no_capability() -> bool:
    """Whether effective, permitted and inheritable sets are all empty. Source: capget(2)."""
    syscall("capget", _CAPABILITY_HEADER, _capabilities)
    return _capabilities.raw == _NO_CAPABILITIES


def bring_loopback_up() -> None:
    """Set the flag IFF_UP on `lo` of this network namespace. Source: netdevice(7)."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        fcntl.ioctl(probe.fileno(), _SIOCSIFFLAGS, _IFREQ_LOOPBACK_UP)
    finally:
        probe.close()


def listen_on_loopback(port: int) -> int:
    """Listen on `port` of this network namespace's loopback; the descriptor. Source: tcp(7)."""
    made = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    made.bind(("127.0.0.1", port))
    made.listen(LISTEN_BACKLOG)
    return made.detach()


def close_all_but(keep: Sequence[int]) -> None:
    """Close every descriptor that is not in `keep`. Source: close_range(2)."""
    low = 0
    for fd in sorted(set(keep)):
        if fd > low:
            syscall("close_range", low, fd - 1, 0)
        low = fd + 1
    syscall("close_range", low, 2**32 - 1, 0)

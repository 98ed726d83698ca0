"""Forks copies of the session process that wait until they are needed.

A copy is a child that no wait for children finds (`sysapi.fork_unwaited`): `os.wait()` in a snippet
does not wait for it. It costs one fork. A process that has other threads may have to end them as
the C library forks; there a copy is a grandchild whose parent has exited, which init adopts, and
costs two. Either is init's child once the session process has ended.
"""

import contextlib
import ctypes
import errno
import os

from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import GuestChannel
from sandbox.guest.survival import child_pools, pools, python_threads
from sandbox.protocol.messages import TO_GUEST_CAP_BYTES, CopyResult, copy_ready_frame

WALL = 0x40000000
"""Any children, also those without an exit signal. Source: __WALL of wait(2)."""

_first_interpreter = ctypes.pythonapi.PyInterpreterState_Head
_first_interpreter.restype = ctypes.c_void_p
_next_interpreter = ctypes.pythonapi.PyInterpreterState_Next
_next_interpreter.argtypes = [ctypes.c_void_p]
_next_interpreter.restype = ctypes.c_void_p

_id_address = sysapi.thread_id_address()
"""The same in every fork of the main thread."""
_children: list[int] = []
"""Copies that are children of this process, until they have ended and are reaped."""


def obstacle() -> str:
    """Name what keeps a fork of this process from being faithful; empty if nothing does.

    Then some libraries have no threads any more, here and in what is forked now, until each calls
    `resume`.
    """
    return "" if _is_alone() else _own_obstacle() or pools.obstacle()


def later_obstacle() -> str:
    """Name what would keep a fork from being faithful now; ends no thread."""
    return "" if _is_alone() else _own_obstacle() or pools.refusal()


def resume() -> None:
    """Start threads of libraries again that `obstacle` has ended."""
    pools.resume()


def wake() -> None:
    """Do what modules want done in a forked child, in a copy that is about to be of use."""
    lost, without_children = python_threads.executors(), child_pools.found()
    sysapi.run_fork_hooks()
    python_threads.renew(lost)
    child_pools.renew(without_children)
    pools.resume()


def _is_alone() -> bool:
    """Whether nothing can be in the way, as for most snippets: one thread, and no child."""
    return pools.threads() == 1 and not _has_other_interpreters() and not _has_children()


def _own_obstacle() -> str:
    found = python_threads.obstacle()
    if found:
        return found
    if _has_other_interpreters():
        return "the session has live sub-interpreters"
    return child_pools.other_children(_children) if _has_children() else ""


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def fork_copy(fd: int) -> bool:
    """Fork a copy that waits on channel `fd`. True in the copy, False in the original.

    Raises OSError if no process could be made for it.
    """
    reap()
    if _id_address and pools.threads() == 1:
        return _fork_unwaited(fd)
    try:
        middle = sysapi.fork()
    except OSError:
        os.close(fd)
        raise
    if middle:
        os.close(fd)
        _pid, status = os.waitpid(middle, 0)
        if status:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return False
    _announce(fd)
    _children.clear()
    return True


def _fork_unwaited(fd: int) -> bool:
    try:
        copy = sysapi.fork_unwaited(_id_address)
    except OSError:
        os.close(fd)
        raise
    if copy == 0:
        _children.clear()
        return True
    _children.append(copy)
    # Before the snippet begins: one that dies at once finds the copy announced.
    os.write(fd, copy_ready_frame(copy))
    os.close(fd)
    return False


def reap() -> None:
    """Have the kernel forget copies that have ended; no signal tells of their end."""
    for copy in _children[:]:
        try:
            if os.waitid(os.P_PID, copy, WALL | os.WEXITED | os.WNOHANG) is None:
                continue
        except ChildProcessError:
            pass  # The snippet has done it.
        _children.remove(copy)


def report_refusal(fd: int, refusal: str) -> None:
    """Report on the channel `fd` of a copy that there is none: a killed snippet cannot say it."""
    channel = GuestChannel(fd, "to_guest", TO_GUEST_CAP_BYTES)
    with contextlib.suppress(ConnectionError):
        channel.send(CopyResult("", refusal))
    channel.close()


def private_bytes() -> int:
    """Measure the memory that this process shares with no other. Source: smaps_rollup, proc(5)."""
    private = 0
    with open("/proc/self/smaps_rollup", "rb") as stream:
        for line in stream:
            if line.startswith(b"Private_"):
                private += int(line.split()[1]) * 1024
    return private


def _announce(fd: int) -> None:
    """Fork and return in the child, the copy; the parent announces it on channel `fd` and exits.

    The parent is waited for: a snippet that dies at once finds the copy announced, however late
    the copy itself gets to run. So it does as little as can be, on pages that it need not copy.
    """
    try:
        copy = sysapi.fork()
        if copy:
            os.write(fd, copy_ready_frame(copy))
    except OSError:
        os._exit(1)
    if copy:
        os._exit(0)


def _has_other_interpreters() -> bool:
    """Find out whether this process has more than its main interpreter, made by any means.

    A fork made here would wait for ever for locks of theirs. Source: the C API, where interpreter
    states are a list.
    """
    return bool(_next_interpreter(_first_interpreter()))

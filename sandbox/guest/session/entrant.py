"""Runs the entrant of a branch: the fork of a session process that enters the namespaces.

See `branching/branch` for the whole.
"""

import contextlib
import os
from typing import NamedTuple, NoReturn

from sandbox.guest.branching import branch
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import GuestChannel
from sandbox.guest.session import copies
from sandbox.protocol.messages import NO_PROCESS, CopyResult, EnterNamespaces

HAS_TAKEN, HAS_ANSWERED, HAS_ENDED = b"t", b"a", b"e"
"""What an entrant reports to the session process: how far it is with the host's messages."""
RESTARTED = "a library, such as scipy.fft with `workers`, starts threads in every copy"
PROGRESS_BYTES = 1 << 16
"""What a pipe holds; two words a branch."""


class BranchFds(NamedTuple):
    """Descriptors that come with `EnterNamespaces`."""

    channel: int
    stdout: int
    stderr: int
    namespaces: tuple[int, ...]
    cgroups: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, int, int]:
        """Those that the session process of the branch keeps."""
        return self.channel, self.stdout, self.stderr

    @property
    def all(self) -> tuple[int, ...]:
        return (*self.ends, *self.namespaces, *self.cgroups)


def take_descriptors(channel: GuestChannel, message: EnterNamespaces) -> BranchFds:
    """Take from `channel` what came with `message`. Raises ValueError if some did not come."""
    own, stdout, stderr, *others = channel.take_descriptors(
        3 + message.namespaces + message.cgroups
    )
    namespaces, cgroups = others[: message.namespaces], others[message.namespaces :]
    return BranchFds(own, stdout, stderr, tuple(namespaces), tuple(cgroups))


def fork_into_branches(
    channel: GuestChannel, message: EnterNamespaces, fds: BranchFds
) -> BranchFds | None:
    """Fork an entrant for `message` and those that follow it, and wait for its end.

    None when it has ended; in the session process of each branch, the descriptors of that branch.
    Until then the entrant receives what the host sends on `channel`, and reports here how far it
    is: a message that it took and has not answered is answered in its place. Raises OSError if no
    process could be made.
    """
    progress, report = os.pipe()
    os.write(report, HAS_TAKEN)
    try:
        pid = sysapi.fork()
    except OSError:
        for end in (progress, report):
            os.close(end)
        raise
    if pid == 0:
        os.close(progress)
        own = _enter_each(channel, message, fds, report)
        os.close(report)
        return own
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    # The end of the process is what counts: its forks may have kept the pipe open.
    last_word = os.read(progress, PROGRESS_BYTES)[-1:]
    os.close(progress)
    os.close(report)
    if last_word != HAS_ANSWERED:
        refusal = "" if last_word == HAS_ENDED else "the process that was to branch it ended"
        channel.send(CopyResult("", refusal))
    return None


def _enter_each(
    channel: GuestChannel, message: EnterNamespaces, fds: BranchFds, report: int
) -> BranchFds:
    """Fork into one branch after the other, in the entrant. Returns in each, as a copy.

    A message without namespaces ends the entrant, when all that it forked have ended.
    """
    # The kernel lets no process with threads into a user namespace, and what asks for it in vain
    # counts as hostile. Looked at now: the branch's /proc does not show this process.
    has_threads = len(os.listdir("/proc/self/task")) > 1
    while True:
        if has_threads:
            refusal, unused = RESTARTED, (*fds.namespaces, *fds.cgroups)
        else:
            refusal, unused = _enter(fds), ()
            if not refusal:
                refusal, is_copy = _fork_into_branch(fds.channel)
                if is_copy:
                    return fds
        for fd in (*fds.ends, *unused):
            os.close(fd)
        channel.send(CopyResult(message.nonce, refusal))
        os.write(report, HAS_ANSWERED)
        following = channel.receive()
        os.write(report, HAS_TAKEN)
        if not isinstance(following, EnterNamespaces) or not following.namespaces:
            _end(report)
        message, fds = following, take_descriptors(channel, following)


def _enter(fds: BranchFds) -> str:
    """Enter a branch's namespaces; why that failed, if so."""
    try:
        branch.enter_namespaces(fds.namespaces, fds.cgroups)
    except OSError:
        return "it could not enter the namespaces of the branch"
    return ""


def _end(report: int) -> NoReturn:
    branch.await_children()
    os.write(report, HAS_ENDED)
    os._exit(0)


def _fork_into_branch(channel_fd: int) -> tuple[str, bool]:
    """Why there is no copy in the branch, if so; and whether this process is the copy.

    Its parent exits. That must have lived in the branch too: a grandchild whose parent did not
    would be adopted by the origin's init.
    """
    try:
        if sysapi.fork():
            return "", False
    except OSError as error:
        return f"{NO_PROCESS} ({error.strerror})", False
    try:
        if sysapi.fork():
            os._exit(0)
    except OSError as error:
        copies.report_refusal(channel_fd, f"{NO_PROCESS} ({error.strerror})")
        os._exit(1)
    return "", True

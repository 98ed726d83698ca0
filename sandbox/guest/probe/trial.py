"""One try of a layer: a forked child with a deadline that answers in JSON, or is killed.

What a try does to its process ends with that process. A child that says nothing, or no JSON,
holds nothing.
"""

import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from sandbox.guest.kernel import sysapi
from sandbox.protocol.plan import IDS_PER_ZYGOTE

LIBRARY = os.path.dirname(os.__file__)
"""A directory that every jail has to show, read-only: the standard library."""
TRY_S = 3.0
"""How long one try may take; on an idle machine the slowest takes some 20 ms."""
ANSWER_CAP_BYTES = 8192
SEEN_CAP = 500
ID_BASE = 1_000_000
"""First host id of the range that a privileged try maps, where the own map has it: the host's."""
ID_COUNT = IDS_PER_ZYGOTE + 100
"""As many as a launcher maps."""
_WANTS_MAP = b"m"
_MAP_IS_IN = b"+"


class Refused(Exception):
    """The layer does not hold: `call` was refused with `error`, or had not the effect it must."""

    def __init__(self, call: str, error: str, seen: str) -> None:
        super().__init__(seen)
        self.call = call
        self.error = error
        self.seen = seen


@dataclass(frozen=True)
class Answer:
    """What one try found. `call` and `error` are empty when the layer holds."""

    holds: bool
    call: str
    error: str
    seen: str


@contextmanager
def calling(call: str) -> Iterator[None]:
    """Name what the kernel is asked for; its refusal becomes `Refused`."""
    try:
        yield
    except OSError as error:
        name = name_of(error.errno)
        raise Refused(call, name, f"{call} gave {name}") from error


def name_of(number: int | None) -> str:
    """The name of an errno in the manual pages; where a number has two, the one of Linux calls."""
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number or 0, str(number))


def expect(effect: bool, call: str, otherwise: str) -> None:
    """Refused unless `call`, which the kernel accepted, had its effect."""
    if not effect:
        raise Refused(call, "", f"{call} was accepted, but {otherwise}")


def error_of(call: Callable[[], object]) -> str:
    """Name of the errno with which `call` fails; "no error" when it does not."""
    try:
        call()
    except OSError as error:
        return name_of(error.errno)
    return "no error"


class Trial:
    """The child's side of a try: its way to ask the parent for a map of ids."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def become_root(self) -> bool:
        """Be root of a new user namespace; whether it has a range of spare host ids.

        As a launcher does: with spare ids where the caller may hand them out, else with the
        caller's own id alone.
        """
        if may_make_namespaces():
            with calling("unshare(CLONE_NEWUSER)"):
                sysapi.unshare(sysapi.CLONE_NEWUSER)
            self._channel.sendall(_WANTS_MAP)
            reply = self._channel.recv(64)
            if reply != _MAP_IS_IN:
                name = reply.decode()
                raise Refused("write(uid_map)", name, f"write(uid_map) gave {name}")
            with calling("setresuid"):
                os.setgroups([])
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
            return True
        with calling("unshare(CLONE_NEWUSER)"):
            enter_user_namespace(inside=0)
        return False


def may_make_namespaces() -> bool:
    """Whether this process can make namespaces without a user namespace of its own.

    Leaves the process in a new UTS namespace if so, which is of no consequence to a try.
    """
    try:
        sysapi.unshare(sysapi.CLONE_NEWUTS)
    except OSError:
        return False
    return True


def enter_user_namespace(*, inside: int) -> None:
    """Enter a new user namespace that shows the caller's id as `inside`, and no other id."""
    uid, gid = os.geteuid(), os.getegid()
    sysapi.unshare(sysapi.CLONE_NEWUSER)
    # A change of ids made this process undumpable, and its map files root's.
    sysapi.prctl(sysapi.PR_SET_DUMPABLE, 1)
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {uid} 1"),
        ("gid_map", f"{inside} {gid} 1"),
    ):
        with calling(f"write({name})"):
            write(f"/proc/self/{name}", line)


def spare_ids(own_map: str) -> int | None:
    """First id of an unused range of `ID_COUNT` in `own_map`, a text of uid_map.

    Source: user_namespaces(7), "User and group ID mappings".
    """
    rows = [tuple(map(int, line.split())) for line in own_map.splitlines()]
    for inside, _outside, count in rows:
        if inside <= ID_BASE and inside + count >= ID_BASE + ID_COUNT:
            return ID_BASE
    for inside, _outside, count in rows:
        if count > ID_COUNT + 1:
            # The top of the range; its last ids are those of "nobody" and "nogroup".
            return max(inside + 1, inside + count - ID_COUNT - 2)
    return None


def attempt(tried: Callable[[Trial], str]) -> Answer:
    """What `tried` found in a child of its own, all of it undone by the child's end."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _answer(tried, theirs)
    theirs.close()
    try:
        said, is_over = _listen(ours, pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        ours.close()
    try:
        return Answer(**json.loads(said))
    except (ValueError, TypeError):
        seen = "it ended without an answer" if is_over else f"no answer within {TRY_S:g} s"
        return Answer(False, "try", "", seen)


def _answer(tried: Callable[[Trial], str], channel: socket.socket) -> NoReturn:
    try:
        # Should the parent be killed, it ends no child any more.
        with calling("prctl(PR_SET_PDEATHSIG)"):
            sysapi.prctl(sysapi.PR_SET_PDEATHSIG, signal.SIGKILL)
        answer = Answer(True, "", "", tried(Trial(channel)))
    except Refused as refused:
        answer = Answer(False, refused.call, refused.error, refused.seen)
    except Exception as error:  # noqa: BLE001
        # A fork must not unwind into its parent's code. An unexpected error is reported as it
        # is, and the layer does not hold.
        name = type(error).__name__
        answer = Answer(False, "try", name, f"the try raised {name}: {error}"[:SEEN_CAP])
    try:
        channel.sendall(json.dumps(answer.__dict__).encode())
    finally:
        os._exit(0)


def _listen(channel: socket.socket, pid: int) -> tuple[bytes, bool]:
    """What the child says until it closes the channel, and whether it did so in time."""
    deadline = time.monotonic() + TRY_S
    said = b""
    while len(said) < ANSWER_CAP_BYTES:
        ready, _, _ = select.select([channel], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return said, False
        data = channel.recv(ANSWER_CAP_BYTES)
        if not data:
            break
        if data == _WANTS_MAP:
            channel.sendall(_map_spare_ids(pid))
        else:
            said += data
    return said, True


def _map_spare_ids(pid: int) -> bytes:
    """Map spare host ids into the user namespace of `pid`; the reply to the child."""
    try:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/self/{name}") as stream:
                first = spare_ids(stream.read())
            if first is None:
                return b"ERANGE"
            write(f"/proc/{pid}/{name}", f"0 {first} {ID_COUNT}")
    except OSError as error:
        return name_of(error.errno).encode()
    return _MAP_IS_IN


def write(path: str, line: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)

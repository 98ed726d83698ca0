"""The namespaces of a branch are entered once, by one process; all else ends the session."""

import os

import pytest

from sandbox import (
    CopyRefused,
    Sandbox,
    Session,
    SessionLost,
)
from tests.jail.branching import text
from tests.jail.traces import bring_to_rest

GATE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def enter(fd, kind=0):
    return "in" if libc.setns(fd, kind) == 0 else errno.errorcode[ctypes.get_errno()]
def tried():
    kinds = {"user": 0x10000000, "pid": 0x20000000, "mnt": 0x20000, "net": 0x40000000}
    found = {enter(-1)}
    for name, kind in kinds.items():
        with open(f"/proc/self/ns/{name}") as own:
            found.add(enter(own.fileno(), kind))
    return found
"""


def test_setns_is_refused_before_and_after_a_fork(session: Session) -> None:
    session.run(GATE)
    assert text(session.run("tried()")) == "{'EPERM'}"
    with session.fork() as branch, branch.fork() as deeper:
        for one in (session, branch, deeper):
            assert text(one.run("tried()")) == "{'EPERM'}"


def test_a_session_that_keeps_the_namespaces_of_its_branch_cannot_enter_them(
    box: Sandbox,
) -> None:
    with box.session() as session:
        session.run(GATE)
        # What a hostile session can do: its own close does nothing any more.
        session.run(
            "import stat\nkept = []\nreal = os.close\n"
            "def keep(fd):\n"
            "  if not stat.S_ISFIFO(os.fstat(fd).st_mode): kept.append(os.dup(fd))\n"
            "  real(fd)\nos.close = keep"
        )
        with session.fork() as branch:
            entered = session.run("os.close = real; {enter(fd) for fd in kept}")
            assert text(entered) in ("{'EPERM'}", "{'EPERM', 'EINVAL'}")
            assert text(session.run("len(kept) > 6")) == "True"
            assert text(branch.run("1")) == "1"


def test_a_process_that_uses_the_gate_in_place_of_a_branch_ends_the_session(box: Sandbox) -> None:
    with box.session() as session:
        session.run(GATE)
        session.run(
            "import stat\nkept = []\nreal = os.close\n"
            "def keep(fd):\n"
            "  if not stat.S_ISFIFO(os.fstat(fd).st_mode): kept.append(os.dup(fd))\n"
            "  real(fd)\nos.close = keep"
        )
        branch = session.fork()
        session.run(
            "os.close = real\n"
            "spare = [fd for fd in kept if 'user:' in os.readlink(f'/proc/self/fd/{fd}')]\n"
            "for fd in kept:\n  if fd not in spare: real(fd)\n"
            "if os.fork() == 0:\n"
            "    if os.fork(): os._exit(0)\n"
            "    while enter(spare[0], 0x10000000) != 'in': pass\n"
            "    os._exit(0)\n"
            "os.wait(); [real(fd) for fd in spare]\n"
            # The entrant that may go waits, so that the other is first however they are scheduled.
            "import sys, time\nsysapi = sys.modules['sandbox.guest.kernel.sysapi']\n"
            "go = sysapi.setns\n"
            "sysapi.setns = lambda *where: (time.sleep(0.3), go(*where))"
        )
        with pytest.raises(CopyRefused, match="could not enter"):
            session.fork()
        for one in (session, branch):
            with pytest.raises(SessionLost):
                one.run("1")
        branch.close()


@pytest.mark.parametrize("when", [1, 2, 4])
def test_a_process_that_enters_a_namespace_of_a_branch_but_stays_outside_ends_the_session(
    box: Sandbox, when: int
) -> None:
    with box.session() as session:
        branch = session.fork()
        # The entrant leaves a child behind on its way, with what entering gave it.
        session.run(
            "import os, sys, time\nsysapi = sys.modules['sandbox.guest.kernel.sysapi']\n"
            "real, entered = sysapi.setns, []\n"
            "def enter(fd, kind):\n"
            "    real(fd, kind); entered.append(kind)\n"
            f"    if len(entered) == {when} and os.fork() == 0:\n"
            "        if os.fork(): os._exit(0)\n"
            "        time.sleep(60)\n"
            "sysapi.setns = enter"
        )
        with pytest.raises(CopyRefused, match=r"stayed outside|processes are in it"):
            session.fork()
        for one in (session, branch):
            with pytest.raises(SessionLost):
                one.run("1")
        branch.close()


def test_host_descriptors_do_not_grow_with_branches(session: Session) -> None:
    def held() -> int:
        bring_to_rest()  # Or a warm worker that arrives meanwhile would be counted.
        return len(os.listdir("/proc/self/fd"))

    session.fork().close()
    session.run("1")
    with session.fork() as branch:
        branch.run("1")
        before = held()
        for _ in range(4):
            with session.fork() as other:
                other.run("1")
        branch.run("1")
        session.run("1")
    assert held() <= before + 8

"""Branches go on from one moment of a session, and share nothing with it or each other after."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sandbox import (
    AsyncSandbox,
    BranchesTooDeep,
    CheckpointDropped,
    CopyRefused,
    Limits,
    Policy,
    PolicyError,
    PoolFull,
    Sandbox,
    Session,
    SessionClosed,
    SessionLost,
)
from sandbox.guest.kernel.sysapi import ARCH
from sandbox.guest.kernel.syscalls import NUMBERS
from sandbox.outcome import Completed, LimitExceeded, Outcome, Raised, outcome_to_json
from sandbox.processes import supply
from sandbox.session.checkpoints import Checkpoint
from tests.jail.bait import Bait
from tests.jail.corpus import Attack
from tests.jail.test_attacks import (
    ATTACKS,
    Arena,
    assert_ended_as,
    assert_tells_nothing,
    hang_is_a_failure,
    read_back,
    run_all,
)
from tests.jail.traces import bring_to_rest

MiB = 1024 * 1024
FIND_HIERARCHIES = supply._find_hierarchies
LIMITS = Limits(processes=40, memory_bytes=256 * MiB)
PIDS = "sorted(int(name) for name in os.listdir('/proc') if name.isdigit())"
NAMES = (
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open setpriority ioprio_set "
    "sched_setaffinity prlimit64 process_vm_readv process_vm_writev ptrace fcntl getpgid"
)
REACH = f"""
import ctypes, errno, fcntl, os
calls = { ({name: NUMBERS[ARCH][name] for name in NAMES.split()})!r}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def answer(name, *arguments):
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(calls[name]), *words)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
block = ctypes.create_string_buffer(256)
limits = (ctypes.c_ulong * 2)(0, 0)
mask = ctypes.c_ulong(1)
word = os.open("/dev/null", os.O_RDWR)
def means(pid):
    '''Every way to touch `pid` or its group, tried; the signal is SIGWINCH or none.'''
    info = ctypes.create_string_buffer(bytes([28, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]), 128)
    yield "kill", answer("kill", pid, 28)
    yield "kill of a group", answer("kill", -pid, 28) if pid > 1 else "ESRCH"
    yield "tkill", answer("tkill", pid, 28)
    yield "tgkill", answer("tgkill", pid, pid, 28)
    yield "rt_sigqueueinfo", answer("rt_sigqueueinfo", pid, 28, info)
    yield "rt_tgsigqueueinfo", answer("rt_tgsigqueueinfo", pid, pid, 28, info)
    yield "pidfd_open", answer("pidfd_open", pid, 0)
    yield "setpriority", answer("setpriority", 0, pid, 19)
    yield "setpriority of a group", answer("setpriority", 1, pid, 19)
    yield "ioprio_set", answer("ioprio_set", 1, pid, 3 << 13)
    yield "sched_setaffinity", answer("sched_setaffinity", pid, 8, ctypes.byref(mask))
    yield "prlimit64", answer("prlimit64", pid, 7, limits, None)
    yield "process_vm_readv", answer("process_vm_readv", pid, 0, 0, 0, 0, 0)
    yield "process_vm_writev", answer("process_vm_writev", pid, 0, 0, 0, 0, 0)
    yield "ptrace", answer("ptrace", 16, pid, 0, 0)
    yield "F_SETOWN", answer("fcntl", word, 8, pid)
    yield "F_SETOWN of a group", answer("fcntl", word, 8, -pid)
    for name in ("status", "mem", "environ", "fd", "ns/user", "root"):
        yield name, "done" if os.path.exists(f"/proc/{{pid}}/{{name}}") else "ENOENT"
def touched(known):
    found = set()
    for pid in range(1, 200):
        if pid not in known:
            found |= {{name for name, said in means(pid)
                      if said not in ("ESRCH", "EPERM", "ENOSYS", "ENOENT")}}
    return found
def seen():
    return [pid for pid in range(1, 200) if answer("kill", pid, 0) != "ESRCH"]
def settled():
    '''Who is seen once standbys of snippets before have ended, and the own state.'''
    for _ in range(40):
        if len(seen()) <= 3:
            break
        time.sleep(0.02)
    return len(seen()), seen()[0], own_state()
def own_state():
    return os.getpriority(0, 0), sorted(os.sched_getaffinity(0))
"""


COUNTED_BY = ("cgroups", "meter")


@contextmanager
def counting_by(what: str) -> Iterator[None]:
    """Sandboxes whose first session starts meanwhile find cgroups, or as if none were."""
    with pytest.MonkeyPatch.context() as patch:
        find = FIND_HIERARCHIES if what == "cgroups" else lambda: None
        patch.setattr(supply, "_find_hierarchies", find)
        yield


@pytest.fixture(scope="module", params=COUNTED_BY)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of the full tier, once with cgroups and once as if there were none."""
    with Sandbox(Policy(limits=LIMITS), pool_size=1) as opened:
        with counting_by(request.param):
            opened.session().close()
        yield opened


@pytest.fixture
def session(box: Sandbox) -> Iterator[Session]:
    with box.session() as opened:
        text(opened.run("import os, signal, socket, sys, threading, time"))
        yield opened


def text(outcome: Outcome) -> str | None:
    assert isinstance(outcome, Completed), outcome
    return outcome.text


# ---- the same until now, apart from here on ---------------------------------------------------


def test_a_branch_has_the_variables_of_its_origin_and_then_its_own(session: Session) -> None:
    session.run("x, kept = 1, [1, 2]")
    with session.fork() as branch:
        assert text(branch.run("x, kept")) == "(1, [1, 2])"
        branch.run("x = 2; kept.append(3)")
        session.run("x = 3; kept.clear()")
        assert text(branch.run("x, kept")) == "(2, [1, 2, 3])"
        assert text(session.run("x, kept")) == "(3, [])"


def test_a_number_asks_for_that_many_branches(session: Session) -> None:
    session.run("x = 0")
    branches = session.fork(3)
    for number, branch in enumerate(branches):
        branch.run(f"x += {number}")
    assert [text(branch.run("x")) for branch in branches] == ["0", "1", "2"]
    assert text(session.run("x")) == "0"
    for branch in branches:
        branch.close()


def test_no_branch_at_all_is_refused(session: Session) -> None:
    with pytest.raises(PolicyError, match="at least one"):
        session.fork(0)


def test_files_are_copied_and_then_apart(session: Session) -> None:
    session.put("data/a.txt", "a")
    session.run(
        "os.symlink('a.txt', 'data/link'); os.mkfifo('pipe'); os.utime('data/a.txt', (7, 7))\n"
        "os.chmod('data/a.txt', 0o640)\n"
        "open('/tmp/t', 'w').write('t'); open('/dev/shm/s', 'w').write('s')"
    )
    look = (
        "[open(p).read() for p in ('data/link', '/tmp/t', '/dev/shm/s')], "
        "os.stat('data/a.txt').st_mtime, oct(os.stat('data/a.txt').st_mode), "
        "sorted(os.listdir('data'))"
    )
    before = text(session.run(look))
    with session.fork() as branch:
        assert text(branch.run(look)) == before
        assert branch.files() == ["data/a.txt"]
        assert text(branch.run("os.path.exists('pipe')")) == "False"
        branch.run("[open(p, 'w').write('b') for p in ('data/a.txt', '/tmp/t', '/dev/shm/s')]")
        branch.put("new.txt", "n")
        session.put("data/a.txt", "o")
        assert branch.get("data/a.txt") == b"b"
        assert session.get("data/a.txt") == b"o"
        assert session.files() == ["data/a.txt"]
        assert text(session.run("open('/tmp/t').read() + open('/dev/shm/s').read()")) == "'ts'"


def test_artifacts_of_a_branch_are_what_it_changed(session: Session) -> None:
    session.put("old.txt", "o")
    with session.fork() as branch:
        assert branch.run("1").artifacts == ()
        [made] = branch.run("open('made.txt', 'w').write('m')").artifacts
        assert (made.path, made.change) == ("made.txt", "made")


def test_a_branch_starts_in_the_workspace_and_changes_its_own_directory(session: Session) -> None:
    workspace = text(session.run("os.getcwd()"))
    with session.fork() as branch:
        assert text(branch.run("os.getcwd()")) == workspace
        branch.run("os.chdir('/tmp')")
        assert text(session.run("os.getcwd()")) == workspace


def test_chance_goes_on_alike_and_then_apart(session: Session) -> None:
    session.run("import random; random.seed(1)")
    draw = "[random.random() for _ in range(3)]"
    with session.fork() as branch:
        first = text(branch.run(draw))
        assert text(session.run(draw)) == first
        assert text(branch.run(draw)) != first


def test_numbers_of_snippets_go_on(session: Session) -> None:
    with session.fork() as branch:
        failed = branch.run("1 / 0")
        assert isinstance(failed, Raised)
        assert "ZeroDivisionError" in failed.error.traceback


def test_input_given_to_the_origin_is_not_shared(session: Session) -> None:
    session.run("line = sys.stdin.readline()", stdin="one\ntwo\n")
    with session.fork() as branch:
        assert text(branch.run("line, sys.stdin.read(), os.read(0, 9)")) == "('one\\n', '', b'')"


def test_output_goes_to_whom_it_belongs(session: Session) -> None:
    with session.fork() as branch:
        assert branch.run("print('branch')").stdout == "branch\n"
        assert session.run("print('origin')").stdout == "origin\n"
        assert branch.run("os.write(2, b'raw')").stderr == "raw"


# ---- nothing is shared --------------------------------------------------------------------------


def test_nobody_sees_or_touches_processes_of_an_origin_or_a_branch(session: Session) -> None:
    session.run(REACH)
    before = text(session.run("settled()"))
    one, other = session.fork(2)
    with one, other, one.fork() as deeper:
        everyone = (session, one, other, deeper)
        for each in everyone:
            own = text(each.run("os.getpid()"))
            # Its init, itself and its standby, and nobody else.
            assert text(each.run("settled()")) == before
            assert text(each.run(PIDS)) == f"[{own}]"
            assert text(each.run("touched(seen())")) == "set()"
        for each in (one, other, deeper):
            assert text(each.run("os.getppid(), os.getpgid(0) == os.getpid()")) == "(1, True)"
        for each in everyone:
            assert text(each.run("settled()")) == before
            assert text(each.run("answer('kill', os.getpid(), 28)")) == "'done'"


def test_priorities_of_all_processes_of_an_id_are_not_an_origins_to_set(session: Session) -> None:
    session.run(REACH)
    refused = "answer('setpriority', 2, 0, 5), os.getpriority(0, 0)"
    assert text(session.run(refused)) == "('EPERM', 0)"
    with session.fork() as branch:
        assert text(session.run(refused)) == "('EPERM', 0)"
        assert text(branch.run("os.getpriority(0, 0)")) == "0"


def test_what_an_origin_started_it_can_still_signal(session: Session) -> None:
    start = (
        "import subprocess\ndef end_one():\n  child = subprocess.Popen(['sleep', '60'], "
        "start_new_session=True)\n  os.killpg(child.pid, 0)\n  child.terminate()\n"
        "  return child.wait()\n"
        "def end_all():\n  children = [subprocess.Popen(['sleep', '60']) for _ in range(3)]\n"
        "  os.kill(-1, signal.SIGTERM)\n"
        "  return [child.wait() for child in children]\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)"
    )
    session.run(start)
    with session.fork() as branch, branch.fork() as deeper:
        for each in (session, branch, deeper):
            assert text(each.run("end_one()")) == "-15"
            assert (
                text(each.run("import threading; signal.pthread_kill(threading.get_ident(), 0)"))
                is None
            )
            nobody = each.run("os.kill(150000, 0)")
            assert isinstance(nobody, Raised)
            assert nobody.error.type == "ProcessLookupError"
            # The standby handles it as well: what it is a copy of did.
            assert text(each.run("end_all()")) == "[-15, -15, -15]"
            assert each.run("os._exit(1)").state == "rolled_back"
    assert text(session.run("1")) == "1"


@pytest.mark.parametrize("target", ["0", "-1"])
def test_a_signal_to_everybody_ends_nobody_else(session: Session, target: str) -> None:
    session.run("x = 1")
    one, other = session.fork(2)
    with one, other, one.fork() as deeper:
        for each, left in ((one, (session, other, deeper)), (session, (other, deeper))):
            outcome = each.run(f"os.kill({target}, signal.SIGKILL)\nos._exit(1)")
            assert outcome.status == "died"
            for spared in left:
                assert text(spared.run("x")) == "1"


def test_kills_in_an_origin_leave_no_fork_of_a_branch_stopped(session: Session) -> None:
    # Page tables that make each fork take its time.
    session.run(
        "import mmap\nblob = mmap.mmap(-1, 100 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "blob.madvise(mmap.MADV_NOHUGEPAGE)\n"
        "for at in range(0, 100 << 20, 4096): blob[at] = 1"
    )
    with session.fork() as branch, ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            forking = pool.submit(
                branch.run,
                "for _ in range(20):\n  pid = os.fork()\n  if not pid: os._exit(0)\n"
                "  os.waitpid(pid, 0)",
            )
            assert session.run("os._exit(1)").state == "rolled_back"
            assert forking.result().status == "completed"


def test_names_of_sockets_and_ports_are_apart(session: Session) -> None:
    session.run(
        "def serve():\n"
        "    global kept\n"
        "    kept = [socket.socket(socket.AF_UNIX), socket.create_server(('127.0.0.1', 4711))]\n"
        "    kept[0].bind('\\0meeting'); kept[0].listen()\n"
        "def refused():\n"
        "    names = []\n"
        "    for family, address in ((socket.AF_UNIX, '\\0meeting'),\n"
        "                            (socket.AF_INET, ('127.0.0.1', 4711))):\n"
        "        try:\n"
        "            socket.socket(family).connect(address)\n"
        "        except OSError as error:\n"
        "            names.append(type(error).__name__)\n"
        "    return names\n"
    )
    one, other = session.fork(2)
    with one, other:
        session.run("serve()")
        one.run("serve()")
        refused = "['ConnectionRefusedError', 'ConnectionRefusedError']"
        assert text(other.run("refused()")) == refused
        other.run("serve()")
        assert text(other.run("refused()")) == "[]"


def test_a_branch_is_held_by_every_layer(session: Session) -> None:
    facts = (
        "[line.split()[1] for line in open('/proc/self/status') if line.split(':')[0] in "
        "('CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs', 'Seccomp')], os.getresuid()"
    )
    tries = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def answer(name, *arguments):\n"
        "    result = getattr(libc, name)(*arguments)\n"
        "    return 'done' if result == 0 else os.strerror(ctypes.get_errno())\n"
        "def opened(path):\n"
        "    try:\n"
        "        open(path, 'w')\n"
        "    except OSError as error:\n"
        "        return type(error).__name__\n"
    )
    session.run(tries)
    with session.fork() as branch, branch.fork() as deeper:
        assert branch.enforcement == session.enforcement
        for one in (branch, deeper):
            zero = "0" * 16
            expected = f"(['{zero}', '{zero}', '{zero}', '{zero}', '1', '2'], (1000, 1000, 1000))"
            if text(session.run(facts)) != expected:
                assert text(one.run(facts)) == text(session.run(facts))
            else:
                assert text(one.run(facts)) == expected
            denied = "Operation not permitted"
            assert text(one.run("answer('unshare', 0x10000000)")) == repr(denied)
            assert text(one.run("answer('mount', 0, b'/tmp', b'tmpfs', 0, 0)")) == repr(denied)
            assert text(one.run("answer('prctl', 4, 1, 0, 0, 0)")) == repr(denied)
            assert text(one.run("answer('sethostname', b'x', 1)")) == repr(denied)
            assert text(one.run("opened('/etc/x'), opened('/dev/x')")) in (
                "('PermissionError', 'PermissionError')",
                "('OSError', 'OSError')",
                "('PermissionError', 'OSError')",
            )
            assert text(one.run("os.listdir('/mnt/data') == os.listdir('/workspace')")) == "True"


# ---- limits and the bill ------------------------------------------------------------------------


def test_each_has_its_own_limit_of_memory(session: Session) -> None:
    session.run("mine = bytearray(b'x') * (60 << 20)")
    with session.fork() as branch:
        assert text(branch.run("more = bytearray(b'y') * (60 << 20); len(more)")) == "62914560"
        assert text(session.run("more = bytearray(b'y') * (60 << 20); len(more)")) == "62914560"
        full = branch.run("most = bytearray(b'z') * (400 << 20)")
        assert (full.status, full.state) in (
            ("limit_exceeded", "rolled_back"),
            ("raised", "kept"),
        )
        assert text(branch.run("len(more)")) == "62914560"
        assert text(session.run("len(more)")) == "62914560"


def test_each_has_its_own_limit_of_time(session: Session) -> None:
    with session.fork() as branch:
        outcome = branch.run("while True: pass", limits=Limits(wall_s=0.1))
        assert isinstance(outcome, LimitExceeded)
        assert (outcome.limit, outcome.state) == ("wall_s", "kept")
        assert text(session.run("1")) == "1"
        assert text(branch.run("1")) == "1"


def test_each_has_its_own_bill(session: Session) -> None:
    def cpu_s(one: Session, code: str) -> float:
        usage = one.run(code).usage
        return usage.cpu_user_s + usage.cpu_system_s

    session.run(
        "def burn():\n  end = time.process_time() + 0.3\n  while time.process_time() < end: pass"
    )
    with session.fork() as branch:
        assert cpu_s(session, "burn()") >= 0.2 > cpu_s(branch, "1")
        assert cpu_s(branch, "burn()") >= 0.2 > cpu_s(session, "1")


def test_processes_of_each_are_counted_by_themselves() -> None:
    # Without cgroups the kernel counts those of branches to their origin too.
    each = 30 if FIND_HIERARCHIES() is not None else 8
    start = (
        "import os, time\nkids = []\ndef start(n):\n  for _ in range(n):\n"
        "    kids.append(os.fork())\n    if not kids[-1]: time.sleep(60); os._exit(0)\n"
        "  return len(kids)"
    )
    with Sandbox(Policy(limits=LIMITS), pool_size=0) as box, box.session() as session:
        session.run(start)
        branches = session.fork(3)
        for one in (session, *branches):
            assert text(one.run(f"start({each})")) == str(each)
        for branch in branches:
            branch.close()


# ---- lives --------------------------------------------------------------------------------------


def test_a_branch_of_a_branch_of_a_branch(session: Session) -> None:
    session.run("path = ['origin']")
    line = [session]
    for name in ("child", "grandchild", "great-grandchild"):
        line.append(line[-1].fork())
        line[-1].run(f"path.append({name!r}); open('path', 'w').write(name := {name!r})")
    for depth, one in enumerate(line):
        assert text(one.run("len(path)")) == str(depth + 1)
    assert text(line[3].run("path")) == "['origin', 'child', 'grandchild', 'great-grandchild']"
    line[1].close()
    assert text(line[2].run("path[-1], open('path').read()")) == "('grandchild', 'grandchild')"
    assert text(line[3].run("path[-1]")) == "'great-grandchild'"
    line[2].close()
    assert text(line[3].run("path[-1]")) == "'great-grandchild'"
    assert text(line[0].run("path")) == "['origin']"
    line[3].close()


async def test_a_line_of_branches_ends_with_an_error_that_says_how_deep_they_nest() -> None:
    async with AsyncSandbox(pool_size=0) as box, AsyncExitStack() as stack:
        line = [await stack.enter_async_context(box.session())]
        await line[0].run("x = 1")

        async def branch_on() -> None:
            while len(line) < 40:
                line.append(await stack.enter_async_context(await line[-1].fork()))

        with pytest.raises(BranchesTooDeep, match="nest 32 deep at most") as caught:
            await branch_on()
        assert caught.value.generation == len(line) - 1
        assert len(line) > 20
        # Nobody is worse off, and nearer to the first session there is room.
        for one in (line[0], line[-2], line[-1]):
            assert text(await one.run("x")) == "1"
        async with await line[-3].fork() as branch:
            assert text(await branch.run("x")) == "1"
        with pytest.raises(BranchesTooDeep):
            await line[-1].fork(2)
        assert text(await line[-1].run("x")) == "1"


def test_branches_outlive_their_origin(box: Sandbox) -> None:
    session = box.session()
    session.run("x = 1; import os")
    branch = session.fork()
    session.close()
    with pytest.raises(SessionClosed):
        session.run("x")
    assert text(branch.run("x")) == "1"
    assert branch.run("os._exit(1)").state == "rolled_back"
    assert text(branch.run("x")) == "1"
    with branch.fork() as second:
        assert text(second.run("x")) == "1"
    branch.close()


def test_an_origin_outlives_its_branches(session: Session) -> None:
    session.run("x = 1")
    for _ in range(3):
        branch = session.fork()
        branch.run("x = 2")
        branch.close()
        with pytest.raises(SessionClosed):
            branch.run("x")
    assert text(session.run("x")) == "1"
    assert session.run("os._exit(1)").state == "rolled_back"
    assert text(session.run("x")) == "1"


def test_branches_go_on_while_a_limit_kills_in_their_origin(session: Session) -> None:
    session.run("x = 1; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    branch = session.fork()
    killed = session.run("while True: pass", limits=Limits(wall_s=0.1, grace_s=0.05))
    assert (killed.status, killed.state) == ("limit_exceeded", "rolled_back")
    assert text(branch.run("x")) == "1"
    assert text(session.run("x")) == "1"
    branch.close()


async def test_a_kill_in_the_origin_leaves_a_running_branch_alone() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("import os, time; x = 1")
        async with await session.fork() as branch:
            running = asyncio.ensure_future(
                branch.run("for _ in range(300): time.sleep(0.001)\nx + 1")
            )
            for _ in range(3):
                assert (await session.run("os._exit(1)")).state == "rolled_back"
            assert text(await running) == "2"


async def test_branches_run_at_the_same_time() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("import time; met = []")
        branches = await session.fork(4)
        began = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(one.run("time.sleep(0.5)") for one in branches))
        assert [outcome.status for outcome in outcomes] == ["completed"] * 4
        assert asyncio.get_running_loop().time() - began < 1.9
        for one in branches:
            await one.close()


async def test_siblings_may_be_branched_at_the_same_time() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        branches = await session.fork(3)
        forked = await asyncio.gather(*(one.fork(2) for one in (session, *branches)))
        for group in forked:
            for one in group:
                assert text(await one.run("x")) == "1"
                await one.close()
        for one in branches:
            await one.close()


async def test_a_fork_that_nobody_waits_for_any_more_leaves_nothing() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        for delay in (0, 0.001, 0.002, 0.005):
            task = asyncio.ensure_future(session.fork(8))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert text(await session.run("x")) == "1"
        assert box._supply.pool is not None
        assert box._supply.pool.live == 1


def test_a_branch_counts_as_a_session_of_the_sandbox() -> None:
    with Sandbox(pool_size=0, max_sessions=2, max_waiting=0) as box, box.session() as session:
        with session.fork(), pytest.raises(PoolFull):
            session.fork()
        with session.fork() as branch:
            assert text(branch.run("1")) == "1"


def test_survival_and_checkpoints_work_in_a_branch(session: Session) -> None:
    session.run("x = 1")
    with session.fork() as branch:
        assert branch.run("x = 5\nos._exit(1)").state == "rolled_back"
        mark = branch.checkpoint()
        branch.run("x = 2")
        branch.rollback(mark)
        assert text(branch.run("x")) == "1"
        branch.rollback(mark)
        assert branch.try_run("x = 3\n1 / 0").state == "rolled_back"
        assert text(branch.run("x")) == "1"
        session.run("x = 9")
        assert text(branch.run("x")) == "1"


def test_checkpoints_of_the_origin_stay_with_it(session: Session) -> None:
    session.run("x = 1")
    mark = session.checkpoint()
    session.run("x = 2")
    with session.fork() as branch:
        assert branch.checkpoints() == []
        with pytest.raises(CheckpointDropped):
            branch.rollback(mark)
        session.rollback(mark)
        assert text(session.run("x")) == "1"
        assert text(branch.run("x")) == "2"


def test_a_session_that_was_rolled_back_or_killed_can_be_branched(session: Session) -> None:
    session.run("x = 1")
    mark = session.checkpoint()
    session.run("x = 2\nos._exit(1)")
    session.rollback(mark)
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"


# ---- what is not branched -----------------------------------------------------------------------

REFUSALS = {
    "a thread": (
        "stop = threading.Event(); t = threading.Thread(target=stop.wait); t.start()",
        "stop.set(); t.join()",
        "live Python threads",
    ),
    "a child": (
        "child = os.fork()\nif not child: time.sleep(60); os._exit(0)",
        "os.kill(child, 9); os.waitpid(child, 0)",
        "a child process",
    ),
    "a socket": ("s = socket.socket()", "s.close()", "an open socket"),
    "a pipe": ("ends = os.pipe()", "[os.close(end) for end in ends]", "an open pipe"),
    "a deleted file": (
        "f = open('/tmp/notes', 'w+'); os.remove('/tmp/notes')",
        "f.close()",
        "the file /.*tmp/notes",
    ),
    "a memory file": ("fd = os.memfd_create('m')", "os.close(fd)", "an open memory file"),
    "shared memory": (
        "import mmap; shared = mmap.mmap(-1, 4096)",
        "shared.close()",
        "writable shared memory",
    ),
    "a selector": ("import select; p = select.epoll()", "p.close()", "an open anon_inode"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_branch_would_go_on_sharing_is_refused_until_it_is_gone(
    session: Session, name: str
) -> None:
    make, end, why = REFUSALS[name]
    session.run("x = 1")
    made = session.run(make)
    if name == "a memory file" and isinstance(made, Raised):
        # Where no cgroup sees their pages they are refused.
        assert "Function not implemented" in made.error.message
        return
    with pytest.raises(CopyRefused, match=why):
        session.fork(2)
    assert text(session.run("x")) == "1"
    assert session.run(end).status == "completed"
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"


def test_files_of_a_branch_are_its_own_at_the_same_place(session: Session) -> None:
    session.run(
        "f = open('notes', 'w+'); _ = f.write('one two'); f.flush(); _ = f.seek(4)\n"
        "log = open('log', 'a'); _ = log.write('1'); log.flush()\n"
        "font = open(os.__file__, 'rb'); head = font.read(9)\n"
        "import mmap; lines = os.scandir('.')"
    )
    use = "f.read(), f.seek(0), f.write('ONE'), f.flush(), f.seek(4), f.tell(), font.tell()"
    with session.fork() as branch:
        for one in (branch, session):
            assert text(one.run(use)) == "('two', 0, 3, None, 4, 4, 9)"
        session.run("_ = log.write('2'); log.close(); _ = f.seek(0); _ = f.write('x'); f.close()")
        branch.run("_ = log.write('3'); log.close(); f.close()")
        assert (session.get("log"), branch.get("log")) == (b"12", b"13")
        assert (session.get("notes"), branch.get("notes")) == (b"xNE two", b"ONE two")
        assert text(branch.run("font.read(5) == open(os.__file__, 'rb').read()[9:14]")) == "True"
        assert text(session.run("font.tell()")) == "9"


def test_a_mapped_file_of_a_branch_is_its_own(session: Session) -> None:
    session.run(
        "import mmap\nf = open('table', 'w+b'); f.write(bytes(8192)); f.flush()\n"
        "rows = mmap.mmap(f.fileno(), 4096, offset=4096); rows[:3] = b'abc'"
    )
    with session.fork() as branch:
        branch.run("rows[0:1] = b'x'; rows.flush()")
        session.run("rows[1:2] = b'y'; rows.flush()")
        assert (text(branch.run("rows[:3]")), text(session.run("rows[:3]"))) == ("b'xbc'", "b'ayc'")
        assert branch.get("table")[4096:4099] == b"xbc"
        assert session.get("table")[4096:4099] == b"ayc"


def test_locks_of_multiprocessing_are_a_branch_s_own(session: Session) -> None:
    session.run("import multiprocessing\nlock = multiprocessing.Lock()\nlock.acquire()")
    with session.fork() as branch:
        branch.run("lock.release()")
        assert text(branch.run("lock.acquire(block=False)")) == "True"
        assert text(session.run("lock.acquire(block=False)")) == "False"


def test_an_event_loop_is_no_hindrance(session: Session) -> None:
    session.run(
        "import asyncio\nseen = []\nasync def tick():\n  await asyncio.sleep(0)\n"
        "  seen.append(1)\ntask = asyncio.create_task(tick())\nawait asyncio.sleep(0)"
    )
    with session.fork() as branch:
        for one in (session, branch, session, branch):
            assert text(one.run("await asyncio.sleep(0.001, 'woken')")) == "'woken'"
            assert text(one.run("await asyncio.to_thread(len, 'abc')")) == "3"
        assert text(branch.run("seen")) == text(session.run("seen")) == "[1]"


def test_a_session_without_a_descriptor_left_says_so(session: Session) -> None:
    session.run(
        "x = 1\nfds = []\ntry:\n  while True: fds.append(os.open('/dev/null', 0))\n"
        "except OSError: pass"
    )
    with pytest.raises(CopyRefused, match="as many open files"):
        session.fork()
    session.run("[os.close(fd) for fd in fds]")
    assert text(session.run("x")) == "1"
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"


@pytest.mark.parametrize("processes", range(4, 10))
def test_a_session_with_too_few_processes_for_its_branches_goes_on(processes: int) -> None:
    limits = Limits(processes=processes)
    box = Sandbox(Policy(limits=limits), pool_size=0)
    with counting_by("meter"), box, box.session() as session:
        session.run("x = 1")
        with pytest.raises(CopyRefused, match="no process could be made for a copy"):
            session.fork(12)
        assert text(session.run("x")) == "1"
        with session.fork() as branch:
            assert text(branch.run("x")) == "1"


# ---- the gate -----------------------------------------------------------------------------------

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


def test_the_gate_is_shut_before_and_after_a_fork(session: Session) -> None:
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


def test_who_uses_the_gate_in_place_of_a_branch_ends_the_session(box: Sandbox) -> None:
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
            # The one who may go waits, so that the other is first however they are scheduled.
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
def test_who_enters_a_namespace_of_a_branch_and_stays_outside_ends_the_session(
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


# ---- attacks from inside a branch ---------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[Arena, Session]]:
    """A sandbox with a session from which every attacked branch is forked."""
    with Bait() as bait:
        with counting_by(request.param):
            arena = Arena("namespaces", bait)
        with arena.box.session() as origin:
            text(origin.run("untouched = 'x'"))
            yield arena, origin
        arena.close()


TRIED = [
    *((COUNTED_BY[0], attack) for attack in ATTACKS),
    *((COUNTED_BY[1], attack) for attack in ATTACKS if attack.category == "memory"),
]


@pytest.mark.parametrize(
    ("ground", "attack"),
    TRIED,
    ids=[f"{attack.name}, {counted}" for counted, attack in TRIED],
    indirect=["ground"],
)
def test_the_attack_is_contained_in_a_branch(ground: tuple[Arena, Session], attack: Attack) -> None:
    arena, origin = ground
    before = arena.bait.state()
    with hang_is_a_failure():
        with origin.fork() as branch:
            outcome = run_all(branch, attack, arena)
            assert_ended_as(outcome, attack.expected["namespaces"])
            assert_tells_nothing(outcome_to_json(outcome), arena)
            read_back(branch, attack, arena, outcome)
        assert arena.bait.state() == before, "the attack touched the host"
        assert text(origin.run("untouched")) == "'x'"
        assert origin.files() == []


# ---- any order ----------------------------------------------------------------------------------


class BranchMachine(RuleBasedStateMachine):
    """Sessions with branches, and plain models of their variables, take the same steps."""

    def __init__(self, box: Sandbox) -> None:
        super().__init__()
        self.box = box
        self.lines: list[Line] = []

    @initialize()
    def open(self) -> None:
        self.lines = [Line(self.box.session(), {}, [])]
        text(self.lines[0].session.run("import os"))

    @rule(at=st.integers(0, 9), name=st.sampled_from("abc"), value=st.integers(0, 9))
    def assign(self, at: int, name: str, value: int) -> None:
        line = self.pick(at)
        assert isinstance(line.session.run(f"{name} = {value}"), Completed)
        line.model[name] = value

    @rule(at=st.integers(0, 9), name=st.sampled_from("abc"), value=st.integers(10, 19))
    def raise_half_way(self, at: int, name: str, value: int) -> None:
        line = self.pick(at)
        assert line.session.run(f"{name} = {value}\n1 / 0").state == "kept"
        line.model[name] = value

    @rule(
        at=st.integers(0, 9),
        name=st.sampled_from("abc"),
        death=st.sampled_from(["os._exit(1)", "os.kill(os.getpid(), 9)"]),
    )
    def die(self, at: int, name: str, death: str) -> None:
        outcome = self.pick(at).session.run(f"{name} = -1\n{death}")
        assert (outcome.status, outcome.state) == ("died", "rolled_back")

    @rule(at=st.integers(0, 9))
    def checkpoint(self, at: int) -> None:
        line = self.pick(at)
        if len(line.marks) < 4:
            line.marks.append((line.session.checkpoint(), dict(line.model)))

    @rule(at=st.integers(0, 9), mark=st.integers(0, 9))
    def rollback(self, at: int, mark: int) -> None:
        line = self.pick(at)
        if line.marks:
            checkpoint, model = line.marks[mark % len(line.marks)]
            line.session.rollback(checkpoint)
            line.model.clear()
            line.model.update(model)

    @precondition(lambda self: len(self.lines) < 5)
    @rule(at=st.integers(0, 9), n=st.integers(1, 2))
    def fork(self, at: int, n: int) -> None:
        line = self.pick(at)
        for branch in line.session.fork(n):
            self.lines.append(Line(branch, dict(line.model), []))

    @precondition(lambda self: len(self.lines) > 1)
    @rule(at=st.integers(0, 9))
    def close(self, at: int) -> None:
        line = self.pick(at)
        line.session.close()
        self.lines.remove(line)

    @invariant()
    def variables_are_those_of_the_models(self) -> None:
        for line in self.lines:
            seen = text(line.session.run("[globals().get(name) for name in 'abc']"))
            assert seen == repr([line.model.get(name) for name in "abc"])

    def pick(self, at: int) -> "Line":
        return self.lines[at % len(self.lines)]

    def teardown(self) -> None:
        for line in self.lines:
            line.session.close()


class Line(NamedTuple):
    """One session of the machine, what its variables must be, and what its checkpoints hold."""

    session: Session
    model: dict[str, int]
    marks: list[tuple[Checkpoint, dict[str, int]]]


def test_any_order_of_forks_deaths_and_rollbacks_keeps_every_session_its_own() -> None:
    with Sandbox(pool_size=1) as box:
        run_state_machine_as_test(
            lambda: BranchMachine(box),  # type: ignore[arg-type]
            settings=settings(
                max_examples=7,
                stateful_step_count=14,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )

"""Neither an origin nor a branch reaches the other's processes, sockets, limits or bill."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox import (
    Limits,
    Policy,
    Sandbox,
    Session,
)
from sandbox.guest.kernel.sysapi import ARCH
from sandbox.guest.kernel.syscalls import NUMBERS
from sandbox.outcome import LimitExceeded, Raised
from tests.jail.branching import FIND_HIERARCHIES, LIMITS, text

PIDS = "sorted(int(name) for name in os.listdir('/proc') if name.isdigit())"
NAMES = (
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open setpriority ioprio_set "
    "sched_setaffinity prlimit64 process_vm_readv process_vm_writev ptrace fcntl getpgid"
)
REACH = f"""
import contextlib, ctypes, errno, fcntl, os
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
    '''The processes seen once standbys of snippets before have ended, and the own state.'''
    for _ in range(40):
        for pid in seen():
            with contextlib.suppress(ChildProcessError):  # Standbys that have ended, of this one.
                os.waitpid(pid, os.WNOHANG | 0x40000000)
        if len(seen()) <= 3:
            break
        time.sleep(0.02)
    return len(seen()), seen()[0], own_state()
def own_state():
    return os.getpriority(0, 0), sorted(os.sched_getaffinity(0))
"""


def test_processes_of_an_origin_or_a_branch_are_neither_seen_nor_touched(session: Session) -> None:
    session.run(REACH)
    before = text(session.run("settled()"))
    one, other = session.fork(2)
    with one, other, one.fork() as deeper:
        everyone = (session, one, other, deeper)
        for each in everyone:
            own = text(each.run("os.getpid()"))
            # Its init, itself and its standby, and no other.
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
def test_a_signal_to_every_process_ends_no_other_session(session: Session, target: str) -> None:
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

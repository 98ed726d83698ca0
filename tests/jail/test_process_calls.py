"""Calls that take a process reach a session's own, and no init, sibling or host process."""

import os
import subprocess
import time

import psutil

from sandbox import Sandbox, Session
from sandbox.guest.kernel.sysapi import ARCH
from sandbox.guest.kernel.syscalls import NUMBERS
from tests.jail.corpus import Tier
from tests.jail.hosts import init_of

TAKES_A_PROCESS = {
    "kill": "(pid, 28)",
    "tkill": "(pid, 28)",
    "tgkill": "(pid, pid, 28)",
    "rt_sigqueueinfo": "(pid, 28, info)",
    "rt_tgsigqueueinfo": "(pid, pid, 28, info)",
    "pidfd_open": "(pid, 0)",
    "setpriority": "(0, pid, 19)",
    "getpriority": "(0, pid)",
    "ioprio_set": "(1, pid, 3 << 13)",
    "ioprio_get": "(1, pid)",
    "sched_setaffinity": "(pid, 8, mask)",
    "sched_getaffinity": "(pid, 128, room)",
    "sched_setscheduler": "(pid, 3, room)",
    "sched_getscheduler": "(pid,)",
    "sched_setparam": "(pid, room)",
    "sched_getparam": "(pid, room)",
    "sched_setattr": "(pid, room, 0)",
    "sched_getattr": "(pid, room, 56, 0)",
    "sched_rr_get_interval": "(pid, room)",
    "prlimit64": "(pid, 7, 0, room)",
    "get_robust_list": "(pid, room, room)",
    "getpgid": "(pid,)",
    "getsid": "(pid,)",
    "setpgid": "(pid, pid)",
    "migrate_pages": "(pid, 8, mask, mask)",
    "move_pages": "(pid, 0, 0, 0, 0, 0)",
    "kcmp": "(pid, pid, 1, 0, 0)",
    "ptrace": "(16, pid, 0, 0)",
    "process_vm_readv": "(pid, 0, 0, 0, 0, 0)",
    "process_vm_writev": "(pid, 0, 0, 0, 0, 0)",
    "perf_event_open": "(room, pid, -1, -1, 0)",
    "clock_gettime": "(~pid << 3 | 2, room)",
    "clock_getres": "(~pid << 3 | 2, room)",
    "clock_nanosleep": "(~pid << 3 | 2, 0, bytes(16), 0)",
    "timer_create": "(~pid << 3 | 2, 0, room)",
    "wait4": "(pid, 0, 1, 0)",
    "waitid": "(1, pid, room, 5, 0)",
}
"""Each system call whose argument is a process, thread or group, and how to try it on one."""
BY_DESCRIPTOR = {
    "pidfd_send_signal": "(fd, 28, 0, 0)",
    "pidfd_getfd": "(fd, 0, 0)",
    "process_madvise": "(fd, 0, 0, 21, 0)",
    "process_mrelease": "(fd, 0)",
    "setns": "(fd, 0x10000000)",
}
"""Those that take a pidfd. A socket gives that of the process that made it: SO_PEERPIDFD."""
GROUPS = {
    "kill": "(-pid if pid > 1 else 150000, 28)",
    "setpriority": "(1, pid, 19)",
    "getpriority": "(1, pid)",
    "ioprio_get": "(2, pid)",
    "fcntl": "(word, 8, -pid)",
}
OTHERS = {"fcntl": "(word, 8, pid)"}
NO_ANSWER = {"ESRCH", "EPERM", "ENOSYS", "EACCES", "ECHILD", "EINVAL", "EBADF"}
CALLED = {
    name: NUMBERS[ARCH][name]
    for name in (*TAKES_A_PROCESS, *BY_DESCRIPTOR, "fcntl")
    if name in NUMBERS[ARCH]
}
WALK = f"""
import ctypes, errno, os, socket, subprocess
numbers = {CALLED!r}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
room = ctypes.create_string_buffer(512)
info = ctypes.create_string_buffer(bytes([28, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]), 128)
mask = ctypes.byref(ctypes.c_ulong(1))
word = os.open("/dev/null", os.O_RDWR)
def answer(name, arguments):
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(numbers[name]), *words)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def walk(pid):
    for table in ({TAKES_A_PROCESS!r}, {OTHERS!r}, {GROUPS!r}):
        for name, arguments in table.items():
            if name in numbers: yield name + arguments, answer(name, eval(arguments))
def by_descriptor():
    for number in range(3, 64):
        try: own = socket.socket(fileno=os.dup(number))
        except OSError: continue
        try: fd = own.getsockopt(socket.SOL_SOCKET, 77)
        except OSError as error: continue
        for name, arguments in {BY_DESCRIPTOR!r}.items():
            if name in numbers:
                yield name + arguments, answer(name, eval(arguments, {{**globals(), "fd": fd}}))
"""


def standing(pid: int) -> tuple[object, ...]:
    """What a call could have changed of a process."""
    process = psutil.Process(pid)
    return process.nice(), process.cpu_affinity(), process.ionice(), process.status() != "zombie"


def reached(session: Session, target: str) -> dict[str, str]:
    """The calls that got through to `target`, an expression for its number, and their answers."""
    outcome = session.run(f"sorted(walk({target}))")
    assert outcome.status == "completed", outcome
    answers = dict(eval(outcome.text or ""))
    assert len(answers) > 30
    return {call: said for call, said in answers.items() if said not in NO_ANSWER}


def test_every_call_that_takes_a_process_is_in_the_walk() -> None:
    takes = {"pidfd_open", "getpgid", "setpgid", "wait4", "waitid", "kcmp", "ptrace"}
    assert takes <= set(TAKES_A_PROCESS)
    prefixes = ("sched_", "process_", "pidfd_", "ioprio_", "getprio", "setprio")
    own = {"sched_yield", "sched_get_priority_max", "sched_get_priority_min"}
    named = {name for name in NUMBERS[ARCH] if name.startswith(prefixes)} - own
    assert named <= {*TAKES_A_PROCESS, *BY_DESCRIPTOR}


def test_no_call_reaches_init_a_sibling_or_the_host(
    box: Sandbox, session: Session, tier: Tier, decoy: subprocess.Popen[bytes]
) -> None:
    with box.session() as sibling:
        sibling.run("import os; x = 1")
        assert session.run(WALK).status == "completed"
        watched = {
            "init": init_of(session),
            "sibling": sibling_pid(sibling, tier),
            "init of the sibling": init_of(sibling),
            "decoy": decoy.pid,
            "engine": os.getpid(),
        }
        before = {name: standing(pid) for name, pid in watched.items()}
        targets = {name: str(pid) for name, pid in watched.items()} | {"init": "os.getppid()"}
        got = {name: reached(session, target) for name, target in targets.items()}
        assert {name: calls for name, calls in got.items() if calls} == {}
        through = session.run("sorted(by_descriptor())")
        assert through.status == "completed"
        answers = eval(through.text or "")
        assert [row for row in answers if row[1] not in NO_ANSWER] == []
        assert {name: standing(pid) for name, pid in watched.items()} == before
        assert sibling.run("x").text == "1"
        assert session.run("1").text == "1"


def sibling_pid(sibling: Session, tier: Tier) -> int:
    """The host's number of a session process."""
    if tier == "landlock":
        return int(sibling.run("os.getpid()").text or 0)
    return psutil.Process(init_of(sibling)).children()[0].pid


def test_calls_go_on_for_the_sessions_own_processes(session: Session) -> None:
    assert session.run(WALK).status == "completed"
    usual = {"kill", "tgkill", "pidfd_open", "setpriority", "getpriority", "getpgid", "getsid"}
    usual |= {"sched_setaffinity", "sched_getaffinity", "sched_getscheduler", "ioprio_get"}
    usual |= {"clock_gettime", "clock_getres", "timer_create"}
    outcome = session.run(
        "child = subprocess.Popen(['sleep', '30'], start_new_session=True)\n"
        "found = [[name for name, said in walk(pid) if said == 'done']\n"
        "         for pid in (os.getpid(), child.pid)]\n"
        "child.kill(); child.wait()\nfound"
    )
    for calls in eval(outcome.text or ""):
        assert usual <= {call.partition("(")[0] for call in calls}, calls


def test_clocks_of_own_threads_are_read(session: Session) -> None:
    outcome = session.run(
        "import threading, time\n"
        "clock = time.pthread_getcpuclockid(threading.get_ident())\n"
        "(clock < 0, time.clock_gettime(clock) > 0, time.clock_gettime(-6) > 0)"
    )
    assert outcome.text == "(True, True, True)", outcome


def test_init_is_not_ended_or_slowed_by_signals(session: Session) -> None:
    session.run("import os, signal, time; x = 1")
    outcome = session.run(
        "refused = 0\n"
        "for number in range(1, 65):\n"
        "    try: os.kill(os.getppid(), number)\n"
        "    except OSError: refused += 1\n"
        "refused"
    )
    assert outcome.text == "64"
    assert session.run("x").text == "1"
    time.sleep(0.05)
    assert psutil.Process(init_of(session)).is_running()

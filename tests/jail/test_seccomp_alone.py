"""The seccomp filter on the real kernel, with no other layer on.

A probe is a call whose arguments make an unfiltered kernel fail at once, without effect. The
errno then tells what answered: the kernel, so the call got through, or the filter.
"""

import array
import ctypes
import errno
import mmap
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from functools import cache

import pytest

from sandbox.guest.jail import seccomp
from sandbox.guest.jail.callrules import ALLOW, NOTIFY, Rule, refuse, rules_for
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.syscalls import NUMBERS, X32_BIT
from tests.jail.forked import Ended, Report, call, errno_of, run
from tests.unit.calls import expected

TABLES: dict[str, tuple[Rule, ...]] = {
    "namespaces": rules_for("namespaces"),
    "landlock-7 own id": rules_for("landlock", 7, own_id=True),
    "landlock-7": rules_for("landlock", 7),
    "landlock-1": rules_for("landlock", 1),
}
NOWHERE = -1
"""As a descriptor EBADF, as a pointer EFAULT, as flags or a size EINVAL."""
BAD_SOCKET_FLAGS = 0x40000000
THREAD_WITHOUT_SIGNALS = 0x10000
"""CLONE_THREAD without CLONE_SIGHAND is EINVAL whatever else is asked for."""
HIGHEST_NUMBER = 600
JUNK = 0x7EAD_BEEF_0000_0000

# Calls that do not come back, or that end or signal the caller whatever their arguments.
NOT_TRIED = frozenset(
    [
        *("exit", "exit_group", "fork", "vfork", "pause", "alarm", "restart_syscall"),
        *("rt_sigreturn", "rt_sigsuspend", "kill", "tkill", "tgkill", "pidfd_send_signal"),
        *("rt_sigqueueinfo", "rt_tgsigqueueinfo", "uretprobe", "uprobe"),
    ]
)

Probe = tuple[str, tuple[int, ...], int, int]
# (call, arguments, what the kernel answers, what the filter answers; the same if it lets through)
IN_EVERY_TIER: list[Probe] = [
    ("clone", (THREAD_WITHOUT_SIGNALS,), errno.EINVAL, errno.EINVAL),
    *[
        ("clone", (THREAD_WITHOUT_SIGNALS | flag,), errno.EINVAL, errno.EPERM)
        for flag in (
            *(sysapi.CLONE_NEWNS, sysapi.CLONE_NEWCGROUP, sysapi.CLONE_NEWUTS),
            *(sysapi.CLONE_NEWIPC, sysapi.CLONE_NEWUSER, sysapi.CLONE_NEWPID),
            *(sysapi.CLONE_NEWNET, 0x2000, 0x8000, 0x800000),
        )
    ],
    ("clone", (JUNK | THREAD_WITHOUT_SIGNALS, 0), errno.EINVAL, errno.EINVAL),
    ("clone", (JUNK | THREAD_WITHOUT_SIGNALS | sysapi.CLONE_NEWUSER,), errno.EINVAL, errno.EPERM),
    ("clone3", (NOWHERE, 64), errno.EFAULT, errno.ENOSYS),
    ("socket", (16, 3 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EAFNOSUPPORT),
    ("socket", (38, 5 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EAFNOSUPPORT),
    ("socket", (40, 1 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EAFNOSUPPORT),
    ("socket", (JUNK | 40, 1 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EAFNOSUPPORT),
    ("socketpair", (1, 1 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EINVAL),
    ("socketpair", (2, 1 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EAFNOSUPPORT),
    ("ioctl", (NOWHERE, 0x5401), errno.EBADF, errno.EBADF),
    ("ioctl", (NOWHERE, 0x541B), errno.EBADF, errno.EBADF),
    ("ioctl", (NOWHERE, JUNK | 0x5401), errno.EBADF, errno.EBADF),
    ("ioctl", (NOWHERE, 0x5412), errno.EBADF, errno.EPERM),
    ("ioctl", (NOWHERE, JUNK | 0x5412), errno.EBADF, errno.EPERM),
    ("ioctl", (NOWHERE, 0x541C), errno.EBADF, errno.EPERM),
    ("ioctl", (NOWHERE, 0xC0045877), errno.EBADF, errno.ENOTTY),
    ("prctl", (15, NOWHERE), errno.EFAULT, errno.EFAULT),
    ("prctl", (1, 999), errno.EINVAL, errno.EINVAL),
    ("prctl", (4, 2), errno.EINVAL, errno.EPERM),
    ("prctl", (8, 2), errno.EINVAL, errno.EPERM),
    ("prctl", (22, 999), errno.EINVAL, errno.EPERM),
    ("prctl", (JUNK | 22, 999), errno.EINVAL, errno.EPERM),
    ("prctl", (36, 0), 0, errno.EPERM),
    ("prctl", (26, 1), 0 if sysapi.ARCH == "x86_64" else errno.EINVAL, errno.EINVAL),
    ("personality", (0xFFFFFFFF,), 0, 0),
    ("personality", (0,), 0, errno.EPERM),
    ("prlimit64", (0, 999), errno.EINVAL, errno.EINVAL),
    ("fcntl", (NOWHERE, 1030), errno.EBADF, errno.EBADF),
    ("fcntl", (NOWHERE, 1024), errno.EBADF, errno.EPERM),
    ("fcntl", (NOWHERE, 1026), errno.EBADF, errno.EPERM),
    ("madvise", (0, 0, 4), 0, 0),
    ("madvise", (0, 4096, 4), errno.ENOMEM, errno.ENOMEM),
    ("madvise", (0, 4096, 12), errno.ENOMEM, errno.EINVAL),
    ("mmap", (0, 4096, 3, 2, NOWHERE, 0), errno.EBADF, errno.EBADF),
    ("mmap", (0, 4096, 3, 2 | 0x40000, NOWHERE, 0), errno.EBADF, errno.ENOMEM),
    ("memfd_create", (NOWHERE, 1), errno.EFAULT, errno.EFAULT),
    ("memfd_create", (NOWHERE, 4), errno.EFAULT, errno.ENOMEM),
    ("mknodat", (NOWHERE, NOWHERE, 0o010600), errno.EFAULT, errno.EFAULT),
    ("mknodat", (NOWHERE, NOWHERE, 0o020600), errno.EFAULT, errno.EPERM),
    ("mknodat", (NOWHERE, NOWHERE, 0o060600), errno.EFAULT, errno.EPERM),
    ("setsockopt", (NOWHERE, 1, 2), errno.EBADF, errno.EBADF),
    ("setsockopt", (NOWHERE, 1, 26), errno.EBADF, errno.EPERM),
    ("setsockopt", (NOWHERE, 6, 31), errno.EBADF, errno.ENOPROTOOPT),
    ("unshare", (NOWHERE,), errno.EINVAL, errno.EPERM),
    ("keyctl", (999,), errno.EOPNOTSUPP, errno.EPERM),
    ("seccomp", (999,), errno.EINVAL, errno.EPERM),
    ("userfaultfd", (NOWHERE,), errno.EINVAL, errno.EPERM),
    ("process_vm_readv", (0, 0, 0, 0, 0, NOWHERE), errno.EINVAL, errno.EPERM),
    ("pidfd_getfd", (NOWHERE, 0, 0), errno.EBADF, errno.EPERM),
    ("io_uring_enter", (NOWHERE,), errno.EBADF, errno.ENOSYS),
    ("splice", (NOWHERE, 0, NOWHERE, 0, 1, 0), errno.EBADF, errno.ENOSYS),
]
IN_NAMESPACES: list[Probe] = [
    # A question without a listener.
    ("setns", (NOWHERE, 0), errno.EBADF, errno.ENOSYS),
    ("socket", (1, 2 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EINVAL),
    ("socket", (2, 1 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EINVAL),
    ("socket", (2, 3 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.ESOCKTNOSUPPORT),
    ("socket", (2, 1 | BAD_SOCKET_FLAGS, 132), errno.EINVAL, errno.EPROTONOSUPPORT),
    ("connect", (NOWHERE,), errno.EBADF, errno.EBADF),
    ("fchmod", (NOWHERE, 0), errno.EBADF, errno.EBADF),
    ("kill", (0, 0), 0, 0),
]
ON_A_SHARED_HOST: list[Probe] = [
    ("setns", (NOWHERE, 0), errno.EBADF, errno.EPERM),
    ("socket", (1, 2 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EACCES),
    ("socket", (2, 1 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EACCES),
    ("socketpair", (1, 2 | BAD_SOCKET_FLAGS), errno.EINVAL, errno.EACCES),
    ("connect", (NOWHERE,), errno.EBADF, errno.EACCES),
    ("fsetxattr", (NOWHERE, NOWHERE), errno.EFAULT, errno.EPERM),
    ("inotify_add_watch", (NOWHERE, NOWHERE, 1), errno.EBADF, errno.EACCES),
]
WITH_AN_OWN_ID: list[Probe] = [
    ("fchmod", (NOWHERE, 0), errno.EBADF, errno.EBADF),
    ("setpriority", (1, 0, 0), 0, 0),
    ("kill", (0, 0), 0, 0),
]
WITH_A_SHARED_ID: list[Probe] = [
    ("fchmod", (NOWHERE, 0), errno.EBADF, errno.EPERM),
    ("sched_setaffinity", (0, 8, NOWHERE), errno.EFAULT, errno.EFAULT),
    ("setpriority", (0, 0, 0), 0, 0),
    ("setpriority", (1, 0, 0), 0, 0),
    ("getpgid", (NOWHERE,), errno.ESRCH, errno.ENOSYS),
    ("kill", (0, 0), 0, 0),
]
ON_AN_OLD_KERNEL: list[Probe] = [
    ("tgkill", (NOWHERE, NOWHERE, 0), errno.EINVAL, errno.EPERM),
    ("fcntl", (NOWHERE, 8), errno.EBADF, errno.ENOSYS),
    ("truncate", (NOWHERE, 0), errno.EFAULT, errno.EACCES),
    ("openat", (NOWHERE, NOWHERE, os.O_RDONLY), errno.EFAULT, errno.EFAULT),
    ("openat", (NOWHERE, NOWHERE, os.O_WRONLY | os.O_TRUNC), errno.EFAULT, errno.EFAULT),
    ("openat", (NOWHERE, NOWHERE, os.O_RDONLY | os.O_TRUNC), errno.EFAULT, errno.EACCES),
    ("openat", (NOWHERE, NOWHERE, 3 | os.O_TRUNC), errno.EFAULT, errno.EACCES),
]
PROBES = {
    "namespaces": IN_EVERY_TIER + IN_NAMESPACES,
    "landlock-7 own id": IN_EVERY_TIER + ON_A_SHARED_HOST + WITH_AN_OWN_ID,
    "landlock-7": IN_EVERY_TIER + ON_A_SHARED_HOST + WITH_A_SHARED_ID,
    "landlock-1": IN_EVERY_TIER + ON_A_SHARED_HOST + WITH_A_SHARED_ID + ON_AN_OLD_KERNEL,
}

each_table = pytest.mark.parametrize("table", TABLES)


@cache
def program(table: str) -> bytes:
    return seccomp.compile_filter(TABLES[table], sysapi.ARCH)


def filtered(table: str, body: Callable[[], Report]) -> Report:
    """What `body` returns in a child with the filter of `table` on."""

    def confined() -> Report:
        seccomp.install(program(table))
        return body()

    return run(confined).said


@each_table
def test_each_probe_is_answered_by_the_kernel_or_by_the_filter(table: str) -> None:
    probes = PROBES[table]

    def answers() -> list[int]:
        return [call(name, *arguments) for name, arguments, _kernel, _filter in probes]

    bare, confined = run(answers).said, filtered(table, answers)
    asked = [(name, arguments) for name, arguments, _kernel, _filter in probes]
    assert list(zip(asked, _listed(bare), strict=True)) == [
        ((name, arguments), kernel) for name, arguments, kernel, _filter in probes
    ]
    assert list(zip(asked, _listed(confined), strict=True)) == [
        ((name, arguments), answer) for name, arguments, _kernel, answer in probes
    ]


@each_table
def test_every_plain_call_reaches_the_kernel(table: str) -> None:
    names = _calls(table, lambda action: action == ALLOW)

    def answers() -> dict[str, int]:
        return {name: call(name, *[NOWHERE] * 6) for name in names}

    assert len(names) > 150
    assert filtered(table, answers) == run(answers).said


@each_table
def test_every_other_call_is_refused_with_the_errno_of_its_row(table: str) -> None:
    rules = TABLES[table]
    names = _calls(table, lambda action: action != ALLOW)
    assigned = set(NUMBERS[sysapi.ARCH].values())
    unassigned = [number for number in range(HIGHEST_NUMBER) if number not in assigned]

    def answers() -> dict[str, int]:
        return {
            **{name: call(name, *[NOWHERE] * 6) for name in names},
            **{str(number): call(number, *[NOWHERE] * 6) for number in unassigned},
        }

    errnos = {refuse(number): number for number in errno.errorcode}
    errnos[NOTIFY] = errno.ENOSYS  # The answer without a listener: seccomp_unotify(2).
    assert filtered(table, answers) == {
        **{name: errnos[expected(rules, name, (0,) * 6)] for name in names},
        **{str(number): errno.ENOSYS for number in unassigned},
    }


def test_the_own_process_and_no_other_has_its_limits_changed() -> None:
    def answers() -> list[int]:
        return [call("prlimit64", pid, 999) for pid in (0, os.getpid(), os.getppid())]

    assert filtered("namespaces", answers) == [errno.EINVAL, errno.EPERM, errno.EPERM]


def test_without_signal_scopes_only_the_own_group_is_signalled() -> None:
    def answers() -> list[int]:
        targets = (0, os.getpid(), os.getppid(), 1, -1)
        return [errno_of(os.kill, pid, 0) for pid in targets]

    assert filtered("landlock-1", answers) == [0, *[errno.EPERM] * 4]


@each_table
def test_a_filtered_process_does_all_that_a_session_needs(table: str) -> None:
    def work() -> dict[str, int]:
        left, right = socket.socketpair()
        memory = os.memfd_create("shared")
        descriptors = array.array("i", [memory])
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        _data, [(_level, _kind, received)], _flags, _address = right.recvmsg(1, 64)
        passed = int.from_bytes(received[:4], "little")
        os.write(passed, b"kept")
        os.dup2(passed, memory)

        child = os.fork()
        if child == 0:
            os._exit(7)
        # A descriptor of it would be a question to init, and here is none.
        code = os.waitid(os.P_PID, child, os.WEXITED)
        assert code is not None

        # No other process is about to make use of the adjustment; it is its own old value.
        with open("/proc/self/oom_score_adj", "r+") as stream:
            value = stream.read()
            stream.seek(0)
            stream.write(value)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        signal.setitimer(signal.ITIMER_REAL, 5)
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        return {
            "memory": os.fstat(memory).st_size,
            "code": code.si_status,
            "listed": int(len(os.listdir(here)) > 0),
            "spawned": subprocess.run(["/bin/sh", "-c", "exit 3"], check=False).returncode,
            "mapped": len(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)),
        }

    assert filtered(table, work) == {
        "memory": 4,
        "code": 7,
        "listed": 1,
        "spawned": 3,
        "mapped": 4096,
    }


def test_init_ends_processes_under_the_filters_that_leave_it_kill() -> None:
    def end_a_child() -> int:
        child = os.fork()
        if child == 0:
            signal.pause()
        os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert filtered("landlock-7", end_a_child) == -signal.SIGKILL


FILTER_IS_ON = """
while read -r name value; do
    test "$name $value" = "Seccomp: 2" && exit 0
done < /proc/self/status
exit 1
"""


def test_the_filter_holds_for_children_and_for_what_they_execute() -> None:
    def try_in_a_child() -> list[int]:
        child = os.fork()
        if child == 0:
            os._exit(call("unshare", 0))
        forked = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        executed = subprocess.run(["/bin/sh", "-c", FILTER_IS_ON], check=False)
        return [forked, executed.returncode]

    assert run(try_in_a_child).said == [0, 1]
    assert filtered("namespaces", try_in_a_child) == [errno.EPERM, 0]


def test_the_filter_takes_hold_of_threads_that_run_already() -> None:
    def unshare_in_an_older_thread() -> int:
        installed = threading.Event()
        answers: list[int] = []

        def wait_then_unshare() -> None:
            installed.wait()
            answers.append(call("unshare", 0))

        thread = threading.Thread(target=wait_then_unshare)
        thread.start()
        seccomp.install(program("namespaces"))
        installed.set()
        thread.join()
        return answers[0]

    assert run(unshare_in_an_older_thread).said == errno.EPERM


def test_the_kernel_reports_the_filter_and_that_privileges_do_not_come_back() -> None:
    def status() -> dict[str, int]:
        with open("/proc/self/status") as stream:
            fields = dict(line.split(":", 1) for line in stream)
        return {name: int(fields[name]) for name in ("NoNewPrivs", "Seccomp")}

    assert filtered("namespaces", status) == {"NoNewPrivs": 1, "Seccomp": 2}


def test_a_filter_stays_and_a_second_one_cannot_be_added() -> None:
    def add_another() -> int:
        return errno_of(seccomp.install, program("namespaces"))

    assert filtered("namespaces", add_another) == errno.EPERM


def test_a_broken_program_is_an_error_that_names_the_step() -> None:
    def install_nonsense() -> str:
        with pytest.raises(OSError, match="seccomp") as caught:
            seccomp.install(bytes(8))
        return errno.errorcode[caught.value.errno or 0]

    assert run(install_nonsense).said == "EINVAL"


if sysapi.ARCH == "x86_64":
    GETPID_AS_I386 = bytes.fromhex("b814000000 cd80 c3")  # mov eax, 20; int 0x80; ret

    def _enter_as_i386() -> int:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(GETPID_AS_I386)
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        result: int = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
        return int(result == os.getpid())

    @each_table
    def test_a_32_bit_entry_is_killed(table: str) -> None:
        def confined() -> Report:
            seccomp.install(program(table))
            return _enter_as_i386()

        # A kernel without the 32-bit entry ends the process with a fault of its own.
        bare = run(_enter_as_i386)
        if bare == Ended(1, 0):
            assert run(confined) == Ended(None, signal.SIGSYS)
        else:
            assert bare == run(confined) == Ended(None, signal.SIGSEGV)

    def test_x32_numbers_do_not_exist() -> None:
        def answers() -> list[int]:
            return [
                call(X32_BIT | NUMBERS["x86_64"][name], *[NOWHERE] * 6)
                for name in ("getpid", "mount", "ptrace")
            ]

        assert filtered("namespaces", answers) == [errno.ENOSYS] * 3


def _listed(said: Report) -> list[int]:
    assert isinstance(said, list)
    return [number for number in said if isinstance(number, int)]


def _calls(table: str, wanted: Callable[[int], bool]) -> list[str]:
    """Calls that are answered without a look at their arguments, by an action that is `wanted`."""
    rules = TABLES[table]
    looked_at = {name for rule in rules if rule.when for name in rule.calls.split()}
    return [
        name
        for name in NUMBERS[sysapi.ARCH]
        if name not in NOT_TRIED | looked_at and wanted(expected(rules, name, (0,) * 6))
    ]

"""The seccomp filter, run in a machine of ours: numbers, arguments, architectures, size."""

import errno
import socket
import stat
import termios
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.jail import seccomp
from sandbox.guest.jail.callrules import (
    ALLOW,
    DEFAULT,
    KILL_PROCESS,
    NOTIFY,
    OWN_NAMESPACES,
    PROCESSES_BY_NUMBER,
    Rule,
    arg,
    refuse,
    rules_for,
)
from sandbox.guest.kernel.syscalls import AUDIT_ARCH, NUMBERS, X32_BIT
from sandbox.protocol.plan import Tier
from tests.unit import bpf
from tests.unit.calls import JUNK, WORD, Arguments, expected, samples
from tests.unit.libseccomp import ReferenceFilter, number_of

ARCHES = ("x86_64", "aarch64")
TABLES: dict[str, tuple[Rule, ...]] = {
    "namespaces": rules_for("namespaces"),
    "landlock-7 own id": rules_for("landlock", 7, own_id=True),
    "landlock-1 own id": rules_for("landlock", 1, own_id=True),
    "landlock-7": rules_for("landlock", 7),
    "landlock-4": rules_for("landlock", 4),
    "landlock-1": rules_for("landlock", 1),
}
OTHER_ARCHES = {
    "i386": 0x40000003,
    "arm": 0x40000028,
    "riscv64": 0xC00000F3,
    "none": 0,
}
HIGHEST_NUMBER = 600


def names_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The list of calls that need no look at their arguments, written down apart from the table.
PLAIN = names_in(
    """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek open openat
    openat2 creat close close_range dup dup2 dup3 fsync fdatasync sync_file_range ftruncate truncate
    fallocate fadvise64 readahead copy_file_range sendfile flock msync

    stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat
    getdents64 getdents getcwd chdir fchdir umask utime utimes futimesat utimensat chmod fchmod
    fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat getxattr
    lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat removexattr
    lremovexattr fremovexattr removexattrat

    mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat

    munmap mprotect mremap brk mincore membarrier mlock mlock2 munlock pkey_mprotect pkey_alloc
    pkey_free

    futex futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list
    set_tid_address rseq gettid sched_yield sched_getaffinity sched_setaffinity sched_getscheduler
    sched_getparam sched_getattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    getcpu

    fork vfork execve execveat exit exit_group wait4 waitid getpid getppid getpgid getpgrp getsid
    setpgid setsid kill tkill tgkill pidfd_open pidfd_send_signal uretprobe uprobe

    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo
    rt_tgsigqueueinfo rt_sigsuspend sigaltstack pause alarm setitimer getitimer timer_create
    timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime
    timerfd_gettime signalfd signalfd4 restart_syscall nanosleep clock_nanosleep clock_gettime
    clock_getres gettimeofday time times

    pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait
    epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 inotify_add_watch
    inotify_rm_watch

    bind connect listen accept accept4 getsockname getpeername getsockopt sendto recvfrom sendmsg
    recvmsg sendmmsg recvmmsg shutdown

    getuid geteuid getgid getegid getresuid getresgid getgroups capget uname sysinfo getrusage
    getrlimit setrlimit getpriority setpriority ioprio_get getrandom
    """
)
LOOKED_AT = names_in(
    "clone socket socketpair ioctl prctl arch_prctl personality prlimit64 fcntl madvise mmap "
    "memfd_create mknod mknodat setsockopt"
)
NOT_ON_A_SHARED_HOST = names_in(
    "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat "
    "inotify_add_watch bind connect listen accept accept4"
)
NOT_WITH_A_SHARED_ID = names_in(
    "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat"
)
SIGNALS = names_in("kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal")
TRUNCATES = names_in("truncate open openat openat2")
ASKED_OF_INIT = names_in("kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo")
BY_NUMBER = names_in(
    "sched_setaffinity sched_getaffinity sched_getscheduler sched_getparam sched_getattr "
    "sched_rr_get_interval getpgid getsid get_robust_list setpriority getpriority ioprio_get "
    "pidfd_open clock_gettime clock_getres clock_nanosleep timer_create"
)
"""Calls that take the number of a process, in every tier."""
CLOCKS = ("clock_gettime", "clock_getres", "clock_nanosleep", "timer_create")
OWN_CLOCKS = range(0xFFFFFFF8, 1 << 32)


def clock_of(pid: int) -> int:
    """The clock of a process as its register holds it: clock_getcpuclockid(3)."""
    return (~pid << 3 | 2) & 0xFFFFFFFF


REFUSED_OR_LOOKED_AT = {
    "namespaces": ASKED_OF_INIT,
    "landlock-7 own id": NOT_ON_A_SHARED_HOST,
    "landlock-1 own id": NOT_ON_A_SHARED_HOST | SIGNALS | TRUNCATES,
    "landlock-7": NOT_ON_A_SHARED_HOST | NOT_WITH_A_SHARED_ID,
    "landlock-4": NOT_ON_A_SHARED_HOST | NOT_WITH_A_SHARED_ID | SIGNALS,
    "landlock-1": NOT_ON_A_SHARED_HOST | NOT_WITH_A_SHARED_ID | SIGNALS | TRUNCATES,
}
REFUSED_OR_LOOKED_AT = {table: names | BY_NUMBER for table, names in REFUSED_OR_LOOKED_AT.items()}
GIVEN_UP = {
    table: names_in("capset") if table == "namespaces" else frozenset[str]()
    for table in REFUSED_OR_LOOKED_AT
}
"""How a branch gives up what entering its user namespace gave it."""
UNKNOWN_OR_TOO_RICH = names_in(
    "clone3 io_uring_setup io_uring_enter io_uring_register io_setup io_submit io_getevents "
    "io_pgetevents vmsplice splice tee memfd_secret remap_file_pages landlock_create_ruleset "
    "landlock_add_rule landlock_restrict_self shmget shmat semget semop msgget mq_open mq_notify "
    "map_shadow_stack cachestat lsm_get_self_attr lsm_set_self_attr lsm_list_modules file_getattr "
    "file_setattr lookup_dcookie"
)
PRIVILEGED = names_in(
    "mount umount2 pivot_root chroot unshare open_tree open_tree_attr move_mount fsopen "
    "fsconfig fsmount fspick mount_setattr statmount listmount ptrace process_vm_readv "
    "process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp migrate_pages move_pages "
    "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups keyctl "
    "add_key request_key name_to_handle_at open_by_handle_at bpf perf_event_open userfaultfd "
    "seccomp fanotify_init fanotify_mark mbind set_mempolicy get_mempolicy sched_setscheduler "
    "sched_setparam sched_setattr ioprio_set sync syncfs reboot kexec_load kexec_file_load "
    "init_module finit_module delete_module swapon swapoff acct quotactl quotactl_fd sethostname "
    "setdomainname settimeofday clock_settime adjtimex clock_adjtime syslog vhangup"
)

NEW_NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
SIGCHLD = 17
FORK = 0x01200000 | SIGCHLD
THREAD = 0x003D0F00
POSIX_SPAWN = 0x00004100 | SIGCHLD
AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK = 16, 17, 38, 40
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
CLOEXEC = 0x80000
NONBLOCK = 0x800
UNIX, INET, INET6 = 1, 2, 10

# (call, arguments, answer) in every tier.
ARGUMENTS: list[tuple[str, Arguments, int]] = [
    ("clone", (FORK,), ALLOW),
    ("clone", (THREAD,), ALLOW),
    ("clone", (POSIX_SPAWN,), ALLOW),
    *[("clone", (FORK | flag,), refuse(errno.EPERM)) for flag in NEW_NAMESPACES.values()],
    ("clone", (FORK | 0x2000,), refuse(errno.EPERM)),  # CLONE_PTRACE
    ("clone", (FORK | 0x8000,), refuse(errno.EPERM)),  # CLONE_PARENT
    ("clone", (FORK | 0x800000,), refuse(errno.EPERM)),  # CLONE_UNTRACED
    ("socket", (AF_NETLINK, RAW), refuse(errno.EAFNOSUPPORT)),
    ("socket", (AF_PACKET, DGRAM), refuse(errno.EAFNOSUPPORT)),
    ("socket", (AF_ALG, SEQPACKET), refuse(errno.EAFNOSUPPORT)),
    ("socket", (AF_VSOCK, STREAM), refuse(errno.EAFNOSUPPORT)),
    ("socketpair", (UNIX, STREAM | CLOEXEC | NONBLOCK), ALLOW),
    ("socketpair", (UNIX, SEQPACKET), ALLOW),
    ("socketpair", (INET, STREAM), refuse(errno.EAFNOSUPPORT)),
    ("ioctl", (0, termios.TCGETS), ALLOW),
    ("ioctl", (0, termios.TIOCGWINSZ), ALLOW),
    ("ioctl", (0, termios.FIONREAD), ALLOW),
    ("ioctl", (0, termios.TIOCSTI), refuse(errno.EPERM)),
    ("ioctl", (0, 0x541C), refuse(errno.EPERM)),  # TIOCLINUX
    ("ioctl", (0, 0x40086602), refuse(errno.ENOTTY)),  # FS_IOC_SETFLAGS
    ("ioctl", (0, 0xC0045877), refuse(errno.ENOTTY)),  # FIFREEZE
    ("ioctl", (0, 0x8901), refuse(errno.ENOTTY)),  # FIOSETOWN
    ("prctl", (15,), ALLOW),  # PR_SET_NAME
    ("prctl", (1, 9), ALLOW),  # PR_SET_PDEATHSIG
    ("prctl", (4, 0), ALLOW),  # PR_SET_DUMPABLE
    ("prctl", (4, 1), refuse(errno.EPERM)),
    ("prctl", (22, 2), refuse(errno.EPERM)),  # PR_SET_SECCOMP
    ("prctl", (35, 13), refuse(errno.EPERM)),  # PR_SET_MM
    ("prctl", (36, 1), refuse(errno.EPERM)),  # PR_SET_CHILD_SUBREAPER
    ("prctl", (47, 2), refuse(errno.EPERM)),  # PR_CAP_AMBIENT
    ("prctl", (67, 1), refuse(errno.EPERM)),  # PR_SET_MEMORY_MERGE
    ("prctl", (9999,), refuse(errno.EINVAL)),
    ("personality", (0xFFFFFFFF,), ALLOW),
    ("personality", (0x0040000,), refuse(errno.EPERM)),  # ADDR_NO_RANDOMIZE
    ("prlimit64", (0,), ALLOW),
    *[(name, (0,), ALLOW) for name in sorted(BY_NUMBER) if name.startswith(("sched", "getpg"))],
    *[(name, (1,), NOTIFY) for name in sorted(BY_NUMBER) if name.startswith(("sched", "getpg"))],
    *[(name, (which, 0, 19), ALLOW) for name in ("setpriority", "getpriority") for which in (0, 1)],
    ("setpriority", (0, 1, 19), NOTIFY),
    ("setpriority", (2, 0, 19), NOTIFY),
    ("getpriority", (2, 0), NOTIFY),
    ("ioprio_get", (1, 0), ALLOW),
    ("ioprio_get", (2, 0), ALLOW),
    ("ioprio_get", (1, 1), NOTIFY),
    ("ioprio_get", (3, 0), NOTIFY),
    ("getsid", (0,), ALLOW),
    ("getsid", (1,), NOTIFY),
    ("pidfd_open", (1,), NOTIFY),
    ("get_robust_list", (0,), ALLOW),
    ("get_robust_list", (1,), refuse(errno.EPERM)),
    ("prlimit64", (1,), refuse(errno.EPERM)),
    *[(name, (clock,), ALLOW) for name in CLOCKS for clock in (0, 4, 11, *OWN_CLOCKS)],
    *[(name, (clock_of(7),), NOTIFY) for name in CLOCKS],
    ("fcntl", (3, 1030), ALLOW),  # F_DUPFD_CLOEXEC
    ("fcntl", (3, 1024), refuse(errno.EPERM)),  # F_SETLEASE
    ("fcntl", (3, 1026), refuse(errno.EPERM)),  # F_NOTIFY
    ("madvise", (0, 0, 4), ALLOW),  # MADV_DONTNEED
    ("madvise", (0, 0, 12), refuse(errno.EINVAL)),  # MADV_MERGEABLE
    ("madvise", (0, 0, 100), refuse(errno.EPERM)),  # MADV_HWPOISON
    ("madvise", (0, 0, 101), refuse(errno.EPERM)),  # MADV_SOFT_OFFLINE
    ("mmap", (0, 4096, 7, 0x22), ALLOW),
    ("mmap", (0, 4096, 3, 0x40022), refuse(errno.ENOMEM)),  # MAP_HUGETLB
    ("memfd_create", (0, 1), ALLOW),
    ("memfd_create", (0, 4), refuse(errno.ENOMEM)),  # MFD_HUGETLB
    ("mknodat", (0, 0, stat.S_IFIFO | 0o600), ALLOW),
    ("mknodat", (0, 0, 0o600), ALLOW),
    ("mknodat", (0, 0, stat.S_IFCHR | 0o600), refuse(errno.EPERM)),
    ("mknodat", (0, 0, stat.S_IFBLK | 0o600), refuse(errno.EPERM)),
    ("setsockopt", (3, socket.SOL_SOCKET, 2), ALLOW),  # SO_REUSEADDR
    ("setsockopt", (3, socket.SOL_SOCKET, 26), refuse(errno.EPERM)),  # SO_ATTACH_FILTER
    ("setsockopt", (3, 6, 1), ALLOW),  # TCP_NODELAY
    ("setsockopt", (3, 6, 31), refuse(errno.ENOPROTOOPT)),  # TCP_ULP
]
IN_NAMESPACES: list[tuple[str, Arguments, int]] = [
    ("socket", (UNIX, DGRAM), ALLOW),
    ("socket", (INET, STREAM | CLOEXEC), ALLOW),
    ("socket", (INET6, DGRAM | NONBLOCK, 17), ALLOW),
    ("socket", (INET, RAW), refuse(errno.ESOCKTNOSUPPORT)),
    ("socket", (UNIX, 10), refuse(errno.ESOCKTNOSUPPORT)),  # SOCK_PACKET
    ("socket", (INET, STREAM, 132), refuse(errno.EPROTONOSUPPORT)),  # SCTP
    ("socket", (INET, STREAM, 262), refuse(errno.EPROTONOSUPPORT)),  # MPTCP
    ("socketpair", (UNIX, DGRAM), ALLOW),
    ("kill", (0, 9), ALLOW),
    ("kill", (1, 9), NOTIFY),
    ("kill", (WORD, 9), NOTIFY),
    ("tgkill", (1, 1, 9), NOTIFY),
    ("fcntl", (3, 8, 1), NOTIFY),  # F_SETOWN
    ("fcntl", (3, 15, 0), refuse(errno.EPERM)),  # F_SETOWN_EX
]
ON_A_SHARED_HOST: list[tuple[str, Arguments, int]] = [
    ("socket", (UNIX, STREAM), refuse(errno.EACCES)),
    ("socket", (INET, STREAM), refuse(errno.EACCES)),
    ("socket", (INET6, DGRAM), refuse(errno.EACCES)),
    ("socketpair", (UNIX, DGRAM), refuse(errno.EACCES)),
    ("connect", (3,), refuse(errno.EACCES)),
    ("setxattr", (), refuse(errno.EPERM)),
    ("getxattr", (), ALLOW),
    ("inotify_add_watch", (), refuse(errno.EACCES)),
]
WITH_AN_OWN_ID: list[tuple[str, Arguments, int]] = [
    ("fchmodat", (), ALLOW),
    ("utimensat", (), ALLOW),
]
WITH_A_SHARED_ID: list[tuple[str, Arguments, int]] = [
    ("fchmodat", (), refuse(errno.EPERM)),
    ("fchownat", (), refuse(errno.EPERM)),
    ("utimensat", (), refuse(errno.EPERM)),
]
WITH_SIGNAL_SCOPES: list[tuple[str, Arguments, int]] = [
    ("kill", (1234, 9), ALLOW),
    ("fcntl", (3, 8, 1234), NOTIFY),  # F_SETOWN
    ("fcntl", (3, 15, 0), refuse(errno.EPERM)),  # F_SETOWN_EX
]
WITHOUT_SIGNAL_SCOPES: list[tuple[str, Arguments, int]] = [
    ("kill", (0, 15), ALLOW),
    ("kill", (1234, 9), refuse(errno.EPERM)),
    ("kill", (WORD, 9), refuse(errno.EPERM)),
    ("tgkill", (1234, 1234, 9), refuse(errno.EPERM)),
    ("pidfd_send_signal", (3, 9), refuse(errno.EPERM)),
    ("fcntl", (3, 8, 1234), NOTIFY),  # F_SETOWN
    ("fcntl", (3, 10, 9), refuse(errno.EPERM)),  # F_SETSIG
]
WITHOUT_TRUNCATION_RIGHT: list[tuple[str, Arguments, int]] = [
    ("truncate", (), refuse(errno.EACCES)),
    ("openat", (0, 0, 0o0), ALLOW),
    ("openat", (0, 0, 0o1101), ALLOW),  # O_WRONLY | O_CREAT | O_TRUNC, which Landlock rules
    ("openat", (0, 0, 0o1002), ALLOW),  # O_RDWR | O_TRUNC
    ("openat", (0, 0, 0o1000), refuse(errno.EACCES)),
    ("openat", (0, 0, 0o1003), refuse(errno.EACCES)),
    ("openat", (0, 0, 0o2001000), refuse(errno.EACCES)),
    ("openat2", (), refuse(errno.ENOSYS)),
]
HOST = ARGUMENTS + ON_A_SHARED_HOST
CASES = {
    "namespaces": ARGUMENTS + IN_NAMESPACES,
    "landlock-7 own id": HOST + WITH_AN_OWN_ID + WITH_SIGNAL_SCOPES,
    "landlock-1 own id": (HOST + WITH_AN_OWN_ID + WITHOUT_SIGNAL_SCOPES + WITHOUT_TRUNCATION_RIGHT),
    "landlock-7": HOST + WITH_A_SHARED_ID + WITH_SIGNAL_SCOPES,
    "landlock-4": HOST + WITH_A_SHARED_ID + WITHOUT_SIGNAL_SCOPES,
    "landlock-1": (HOST + WITH_A_SHARED_ID + WITHOUT_SIGNAL_SCOPES + WITHOUT_TRUNCATION_RIGHT),
}

each_arch = pytest.mark.parametrize("arch", ARCHES)
each_table = pytest.mark.parametrize("table", TABLES)


@cache
def program(table: str, arch: str) -> bpf.Program:
    return bpf.load(seccomp.compile_filter(TABLES[table], arch))


def answer(table: str, arch: str, name: str, arguments: Sequence[int] = ()) -> int:
    number = NUMBERS[arch][name]
    return bpf.run(program(table, arch), AUDIT_ARCH[arch], number, tuple(arguments)).action


# ---- what the tables say ----------------------------------------------------------------------


@each_table
@each_arch
def test_nothing_is_allowed_unseen_but_the_plain_calls(table: str, arch: str) -> None:
    rules = TABLES[table]
    looked_at = {name for rule in rules if rule.when for name in rule.calls.split()}
    unseen = {
        name
        for name in NUMBERS[arch].keys() - looked_at
        if answer(table, arch, name, (0,) * 6) == ALLOW
    }
    assert unseen == (PLAIN - REFUSED_OR_LOOKED_AT[table] | GIVEN_UP[table]) & NUMBERS[arch].keys()


@each_arch
def test_entering_a_namespace_is_a_question_to_init_where_sessions_have_their_own(
    arch: str,
) -> None:
    for table in TABLES:
        wanted = NOTIFY if table == "namespaces" else refuse(errno.EPERM)
        assert answer(table, arch, "setns", (3, 0x10000000)) == wanted
        if table != "namespaces":
            assert answer(table, arch, "capset", (0, 0)) == refuse(errno.EPERM)


@each_arch
def test_in_a_kept_jail_no_call_waits_for_an_init(arch: str) -> None:
    rules = rules_for("namespaces", in_kept_jail=True)
    program = bpf.load(seccomp.compile_filter(rules, arch))

    def decided(name: str, *arguments: int) -> int:
        return bpf.run(program, AUDIT_ARCH[arch], NUMBERS[arch][name], arguments).action

    for name in NUMBERS[arch]:
        for arguments in samples(rules, name):
            assert decided(name, *arguments) != NOTIFY, (name, arguments)
    assert decided("setns", 3, 0x10000000) == refuse(errno.EPERM)
    for name in ("kill", "tgkill", "sched_setaffinity", "pidfd_open"):
        assert decided(name, 1) == refuse(errno.EPERM)
        assert decided(name, JUNK | 1) == refuse(errno.EPERM)
        assert decided(name, 2) == ALLOW
    for name in CLOCKS:
        assert decided(name, clock_of(1)) == refuse(errno.EPERM)
        assert decided(name, clock_of(2)) == ALLOW


@each_table
def test_the_calls_whose_arguments_matter_are_these(table: str) -> None:
    looked_at = {name for rule in TABLES[table] if rule.when for name in rule.calls.split()}
    assert looked_at - REFUSED_OR_LOOKED_AT[table] == LOOKED_AT


@each_table
@each_arch
def test_an_argument_decides_whatever_is_above_its_low_half(table: str, arch: str) -> None:
    cases = [case for case in CASES[table] if case[0] in NUMBERS[arch]]
    for upper_half in (0, JUNK):
        answers = [
            (
                name,
                arguments,
                answer(table, arch, name, [upper_half | value for value in arguments]),
            )
            for name, arguments, _action in cases
        ]
        assert answers == cases


@each_table
@each_arch
def test_privileged_calls_answer_eperm_and_rich_ones_enosys(table: str, arch: str) -> None:
    answers = {name: answer(table, arch, name) for name in NUMBERS[arch]}
    for names, action in ((PRIVILEGED, errno.EPERM), (UNKNOWN_OR_TOO_RICH, errno.ENOSYS)):
        wrong = {name for name in names if answers.get(name, refuse(action)) != refuse(action)}
        assert wrong == set()


@each_arch
@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_files_of_memory_are_refused_where_no_control_group_counts_them(
    tier: Tier, arch: str
) -> None:
    counted = rules_for(tier, 7)
    metered = rules_for(tier, 7, is_metered=True)
    filters = [bpf.load(seccomp.compile_filter(rules, arch)) for rules in (counted, metered)]
    differ = {
        name
        for name, number in NUMBERS[arch].items()
        if len({bpf.run(one, AUDIT_ARCH[arch], number, (0,) * 6).action for one in filters}) > 1
    }
    assert differ == {"memfd_create"}
    call = NUMBERS[arch]["memfd_create"]
    answers = [bpf.run(one, AUDIT_ARCH[arch], call, (0, 1)).action for one in filters]
    assert answers == [ALLOW, refuse(errno.ENOSYS)]


@each_arch
@pytest.mark.parametrize("abi", [1, 5, 7])
def test_init_may_signal_whatever_the_version_of_landlock(abi: int, arch: str) -> None:
    compiled = bpf.load(seccomp.compile_filter(rules_for("landlock", abi, for_init=True), arch))

    def decide(name: str, *arguments: int) -> int:
        return bpf.run(compiled, AUDIT_ARCH[arch], NUMBERS[arch][name], arguments).action

    for name in ("kill", "pidfd_open", "pidfd_send_signal"):
        assert decide(name, 1234, 9) == ALLOW
    for request in (0xC0502100, 0xC0182101):
        assert decide("ioctl", 3, request) == ALLOW
    for name in ("ptrace", "socket", "process_vm_readv"):
        assert decide(name, 1) != ALLOW


def test_the_process_tier_has_no_table() -> None:
    with pytest.raises(ValueError, match="no filter"):
        rules_for("process")


@each_table
def test_every_row_gives_a_reason_and_decides_something(table: str) -> None:
    settled: set[str] = set()
    for rule in TABLES[table]:
        assert len(rule.why) >= len("signals")
        names = set(rule.calls.split())
        assert len(names) == len(rule.calls.split()), f"a name twice in {rule.calls}"
        above = OWN_NAMESPACES + PROCESSES_BY_NUMBER
        if table == "namespaces" and rule not in above:
            assert names & settled == set(), "a row above has decided already"
        if not rule.when and rule not in above:
            settled |= names


# ---- the compiler -----------------------------------------------------------------------------


@each_table
@each_arch
def test_every_number_gets_the_answer_that_the_rows_give(table: str, arch: str) -> None:
    names = {number: name for name, number in NUMBERS[arch].items()}
    compiled = program(table, arch)
    for number in range(HIGHEST_NUMBER + 1):
        for arguments in samples(TABLES[table], names.get(number, "")):
            wanted = (
                expected(TABLES[table], names[number], arguments) if number in names else DEFAULT
            )
            action = bpf.run(compiled, AUDIT_ARCH[arch], number, arguments).action
            assert action == wanted, (names.get(number), arguments)


@each_table
@each_arch
def test_libseccomp_compiles_the_same_rows_to_the_same_answers(table: str, arch: str) -> None:
    names = {number: name for name, number in NUMBERS[arch].items()}
    reference = ReferenceFilter(TABLES[table], arch)
    compiled = program(table, arch)
    for number in range(HIGHEST_NUMBER + 1):
        if names.get(number) in reference.unknown:
            continue
        for arguments in samples(TABLES[table], names.get(number, "")):
            action = bpf.run(compiled, AUDIT_ARCH[arch], number, arguments).action
            assert action == reference.run(number, arguments), (names.get(number), arguments)


def test_the_comparison_with_libseccomp_sees_a_single_missing_flag() -> None:
    without_parent = arg(0).without(0x7E020000 | 0x2000 | 0x800000)
    changed = tuple(
        replace(rule, when=(without_parent,)) if rule.calls == "clone" and rule.when else rule
        for rule in TABLES["namespaces"]
    )
    reference = ReferenceFilter(changed, "x86_64")
    number = NUMBERS["x86_64"]["clone"]
    different = {
        arguments[0] & WORD
        for arguments in samples(TABLES["namespaces"], "clone")
        if answer("namespaces", "x86_64", "clone", arguments) != reference.run(number, arguments)
    }
    assert different == {0x8000}


@each_arch
def test_libseccomp_knows_the_calls_by_the_same_numbers(arch: str) -> None:
    numbers = {name: number_of(name, arch) for name in NUMBERS[arch]}
    known = {name: number for name, number in numbers.items() if number >= 0}
    assert known == {name: NUMBERS[arch][name] for name in known}
    assert len(known) > 300


@given(
    number=st.integers(0, WORD),
    arguments=st.tuples(*[st.integers(0, 2**64 - 1)] * 6),
    table=st.sampled_from(sorted(TABLES)),
    arch=st.sampled_from(ARCHES),
)
def test_no_call_of_any_kind_slips_past_the_rows(
    number: int, arguments: Arguments, table: str, arch: str
) -> None:
    names = {known: name for name, known in NUMBERS[arch].items()}
    wanted = expected(TABLES[table], names[number], arguments) if number in names else DEFAULT
    assert bpf.run(program(table, arch), AUDIT_ARCH[arch], number, arguments).action == wanted


@each_table
@each_arch
@pytest.mark.parametrize("other", [*OTHER_ARCHES, "native"])
def test_only_another_architecture_is_killed(table: str, arch: str, other: str) -> None:
    number = NUMBERS[arch]["getpid"]
    for asked in (number, 0, 11, X32_BIT | number, WORD):
        action = bpf.run(
            program(table, arch), OTHER_ARCHES.get(other, AUDIT_ARCH[arch]), asked
        ).action
        assert (action == KILL_PROCESS) == (other != "native")


@each_table
def test_the_other_64_bit_architecture_is_another_architecture(table: str) -> None:
    for arch, other in (ARCHES, ARCHES[::-1]):
        assert bpf.run(program(table, arch), AUDIT_ARCH[other], 0).action == KILL_PROCESS


@each_table
def test_x32_calls_do_not_exist(table: str) -> None:
    for number in (*range(HIGHEST_NUMBER + 1), 0x3FFFFFFF):
        action = bpf.run(program(table, "x86_64"), AUDIT_ARCH["x86_64"], X32_BIT | number).action
        assert action == refuse(errno.ENOSYS)


@each_table
@each_arch
def test_a_plain_call_is_decided_in_few_steps(table: str, arch: str) -> None:
    steps = [
        bpf.run(program(table, arch), AUDIT_ARCH[arch], number)
        for number in range(HIGHEST_NUMBER + 1)
    ]
    assert max(verdict.steps for verdict in steps if verdict.action == ALLOW) <= 20
    assert len(program(table, arch)) <= 600


def test_code_longer_than_a_conditional_jump_is_reached() -> None:
    names = sorted(NUMBERS["x86_64"], key=NUMBERS["x86_64"].__getitem__)[:200]
    rules = [
        Rule(name, refuse(1 + index % 100), "far", (arg(index % 6).is_(index, index + 1),))
        for index, name in enumerate(names)
    ]
    compiled = bpf.load(seccomp.compile_filter(rules, "x86_64"))
    assert len(compiled) > 4 * 255
    for index, name in enumerate(names):
        for value, wanted in ((index, refuse(1 + index % 100)), (index + 2, DEFAULT)):
            number = NUMBERS["x86_64"][name]
            verdict = bpf.run(compiled, AUDIT_ARCH["x86_64"], number, (value,) * 6)
            assert verdict.action == wanted


def test_the_first_row_that_holds_decides_and_the_default_answers_the_rest() -> None:
    rules = (
        Rule("read", refuse(errno.EIO), "both", (arg(0).is_(1, 2), arg(1).has(4))),
        Rule("read", ALLOW, "one of them", (arg(0).is_(2, 3),)),
    )
    compiled = bpf.load(seccomp.compile_filter(rules, "x86_64"))
    answers = {
        (first, second): bpf.run(compiled, AUDIT_ARCH["x86_64"], 0, (first, second)).action
        for first in (1, 2, 3)
        for second in (0, 5)
    }
    assert answers == {
        (1, 0): DEFAULT,
        (1, 5): refuse(errno.EIO),
        (2, 0): ALLOW,
        (2, 5): refuse(errno.EIO),
        (3, 0): ALLOW,
        (3, 5): ALLOW,
    }


def test_a_misspelt_name_is_refused_and_a_foreign_one_is_not() -> None:
    with pytest.raises(ValueError, match="no architecture has a system call raed"):
        seccomp.compile_filter([Rule("read raed", ALLOW, "typo")], "x86_64")
    assert seccomp.compile_filter([Rule("read open", ALLOW, "x86 only")], "aarch64")


# ---- the machine that the tests run on --------------------------------------------------------


@pytest.mark.parametrize(
    "instructions",
    [
        [],
        [(0x20, 0, 0, 0)],
        [(0x15, 1, 0, 0), (0x06, 0, 0, ALLOW)],
        [(0x05, 0, 0, 1), (0x06, 0, 0, ALLOW)],
        [(0x20, 0, 0, 64), (0x06, 0, 0, ALLOW)],
        [(0x20, 0, 0, 2), (0x06, 0, 0, ALLOW)],
        [(0x16, 0, 0, 0), (0x06, 0, 0, ALLOW)],
        [(0x06, 0, 0, ALLOW)] * 4097,
    ],
    ids=["empty", "no return", "far", "far away", "past data", "odd", "unknown", "too long"],
)
def test_the_machine_refuses_what_the_kernel_refuses(
    instructions: list[tuple[int, int, int, int]],
) -> None:
    with pytest.raises(ValueError, match="instruction"):
        bpf.load(bpf.assemble(instructions))

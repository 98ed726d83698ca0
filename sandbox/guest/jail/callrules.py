"""Which system calls a session may make: one table a tier, a reason a row.

A call that no row allows answers ENOSYS, as a kernel too old to have it would, and libraries fall
back. Calls of future kernels, numbers that mean nothing and the whole x32 range end there too.
Rows that answer EPERM are calls which that kernel has and a snippet is not to use; the errno
tells it apart. A process is killed only for entering the kernel as another architecture, where
numbers mean other calls.

Rows are tried from top to bottom and the first one that holds decides. Every argument checked
here is an int, an unsigned int or a set of flags in the low half of its register: the low 32 bits
are compared, because the kernel ignores what a caller leaves above them.

Longer than other modules, because the table is one noun. `seccomp.py` compiles and installs it.
"""

import fcntl
import os
import socket
import stat
import termios
from dataclasses import dataclass
from errno import (
    EACCES,
    EAFNOSUPPORT,
    EINVAL,
    ENOMEM,
    ENOPROTOOPT,
    ENOSYS,
    ENOTTY,
    EPERM,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from typing import Final, NamedTuple

from sandbox.protocol.plan import Tier

# What a filter answers. Source: seccomp(2).
ALLOW: Final = 0x7FFF0000
KILL_PROCESS: Final = 0x80000000
NOTIFY: Final = 0x7FC00000
"""The call waits for the word of init, which holds the filter's listener."""
_ERRNO: Final = 0x00050000


def refuse(number: int) -> int:
    """The action that makes a call fail with the errno `number`."""
    return _ERRNO | number


DEFAULT: Final = refuse(ENOSYS)


class Check(NamedTuple):
    """Holds when the low 32 bits of an argument, under `mask`, are one of `values`."""

    argument: int
    mask: int
    values: tuple[int, ...]


class _Argument(NamedTuple):
    argument: int

    def is_(self, *values: int) -> Check:
        return Check(self.argument, 0xFFFFFFFF, values)

    def masked(self, mask: int, *values: int) -> Check:
        return Check(self.argument, mask, values)

    def without(self, flags: int) -> Check:
        return Check(self.argument, flags, (0,))

    def has(self, flag: int) -> Check:
        return Check(self.argument, flag, (flag,))


arg: Final = _Argument


@dataclass(frozen=True)
class Rule:
    """`calls` answer `action` if every check in `when` holds; `why` is for the reader."""

    calls: str
    action: int
    why: str
    when: tuple[Check, ...] = ()


# clone(2); CLONE_NEWTIME shares its bit with the exit signal and cannot be asked for.
CLONE_NAMESPACES: Final = 0x7E020000
CLONE_PTRACE: Final = 0x00002000
CLONE_PARENT: Final = 0x00008000
CLONE_UNTRACED: Final = 0x00800000
# mmap(2), memfd_create(2), madvise(2)
MAP_HUGETLB: Final = 0x00040000
MFD_HUGETLB: Final = 0x0004
MADV_MERGEABLE: Final = 12
MADV_HWPOISON: Final = 100
MADV_SOFT_OFFLINE: Final = 101
# prctl(2)
PRCTL_SELF: Final = (
    1,  # PR_SET_PDEATHSIG
    2,  # PR_GET_PDEATHSIG
    3,  # PR_GET_DUMPABLE
    7,  # PR_GET_KEEPCAPS
    15,  # PR_SET_NAME
    16,  # PR_GET_NAME
    21,  # PR_GET_SECCOMP
    23,  # PR_CAPBSET_READ
    27,  # PR_GET_SECUREBITS
    29,  # PR_SET_TIMERSLACK
    30,  # PR_GET_TIMERSLACK
    37,  # PR_GET_CHILD_SUBREAPER
    38,  # PR_SET_NO_NEW_PRIVS
    39,  # PR_GET_NO_NEW_PRIVS
    40,  # PR_GET_TID_ADDRESS
    42,  # PR_GET_THP_DISABLE
    51,  # PR_SVE_GET_VL
    52,  # PR_GET_SPECULATION_CTRL
    56,  # PR_GET_TAGGED_ADDR_CTRL
    0x41555856,  # PR_GET_AUXV
    0x53564D41,  # PR_SET_VMA: malloc names its mappings
)
PRCTL_POWERS: Final = (
    8,  # PR_SET_KEEPCAPS
    22,  # PR_SET_SECCOMP
    24,  # PR_CAPBSET_DROP
    28,  # PR_SET_SECUREBITS
    35,  # PR_SET_MM
    36,  # PR_SET_CHILD_SUBREAPER
    47,  # PR_CAP_AMBIENT
    53,  # PR_SET_SPECULATION_CTRL
    62,  # PR_SCHED_CORE
    67,  # PR_SET_MEMORY_MERGE
    0x59616D61,  # PR_SET_PTRACER
)
PR_SET_DUMPABLE: Final = 4
# arch_prctl(2)
ARCH_PRCTL_SELF: Final = (
    0x1001,  # ARCH_SET_GS
    0x1002,  # ARCH_SET_FS
    0x1003,  # ARCH_GET_FS
    0x1004,  # ARCH_GET_GS
    0x1011,  # ARCH_GET_CPUID
    0x1021,  # ARCH_GET_XCOMP_SUPP
    0x1022,  # ARCH_GET_XCOMP_PERM
    0x1023,  # ARCH_REQ_XCOMP_PERM: matrix registers, asked for by numeric libraries
    0x3001,  # ARCH_CET_STATUS, asked for by ld.so
    0x5005,  # ARCH_SHSTK_STATUS
)
# ioctl(2), netdevice(7)
IOCTLS: Final = (
    termios.TCGETS,
    0x802C542A,  # TCGETS2
    termios.TIOCGWINSZ,
    termios.FIONREAD,
    termios.FIONBIO,
    termios.FIOCLEX,
    termios.FIONCLEX,
    termios.FIOASYNC,
    0x8910,  # SIOCGIFNAME
    0x8912,  # SIOCGIFCONF
    0x8913,  # SIOCGIFFLAGS
    0x8915,  # SIOCGIFADDR
    0x8933,  # SIOCGIFINDEX
)
TERMINAL_POWERS: Final = (
    termios.TIOCSTI,
    0x541C,  # TIOCLINUX
    termios.TIOCSETD,
    termios.TIOCSCTTY,
)
# fcntl(2)
F_SETOWN: Final = 8
F_SETSIG: Final = 10
F_SETOWN_EX: Final = 15
# seccomp_unotify(2)
SECCOMP_RECEIVE: Final = 0xC0502100
SECCOMP_SEND: Final = 0xC0182101
# socket(2), socket(7), tcp(7)
SOCK_TYPE_MASK: Final = 0xF
IPPROTO_DEFAULT: Final = 0
KERNEL_PROGRAMS: Final = (
    26,  # SO_ATTACH_FILTER
    50,  # SO_ATTACH_BPF
    51,  # SO_ATTACH_REUSEPORT_CBPF
    52,  # SO_ATTACH_REUSEPORT_EBPF
)
TCP_ULP: Final = 31
PERSONALITY_QUERY: Final = 0xFFFFFFFF
PRIO_PROCESS: Final = 0
PRIO_GROUP: Final = 1
IOPRIO_PROCESS: Final = 1
IOPRIO_GROUP: Final = 2
SELF: Final = 0

_INTERNET: Final = arg(0).is_(socket.AF_INET, socket.AF_INET6)
_STREAM_OR_DATAGRAM: Final = arg(1).masked(SOCK_TYPE_MASK, socket.SOCK_STREAM, socket.SOCK_DGRAM)
_LOCAL_KINDS: Final = arg(1).masked(
    SOCK_TYPE_MASK, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
)
_CONNECTED_KINDS: Final = arg(1).masked(SOCK_TYPE_MASK, socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
_CUTS: Final = (os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC, os.O_TRUNC | os.O_ACCMODE)
"""O_TRUNC without a write mode: read-only, and the mode 3 that opens for ioctl alone."""
_PLAIN_NODES: Final = (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)

SHARED: Final = (
    # ---- what a Python program does all day ---------------------------------------------------
    Rule(
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek open "
        "openat openat2 creat close close_range dup dup2 dup3 fsync fdatasync sync_file_range "
        "ftruncate truncate fallocate fadvise64 readahead copy_file_range sendfile flock",
        ALLOW,
        "files; which ones is for the mounts and for Landlock to say",
    ),
    Rule(
        "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink "
        "readlinkat getdents getdents64 getcwd chdir fchdir umask utime utimes futimesat utimensat "
        "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat",
        ALLOW,
        "imports, pathlib and shutil look at files and copy their attributes",
    ),
    Rule(
        "getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat "
        "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr "
        "removexattrat",
        ALLOW,
        "shutil.copystat copies extended attributes",
    ),
    Rule(
        "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink "
        "symlinkat",
        ALLOW,
        "names in directories that may be written",
    ),
    Rule("mknod", ALLOW, "named pipes and plain files", (arg(1).masked(0xF000, *_PLAIN_NODES),)),
    Rule("mknodat", ALLOW, "named pipes and plain files", (arg(2).masked(0xF000, *_PLAIN_NODES),)),
    Rule("mknod mknodat", refuse(EPERM), "a device node is a way to the host's hardware"),
    Rule("mmap", refuse(ENOMEM), "huge pages escape the memory limit", (arg(3).has(MAP_HUGETLB),)),
    Rule(
        "memfd_create",
        refuse(ENOMEM),
        "huge pages escape the memory limit",
        (arg(1).has(MFD_HUGETLB),),
    ),
    Rule(
        "madvise",
        refuse(EINVAL),
        "merged pages let one session time what another one holds",
        (arg(2).is_(MADV_MERGEABLE),),
    ),
    Rule(
        "madvise",
        refuse(EPERM),
        "takes the host's memory out of service",
        (arg(2).is_(MADV_HWPOISON, MADV_SOFT_OFFLINE),),
    ),
    Rule(
        "mmap munmap mprotect mremap brk madvise mincore msync membarrier memfd_create mlock "
        "mlock2 munlock pkey_mprotect pkey_alloc pkey_free",
        ALLOW,
        "malloc, thread stacks, libffi closures; locked memory has its own limit",
    ),
    Rule(
        "futex futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list "
        "set_tid_address rseq gettid sched_yield sched_getaffinity sched_setaffinity "
        "sched_getscheduler sched_getparam sched_getattr sched_get_priority_max "
        "sched_get_priority_min sched_rr_get_interval getcpu",
        ALLOW,
        "threads and the pools of numeric libraries",
    ),
    Rule(
        "clone",
        ALLOW,
        "threads and child processes, in the same namespaces, of the same parent",
        (arg(0).without(CLONE_NAMESPACES | CLONE_PTRACE | CLONE_PARENT | CLONE_UNTRACED),),
    ),
    Rule("clone", refuse(EPERM), "a new namespace brings back capabilities"),
    Rule("clone3", refuse(ENOSYS), "its flags sit behind a pointer; libc then calls clone"),
    Rule(
        "fork vfork execve execveat exit exit_group wait4 waitid getpid getppid getpgid getpgrp "
        "getsid setpgid setsid kill tkill tgkill pidfd_open pidfd_send_signal",
        ALLOW,
        "subprocess and multiprocessing; the pid namespace bounds what a signal can reach",
    ),
    Rule("prctl", ALLOW, "reads or changes the caller alone", (arg(0).is_(*PRCTL_SELF),)),
    Rule(
        "prctl",
        ALLOW,
        "giving up on core dumps is a restriction",
        (arg(0).is_(PR_SET_DUMPABLE), arg(1).is_(0)),
    ),
    Rule(
        "prctl",
        refuse(EPERM),
        "a dumpable process hands its memory to the host's core dump handler",
        (arg(0).is_(PR_SET_DUMPABLE),),
    ),
    Rule(
        "prctl",
        refuse(EPERM),
        "changes what this jail has fixed",
        (arg(0).is_(*PRCTL_POWERS),),
    ),
    Rule("prctl", refuse(EINVAL), "an option that no library needs"),
    Rule("arch_prctl", ALLOW, "thread pointers, vector state", (arg(0).is_(*ARCH_PRCTL_SELF),)),
    Rule("arch_prctl", refuse(EINVAL), "an option that no library needs"),
    Rule(
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo "
        "rt_tgsigqueueinfo rt_sigsuspend sigaltstack pause restart_syscall signalfd signalfd4",
        ALLOW,
        "signals",
    ),
    Rule(
        "alarm setitimer getitimer timer_create timer_settime timer_gettime timer_getoverrun "
        "timer_delete timerfd_create timerfd_settime timerfd_gettime nanosleep clock_nanosleep "
        "clock_gettime clock_getres gettimeofday time times",
        ALLOW,
        "clocks and timers, read-only where the machine's",
    ),
    Rule(
        "pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait "
        "epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 inotify_add_watch "
        "inotify_rm_watch",
        ALLOW,
        "asyncio, multiprocessing, pipes",
    ),
    Rule(
        "bind connect listen accept accept4 getsockname getpeername getsockopt sendto recvfrom "
        "sendmsg recvmsg sendmmsg recvmmsg shutdown",
        ALLOW,
        "use of sockets that may be made",
    ),
    Rule(
        "getuid geteuid getgid getegid getresuid getresgid getgroups capget uname sysinfo "
        "getrusage getrlimit setrlimit getpriority setpriority ioprio_get getrandom",
        ALLOW,
        "what a process may know of itself; limits and priorities only go down",
    ),
    Rule("uretprobe uprobe", ALLOW, "called by the kernel's own trampoline in a traced process"),
    # ---- allowed in part ----------------------------------------------------------------------
    Rule(
        "fcntl",
        refuse(EPERM),
        "leases, notes and owners given in memory signal from one session to another",
        (arg(1).is_(fcntl.F_SETLEASE, fcntl.F_NOTIFY, F_SETOWN_EX),),
    ),
    Rule("fcntl", ALLOW, "locks, flags, duplicates, seals"),
    Rule("ioctl", ALLOW, "sizes, flags, names of interfaces", (arg(1).is_(*IOCTLS),)),
    Rule(
        "ioctl",
        refuse(EPERM),
        "types into a terminal, or takes one over",
        (arg(1).is_(*TERMINAL_POWERS),),
    ),
    Rule("ioctl", refuse(ENOTTY), "each driver has its own requests; none is needed"),
    Rule(
        "setsockopt",
        refuse(EPERM),
        "no program of the guest's runs in the kernel",
        (arg(1).is_(socket.SOL_SOCKET), arg(2).is_(*KERNEL_PROGRAMS)),
    ),
    Rule(
        "setsockopt",
        refuse(ENOPROTOOPT),
        "protocols on top of TCP are loaded into the kernel on demand",
        (arg(1).is_(socket.IPPROTO_TCP), arg(2).is_(TCP_ULP)),
    ),
    Rule("setsockopt", ALLOW, "use of sockets that may be made"),
    Rule("prlimit64", ALLOW, "own limits", (arg(0).is_(SELF),)),
    Rule("prlimit64", refuse(EPERM), "limits of another process, such as init"),
    Rule("personality", ALLOW, "asks, changes nothing", (arg(0).is_(PERSONALITY_QUERY),)),
    Rule("personality", refuse(EPERM), "turns off address randomisation"),
    # ---- refused ------------------------------------------------------------------------------
    Rule(
        "mount umount2 pivot_root chroot unshare open_tree open_tree_attr move_mount fsopen "
        "fsconfig fsmount fspick mount_setattr statmount listmount",
        refuse(EPERM),
        "the jail is made of mounts and namespaces",
    ),
    Rule(
        "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd "
        "kcmp migrate_pages move_pages",
        refuse(EPERM),
        "no snippet reaches into another process",
    ),
    Rule(
        "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups",
        refuse(EPERM),
        "the session has one identity and no capability",
    ),
    Rule("keyctl add_key request_key", refuse(EPERM), "keyrings have no namespace"),
    Rule("name_to_handle_at open_by_handle_at", refuse(EPERM), "handles ignore the root"),
    Rule("bpf perf_event_open userfaultfd", refuse(EPERM), "the usual ways into the kernel"),
    Rule(
        "io_uring_setup io_uring_enter io_uring_register io_setup io_submit io_getevents "
        "io_pgetevents io_cancel io_destroy",
        refuse(ENOSYS),
        "what goes through a ring is not filtered one by one",
    ),
    Rule("seccomp", refuse(EPERM), "a filter with a listener fakes what children see"),
    Rule(
        "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        refuse(ENOSYS),
        "paths are confined already; a program that would confine itself goes on without",
    ),
    Rule("splice tee vmsplice", refuse(ENOSYS), "pipes of shared pages have undone read-only"),
    Rule("memfd_secret", refuse(ENOSYS), "memory that the host cannot look at"),
    Rule("remap_file_pages", refuse(ENOSYS), "a relic with a history of bugs"),
    Rule("fanotify_init fanotify_mark", refuse(EPERM), "watches files of other sessions"),
    Rule(
        "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl "
        "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
        refuse(ENOSYS),
        "System V and POSIX queues; Python shares memory through files",
    ),
    Rule(
        "mbind set_mempolicy get_mempolicy set_mempolicy_home_node",
        refuse(EPERM),
        "placement of memory is the host's; BLAS asks and goes on without",
    ),
    Rule(
        "sched_setscheduler sched_setparam sched_setattr ioprio_set",
        refuse(EPERM),
        "a real-time class starves the host",
    ),
    Rule("sync syncfs", refuse(EPERM), "makes every session wait for the host's disks"),
    Rule(
        "reboot kexec_load kexec_file_load init_module finit_module delete_module swapon swapoff "
        "acct quotactl quotactl_fd sethostname setdomainname settimeofday clock_settime adjtimex "
        "clock_adjtime syslog vhangup iopl ioperm modify_ldt",
        refuse(EPERM),
        "belongs to the administrator of the machine",
    ),
)

_CLOCKS = "clock_gettime clock_getres clock_nanosleep timer_create"
_CLOCK_OF: Final = 0xFFFFFFF8
"""What of a clock's number is the complement of a process or thread: clock_getcpuclockid(3)."""

PROCESSES_BY_NUMBER: Final = (
    Rule(_CLOCKS, ALLOW, "processor time of the caller", (arg(0).masked(_CLOCK_OF, _CLOCK_OF),)),
    Rule(_CLOCKS, NOTIFY, "processor time of another process", (arg(0).has(1 << 31),)),
    Rule(
        "sched_setaffinity sched_getaffinity sched_getscheduler sched_getparam sched_getattr "
        "sched_rr_get_interval getpgid getsid get_robust_list",
        ALLOW,
        "the caller itself",
        (arg(0).is_(SELF),),
    ),
    Rule(
        "setpriority getpriority",
        ALLOW,
        "own priority, or that of the own process group",
        (arg(0).is_(PRIO_PROCESS, PRIO_GROUP), arg(1).is_(SELF)),
    ),
    Rule(
        "ioprio_get",
        ALLOW,
        "own priority, or that of the own process group",
        (arg(0).is_(IOPRIO_PROCESS, IOPRIO_GROUP), arg(1).is_(SELF)),
    ),
    Rule("get_robust_list", refuse(EPERM), "an address in the memory of another process"),
    Rule(
        "sched_setaffinity sched_getaffinity sched_getscheduler sched_getparam sched_getattr "
        "sched_rr_get_interval getpgid getsid setpriority getpriority ioprio_get pidfd_open",
        NOTIFY,
        "init lets a call touch the session's own processes, and itself not",
    ),
    Rule("fcntl", NOTIFY, "a signal by way of a descriptor", (arg(1).is_(F_SETOWN),)),
)

OWN_NAMESPACES: Final = (
    Rule("setns", NOTIFY, "how a branch leaves; init lets one process through, when asked to"),
    Rule("capset", ALLOW, "a branch gives up what its namespaces gave it; none can be taken"),
    Rule("kill", ALLOW, "the own process group", (arg(0).is_(SELF),)),
    Rule(
        "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo",
        NOTIFY,
        "branches can be numbered from above, and init has handlers",
    ),
)

_BY_NUMBER = (
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo sched_setaffinity sched_getaffinity "
    "sched_getscheduler sched_getparam sched_getattr sched_rr_get_interval getpgid getsid "
    "pidfd_open"
)
KEPT_JAIL: Final = (
    Rule("setns", refuse(EPERM), "there are no branches below"),
    Rule(_BY_NUMBER, refuse(EPERM), "the first process is not the session's", (arg(0).is_(1),)),
    Rule(_CLOCKS, refuse(EPERM), "nor its clock", (arg(0).masked(_CLOCK_OF, _CLOCK_OF ^ 8),)),
    Rule(
        f"{_BY_NUMBER} {_CLOCKS} setpriority getpriority ioprio_get",
        ALLOW,
        "other numbers are the session's own processes, and all of them",
    ),
    Rule("fcntl", ALLOW, "the same by way of a descriptor", (arg(1).is_(F_SETOWN),)),
)
"""Where no init attends that could be asked. The first process, which does nothing but wait, is
thrown away with the session: what is not refused here changes nothing outside of it."""

OWN_NETWORK: Final = (
    Rule(
        "socket",
        ALLOW,
        "local sockets; abstract names end at the network namespace",
        (arg(0).is_(socket.AF_UNIX), _LOCAL_KINDS),
    ),
    Rule(
        "socket",
        ALLOW,
        "TCP and UDP inside a network namespace that has loopback alone",
        (
            _INTERNET,
            _STREAM_OR_DATAGRAM,
            arg(2).is_(IPPROTO_DEFAULT, socket.IPPROTO_TCP, socket.IPPROTO_UDP),
        ),
    ),
    Rule(
        "socket",
        refuse(EPROTONOSUPPORT),
        "rare protocols are where the bugs are",
        (_INTERNET, _STREAM_OR_DATAGRAM),
    ),
    Rule(
        "socket",
        refuse(ESOCKTNOSUPPORT),
        "raw packets and other kinds",
        (arg(0).is_(socket.AF_UNIX, socket.AF_INET, socket.AF_INET6),),
    ),
    Rule("socket", refuse(EAFNOSUPPORT), "vsock and the kernel's crypto have no namespace"),
    Rule("socketpair", ALLOW, "pipes both ways", (arg(0).is_(socket.AF_UNIX), _LOCAL_KINDS)),
    Rule("socketpair", refuse(EAFNOSUPPORT), "no other family makes useful pairs"),
)

NO_NETWORK: Final = (
    Rule(
        "socket",
        refuse(EACCES),
        "without a network namespace every socket reaches the host's network and services",
        (arg(0).is_(socket.AF_UNIX, socket.AF_INET, socket.AF_INET6),),
    ),
    Rule("socket", refuse(EAFNOSUPPORT), "vsock and the kernel's crypto have no namespace"),
    Rule("socketpair", ALLOW, "pipes both ways", (arg(0).is_(socket.AF_UNIX), _CONNECTED_KINDS)),
    Rule(
        "socketpair",
        refuse(EACCES),
        "a datagram socket can be sent from to any socket of the host by name",
        (arg(0).is_(socket.AF_UNIX),),
    ),
    Rule("socketpair", refuse(EAFNOSUPPORT), "no other family makes useful pairs"),
    Rule("bind connect listen accept accept4", refuse(EACCES), "a pair is connected already"),
)

SHARED_HOST: Final = (
    Rule("setns", refuse(EPERM), "the namespaces are the host's"),
    Rule("capset", refuse(EPERM), "the session has no capability to give up"),
    Rule(
        "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr "
        "removexattrat",
        refuse(EPERM),
        "Landlock does not rule attributes of files that anyone may write",
    ),
    Rule("inotify_add_watch", refuse(EACCES), "tells names in directories that cannot be listed"),
)

SHARED_IDENTITY: Final = (
    Rule(
        "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat "
        "utimensat",
        refuse(EPERM),
        "Landlock does not rule modes: a snippet could open or close all files of its user",
    ),
)

UNSCOPED_SIGNALS: Final = (
    Rule("kill", ALLOW, "the own process group", (arg(0).is_(SELF),)),
    Rule(
        "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
        refuse(EPERM),
        "would reach init, and where the uid is shared the user's other processes",
    ),
    Rule(
        "fcntl",
        refuse(EPERM),
        "a descriptor that sends any signal to its owner",
        (arg(1).is_(F_SETSIG),),
    ),
)

UNRULED_TRUNCATION: Final = (
    Rule("truncate", refuse(EACCES), "would empty files that Landlock keeps read-only"),
    Rule("open", refuse(EACCES), "truncates without opening for writing", (arg(1).masked(*_CUTS),)),
    Rule(
        "openat", refuse(EACCES), "truncates without opening for writing", (arg(2).masked(*_CUTS),)
    ),
    Rule("openat2", refuse(ENOSYS), "its flags sit behind a pointer; callers use openat"),
)

INIT_DUTIES: Final = (
    Rule(
        "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp",
        ALLOW,
        "a command that init starts puts on what the session process has on",
    ),
    Rule("pidfd_open", ALLOW, "init signals a process that it has looked at, and no other"),
    Rule(
        "ioctl",
        ALLOW,
        "takes and answers the calls that the session's filter asks about",
        (arg(1).is_(SECCOMP_RECEIVE, SECCOMP_SEND),),
    ),
)

UNCOUNTED_MEMORY: Final = (
    Rule(
        "memfd_create",
        refuse(ENOSYS),
        "no process maps such a file while it is filled: without a cgroup it is not counted",
    ),
)

SCOPES_SIGNALS: Final = 6
RULES_TRUNCATION: Final = 3


def rules_for(
    tier: Tier,
    landlock_abi: int = 0,
    *,
    own_id: bool = False,
    is_metered: bool = False,
    for_init: bool = False,
    in_kept_jail: bool = False,
) -> tuple[Rule, ...]:
    """The table of `tier`. Where sessions share the host's namespaces, less is allowed.

    There the filter also makes up for what Landlock does not rule: `landlock_abi` is what the
    kernel answered, `own_id` whether the session's uid is its own alone. Without signal scopes it
    takes `kill` away, for init has the session's uid. In all tiers it refuses what the meter cannot
    see, where `is_metered`. `for_init` is the table of init itself, which signals whatever scopes
    there are, in the tier where it makes no namespaces. `in_kept_jail` is the table of sessions
    that have no init to ask.
    """
    if tier == "process":
        raise ValueError("the tier process has no filter: its code is trusted")
    uncounted = UNCOUNTED_MEMORY if is_metered else ()
    if tier == "namespaces":
        kept = KEPT_JAIL if in_kept_jail else ()
        return uncounted + kept + OWN_NAMESPACES + PROCESSES_BY_NUMBER + OWN_NETWORK + SHARED
    rules: tuple[Rule, ...] = uncounted + NO_NETWORK + SHARED_HOST + PROCESSES_BY_NUMBER + SHARED
    if not own_id:
        rules = SHARED_IDENTITY + rules
    if for_init:
        rules = INIT_DUTIES + rules
    elif landlock_abi < SCOPES_SIGNALS:
        rules = UNSCOPED_SIGNALS + rules
    if landlock_abi < RULES_TRUNCATION:
        rules = UNRULED_TRUNCATION + rules
    return rules

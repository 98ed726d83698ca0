"""What every attack may use: stands before its source, in the jail and bare alike.

The names in capitals that an attack does not define itself (CANARY_FILE, VICTIM_PID, ...) are
written into the source by `corpus.py`; `bait.py` says what each of them is.
"""

import ctypes
import errno
import os
import platform
import stat
import sys  # noqa: F401  Attacks use it.

HARMLESS = object()
"""What an action gives when it went through and reached nothing of the host."""
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
NUMBERS = {
    "x86_64": {
        "shmget": 29, "clone": 56, "semget": 64, "msgget": 68, "ptrace": 101, "syslog": 103,
        "capget": 125, "capset": 126, "personality": 135, "mlockall": 151, "modify_ldt": 154,
        "pivot_root": 155, "prctl": 157, "adjtimex": 159, "acct": 163, "settimeofday": 164,
        "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
        "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175,
        "delete_module": 176, "quotactl": 179, "io_setup": 206, "clock_settime": 227,
        "mbind": 237, "mq_open": 240, "kexec_load": 246, "add_key": 248, "request_key": 249,
        "keyctl": 250, "ioprio_set": 251, "unshare": 272, "vmsplice": 278, "move_pages": 279,
        "perf_event_open": 298, "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "sched_setattr": 314,
        "seccomp": 317, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321,
        "userfaultfd": 323, "rt_tgsigqueueinfo": 297, "ioctl": 16,
    },
    "aarch64": {
        "io_setup": 0, "ioctl": 29, "ioprio_set": 30, "umount2": 39, "mount": 40,
        "pivot_root": 41, "quotactl": 60, "vmsplice": 75, "acct": 89, "capget": 90, "capset": 91,
        "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
        "sethostname": 161, "setdomainname": 162, "prctl": 167, "settimeofday": 170,
        "adjtimex": 171, "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194,
        "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224,
        "swapoff": 225, "mlockall": 230, "mbind": 235, "move_pages": 239,
        "rt_tgsigqueueinfo": 240, "perf_event_open": 241, "prlimit64": 261, "fanotify_init": 262,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268,
        "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "finit_module": 273,
        "sched_setattr": 274, "seccomp": 277, "memfd_create": 279, "bpf": 280,
        "userfaultfd": 282, "kexec_file_load": 294,
    },
}[platform.machine()] | {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fspick": 433, "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "landlock_create_ruleset": 444,
    "memfd_secret": 447, "process_mrelease": 448, "statmount": 457, "listmount": 458,
}


def escaped(evidence):
    """Say that the attack got through; bytes and texts show what it brought back."""
    print("ESCAPED:", evidence if isinstance(evidence, str) else repr(evidence), flush=True)


def contained(*reasons):
    """Say what stopped the attack: errors by the name of their errno."""
    names = {
        reason if isinstance(reason, str)
        else errno.errorcode[reason.errno] if getattr(reason, "errno", None) in errno.errorcode
        else type(reason).__name__
        for reason in reasons
    }
    print("contained:", ",".join(sorted(names)), flush=True)


def attempt(*actions, harmless="harmless"):
    """Try each action: the first that gives anything but HARMLESS is an escape."""
    reasons = []
    for action in actions:
        try:
            evidence = action()
        except Exception as error:
            reasons.append(error)
        else:
            if evidence is not HARMLESS:
                escaped(evidence)
                return
            reasons.append(harmless)
    contained(*(reasons or [harmless]))


def call(name, *arguments):
    """Make a system call that the standard library has no function for."""
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *wide)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def channels():
    """The sockets that this process holds above its standard streams."""
    found = []
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(fd)
        except OSError:
            continue
    return found


# What descends from an attack keeps this name: nothing of it may outlive the session.
LIBC.prctl(PR_SET_NAME, FOE.encode(), 0, 0, 0)  # noqa: F821

# any tier: seccomp -> completed, EPERM/ESRCH/ENOSYS
# Priority, processors, classes and groups of init and of the standby, set or read by number.
PIDS = {1, os.getppid()} - {0, os.getpid()}


def tries(pid):
    yield lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)
    yield lambda: os.setpriority(os.PRIO_PGRP, pid, 19)
    yield lambda: os.sched_setaffinity(pid, {0})
    yield lambda: os.sched_getaffinity(pid)
    yield lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    yield lambda: os.sched_getparam(pid)
    yield lambda: os.setpgid(pid, pid)
    yield lambda: call("ioprio_set", 1, pid, 3 << 13)
    yield lambda: call("sched_setattr", pid, ctypes.create_string_buffer(b"\x30", 48), 0)
    yield lambda: call("move_pages", pid, 0, None, None, None, 0)
    yield lambda: call("kcmp", pid, os.getpid(), 0, 0, 0)


attempt(*(action for pid in PIDS for action in tries(pid)))

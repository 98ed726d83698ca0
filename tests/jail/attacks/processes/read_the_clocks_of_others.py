# any tier: seccomp -> completed, EINVAL/EPERM/ESRCH
# A clock's number holds that of a process: init, the standby, the victim; and their threads.
import time


def clock(pid, kind):
    return lambda: time.clock_gettime(~pid << 3 | kind)


attempt(*(clock(pid, kind) for pid in {1, os.getppid(), VICTIM_PID} - {0} for kind in (0, 1, 2, 6)))

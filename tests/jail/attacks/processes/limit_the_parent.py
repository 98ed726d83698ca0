# any tier: seccomp -> completed, EPERM
# Limits of init and of the standby, read and written.
import resource


def limits(pid):
    return lambda: resource.prlimit(pid, resource.RLIMIT_CPU)


attempt(*map(limits, {1, os.getppid(), os.getpid() - 1} - {0}))

# any tier: seccomp -> completed, EPERM
# A victim with one open file and no CPU time is a dead victim.
# bare: escapes
import resource


def starve():
    resource.prlimit(VICTIM_PID, resource.RLIMIT_NOFILE, (64, 64))
    return "limited"


attempt(starve)

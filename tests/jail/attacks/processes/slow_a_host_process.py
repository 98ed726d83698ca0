# namespaces: pid_namespace -> completed, ESRCH | landlock: seccomp -> completed, ESRCH
# Priority and processor set of the victim.
# bare: escapes
def slow():
    os.setpriority(os.PRIO_PROCESS, VICTIM_PID, 19)
    return "slowed"


def pin():
    os.sched_setaffinity(VICTIM_PID, {min(os.sched_getaffinity(VICTIM_PID))})
    return "pinned"


attempt(slow, pin)

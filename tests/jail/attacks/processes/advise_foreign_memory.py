# namespaces: seccomp -> completed, EPERM/ESRCH | landlock: seccomp -> completed, EPERM/ESRCH
# Push the pages of another process out, or reap the memory of a dying one.
span = (ctypes.c_size_t * 2)(VICTIM_ADDRESS, 4096)


def pidfd():
    return os.pidfd_open(VICTIM_PID)


attempt(
    lambda: call("process_madvise", pidfd(), span, 1, 21, 0),
    lambda: call("process_mrelease", pidfd(), 0),
    lambda: call("move_pages", VICTIM_PID, 0, None, None, None, 0),
)

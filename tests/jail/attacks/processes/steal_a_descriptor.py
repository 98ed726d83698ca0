# namespaces: seccomp -> completed, ESRCH | landlock: seccomp -> completed, ESRCH
# pidfd_getfd duplicates an open file of another process.
# bare: escapes
def steal():
    fd = call("pidfd_getfd", os.pidfd_open(VICTIM_PID), VICTIM_FD, 0)
    return os.pread(fd, 100, 0)


attempt(steal)

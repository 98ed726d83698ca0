# any tier: seccomp -> completed, EPERM/ESRCH
# The control channel of init, by number.
def steal(fd):
    return lambda: call("pidfd_getfd", os.pidfd_open(os.getppid()), fd, 0)


attempt(*map(steal, range(16)))

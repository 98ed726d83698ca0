# any tier: seccomp -> completed, EPERM
# The same flags, given to clone(); also with junk in the upper half of the argument.
SIGCHLD, CLONE_NEWUSER, CLONE_NEWNS = 17, 0x10000000, 0x20000


def clone(flags):
    def make():
        pid = call("clone", flags | SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return f"clone({flags:#x})"

    return make


attempt(
    clone(CLONE_NEWUSER),
    clone(CLONE_NEWUSER | CLONE_NEWNS),
    clone(CLONE_NEWUSER | 1 << 32),
    clone(0x40000000),
    clone(0x20000000),
)

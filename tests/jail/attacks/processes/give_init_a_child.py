# any tier: seccomp -> completed, EPERM
# CLONE_PARENT makes a sibling: the engine would have to reap a process that it did not start.
SIGCHLD, CLONE_PARENT, CLONE_PTRACE, CLONE_UNTRACED = 17, 0x8000, 0x2000, 0x800000


def clone(flag):
    def make():
        pid = call("clone", flag | SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        return f"clone({flag:#x})"

    return make


attempt(*map(clone, (CLONE_PARENT, CLONE_PTRACE, CLONE_UNTRACED)))

# any tier: seccomp -> completed, ENOSYS
# clone3 hides its flags behind a pointer where no filter can read them.
CLONE_NEWUSER, SIGCHLD = 0x10000000, 17


def clone(flags):
    def make():
        arguments = (ctypes.c_uint64 * 11)(flags, 0, 0, 0, SIGCHLD)
        pid = call("clone3", ctypes.byref(arguments), 64)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return f"clone3({flags:#x})"

    return make


attempt(clone(CLONE_NEWUSER), clone(0))

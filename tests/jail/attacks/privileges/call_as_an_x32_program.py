# any tier: seccomp -> completed, ENOSYS
# The third set of numbers of this processor: the 64-bit ones plus a bit.
# needs: x86_64
X32_BIT, GETPID, PTRACE = 0x40000000, 39, 521


def x32(number):
    def enter():
        ctypes.set_errno(0)
        result = LIBC.syscall(ctypes.c_long(number | X32_BIT), 0, 0, 0, 0)
        if result < 0:
            raise OSError(ctypes.get_errno(), "x32")
        return result

    return enter


attempt(x32(GETPID), x32(PTRACE))

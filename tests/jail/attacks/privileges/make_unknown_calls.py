# any tier: seccomp -> completed, ENOSYS
# Numbers of calls that are too new for any table, and numbers of no call at all.
def unknown(number):
    def enter():
        ctypes.set_errno(0)
        result = LIBC.syscall(ctypes.c_long(number), -1, -1, -1, -1, -1, -1)
        if result < 0:
            raise OSError(ctypes.get_errno(), "unknown")
        return number

    return enter


attempt(*map(unknown, [*range(470, 600), 1000, 0x3FFFFFFF]))

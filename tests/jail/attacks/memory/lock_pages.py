# any tier: rlimits -> completed, EPERM/ENOMEM/ENOSYS
# Locked pages cannot be reclaimed.
import mmap

MCL_FUTURE = 2
space = mmap.mmap(-1, 64 << 20)
address = ctypes.addressof(ctypes.c_char.from_buffer(space))


def lock():
    if LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(64 << 20)):
        raise OSError(ctypes.get_errno(), "mlock")
    return "64 MiB locked"


attempt(lock, lambda: call("mlockall", MCL_FUTURE))

# any tier: seccomp -> completed, ENOSYS/EPERM
# Memory policies, page moves, gifts of pages to pipes: old holes, no ordinary user.
reader, writer = os.pipe()
span = (ctypes.c_size_t * 2)(id(reader), 16)
attempt(
    lambda: call("mbind", 0, 4096, 0, None, 0, 0) or "mbind",
    lambda: call("move_pages", 0, 0, None, None, None, 0) or "move_pages",
    lambda: call("vmsplice", writer, span, 1, 0),
    lambda: call("io_setup", 8, ctypes.byref(ctypes.c_ulong())) or "io_setup",
)

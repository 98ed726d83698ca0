# any tier: seccomp -> completed, EPERM
# statmount and listmount show the mount table without /proc.
request = (ctypes.c_uint64 * 4)(32, 0xFFFFFFFFFFFFFFFF, 0, 0)
space = ctypes.create_string_buffer(4096)
attempt(
    lambda: call("listmount", ctypes.byref(request), space, 512, 0),
    lambda: call("statmount", ctypes.byref(request), space, 4096, 0),
)
